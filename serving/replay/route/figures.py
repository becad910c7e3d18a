# SPDX-License-Identifier: Apache-2.0
"""What a routing replay tells of a policy. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiling.law import Floats
from serving.governor.protocol import Slo
from serving.replay.route.run import Outcome
from serving.replay.route.supply import Supply
from serving.replay.route.trace import Trace

__all__ = ["Figures", "figures", "met"]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The contract's figures; times of answered requests, None where there are none.

    `dropped` were not answered in full: turned away, or their client had gone. `rerouted` counts
    requests sent anew because their replica lost its power. `energy_j`, and in `unused_wh` power
    that was there and that nobody drew, are from `begin_s` to `last_s` of the outcome.
    """

    goodput_rps: float
    attainment: float | None
    e2e_p50_s: float | None
    e2e_p99_s: float | None
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    dropped: int
    rerouted: int
    energy_j: float
    unused_wh: float
    restarts: int


def met(outcome: Outcome, trace: Trace, slo: Slo) -> NDArray[np.bool_]:
    """Which requests met their SLO; a one-token answer has no time per token and meets it."""
    further = trace.output_tokens - 1
    lasted_s = outcome.end_s - (outcome.ttft_s + trace.arrival_s)
    in_time = outcome.ttft_s <= slo.ttft_s * (1 + 1e-9)
    # Not answered is nan, and no comparison with it is true.
    return np.asarray(in_time & (lasted_s <= slo.tpot_s * further * (1 + 1e-9) + 1e-9))


def figures(outcome: Outcome, trace: Trace, slo: Slo, supply: Supply) -> Figures:
    """Goodput is over the time from the first arrival to the last one (`Trace.span_s`)."""
    good = met(outcome, trace, slo)
    answered = ~np.isnan(outcome.end_s)
    e2e_s = (outcome.end_s - trace.arrival_s)[answered]
    ttft_s = outcome.ttft_s[answered]
    had_wh = supply.used_wh(outcome.begin_s, outcome.last_s)
    return Figures(
        goodput_rps=float(good.sum()) / trace.span_s,
        attainment=float(good.mean()) if len(trace) else None,
        e2e_p50_s=_quantile(e2e_s, 0.5),
        e2e_p99_s=_quantile(e2e_s, 0.99),
        ttft_p50_s=_quantile(ttft_s, 0.5),
        ttft_p99_s=_quantile(ttft_s, 0.99),
        dropped=int((~answered).sum()),
        rerouted=outcome.rerouted,
        energy_j=outcome.energy_j,
        unused_wh=had_wh - outcome.energy_j / 3600,
        restarts=outcome.starts,
    )


def _quantile(values: Floats, at: float) -> float | None:
    return float(np.quantile(values, at)) if len(values) else None
