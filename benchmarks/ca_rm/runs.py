# SPDX-License-Identifier: Apache-2.0
"""One week under every policy: what the site emits, and what it does in time.

Competitors train through the replay's policies and serve at one clock a slot; CA-RM's objectives
are the planner's, which chooses both; `live` is our policy and governor, which know no arrivals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from replay_ours import Case as Forecasting
from replay_ours import provider_forecasts

from ca_rm.chat import Chat
from ca_rm.site import Case, Instance, instance
from slurm_green.plan import certificate, planner, services
from slurm_green.plan.outcome import Objective, Weights
from slurm_green.plan.problem import Floats, Ints, Problem
from slurm_green.replay.inputs import prepared
from slurm_green.replay.run import replay

__all__ = ["COMPETITORS", "LIVE", "OBJECTIVES", "Figures", "figures", "mean_reduction"]

COMPETITORS = {"MAX": "max", "MIN": "min", "EnergyCost": "energy-cost", "PowerCap": "power-cap"}
OBJECTIVES = tuple(one.value for one in Objective)
LIVE = "live"
Served = tuple[Floats, Floats, Floats]  # watts, share in time, seconds per token, by slot

_CAP = 0.8  # of what a replica draws at the highest clock and its greatest rate


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One policy's week. `speed` is 1 where every job ran at once and every token came at once."""

    carbon_g: float
    jobs: int
    late_jobs: int
    met: float  # share of the requests
    speed: float

    @property
    def in_time(self) -> float:
        """Mean of the shares of jobs and of requests that were in time."""
        return (1 - self.late_jobs / max(self.jobs, 1) + self.met) / 2


def figures(case: Case, chat: Chat) -> dict[str, Figures]:
    """The figures of all policies."""
    week = instance(case, chat.most_rps)
    found = {name: _rule(name, week, chat, case) for name in COMPETITORS}
    found |= _planned(week, chat, case, found["MAX"].carbon_g)
    found[LIVE] = _live(week, chat, case)
    return found


def _rule(name: str, week: Instance, chat: Chat, case: Case) -> Figures:
    rate, slots = week.rate_rps, len(week.rate_rps)
    highest = len(chat.clocks) - 1
    if name == "EnergyCost":
        return _replayed(name, week, chat.at_clocks(_least(week, chat, case), rate), case)
    clock = {"MAX": highest, "MIN": 0, "PowerCap": _capped(chat)}[name]
    return _replayed(name, week, chat.at_clocks(np.full(slots, clock), rate), case)


def _least(week: Instance, chat: Chat, case: Case) -> Ints:
    """The clock that draws least of those in time, by slot: a kWh costs the same within one."""
    beside = _with_chat(week, chat, case)
    return _all_clocks(chat, services.choose_clocks(beside, Weights(), np.zeros(1))[0])


def _all_clocks(chat: Chat, usable: Ints) -> Ints:
    """Positions among all clocks from those among the clocks that may serve."""
    return np.flatnonzero([one.most_rps > 0 for one in chat.clocks])[usable]


def _capped(chat: Chat) -> int:
    """The highest clock at which a replica stays below the cap, whatever comes."""
    most_w = [float(one.at(np.array([chat.most_rps]))[0][0]) for one in chat.clocks]
    return max(at for at, watts in enumerate(most_w) if at == 0 or watts <= _CAP * most_w[-1])


def _replayed(name: str, week: Instance, served: Served, case: Case) -> Figures:
    """Jobs under a policy of the replay, beside replicas that draw so much."""
    policy = COMPETITORS.get(name, "prices")
    problem = _beside(week.problem, served, case)
    kind = "perfect" if name in COMPETITORS else "provider"
    forecasting = Forecasting(zone=case.zone, forecast=kind, seed=case.seed)
    inputs = prepared(problem, forecasts=provider_forecasts(forecasting, problem.site))
    one = replay(inputs, [policy], bound=False).results[policy]
    return Figures(
        carbon_g=one.carbon_g,
        jobs=len(problem.jobs),
        late_jobs=int(one.late.sum()),
        met=_mean(served[1], week.rate_rps),
        speed=_speed(one.performance, len(problem.jobs), served, week),
    )


def _live(week: Instance, chat: Chat, case: Case) -> Figures:
    return _replayed(LIVE, week, chat.governor.at(week.rate_rps), case)


def _planned(week: Instance, chat: Chat, case: Case, most_g: float) -> dict[str, Figures]:
    """CA-RM's objectives, everything known; the budget is half of what can be saved."""
    problem = _with_chat(week, chat, case)
    found: dict[str, Figures] = {}
    budget_g: float | None = None
    for objective in Objective:
        done = planner.solve(problem, objective=objective, carbon_budget_g=budget_g)
        if budget_g is None:
            budget_g = (done.carbon_g + max(most_g, done.carbon_g)) / 2
        clock = _all_clocks(chat, done.service_clock[0])
        served = chat.at_clocks(clock, week.rate_rps)
        # What the replicas draw by their curves, not by the planner's straight lines.
        real = _beside(week.problem, served, case)
        found[objective.value] = Figures(
            carbon_g=certificate.carbon_g(real, done.schedule, ()),
            jobs=len(problem.jobs),
            late_jobs=done.late_jobs + done.unplaced_jobs,
            met=_mean(served[1], week.rate_rps),
            speed=_speed(done.performance, len(problem.jobs), served, week),
        )
    return found


def _with_chat(week: Instance, chat: Chat, case: Case) -> Problem:
    """Jobs and requests as one problem; all requests count as much as all jobs."""
    weight = float(max(len(week.problem.jobs), 1))
    service = chat.service(week.rate_rps, case.replicas, weight)
    return replace(week.problem, services=(service,))


def _beside(problem: Problem, served: Served, case: Case) -> Problem:
    base_w = problem.site.base_power_w + case.replicas * served[0]
    return replace(problem, site=replace(problem.site, base_power_w=base_w))


def _mean(share: Floats, weight: Floats) -> float:
    return float(np.average(share, weights=weight))


def _speed(performance: float, jobs: int, served: Served, week: Instance) -> float:
    fastest_s = float(served[2].min())
    return (performance / max(jobs, 1) + _mean(fastest_s / served[2], week.rate_rps)) / 2


def mean_reduction(found: Sequence[dict[str, Figures]], name: str, other: str) -> float:
    """Carbon of `name` below that of `other`, the mean over weeks."""
    return float(np.mean([1 - one[name].carbon_g / one[other].carbon_g for one in found]))
