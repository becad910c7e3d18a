# SPDX-License-Identifier: Apache-2.0
"""The same requests under several policies, and what each of them costs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean

import numpy as np

from serving.governor.ceiling import Ceiling, highest_below, worst_power_w
from serving.governor.engine import EngineModel
from serving.governor.objective import Budget, Steering
from serving.governor.protocol import Policy, Slo
from serving.governor.registry import policy_named
from serving.replay.carbon import carbon_g, check_covers, marginal
from serving.replay.oracle import Oracle
from serving.replay.performance import performance
from serving.replay.requests import Request
from serving.replay.run import Figures, figures, replay
from slurm_green.plan.outcome import Objective
from slurm_green.plan.problem import Site

__all__ = ["Aim", "Result", "compare"]


_SAMPLES = 1000  # of mu over the trace


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What `governor` is to do with slack, and what nobody may exceed.

    `budget_g` is for the whole trace and all replicas; the ceiling for each replica.
    """

    objective: Objective = Objective.PERFORMANCE_CONSTRAINED
    budget_g: float | None = None
    ceiling: Ceiling = field(default_factory=Ceiling)


@dataclass(frozen=True, kw_only=True)
class Result(Figures):
    """Figures of one policy; carbon, and performance per kg of it, are None without a signal."""

    carbon_g: float | None
    performance: float | None
    ppc: float | None
    wall_s: float


def compare(
    requests: Sequence[Request],
    engine: EngineModel,
    slo: Slo,
    names: Sequence[str],
    *,
    replicas: int = 1,
    site: Site | None = None,
    aim: Aim | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Result]:
    """Results by policy, in the order given; raises BadInputError for an unknown policy."""
    if requests:
        # From the first arrival on: epoch seconds have too few digits left for an iteration.
        zero_s = requests[0].arrival_s
        if site is not None:
            check_covers(site, zero_s, requests[-1].arrival_s)
            site = replace(site, start_s=site.start_s - zero_s)
        requests = [replace(one, arrival_s=one.arrival_s - zero_s) for one in requests]
    aim = aim or Aim()
    capped = engine.below(highest_below(engine, aim.ceiling))
    steering = _steering(aim, requests, capped, replicas, site)
    makers = {name: _maker(name, requests, capped, slo, steering) for name in names}
    return {
        name: _one(name, maker, requests, engine, capped, slo, replicas, site, progress)
        for name, maker in makers.items()
    }


def _steering(
    aim: Aim, requests: Sequence[Request], engine: EngineModel, replicas: int, site: Site | None
) -> Callable[[], Steering] | None:
    """One for each replica; None without a signal, and nobody knows the carbon then."""
    if site is None or not requests:
        return None
    high = len(engine.clocks_mhz) - 1
    mu = marginal(site, replicas * worst_power_w(engine, high))
    span_s = max(requests[-1].arrival_s, 1.0)
    mean_mu = mean(map(mu, np.linspace(0.0, span_s, _SAMPLES)))

    def made() -> Steering:
        budget = None
        if aim.budget_g is not None:
            budget = Budget(aim.budget_g / replicas, span_s, lambda: mean_mu)
        return Steering(engine, aim.objective, mu, budget)

    return made


def _maker(
    name: str,
    requests: Sequence[Request],
    engine: EngineModel,
    slo: Slo,
    steering: Callable[[], Steering] | None,
) -> Callable[[], Policy]:
    if name == "oracle":
        return lambda: Oracle(engine, slo, requests)
    return policy_named(name, engine, slo, steering)


def _one(
    name: str,
    maker: Callable[[], Policy],
    requests: Sequence[Request],
    engine: EngineModel,
    capped: EngineModel,
    slo: Slo,
    replicas: int,
    site: Site | None,
    progress: Callable[[str, float], None] | None,
) -> Result:
    began_s = time.perf_counter()

    def told(number: int) -> None:
        if progress is not None:
            progress(name, number / len(requests))

    run = replay(
        requests, capped, slo, maker,
        replicas=replicas, trace_power=site is not None, progress=told,
    )  # fmt: skip
    grams = None
    if site is not None:
        grams = carbon_g((span for one in run.replicas for span in one.meter.spans or ()), site)
    found = figures(run, slo)
    speed = performance(run.served, engine)
    return Result(
        **{key: getattr(found, key) for key in Figures.__dataclass_fields__},
        carbon_g=grams,
        performance=speed,
        ppc=None if grams is None or speed is None else speed / max(grams / 1e3, 1e-9),
        wall_s=time.perf_counter() - began_s,
    )
