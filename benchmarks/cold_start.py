# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""What waiting saves at a site that has just begun, by how many days of its grid are known.

`python benchmarks/cold_start.py` prints the table of docs/forecast.md: of the forecast for under
four weeks, and of what was usual at each hour before there was one. One job at a time and room for
all: jobs of 1, 2, 4 and 12 h that arrive in any hour of a day and may wait 6 or 24 h start when no
later start looks better, by the forecast as the policy `prices` corrects it, which begins with
that day. Then how many hours lie in the forecast's 80 % band.
`--half tune` is the half of eurosys24_ci, zones and days, that the constants were chosen on.
`--starts` sites begin in each zone. Data: $SLURM_GREEN_DATA, else ../shared/data beside the
checkout. Ten minutes on one core.
"""

import argparse

from slurm_green.threads import one_thread

one_thread()  # before numpy is imported: later it changes nothing

import numpy as np
from numpy.typing import NDArray
from plan_traces import rows  # type: ignore[import-not-found, unused-ignore]

from slurm_green.plan.policy.carbon_filter import CarbonFilter
from slurm_green.replay.outlook import usual
from slurm_green.signals.forecast.bands import Hourly
from slurm_green.signals.forecast.cold import Cold, expected

Floats = NDArray[np.float64]

_LENGTHS_H, _WAITS_H = (1, 2, 4, 12), (6, 24)
_DAYS = (0, 1, 2, 3, 7, 14)
_AHEAD_H = 96
_ISSUED_H = 6  # so often a replay was told what is usual
# Of the spread, up to a day: waiting has a price in `prices`, more before a day was seen.
_DEARER_PER_H, _DEARER_FIRST_PER_H = 0.01, 0.02
_FIRST_H, _LAST_H = 700, 8500
_HALVES = {"tune": 0, "test": 1}


def looks(year: Floats, start: int, days: int, method: str) -> Floats:
    """What each hour of two days looks like from each hour before it, shape (49, 96)."""
    corrections = CarbonFilter(3600.0)
    past = year[start - 24 * days : start + 49]
    dearer = _DEARER_PER_H if days else _DEARER_FIRST_PER_H
    waiting_h = dearer * np.minimum(np.arange(_AHEAD_H), 24)
    found, issued, said = [], 0, np.zeros(0)
    for now in range(24 * days, len(past)):
        if method == "cold":
            issued, ahead = now, expected(past[: now + 1], _AHEAD_H - 1)[0]
            said = np.concatenate([past[now : now + 1], ahead])
        elif (now - 24 * days) % _ISSUED_H == 0:
            issued = now
            said = usual(past[: max(now, 1)], 24, _AHEAD_H + _ISSUED_H)
        seen = said[now - issued :][:_AHEAD_H].copy()
        seen[0] = past[now]
        better = corrections.corrected(now * 3600.0, issued * 3600.0, seen)
        found.append(better + corrections.spread(better) * waiting_h)
    return np.array(found)


def windows(values: Floats, length: int) -> Floats:
    """Means over all windows of that length, along the last axis."""
    sums = np.cumsum(np.insert(values, 0, 0.0, axis=-1), axis=-1)
    return np.asarray((sums[..., length:] - sums[..., :-length]) / length)


def jobs(year: Floats, start: int, days: int, method: str) -> Floats:
    """Carbon at once, as decided, and at best: a row per job."""
    look = looks(year, start, days, method)
    found = []
    for length in _LENGTHS_H:
        seen, true = windows(look, length), windows(year[start : start + _AHEAD_H], length)
        for wait in _WAITS_H:
            for arrival in range(24):
                latest = arrival + wait
                begin = next(
                    now for now in range(arrival, latest + 1)
                    if seen[now, : latest - now + 1].argmin() == 0
                )  # fmt: skip
                best = true[arrival : latest + 1].min()
                found.append((true[arrival], true[begin], best))
    return np.array(found)


def coverage(year: Floats, starts: list[int], days: int) -> float:
    """Percent of the next day's hours in the 80 % band."""
    held = []
    for start in starts:
        past = year[start - 24 * days : start]
        bands = Cold().bands(Hourly(values=past), np.array([len(past)]), 24)
        came = year[start : start + 24]
        held.append((bands.p10[0] <= came) & (came <= bands.p90[0]))
    return float(100 * np.mean(held))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", default="test", choices=tuple(_HALVES))
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--days", default=",".join(map(str, _DAYS)))
    asked = parser.parse_args()
    half = _HALVES[asked.half]
    header, table = rows("eurosys24_ci/ci_lca_2022_dev16.csv.xz")
    years = np.array([row[1:] for row in table], dtype=np.float64).T[half::2]
    starts = np.linspace(_FIRST_H, _LAST_H, 2 * asked.starts).astype(int)[half::2].tolist()
    print(f"{asked.half}: {', '.join(header[1 + half :: 2])}; {len(starts)} starts each\n")
    print("| days known | of the possible saving | jobs that emit more than at once"
          " | sites of which that is true | hours in the 80 % band |")  # fmt: skip
    print("|---:|---:|---:|---:|---:|")
    for days in map(int, asked.days.split(",")):
        cells: list[list[str]] = [[], [], []]
        for method in ("usual", "cold"):
            sites = np.array(
                [[jobs(year, start, days, method) for start in starts] for year in years]
            )
            once, ours, best = np.moveaxis(sites, -1, 0)
            saved, most = (once - ours).sum(axis=(1, 2)), (once - best).sum(axis=(1, 2))
            cells[0].append(f"{100 * np.mean(saved / most):.1f}")
            cells[1].append(f"{100 * np.mean(ours > once * (1 + 1e-9)):.1f}")
            cells[2].append(f"{100 * np.mean((once - ours).sum(axis=2) < 0):.1f}")
        held = np.mean([coverage(year, starts, days) for year in years]) if days else None
        print(
            f"| {days} | " + " | ".join(" → ".join(cell) + " %" for cell in cells)
            + f" | {'' if held is None else f'{held:.0f} %'} |",
            flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
