# SPDX-License-Identifier: Apache-2.0
"""A trace through replicas under one policy, and the figures of it. Pure.

Requests go to the replica that is least busy when they arrive. Energy counts from the first
arrival to the last completion, idle time included, on all replicas.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from serving.governor.engine import EngineModel
from serving.governor.fixed import Fixed
from serving.governor.protocol import Policy, Slo
from serving.replay.oracle import Oracle
from serving.replay.power import Meter
from serving.replay.replica import Replica, Served
from serving.replay.requests import Request

__all__ = ["Figures", "Run", "figures", "replay"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What happened: every request, and the replicas with their meters."""

    served: Sequence[Served]
    replicas: Sequence[Replica]
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a replay tells of a policy; None where no request says it."""

    energy_j: float
    j_per_token: float | None
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    tpot_p50_ms: float | None
    tpot_p99_ms: float | None
    attainment: float | None
    clock_changes: int
    tokens: int
    refused: int
    evictions: int


def replay(
    requests: Sequence[Request],
    engine: EngineModel,
    slo: Slo,
    policy: Callable[[], Policy],
    *,
    replicas: int = 1,
    trace_power: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Serve all requests, which come by arrival; each replica has a policy of its own."""
    start_s = requests[0].arrival_s if requests else 0.0
    group = [
        Replica(engine=engine, policy=policy(), slo=slo, start_s=start_s) for _ in range(replicas)
    ]
    for one in group:
        if isinstance(one.policy, Oracle):
            one.policy.attach(one, replicas)
        if isinstance(one.policy, Fixed):
            # The warm-up has set it, also of a replica that gets no request.
            one.meter = Meter(engine, start_s, one.policy.clock)
    if trace_power:
        for one in group:
            one.meter.spans = []
    for number, request in enumerate(requests):
        for one in group:
            one.advance(request.arrival_s)
        min(group, key=lambda one: one.load).submit(request, number)
        if progress is not None and number % 256 == 0:
            progress(number)
    for one in group:
        one.advance(float("inf"))
    end_s = max((one.now_s for one in group), default=start_s)
    for one in group:
        one.finish(end_s)
    served = sorted((one for each in group for one in each.ended), key=lambda one: one.number)
    return Run(served=served, replicas=group, start_s=start_s, end_s=end_s)


def figures(run: Run, slo: Slo) -> Figures:
    """The contract's figures of a run."""
    done = [one for one in run.served if one.end_s is not None and one.first_s is not None]
    ttft_s = np.array(
        [one.first_s - one.request.arrival_s for one in done if one.first_s is not None]
    )
    further = np.array([one.request.output_tokens - 1 for one in done])
    lasted_s = np.array([(one.end_s or 0.0) - (one.first_s or 0.0) for one in done])
    tpot_s = lasted_s[further > 0] / further[further > 0] if len(done) else np.array([])
    met = np.zeros(len(done), dtype=bool)
    if len(done):
        met = (ttft_s <= slo.ttft_s * (1 + 1e-9)) & (
            lasted_s <= slo.tpot_s * further * (1 + 1e-9) + 1e-12
        )
    tokens = sum(one.request.output_tokens for one in done)
    energy_j = sum(one.meter.energy_j for one in run.replicas)
    return Figures(
        energy_j=energy_j,
        j_per_token=energy_j / tokens if tokens else None,
        ttft_p50_ms=_quantile_ms(ttft_s, 0.5),
        ttft_p99_ms=_quantile_ms(ttft_s, 0.99),
        tpot_p50_ms=_quantile_ms(tpot_s, 0.5),
        tpot_p99_ms=_quantile_ms(tpot_s, 0.99),
        attainment=float(met.sum() / len(run.served)) if run.served else None,
        clock_changes=sum(one.meter.changes for one in run.replicas),
        tokens=tokens,
        refused=len(run.served) - len(done),
        evictions=sum(one.evictions for one in run.served),
    )


def _quantile_ms(values_s: np.ndarray, at: float) -> float | None:
    return float(np.quantile(values_s, at)) * 1e3 if len(values_s) else None
