# SPDX-License-Identifier: Apache-2.0
"""How many requests could meet their SLO at best: a bound for this replica model. Pure.

Whatever a router does, a request that meets its SLO takes GPU time: what its prompt adds to
iterations, and for each further token its part of the largest batch that still steps within the
SLO, with no context. That time costs the power of the clock at which it is spent, whatever the
iteration; parked GPUs cost nothing. It is spent between arrival and the latest end that the SLO
allows. How many fit into what each site has in each step of its power is a linear programme over
kinds of requests; lengths are rounded down to kinds, so it stays a bound. It ignores that requests
are whole, that they queue, round trips, idle power, wake-ups, and what iterations cost that are
not full. The unit of prompt time at a clock is what the fastest prompt of any length gains.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from profiling.law import Floats
from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Slo
from serving.replay.route.compare import Scene
from serving.replay.route.supply import Supply
from serving.replay.route.trace import Trace
from serving.router.policy.capacity import peaks_w

__all__ = ["bound_met", "bound_rps"]

_CLOCKS = 12
_KINDS = 24  # of prompts, and of answers


def bound_rps(scene: Scene) -> float:
    """Goodput that no policy exceeds; requests a second."""
    replicas = [one.gpus // one.tp for one in scene.sites]
    found = bound_met(scene.trace, replicas, scene.supply, scene.engine, scene.slo)
    return found / scene.trace.span_s


def bound_met(
    trace: Trace, gpus: Sequence[int], supply: Supply, engine: EngineModel, slo: Slo
) -> float:
    """Requests that meet their SLO at most."""
    high = len(engine.clocks_mhz) - 1
    clocks = sorted({round(one) for one in np.linspace(0, high, _CLOCKS)})
    # Between two clocks looked at: the time of the higher at the power of the lower.
    pairs = [(max(low, 0), up) for low, up in zip([clocks[0], *clocks[:-1]], clocks, strict=True)]
    peaks = peaks_w(engine)
    prompt_s, gain = _prompts(trace, engine, [up for _, up in pairs])
    token_s = np.array([_token_s(engine, slo, up) for _, up in pairs])
    watts = np.array([peaks[low] for low, _ in pairs])

    last_s = trace.arrival_s + slo.ttft_s + slo.tpot_s * (trace.output_tokens - 1)
    # Answers may outlast the power that is known, whose last row then goes on.
    edges_s = np.append(supply.start_s, max(supply.end_s, float(last_s.max())))
    first = np.clip(np.searchsorted(edges_s, trace.arrival_s, "right") - 1, 0, None)
    last = np.clip(np.searchsorted(edges_s, last_s, "right") - 1, None, len(supply.start_s) - 1)
    answers = np.asarray(trace.output_tokens - 1, dtype=np.float64)
    table = np.column_stack(
        [_floored(prompt_s), _floored(answers), first, np.maximum(first, last)]
    ).astype(np.float64)
    kinds, counts = np.unique(table, axis=0, return_counts=True)
    return _solve(kinds, counts.astype(np.float64), gpus, supply, edges_s, gain, token_s, watts)


def _prompts(trace: Trace, engine: EngineModel, clocks: Sequence[int]) -> tuple[Floats, Floats]:
    """Seconds of each prompt at the highest clock, and by clock the least stretch of any."""
    lengths = np.unique(trace.prompt_tokens)
    table = np.array([[engine.prompt_s(int(one), k) for one in lengths] for k in clocks])
    fastest = table.min(axis=0)
    stretch = (table / np.maximum(fastest, 1e-12)).min(axis=1)
    return fastest[np.searchsorted(lengths, trace.prompt_tokens)], stretch


def _token_s(engine: EngineModel, slo: Slo, clock: int) -> float:
    best = engine.time_s(Batch(1, 0.0), clock)
    for batch in np.unique(np.geomspace(1, engine.max_num_seqs, 60).round()):
        step_s = engine.time_s(Batch(int(batch), 0.0), clock)
        # A mean time per token within the SLO allows some steps above it, but not their mean.
        if step_s <= slo.tpot_s:
            best = min(best, step_s / float(batch))
    return best


def _floored(values: Floats) -> Floats:
    """Rounded down to a few values."""
    least, most = max(float(values[values > 0].min(initial=1.0)), 1e-9), float(values.max())
    steps = np.unique(np.append(0.0, np.geomspace(least, max(most, 2 * least), _KINDS)))
    return np.asarray(steps[np.searchsorted(steps, values, "right") - 1])


def _solve(
    kinds: Floats,
    counts: Floats,
    gpus: Sequence[int],
    supply: Supply,
    edges_s: Floats,
    gain: Floats,
    token_s: Floats,
    watts: Floats,
) -> float:
    steps = range(int(kinds[:, 2].min()), int(kinds[:, 3].max()) + 1)
    at = {step: number for number, step in enumerate(steps)}
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    right: list[float] = []
    cost: list[float] = []

    def put(row: int, column: int, value: float) -> None:
        rows.append(row)
        columns.append(column)
        values.append(value)

    # Rows: prompt and token time by step; time and energy by site and step; counts of kinds.
    need, sites = 2 * len(at), len(gpus)
    own = need + 2 * sites * len(at)
    right += [0.0] * need
    for site in range(sites):
        for step in steps:
            lasts_s = edges_s[step + 1] - edges_s[step]
            right += [gpus[site] * lasts_s, supply.watts[site, step] * lasts_s]
    for kind, (prompt_s, tokens, first, last) in enumerate(kinds):
        for step in range(int(first), int(last) + 1):
            put(at[step], len(cost), prompt_s)
            put(len(at) + at[step], len(cost), tokens)
            put(own + kind, len(cost), 1.0)
            cost.append(-1.0)
        right.append(float(counts[kind]))
    for site in range(sites):
        for step in steps:
            row = need + 2 * (site * len(at) + at[step])
            for clock in range(len(watts)):
                for row_of, speed in (
                    (at[step], 1 / gain[clock]),
                    (len(at) + at[step], 1 / token_s[clock]),
                ):
                    put(row_of, len(cost), -speed)
                    put(row, len(cost), 1.0)
                    put(row + 1, len(cost), watts[clock])
                    cost.append(0.0)
    matrix = coo_array((values, (rows, columns)), shape=(len(right), len(cost))).tocsr()
    found = linprog(cost, A_ub=matrix, b_ub=right, method="highs")
    return float(-found.fun) + 0.0  # + 0.0 turns -0.0 into 0.0
