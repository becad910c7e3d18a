# SPDX-License-Identifier: Apache-2.0
"""What the page of a replay draws: per policy arrays by slot, waits, and jobs in lanes. Pure.

The trap: a page must open anywhere. Of many jobs a sample is drawn; sums by slot are of all.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from slurm_green.cli.plan_facts import Clock
from slurm_green.cli.plan_page_data import lanes
from slurm_green.plan.problem import Floats, Ints
from slurm_green.plan.start_now import slot_average
from slurm_green.replay.result import PolicyResult, Replay
from slurm_green.replay.weeks import Saving, savings_of
from slurm_green.words import clean

__all__ = ["BASELINE", "MOST_BOXES", "MOST_SLOTS", "ReplayFacts"]

BASELINE, _OURS, _KNOWS = "fifo", "prices", "oracle"
MOST_BOXES = 20_000  # of all policies together
MOST_SLOTS = 1_500
_QUANTILES = 200
_MOST_NAME = 40


@dataclass(frozen=True, kw_only=True)
class ReplayFacts:
    """A replay and what the page says of it."""

    replay: Replay

    @property
    def clock(self) -> Clock:
        """How times are written."""
        return Clock(self.replay.inputs.problem.site.start_s)

    @property
    def names(self) -> tuple[str, ...]:
        """The policies, in the order in which they were asked for."""
        return tuple(self.replay.results)

    @property
    def baseline(self) -> str:
        """What the others are compared with first."""
        return BASELINE if BASELINE in self.names else self.names[0]

    @property
    def subject(self) -> str:
        """The policy shown first: ours, else the one with the least carbon that could be had."""
        if _OURS in self.names:
            return _OURS
        real = [name for name in self.names if name != _KNOWS] or list(self.names)
        return min(real, key=lambda name: self.replay.results[name].carbon_g)

    @cached_property
    def savings(self) -> dict[tuple[str, str], Saving]:
        """What the first policy saved against the second, for all pairs of two."""
        return savings_of(self.replay)

    def data(self) -> dict[str, Any]:
        """Everything the page's script needs, ready for JSON. Unknown is None."""
        site = self.replay.inputs.problem.site
        group = -(-site.slots // MOST_SLOTS)
        return {
            "start_s": site.start_s,
            "dated": self.clock.dated,
            "horizon_s": site.horizon_s,
            "step_s": site.step_s * group,
            "gpus": site.gpus,
            "intensity": _grouped(site.carbon_g_per_kwh, group),
            "renewable_w": _grouped(site.renewable_w, group) if site.renewable_w.any() else None,
            "base_w": _grouped(site.base_power_w, group),
            "baseline": self.names.index(self.baseline),
            "subject": self.names.index(self.subject),
            "classes": [_name(one) for one in self.replay.inputs.problem.shapes.class_names],
            "longest_wait_s": self._longest_wait_s(),
            "policies": [
                {"name": _name(name), **self._policy(one, group)}
                for name, one in self.replay.results.items()
            ],
        }

    def _longest_wait_s(self) -> float:
        """Where the chart of waits ends: one job in a hundred of the worst policy is beyond."""
        found = [0.0]
        for one in self.replay.results.values():
            waits = one.wait_s[~np.isnan(one.wait_s)]
            if len(waits):
                found.append(float(np.quantile(waits, 0.99)))
        return max(found)

    def _policy(self, one: PolicyResult, group: int) -> dict[str, Any]:
        site, plan = self.replay.inputs.problem.site, one.trace.schedule
        gpus = self.replay.inputs.problem.shapes.gpus[plan.shape]
        waits = np.sort(one.wait_s[~np.isnan(one.wait_s)])
        share = np.linspace(0, 1, min(_QUANTILES, len(waits))) if len(waits) else np.zeros(0)
        return {
            "site_w": _grouped(one.slot_w, group),
            "grams": _grouped(one.slot_g, group, mean=False),
            "gpus_used": _grouped(slot_average(site, plan.start_s, plan.end_s, gpus), group),
            "waits_s": _short(np.quantile(waits, share)) if len(waits) else [],
            "jobs": self._boxes(one),
        }

    def _boxes(self, one: PolicyResult) -> dict[str, Any]:
        """Rectangles on lanes for one job of `every`, on as many lanes as those need at once."""
        problem, plan = self.replay.inputs.problem, one.trace.schedule
        every = -(-len(plan) // (MOST_BOXES // len(self.names))) or 1
        shown = np.flatnonzero(plan.job % every == 0)
        job, start_s, end_s = plan.job[shown], plan.start_s[shown], plan.end_s[shown]
        gpus = problem.shapes.gpus[plan.shape[shown]]
        total = problem.site.gpus if every == 1 else _peak(start_s, end_s, gpus)
        return {
            "every": every,
            "lanes": total,
            "boxes": lanes(start_s, end_s, gpus, total),
            "start_s": np.round(start_s).tolist(),
            "end_s": np.round(end_s).tolist(),
            "class": problem.jobs.class_index[job].tolist(),
            "ids": [_name(problem.jobs.ids[at]) for at in job.tolist()],
            "wait_s": np.round(one.wait_s[job]).tolist(),
            "late": np.flatnonzero(one.late[job]).tolist(),
        }


def _peak(start_s: Floats, end_s: Floats, gpus: Ints) -> int:
    """The most GPUs that are held at once."""
    changes = np.concatenate((gpus, -gpus))
    order = np.lexsort((changes, np.concatenate((start_s, end_s))))
    return int(np.cumsum(changes[order]).max(initial=0))


def _grouped(values: Floats, group: int, *, mean: bool = True) -> list[float]:
    """Averages, or sums, of so many slots each; the last group may be shorter."""
    first = np.arange(0, len(values), group)
    found = np.add.reduceat(values, first)
    return _short(found / np.diff([*first, len(values)]) if mean else found)


def _short(values: Floats) -> list[float]:
    """Five digits: more than a screen shows."""
    return [float(f"{one:.5g}") for one in values.tolist()]


def _name(text: str) -> str:
    shown = clean(text)
    return shown if len(shown) <= _MOST_NAME else f"{shown[: _MOST_NAME - 1]}…"
