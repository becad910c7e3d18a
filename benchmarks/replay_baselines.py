# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Every policy on the instances of replay_ours.py: share of the possible saving, and late jobs.

`python benchmarks/replay_baselines.py --kind rigid --zones DE,FR` prints, as means over zones, how
much of the saving that the lower bound leaves over `fifo` each policy gets, how many jobs more
than in `fifo` are late, and how long jobs wait. `--policies` names others than all but `prices`.
"""

import argparse

from slurm_green.threads import one_thread

one_thread()  # before numpy is imported: later it changes nothing

import numpy as np
from replay_ours import Case, problem_of, provider_forecasts

from slurm_green.plan.policy.registry import OWN
from slurm_green.replay.inputs import prepared
from slurm_green.replay.run import replay

__all__ = ["figures"]


def figures(case: Case, policies: list[str]) -> dict[str, tuple[float, float, float]]:
    """For each policy: percent of the possible saving, late jobs above fifo's, mean wait in h."""
    truth = problem_of(case)
    forecasts = None if case.forecast == "built-in" else provider_forecasts(case, truth.site)
    found = replay(prepared(truth, forecasts=forecasts), ["fifo", *policies])
    fifo = found.results["fifo"]
    left_g = max(fifo.carbon_g - (found.lower_bound_g or 0.0), 1e-9)
    return {
        name: (
            100 * (fifo.carbon_g - one.carbon_g) / left_g,
            float(one.late.sum() - fifo.late.sum()),
            float(np.nanmean(one.wait_s)) / 3600,
        )
        for name, one in found.results.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", default="rigid", choices=("rigid", "moldable", "preemptible"))
    parser.add_argument("--trace", default="gaia", choices=("gaia", "gavel"))
    parser.add_argument("--zones", default="DE,US-CAL-CISO,FR")
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--load", type=float, default=0.7)
    parser.add_argument("--wind-and-sun", type=float, default=0.0, help="share of the demand")
    parser.add_argument("--forecast", default="provider")
    parser.add_argument("--policies", default=",".join(one for one in OWN if one != "prices"))
    asked = vars(parser.parse_args())
    zones, policies = asked.pop("zones").split(","), asked.pop("policies").split(",")
    rows = [figures(Case(zone=zone, **asked), policies) for zone in zones]
    print(f"{asked['kind']}, {asked['trace']}, {', '.join(zones)}")
    print("| policy | % of possible saving | late above fifo | mean wait h |\n|---|---:|---:|---:|")
    for name in rows[0]:
        share, late, wait_h = np.mean([row[name] for row in rows], axis=0)
        print(f"| {name} | {share:.1f} | {late:.1f} | {wait_h:.1f} |", flush=True)


if __name__ == "__main__":
    main()
