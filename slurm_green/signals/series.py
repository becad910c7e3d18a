# SPDX-License-Identifier: Apache-2.0
"""A signal over time: uniform UTC steps that know their unit, basis, origin and age."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError
from slurm_green.signals.quantity import CARBON, Quantity, quantity_named

__all__ = ["Series", "Stretch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Where a run of steps of a series came from, and when that was issued.

    `kind` is "forecast" (somebody's model), "naive" (ours, from less than four weeks of past),
    "trace" (a file that says what it is) or "climatology" (what is usual at that hour of the week:
    no forecast at all).
    """

    steps: int
    provider: str
    issued_utc: datetime
    kind: str = "forecast"

    def age_s(self, now_utc: datetime) -> float:
        """Seconds since it was issued; 0 where a faster clock issued it."""
        return max(0.0, (now_utc - self.issued_utc).total_seconds())


@dataclass(frozen=True, kw_only=True)
class Series:
    """A step function of time: `values[i]` holds on [start + i*step, start + (i+1)*step).

    `values` (shape: steps) are the expected amounts, finite and, but for prices, not negative;
    `quantiles` maps a probability to amounts of the same shape, where they are known.
    The series ends where its last step ends, and asking beyond either end raises SignalError:
    nothing is extrapolated silently.
    """

    start_utc: datetime
    step_s: float
    values: NDArray[np.float64]
    issued_utc: datetime
    provider: str
    region: str = ""
    quantity: str = CARBON.name
    basis: str = "average"  # or "marginal"
    scope: str = "unknown"  # "direct", "life-cycle" or "unknown"
    quantiles: Mapping[float, NDArray[np.float64]] = field(default_factory=dict)
    # One entry per run of steps of the same origin; empty: all of it is `provider`'s.
    provenance: tuple[Stretch, ...] = ()
    # Until when somebody stood behind it, where that is later than its issue: a process that asked
    # again and found nothing newer.
    vouched_utc: datetime | None = None
    # How many seconds of the signal pass in one real second; above 1 only in demos and tests.
    time_scale: float = field(default=1.0)

    def __post_init__(self) -> None:
        """Refuse what cannot be a signal."""
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "values", values)
        issued = (self.issued_utc, *(one.issued_utc for one in self.provenance))
        if any(when.tzinfo is None for when in (self.start_utc, *issued)):
            raise SignalError(f"signal of {self.provider}: times must carry a time zone")
        if values.ndim != 1 or len(values) == 0:
            raise SignalError(f"signal of {self.provider} is empty")
        if not (self.step_s > 0 and math.isfinite(self.step_s)):
            raise SignalError(f"signal of {self.provider}: step {self.step_s} s is not positive")
        self._must_be_amounts(values)
        quantiles = {
            float(share): np.asarray(amounts, dtype=np.float64)
            for share, amounts in sorted(self.quantiles.items())
        }
        object.__setattr__(self, "quantiles", quantiles)
        self._must_be_quantiles(quantiles)
        if self.provenance and sum(one.steps for one in self.provenance) != len(values):
            raise SignalError(
                f"signal of {self.provider}: its provenance covers "
                f"{sum(one.steps for one in self.provenance)} of {len(values)} steps"
            )

    @property
    def kind(self) -> Quantity:
        """What is measured: its unit, and what is possible."""
        return quantity_named(self.quantity)

    @property
    def unit(self) -> str:
        """Of the values, for people."""
        return self.kind.unit

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The provenance of every step, in order."""
        if self.provenance:
            return self.provenance
        return (
            Stretch(steps=len(self.values), provider=self.provider, issued_utc=self.issued_utc),
        )

    def origin_at(self, when_utc: datetime) -> Stretch:
        """Where the value at one instant came from; beyond either end, where the nearest did."""
        index = self._index_at(when_utc.timestamp())
        for one in self.stretches:
            if index < one.steps:
                return one
            index -= one.steps
        raise AssertionError("provenance covers all steps")

    @property
    def end_utc(self) -> datetime:
        """Where the last step ends."""
        return self.start_utc + timedelta(seconds=self.step_s * len(self.values))

    @cached_property
    def edges_s(self) -> NDArray[np.float64]:
        """POSIX seconds of all step edges, one more than values."""
        steps = np.arange(len(self.values) + 1, dtype=np.float64)
        return np.asarray(self.start_utc.timestamp() + self.step_s * steps, dtype=np.float64)

    @cached_property
    def cumulative(self) -> NDArray[np.float64]:
        """Integral of the signal (unit x seconds) from the start to each edge."""
        cumulative = np.zeros(len(self.values) + 1, dtype=np.float64)
        np.cumsum(self.values * self.step_s, out=cumulative[1:])
        return cumulative

    def integral_to(self, at_s: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Integral (unit x seconds) from the start to POSIX seconds `at_s`; linear in a step."""
        return np.asarray(np.interp(at_s, self.edges_s, self.cumulative), dtype=np.float64)

    def mean(self, start_utc: datetime, end_utc: datetime) -> float:
        """Mean over [start, end]; raises SignalError when part of it is not covered."""
        begin, end = start_utc.timestamp(), end_utc.timestamp()
        self._must_cover(begin, end)
        if end <= begin:
            return self.at(start_utc)
        area = self.integral_to(np.array([begin, end]))
        return float((area[1] - area[0]) / (end - begin))

    def at(self, when_utc: datetime) -> float:
        """Value at one instant."""
        return float(self.values[self._index(when_utc)])

    def quantile_at(self, share: float, when_utc: datetime) -> float | None:
        """A quantile at one instant; None where it is not known."""
        amounts = self.quantiles.get(share)
        if amounts is None:
            return None
        value = float(amounts[self._index(when_utc)])
        return None if math.isnan(value) else value

    def covers(self, start_utc: datetime, end_utc: datetime) -> bool:
        """Whether [start, end] lies within the series."""
        return bool(self.start_utc <= start_utc and end_utc <= self.end_utc)

    def age_s(self, now_utc: datetime) -> float:
        """Seconds since the signal was issued."""
        return (now_utc - self.issued_utc).total_seconds()

    def stale_s(self, now_utc: datetime) -> float:
        """Seconds since somebody last stood behind it."""
        return (now_utc - (self.vouched_utc or self.issued_utc)).total_seconds()

    def relabelled(self, provider: str) -> "Series":
        """The same signal under another provider's name (a cache says it is one)."""
        provenance = tuple(
            replace(one, provider=provider if one.provider == self.provider else one.provider)
            for one in self.provenance
        )
        return replace(self, provider=provider, provenance=provenance)

    def part(self, start_utc: datetime, end_utc: datetime) -> "Series":
        """The whole steps that touch [start, end); raises SignalError when there are none."""
        first = math.floor((start_utc.timestamp() - self.edges_s[0]) / self.step_s + 1e-9)
        last = math.ceil((end_utc.timestamp() - self.edges_s[0]) / self.step_s - 1e-9)
        first, last = max(first, 0), min(last, len(self.values))
        if last <= first:
            raise SignalError(f"signal of {self.provider} has no step in the span that was asked")
        return replace(
            self,
            start_utc=self.start_utc + timedelta(seconds=first * self.step_s),
            values=self.values[first:last],
            quantiles={share: one[first:last] for share, one in self.quantiles.items()},
            provenance=_cut(self.provenance, first, last),
        )

    def in_steps_of(self, step_s: float) -> "Series":
        """The same signal on a finer grid that divides its own steps; raises SignalError."""
        ratio = round(self.step_s / step_s)
        if ratio < 1 or abs(ratio * step_s - self.step_s) > 1e-6:
            raise SignalError(f"steps of {self.step_s:g} s do not divide into {step_s:g} s")
        return replace(
            self,
            step_s=step_s,
            values=np.repeat(self.values, ratio),
            quantiles={share: np.repeat(one, ratio) for share, one in self.quantiles.items()},
            provenance=tuple(replace(one, steps=one.steps * ratio) for one in self.provenance),
        )

    def followed_by(self, later: "Series") -> "Series":
        """This signal as far as it goes, then the other; the finer of the two grids.

        Raises SignalError where the two are of different quantity, basis or scope, or where the
        other does not begin before this one ends. What one of them does not know of the quantiles
        stays unknown (NaN) on its steps.
        """
        for name in ("quantity", "basis", "scope", "time_scale"):
            ours, theirs = getattr(self, name), getattr(later, name)
            if ours != theirs:
                raise SignalError(
                    f"{later.provider} cannot go on where {self.provider} ends: {name} is "
                    f"{theirs} there, {ours} here"
                )
        if later.end_utc <= self.end_utc:
            return self
        step_s = min(self.step_s, later.step_s)
        head, tail = self.in_steps_of(step_s), later.in_steps_of(step_s)
        skip = (head.end_utc - tail.start_utc).total_seconds() / step_s
        if skip < -1e-6:
            raise SignalError(f"{later.provider} begins after {self.provider} ends")
        # Where the grids are shifted against each other the later one is read at step middles.
        index = (np.arange(math.floor(len(tail.values) - skip + 1e-6)) + skip + 0.5).astype(int)
        if len(index) == 0:
            return self
        known = sorted({*head.quantiles, *tail.quantiles})
        return replace(
            head,
            values=np.concatenate((head.values, tail.values[index])),
            quantiles={
                share: np.concatenate(
                    (
                        head.quantiles.get(share, np.full(len(head.values), np.nan)),
                        tail.quantiles.get(share, np.full(len(tail.values), np.nan))[index],
                    )
                )
                for share in known
            },
            provenance=(
                *head.stretches,
                *_cut(tail.stretches, int(index[0]), int(index[0]) + len(index)),
            ),
        )

    def _index(self, when_utc: datetime) -> int:
        at = when_utc.timestamp()
        self._must_cover(at, at)
        return self._index_at(at)

    def _index_at(self, at_s: float) -> int:
        return min(max(int((at_s - self.edges_s[0]) // self.step_s), 0), len(self.values) - 1)

    def _must_be_amounts(self, values: NDArray[np.float64]) -> None:
        bad = ~np.isfinite(values) | (np.abs(values) > self.kind.most)
        if not self.kind.may_be_negative:
            bad |= values < 0
        if bad.any():
            where = int(np.flatnonzero(bad)[0])
            low = f"{-self.kind.most:g}" if self.kind.may_be_negative else "0"
            raise SignalError(
                f"signal of {self.provider}: value {values[where]} at step {where} is not a "
                f"finite number of {self.unit} from {low} to {self.kind.most:g}"
            )

    def _must_be_quantiles(self, quantiles: Mapping[float, NDArray[np.float64]]) -> None:
        least = -self.kind.most if self.kind.may_be_negative else 0.0
        before = np.full(self.values.shape, np.nan)
        for share, amounts in quantiles.items():
            if not 0 < share < 1:
                raise SignalError(f"signal of {self.provider}: {share} is no quantile's share")
            # NaN, where it is not known, compares as false.
            beyond = (amounts > self.kind.most) | (amounts < least)
            if amounts.shape != self.values.shape or beyond.any():
                raise SignalError(f"signal of {self.provider}: quantile {share} is malformed")
            if (amounts < before - 1e-9).any():
                raise SignalError(f"signal of {self.provider}: quantiles cross at {share}")
            before = np.fmax(before, amounts)

    def _must_cover(self, begin: float, end: float) -> None:
        if begin < self.edges_s[0] - 1e-6 or end > self.edges_s[-1] + 1e-6:
            raise SignalError(
                f"signal of {self.provider} covers {self.start_utc:%Y-%m-%dT%H:%M}Z to "
                f"{self.end_utc:%Y-%m-%dT%H:%M}Z, not all of what was asked"
            )


def _cut(provenance: tuple[Stretch, ...], first: int, last: int) -> tuple[Stretch, ...]:
    """The provenance of steps [first, last)."""
    found = []
    at = 0
    for one in provenance:
        steps = min(at + one.steps, last) - max(at, first)
        if steps > 0:
            found.append(replace(one, steps=steps))
        at += one.steps
    return tuple(found)
