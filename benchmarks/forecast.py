# SPDX-License-Identifier: Apache-2.0
"""How good the built-in forecast is on real histories, beside two plain references in one run.

`OMP_NUM_THREADS=1 python benchmarks/forecast.py` prints the tables of docs/forecast.md: every
zone of eurosys24_ci (2022, from March on), then what generation forecasts add on a year of ERCOT.
Data: $SLURM_GREEN_DATA, else ../shared/data beside the checkout. Minutes on one core.
"""

import argparse
import csv
import lzma
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from slurm_green.signals.forecast import forecast
from slurm_green.signals.forecast.backtest import Backtest, backtest
from slurm_green.signals.forecast.builtin import BuiltIn
from slurm_green.signals.forecast.naive import LAST_WEEK, YESTERDAY
from slurm_green.signals.measured import Measured
from slurm_green.signals.regressors import Regressors

DATA = Path(os.environ.get("SLURM_GREEN_DATA") or Path(__file__).parents[2] / "shared" / "data")
_LEAST_SAVING = 0.08


def rows(name: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a packed table."""
    path = DATA / name
    if not path.exists():
        sys.exit(f"{path} is missing: set SLURM_GREEN_DATA to where the traces are")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        table = list(csv.reader(file))
    return table[0], table[1:]


def zones(wanted: list[str]) -> list[Measured]:
    """The histories of eurosys24_ci, one a zone."""
    header, table = rows("eurosys24_ci/ci_lca_2022_dev16.csv.xz")
    start = datetime.fromisoformat(table[0][0]).replace(tzinfo=UTC)
    return [
        Measured(
            start_utc=start,
            step_s=3600.0,
            values=np.array([float(row[i]) for row in table]),
            provider=header[i],
            region=header[i],
            scope="life-cycle",
        )
        for i in range(1, len(header))
        if not wanted or header[i] in wanted
    ]


def zone_table(histories: list[Measured], every_h: int) -> None:
    """A row per zone, then the means that the bars are about."""
    print(
        "| zone | MAPE day 1 | pinball (yesterday, week) | in 80 % | 6 h/24 h (yesterday, week) "
        "| 1 h/12 h | 24 h/48 h | perfect 6 h saving |\n|---|---|---|---|---|---|---|---|"
    )
    done = []
    for history in histories:
        one = backtest(history, (BuiltIn(), YESTERDAY, LAST_WEEK), every_h=every_h)
        done.append(one)
        ours, *others = one.verdicts
        six, short, long = ours.worths
        print(
            f"| {one.region} | {ours.mape_by_day[0]:.1f} % | {ours.pinball:.3g} "
            f"({', '.join(f'{two.pinball:.3g}' for two in others)}) | "
            f"{100 * (ours.coverage_80 or 0):.1f} % | {percent(six.share_of_perfect)} "
            f"({', '.join(percent(two.worths[0].share_of_perfect) for two in others)}) | "
            f"{percent(short.share_of_perfect)} | {percent(long.share_of_perfect)} | "
            f"{percent(six.perfect_saving)} |",
            flush=True,
        )
    means(done)


def means(done: list[Backtest]) -> None:
    """The bars of the issue: coverage and pinball over all zones, worth where much can be saved."""
    print()
    coverage = np.mean([one.verdicts[0].coverage_80 for one in done])
    beaten = sum(
        all((one.verdicts[0].pinball or 0) < (two.pinball or 0) for two in one.verdicts[1:])
        for one in done
    )
    print(f"- coverage of the 80 % band, mean of {len(done)} zones: {100 * coverage:.1f} %")
    print(f"- pinball loss below both references in {beaten} of {len(done)} zones")
    for number, job in enumerate(done[0].verdicts[0].worths):
        worth_it = [
            one
            for one in done
            if (one.verdicts[0].worths[number].perfect_saving or 0) > _LEAST_SAVING
        ]
        if not worth_it:
            continue
        shares = [
            np.mean([one.verdicts[model].worths[number].share_of_perfect for one in worth_it])
            for model in range(3)
        ]
        print(
            f"- {job.job_h} h job, {job.slack_h} h slack, mean share of the perfect saving over "
            f"{len(worth_it)} zones where that exceeds 8 %: built-in {100 * shares[0]:.1f} %, "
            f"yesterday again {100 * shares[1]:.1f} %, last week's mean {100 * shares[2]:.1f} %"
        )


def cost(history: Measured) -> None:
    """One refresh of one zone, on one core."""
    times = []
    now = history.start_utc.replace(month=12, day=1)
    for _ in range(3):
        began = time.process_time()
        forecast(history, now)
        times.append(time.process_time() - began)
    print(f"- one forecast of 96 h from 11 months of history: {sorted(times)[1]:.2f} s of CPU")


def ercot() -> None:
    """What day-ahead forecasts of load, wind and sun add, on an intensity derived from ERCOT.

    Residual load at 450 g/kWh rising to 750 with it; wind and sun of some sites scaled to 25 and
    8 % of the load. The load, the generation and the forecasts are real, the intensity is not.
    """
    actual = {name: hourly(f"pgscen_ercot/{name}_actual.csv.xz") for name in KINDS}
    start = max(one[0] for one in actual.values())
    end = min(one[0] + len(one[1]) for one in actual.values())
    load, wind, solar = (
        actual[name][1][start - actual[name][0] : end - actual[name][0]] for name in KINDS
    )
    factor = {
        "load": 1.0,
        "wind": 0.25 * load.mean() / wind.mean(),
        "solar": 0.08 * load.mean() / solar.mean(),
    }
    residual = np.maximum(load - factor["wind"] * wind - factor["solar"] * solar, 0)
    grams = (450 + 300 * residual / residual.max()) * residual / load
    began = datetime.fromtimestamp(3600 * start, UTC)
    history = Measured(
        start_utc=began, step_s=3600.0, values=grams, provider="ercot-derived", region="ERCOT"
    )
    known = ahead(start, end - start + 96, factor)
    year = history.since(datetime(2018, 1, 1, tzinfo=UTC))
    print("\n| ERCOT 2018, derived intensity | MAPE day 1 | 6 h/24 h | 1 h/12 h | 24 h/48 h |")
    print("|---|---|---|---|---|")
    for name, regressors in (("history alone", None), ("with day-ahead forecasts", known)):
        one = backtest(year, (BuiltIn(),), regressors=regressors, every_h=3).verdicts[0]
        shares = " | ".join(percent(two.share_of_perfect) for two in one.worths)
        print(f"| {name} | {one.mape_by_day[0]:.1f} % | {shares} |", flush=True)


KINDS = ("load", "wind", "solar")


def hourly(name: str) -> tuple[int, np.ndarray]:
    """First POSIX hour and the sum of all columns."""
    _, table = rows(name)
    first = int(datetime.fromisoformat(table[0][0]).timestamp() // 3600)
    return first, np.array([sum(float(cell) for cell in row[1:]) for row in table])


def ahead(start: int, hours: int, factor: dict[str, float]) -> Regressors:
    """The published day-ahead forecasts with their times of issue."""
    values = np.full((len(KINDS), hours), np.nan)
    issued = np.full((len(KINDS), hours), np.inf)
    for number, name in enumerate(KINDS):
        _, table = rows(f"pgscen_ercot/{name}_dayahead.csv.xz")
        for row in table:
            at = int(datetime.fromisoformat(row[1]).timestamp() // 3600) - start
            if 0 <= at < hours:
                values[number, at] = factor[name] * sum(float(cell) for cell in row[2:])
                issued[number, at] = datetime.fromisoformat(row[0]).timestamp()
    return Regressors(
        names=KINDS,
        start_utc=datetime.fromtimestamp(3600 * start, UTC),
        values=values,
        issued_s=issued,
    )


def percent(share: float | None) -> str:
    """For a cell."""
    return "-" if share is None else f"{100 * share:.1f} %"


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("zones", nargs="*", help="only these zones")
    parser.add_argument("--every-h", type=int, default=1, help="hours between two forecasts")
    options = parser.parse_args()
    histories = zones(options.zones)
    zone_table(histories, options.every_h)
    cost(histories[0])
    ercot()


if __name__ == "__main__":
    main()
