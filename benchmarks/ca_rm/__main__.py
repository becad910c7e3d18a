# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""CA-RM's evaluation by one command: `python -m benchmarks.ca_rm [--quick]`, from the checkout.

Three objectives against MAX, MIN, EnergyCost and PowerCap at three loads of one site that trains
and serves on RTX 4090, with its own wind and sun. docs/ca-rm.md says what is read how.
"""

import argparse
import sys
import time

from slurm_green.threads import one_thread

one_thread()  # before numpy is imported: later it changes nothing

import numpy as np
from plan_traces import DATA

from ca_rm.chat import measured
from ca_rm.runs import COMPETITORS, LIVE, OBJECTIVES, Figures, figures, mean_reduction
from ca_rm.site import LOADS, Case

__all__ = ["main"]

_PAPER = 0.35
_WEEKS = "US-TEX-ERCO:720,US-CAL-CISO:2880,DE:4680"
_DAYS, _QUICK_DAYS = 4, 1


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="ca_rm")
    parser.add_argument("--quick", action="store_true", help="one day of the first week")
    parser.add_argument("--weeks", default=_WEEKS, help="ZONE:FIRST_HOUR of 2022, with commas")
    parser.add_argument("--renewable-share", type=float, default=0.5)
    parser.add_argument("--host-w-per-gpu", type=float, default=0.0, help="of a GPU at work")
    asked = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is missing: set SLURM_GREEN_DATA to where the traces are")
    weeks = [one.split(":") for one in asked.weeks.split(",")][: 1 if asked.quick else None]
    chat = measured(600.0 if asked.quick else 1750.0)
    everything: list[dict[str, Figures]] = []
    print(
        "| load | policy | carbon kg | of MAX % | jobs late % | requests in time % | speed "
        "| work in time per kg, MAX = 1 | speed per kg, MAX = 1 |\n|---|---|" + "---:|" * 7
    )
    for load in LOADS:
        found = [
            figures(
                Case(
                    zone=zone,
                    load=load,
                    first_hour=int(hour),
                    days=_QUICK_DAYS if asked.quick else _DAYS,
                    renewable_share=asked.renewable_share,
                    host_w_per_gpu=asked.host_w_per_gpu,
                ),
                chat,
            )
            for zone, hour in weeks
        ]
        for name in found[0]:
            _print(load, name, found)
        everything += found
    print("\nCarbon below a competitor's, means over loads and weeks, in %:\n")
    print("| | " + " | ".join(COMPETITORS) + " | mean |\n|---|" + "---:|" * (len(COMPETITORS) + 1))
    means = []
    for name in (*OBJECTIVES, LIVE):
        each = [100 * mean_reduction(everything, name, other) for other in COMPETITORS]
        print(f"| {name} | " + " | ".join(f"{one:.1f}" for one in [*each, np.mean(each)]) + " |")
        if name != LIVE:
            means.append(float(np.mean(each)))
    print(
        f"\nMean of the three objectives: {np.mean(means):.1f} %;"
        f" the paper's own: about {100 * _PAPER:.0f} %."
    )
    print(f"Simulated; {time.process_time():.0f} s of CPU.")


def _print(load: str, name: str, found: list[dict[str, Figures]]) -> None:
    ones, most = [one[name] for one in found], [one["MAX"] for one in found]
    part = np.array([one.carbon_g / top.carbon_g for one, top in zip(ones, most, strict=True)])
    in_time, speed = np.array([[one.in_time, one.speed] for one in ones]).T
    top_in_time, top_speed = np.array([[top.in_time, top.speed] for top in most]).T
    cells = [
        f"{np.mean([one.carbon_g for one in ones]) / 1000:.1f}",
        f"{100 * part.mean():.1f}",
        f"{100 * np.mean([one.late_jobs / max(one.jobs, 1) for one in ones]):.1f}",
        f"{100 * np.mean([one.met for one in ones]):.2f}",
        f"{speed.mean():.2f}",
        f"{(in_time / top_in_time / part).mean():.2f}",
        f"{(speed / top_speed / part).mean():.2f}",
    ]
    print(f"| {load} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
