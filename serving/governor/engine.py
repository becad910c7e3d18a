# SPDX-License-Identifier: Apache-2.0
"""How long an iteration takes and what it draws, for any mix of prefill and decode. Pure.

A profile knows prefills and decodes apart; an iteration of chunked prefill has both. Its time is
that of the decodes, plus what the chunks add to the fixed part (weights, host) that all share:
each chunk adds the time of a prefill to its end less that of one to its beginning, so that
attention to what is cached counts. Power is the mean of both, weighted by their time.

The trap: this runs in front of every iteration. Tables are lists, clocks are indices.
"""

import bisect
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from profiling.curve import Curve
from profiling.errors import ProfileError
from profiling.grid import Grid
from profiling.law import Floats
from profiling.profile import Profile, assumed_engine, assumed_gpu

__all__ = ["Batch", "EngineModel"]

_FAR = 64.0  # times the last batch and context of the profile; beyond that nothing is asked
_MOST_CLOCKS = 160
_KNOWN = 128  # values whose place on an axis is remembered


@dataclass(slots=True)
class Batch:
    """What one iteration runs: `chunks` are (cached, new) tokens of prompts, `context` is the
    mean number of tokens that the decoding sequences hold.
    """

    decodes: int = 0
    context: float = 0.0
    chunks: Sequence[tuple[int, int]] = ()


class EngineModel:
    """Latency and power of one replica from its profile; all clocks are indices of `clocks_mhz`."""

    def __init__(self, profile: Profile, *, tp: int = 1) -> None:
        curve = Curve.of(profile)
        decode, prefill = curve.grid("decode", tp), curve.grid("prefill", tp)
        gpu, _ = assumed_gpu(profile)
        engine, _ = assumed_engine(profile)
        if np.isnan(decode.power_w).any() or np.isnan(prefill.power_w).any():
            raise ProfileError("the profile has no power; energy cannot be told without power_w")
        if not np.isfinite(decode.clocks).all():
            raise ProfileError("the profile's clocks are not known; wanted clock_mhz in its rows")
        assert gpu.idle_w is not None and gpu.parked_w is not None
        self.tp = tp
        self.clocks_mhz = _clocks(gpu.clocks, decode, prefill)
        self.idle_w = gpu.idle_w * tp
        self.parked_w = gpu.parked_w * tp
        self.switch_latency_s = gpu.switch_latency_s or 0.0
        self.kv_tokens = engine.kv_tokens or 1 << 40
        self.max_batched_tokens = engine.max_batched_tokens or 2048
        self.max_num_seqs = engine.max_num_seqs or 256
        self._decode = _Decode(decode, self.clocks_mhz)
        self._prefill = _Prefill(prefill, self.clocks_mhz)
        self._idle_mhz = (self.clocks_mhz[0], self.clocks_mhz[-1])
        self._least_s = [self._decode.time_s(1, 0.0, k) for k in range(len(self.clocks_mhz))]

    def time_s(self, batch: Batch, clock: int) -> float:
        """Seconds of the iteration at that clock."""
        decode_s = self._decode.time_s(batch.decodes, batch.context, clock) if batch.decodes else 0
        if not batch.chunks:
            return decode_s
        prefill_s = max(self._prefill.time_s(batch.chunks, clock), self._least_s[clock])
        return prefill_s + max(0.0, decode_s - self._least_s[clock])

    def time_and_power(self, batch: Batch, clock: int) -> tuple[float, float]:
        """Seconds of the iteration, and mean watts of the replica's GPUs meanwhile."""
        whole_s = self.time_s(batch, clock)
        return whole_s, self.power_w(batch, clock, whole_s)

    def power_w(self, batch: Batch, clock: int, whole_s: float) -> float:
        """Mean watts of the replica's GPUs during an iteration whose time is known."""
        if not batch.chunks:
            return self._decode.power_w(batch.decodes, batch.context, clock)
        tokens = sum(new for _, new in batch.chunks)
        prefill_w = self._prefill.power_w(tokens, clock)
        if not batch.decodes:
            return prefill_w
        decode_w = self._decode.power_w(batch.decodes, batch.context, clock)
        prefill_s = max(self._prefill.time_s(batch.chunks, clock), self._least_s[clock])
        return decode_w + (prefill_w - decode_w) * prefill_s / whole_s

    def prompt_s(self, tokens: int, clock: int) -> float:
        """Seconds that a whole prompt adds to iterations at that clock."""
        return self._prefill.added_s(0, tokens, clock)

    def idle_power_w(self, clock: int) -> float:
        """Watts without work: `parked_w` at the lowest clock, `idle_w` at the highest."""
        low, high = self._idle_mhz
        share = (self.clocks_mhz[clock] - low) / (high - low) if high > low else 1.0
        return self.parked_w + (self.idle_w - self.parked_w) * share

    def below(self, clock: int) -> "EngineModel":
        """The same replica without the clocks above that one."""
        made = copy.copy(self)
        made.clocks_mhz = self.clocks_mhz[: clock + 1]
        return made

    def tables(self) -> dict[str, Floats]:
        """The numbers behind it as arrays, a row for each clock; for what is compiled."""
        decode, prefill = self._decode, self._prefill
        found = {
            "batch": decode.batches, "context": decode.contexts,
            "log_batch": decode.log_batches, "log_context": decode.log_contexts,
            "times": decode.times, "watts": decode.watts,
            "tokens": prefill.tokens, "added": prefill.added, "fixed": prefill.fixed,
            "log_tokens": prefill.log_tokens, "prompt_w": prefill.watts,
            "least": self._least_s,
            "idle_w": [self.idle_power_w(clock) for clock in range(len(self.clocks_mhz))],
        }  # fmt: skip
        return {name: np.array(value, dtype=np.float64) for name, value in found.items()}

    def index(self, clock_mhz: float) -> int:
        """The highest clock that is not above; the lowest if all are."""
        return max(bisect.bisect_right(self.clocks_mhz, clock_mhz) - 1, 0)


def _clocks(supported: Sequence[float], decode: Grid, prefill: Grid) -> tuple[float, ...]:
    """Clocks that the profile speaks of: nobody knows what happens outside the measured ones."""
    low = max(decode.clocks[0], prefill.clocks[0])
    high = min(decode.clocks[-1], prefill.clocks[-1])
    within = sorted({float(one) for one in supported if low <= one <= high})
    if not within:
        within = sorted({float(low), float(high)})
    every = math.ceil(len(within) / _MOST_CLOCKS)
    return tuple(sorted({*within[::-every], within[0]}))


class _Decode:
    """Bilinear over batch and context, as `Grid` has it, one table for each clock."""

    def __init__(self, grid: Grid, clocks: Sequence[float]) -> None:
        contexts = np.append(grid.contexts, max(grid.contexts[-1], 1.0) * _FAR)
        batches = np.append(grid.batches, grid.batches[-1] * _FAR)
        shape = np.ix_(np.asarray(clocks), batches, contexts)
        self.times: list[list[list[float]]] = grid.time_at(shape[2], shape[1], shape[0]).tolist()
        self.watts: list[list[list[float]]] = grid.power_at(shape[2], shape[1], shape[0]).tolist()
        self.batches, self.contexts = batches.tolist(), contexts.tolist()
        self.log_batches = np.log(batches).tolist()
        self.log_contexts = np.log1p(contexts).tolist()
        self._at_batch = _places(self.batches)
        self._at_context = _places(self.contexts)
        self._at_log_batch = _places(self.log_batches, math.log)
        self._at_log_context = _places(self.log_contexts, math.log1p)

    def time_s(self, batch: float, context: float, clock: int) -> float:
        i, u = self._at_batch(batch)
        j, v = self._at_context(context)
        return _mixed(self.times[clock], i, u, j, v)

    def power_w(self, batch: float, context: float, clock: int) -> float:
        i, u = self._at_log_batch(batch)
        j, v = self._at_log_context(context)
        return _mixed(self.watts[clock], i, u, j, v)


class _Prefill:
    """Time of a prefill up to n tokens, less its fixed part; linear between the profile's points.

    Below the shortest prompt it goes on as between the first two, but never below nothing.
    """

    def __init__(self, grid: Grid, clocks: Sequence[float]) -> None:
        batch = grid.batches[0]
        tokens = grid.contexts * batch
        tokens = np.append(tokens, max(tokens[-1], 1.0) * _FAR)
        times = grid.time_at(tokens[:, None] / batch, batch, np.asarray(clocks)[None, :]).T
        watts = grid.power_at(grid.contexts[:, None], batch, np.asarray(clocks)[None, :]).T
        slope = (times[:, 1] - times[:, 0]) / (tokens[1] - tokens[0])
        fixed_s = np.maximum(times[:, 0] - slope * tokens[0], 0.0)
        added = np.maximum.accumulate(times - fixed_s[:, None], axis=1)
        self.tokens = [0.0, *tokens.tolist()]
        self.added: list[list[float]] = np.insert(added, 0, 0.0, axis=1).tolist()
        self.fixed: list[float] = fixed_s.tolist()
        self.log_tokens = np.log1p(grid.contexts * batch).tolist()
        self.watts: list[list[float]] = watts.tolist()
        self._at = _places(self.tokens)

    def added_s(self, cached: float, new: float, clock: int) -> float:
        row = self.added[clock]
        whole_s = _between(row, self._at(cached + new))
        return whole_s - _between(row, self._at(cached)) if cached else whole_s

    def time_s(self, chunks: Sequence[tuple[int, int]], clock: int) -> float:
        return self.fixed[clock] + sum(self.added_s(*chunk, clock) for chunk in chunks)

    def power_w(self, tokens: float, clock: int) -> float:
        return _along(self.log_tokens, self.watts[clock], math.log1p(tokens))


def _place(axis: list[float], at: float) -> tuple[int, float]:
    """The cell of an axis that holds a value, and how far into it; held at both ends."""
    if at <= axis[0]:
        return 0, 0.0
    if at >= axis[-1]:
        return len(axis) - 2, 1.0
    i = bisect.bisect_right(axis, at) - 1
    return i, (at - axis[i]) / (axis[i + 1] - axis[i])


def _places(
    axis: list[float], scale: Callable[[float], float] = float
) -> Callable[[float], tuple[int, float]]:
    """The same of one axis: a decision asks for few values, each at many clocks."""
    return lru_cache(maxsize=_KNOWN)(lambda at: _place(axis, scale(at)))


def _mixed(table: list[list[float]], i: int, u: float, j: int, v: float) -> float:
    low, high = table[i], table[i + 1]
    below = low[j] + v * (low[j + 1] - low[j])
    return below + u * (high[j] + v * (high[j + 1] - high[j]) - below)


def _along(axis: list[float], values: list[float], at: float) -> float:
    if len(axis) == 1:
        return values[0]
    return _between(values, _place(axis, at))


def _between(values: list[float], place: tuple[int, float]) -> float:
    i, u = place
    return values[i] + u * (values[i + 1] - values[i])
