# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""What policy `prices` would save if it were told what none can know: arrivals, and carbon.

`python benchmarks/replay_told.py --zone DE --first-job 30000 --first-hour 3000` prints the share of
the possible saving with nothing told, with all arrivals of the next days, and with these and
a perfect forecast (waiting then has no price). `--kind`, `--jobs`, `--hours` of arrivals told;
`--trace` prints how far the GPU-hours that arrive in GAIA's trace can be foretold at all.
"""

import argparse
from dataclasses import replace

from slurm_green.threads import one_thread

one_thread()  # before numpy is imported: later it changes nothing

import numpy as np
from plan_traces import rows  # type: ignore[import-not-found, unused-ignore]
from replay_ours import Case, problem_of, provider_forecasts

from slurm_green.plan.policy import prices
from slurm_green.plan.policy.arrivals import Arrivals, Likely
from slurm_green.plan.policy.prices import PricesPolicy
from slurm_green.plan.policy.protocol import Setup
from slurm_green.plan.problem import SECONDS_PER_HOUR, Shapes
from slurm_green.replay.inputs import Inputs, prepared
from slurm_green.replay.outlook import Outlooks
from slurm_green.replay.result import PolicyResult, result_of
from slurm_green.replay.run import replay
from slurm_green.replay.simulator import simulate

__all__ = ["Told", "foretold"]


class Told(Arrivals):
    """What may arrive is what will."""

    def __init__(self, shapes: Shapes, inputs: Inputs, hours: int) -> None:
        super().__init__(shapes)
        self._told_h = hours
        self._jobs, self._known_s = inputs.problem.jobs, inputs.known_s

    def likely(self, now_s: float, hours: int) -> Likely:
        """All jobs that will come in the hours that are told, however many are asked for."""
        jobs, known_s = self._jobs, self._known_s
        until_s = now_s + self._told_h * SECONDS_PER_HOUR
        some = np.flatnonzero((known_s > now_s) & (known_s <= until_s))
        return Likely(
            class_index=jobs.class_index[some],
            work=jobs.work[some],
            earliest_s=jobs.earliest_s[some],
            deadline_s=jobs.deadline_s[some],
            weight=np.ones(len(some)),
            preemptible=jobs.preemptible[some].astype(np.int64),
        )


def _told(inputs: Inputs, hours: int) -> PolicyResult:
    site, shapes = inputs.problem.site, inputs.problem.shapes
    policy = PricesPolicy(Setup(shapes=shapes, gpus=site.gpus, step_s=site.step_s))
    policy._arrivals = Told(shapes, inputs, hours)
    assert inputs.forecasts is not None
    trace = simulate(inputs, policy, Outlooks(site, inputs.forecasts))
    return result_of("told", inputs, trace, 0.0)


def foretold() -> None:
    """How GPU-hours that arrive in an hour vary, and what they remember of earlier hours."""
    _, table = rows("gaia_jobs/pai-100k_first40pct.csv.xz")
    some = np.array(table, dtype=np.float64)
    hour = (some[:, 0] - some[:, 0].min()).astype(np.int64)
    gpu_h = np.clip(some[:, 1], 1 / 60, 48) * np.clip(some[:, 2], 1, 8)
    came = np.bincount(hour, gpu_h)[:-1]
    usual = (came - came.mean()) / came.std()
    print(f"standard deviation / mean: {came.std() / came.mean():.2f}")
    for back in (1, 3, 12, 24, 168):
        print(f"correlation with {back} h before: {(usual[back:] * usual[:-back]).mean():.2f}")
    largest = np.sort(gpu_h)[-len(gpu_h) // 100 :].sum() / gpu_h.sum()
    print(f"share of the largest hundredth of the jobs: {largest:.2f}")


def main() -> None:
    """Print a stretch's figures, or the trace's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", default="rigid", choices=("rigid", "moldable", "preemptible"))
    parser.add_argument("--zone", default="DE")
    parser.add_argument("--jobs", type=int, default=1500)
    parser.add_argument("--first-job", type=int, default=0, help="of GAIA's trace; also the seed")
    parser.add_argument("--first-hour", type=int, default=720, help="of the year")
    parser.add_argument("--hours", type=int, default=72, help="of arrivals that are told")
    parser.add_argument("--trace", action="store_true")
    asked = parser.parse_args()
    if asked.trace:
        foretold()
        return
    case = Case(
        zone=asked.zone,
        kind=asked.kind,
        jobs=asked.jobs,
        first_job=asked.first_job,
        first_hour=asked.first_hour,
        seed=asked.first_job,
    )
    truth = problem_of(case)
    inputs = prepared(truth, forecasts=provider_forecasts(case, truth.site))
    usual = replay(inputs, ["fifo", "prices"])
    fifo_g = usual.results["fifo"].carbon_g
    perfect = provider_forecasts(replace(case, forecast="perfect"), truth.site)
    found = {"nothing": usual.results["prices"], "arrivals": _told(inputs, asked.hours)}
    prices._DEARER_PER_H = prices._DEARER_WITH_ROOM_PER_H = prices._LEAST_DEARER_PER_H = 0.0
    found["arrivals and carbon"] = _told(replace(inputs, forecasts=perfect), asked.hours)
    for name, one in found.items():
        share = 100 * (fifo_g - one.carbon_g) / (fifo_g - (usual.lower_bound_g or 0.0))
        print(f"told {name}: {share:.1f} % of the possible saving, {int(one.late.sum())} late")


if __name__ == "__main__":
    main()
