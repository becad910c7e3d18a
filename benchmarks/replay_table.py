# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Every policy over all zones: rigid, elastic and preemptible jobs, with and without own supply.

`python benchmarks/replay_table.py --out table.jsonl` appends a line per case and goes on where it
stopped; `--show` prints the means of what is there. Each zone gets its own stretch of GAIA's trace
and its own weeks of 2022, so that nothing rests on one burst; `--stretch` 1 to 3 takes others than
the table's. `--policies`, `--jobs`, `--kinds`, `--supplies`, `--forecasts`, `--zones`.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from slurm_green.threads import one_thread

one_thread()  # before numpy is imported: later it changes nothing

import numpy as np
from plan_traces import rows  # type: ignore[import-not-found, unused-ignore]
from replay_ours import Case, problem_of, provider_forecasts

from slurm_green.plan.policy.registry import OWN
from slurm_green.replay.inputs import prepared
from slurm_green.replay.run import replay

__all__ = ["case_of", "figures", "means"]

_JOBS_APART, _HOURS_APART = 2400, 500
_LATER_JOBS = (0, 800, 1600, 1200)  # by stretch
_LAST_HOUR = 8200  # from there on the year is too short


def case_of(at: int, zone: str, kind: str, jobs: int, stretch: int) -> Case:
    """A zone's stretch, `at` being the zone's place; 0 is the table's. Without own supply."""
    hour = 720 + _HOURS_APART * at
    if stretch:
        hour = (hour + 1600 + 1300 * stretch) % _LAST_HOUR
    return Case(
        zone=zone,
        kind=kind,
        jobs=jobs,
        first_job=_JOBS_APART * at + _LATER_JOBS[stretch],
        first_hour=hour,
        seed=at + (900 + 100 * stretch if stretch else 0),
    )


def figures(case: Case, policies: Sequence[str] = tuple(OWN)) -> dict[str, Any]:
    """Carbon in g and late jobs of each policy, the bound, and the CPU time of all."""
    began_s = time.process_time()
    truth = problem_of(case)
    forecasts = None if case.forecast == "built-in" else provider_forecasts(case, truth.site)
    found = replay(prepared(truth, forecasts=forecasts), policies)
    return {
        "case": asdict(case),
        "bound_g": found.lower_bound_g,
        "carbon_g": {name: one.carbon_g for name, one in found.results.items()},
        "late": {name: int(one.late.sum()) for name, one in found.results.items()},
        "cpu_s": round(time.process_time() - began_s, 1),
    }


def means(lines: list[dict[str, Any]]) -> dict[str, tuple[float, float, float]]:
    """Of each policy: percent of the possible saving, percent beyond oracle, late above fifo."""
    found = {}
    for name in lines[0]["carbon_g"]:
        if any(name not in line["carbon_g"] for line in lines):
            continue  # `--policies` was not the same for all
        each = []
        for line in lines:
            grams, late, jobs = line["carbon_g"], line["late"], line["case"]["jobs"]
            left_g = max(grams["fifo"] - (line["bound_g"] or 0.0), 1e-9)
            each.append(
                (
                    100 * (grams["fifo"] - grams[name]) / left_g,
                    100 * (grams[name] / max(grams["oracle"], 1e-9) - 1),
                    100 * (late[name] - late["fifo"]) / jobs,
                )
            )
        share, beyond, late_percent = np.mean(each, axis=0).tolist()
        found[name] = (share, beyond, late_percent)
    return found


def show(lines: list[dict[str, Any]]) -> None:
    """A table per kind of jobs, supply and forecast."""
    groups: dict[tuple[str, float, str], list[dict[str, Any]]] = {}
    for line in lines:
        case = line["case"]
        key = (case["kind"], case["wind_and_sun"], case["forecast"])
        groups.setdefault(key, []).append(line)
    for (kind, supply, forecast), mine in groups.items():
        print(f"\n{kind}, own supply {supply:g}, forecast {forecast}: {len(mine)} cases, "
              f"{sum(line['cpu_s'] for line in mine) / 60:.0f} min of CPU\n")  # fmt: skip
        print("| policy | % of possible saving | % beyond `oracle` | late above `fifo` % |")
        print("|---|---:|---:|---:|")
        for name, (share, beyond, late) in means(mine).items():
            print(f"| `{name}` | {share:.1f} | {beyond:.1f} | {late:+.2f} |")


def main() -> None:
    """Run what is missing, or print what is there."""
    header, _ = rows("eurosys24_ci/ci_lca_2022_dev16.csv.xz")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--zones", default=",".join(header[1:]))
    parser.add_argument("--kinds", default="rigid,moldable,preemptible")
    parser.add_argument("--supplies", default="0,0.5")
    parser.add_argument("--forecasts", default="provider,built-in")
    parser.add_argument("--policies", default=",".join(OWN), help="fifo and oracle among them")
    parser.add_argument("--stretch", type=int, default=0, choices=range(len(_LATER_JOBS)))
    asked = parser.parse_args()
    text = asked.out.read_text(encoding="utf-8") if asked.out.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    if asked.show:
        show(lines)
        return
    policies = asked.policies.split(",")
    if not {"fifo", "oracle"} <= set(policies):
        parser.error("--policies: fifo and oracle must be among them")
    done = [line["case"] for line in lines]
    for forecast, supply, zone, kind in product(
        asked.forecasts.split(","),
        asked.supplies.split(","),
        asked.zones.split(","),
        asked.kinds.split(","),
    ):
        at = header[1:].index(zone)
        case = replace(
            case_of(at, zone, kind, asked.jobs, asked.stretch),
            wind_and_sun=float(supply),
            forecast=forecast,
        )
        if asdict(case) in done:
            continue
        line = figures(case, policies)
        with asked.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
