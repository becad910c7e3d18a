# SPDX-License-Identifier: Apache-2.0
"""The same requests under several policies, and what each of them costs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from serving.governor.engine import EngineModel
from serving.governor.protocol import Policy, Slo
from serving.governor.registry import policy_named
from serving.replay.carbon import carbon_g, check_covers
from serving.replay.oracle import Oracle
from serving.replay.requests import Request
from serving.replay.run import Figures, figures, replay
from slurm_green.plan.problem import Site

__all__ = ["Result", "compare"]


@dataclass(frozen=True, kw_only=True)
class Result(Figures):
    """Figures of one policy; carbon is None without a signal."""

    carbon_g: float | None
    wall_s: float


def compare(
    requests: Sequence[Request],
    engine: EngineModel,
    slo: Slo,
    names: Sequence[str],
    *,
    replicas: int = 1,
    site: Site | None = None,
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
    makers = {name: _maker(name, requests, engine, slo) for name in names}
    return {
        name: _one(name, maker, requests, engine, slo, replicas, site, progress)
        for name, maker in makers.items()
    }


def _maker(
    name: str, requests: Sequence[Request], engine: EngineModel, slo: Slo
) -> Callable[[], Policy]:
    if name == "oracle":
        return lambda: Oracle(engine, slo, requests)
    return policy_named(name, engine, slo)


def _one(
    name: str,
    maker: Callable[[], Policy],
    requests: Sequence[Request],
    engine: EngineModel,
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
        requests, engine, slo, maker,
        replicas=replicas, trace_power=site is not None, progress=told,
    )  # fmt: skip
    grams = None
    if site is not None:
        grams = carbon_g((span for one in run.replicas for span in one.meter.spans or ()), site)
    found = figures(run, slo)
    return Result(
        **{key: getattr(found, key) for key in Figures.__dataclass_fields__},
        carbon_g=grams,
        wall_s=time.perf_counter() - began_s,
    )
