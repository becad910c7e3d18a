# SPDX-License-Identifier: Apache-2.0
"""What was measured: a past with gaps, from which forecasts learn."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError
from slurm_green.signals.quantity import CARBON, quantity_named

__all__ = ["Measured"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A past signal on a uniform UTC grid: `values[i]` is the mean over step i, NaN where unknown.

    The grid is aligned: `start_utc` is a multiple of `step_s` of POSIX time. Two pasts may only be
    merged when quantity, basis, scope and region agree.
    """

    start_utc: datetime
    step_s: float
    values: NDArray[np.float64]
    provider: str
    region: str = ""
    quantity: str = CARBON.name
    basis: str = "average"
    scope: str = "unknown"

    def __post_init__(self) -> None:
        """Refuse what cannot be a past."""
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "values", values)
        kind = quantity_named(self.quantity)
        if not (self.step_s > 0 and math.isfinite(self.step_s)):
            raise SignalError(f"history of {self.provider}: step {self.step_s} s is not positive")
        if self.start_utc.tzinfo is None:
            raise SignalError(f"history of {self.provider}: times must carry a time zone")
        if values.ndim != 1 or len(values) == 0:
            raise SignalError(f"history of {self.provider} is empty")
        bad = np.isinf(values) | (np.abs(values) > kind.most)
        if not kind.may_be_negative:
            bad |= values < 0
        if bad.any():
            where = int(np.flatnonzero(bad)[0])
            raise SignalError(
                f"history of {self.provider}: {values[where]:g} at "
                f"{self.start_utc + timedelta(seconds=where * self.step_s):%Y-%m-%dT%H:%MZ} is no "
                f"amount of {kind.unit}"
            )

    @classmethod
    def from_points(
        cls,
        points: Iterable[tuple[datetime, float | None]],
        *,
        step_s: float,
        provider: str,
        region: str = "",
        quantity: str = CARBON.name,
        basis: str = "average",
        scope: str = "unknown",
    ) -> "Measured":
        """Put (start, value) pairs on the grid; points of one step are averaged, gaps are NaN.

        Raises SignalError when there is no point with a value.
        """
        known = [(at.timestamp(), value) for at, value in points if value is not None]
        if not known:
            raise SignalError(f"{provider}: no measured value in what it gave")
        slots = np.array([math.floor(at / step_s + 1e-9) for at, _ in known], dtype=np.int64)
        amounts = np.array([value for _, value in known], dtype=np.float64)
        first = int(slots.min())
        count = int(slots.max()) - first + 1
        if count > 2_000_000:
            raise SignalError(f"{provider}: its times span more than any history does")
        sums, counts = np.zeros(count), np.zeros(count)
        np.add.at(sums, slots - first, amounts)
        np.add.at(counts, slots - first, 1.0)
        values = np.full(count, np.nan)
        np.divide(sums, counts, out=values, where=counts > 0)
        return cls(
            start_utc=datetime.fromtimestamp(first * step_s, UTC),
            step_s=step_s,
            values=values,
            provider=provider,
            region=region,
            quantity=quantity,
            basis=basis,
            scope=scope,
        )

    @property
    def end_utc(self) -> datetime:
        """Where the last step ends."""
        return self.start_utc + timedelta(seconds=self.step_s * len(self.values))

    @property
    def known(self) -> int:
        """Number of steps with a value."""
        return int(np.isfinite(self.values).sum())

    def until(self, when_utc: datetime) -> "Measured | None":
        """What had been measured by an instant: whole steps that ended by then; None for none."""
        steps = math.floor((when_utc - self.start_utc).total_seconds() / self.step_s + 1e-9)
        if steps <= 0:
            return None
        return self if steps >= len(self.values) else replace(self, values=self.values[:steps])

    def since(self, when_utc: datetime) -> "Measured":
        """The part from the step that holds an instant on; the last step at least."""
        skip = math.floor((when_utc - self.start_utc).total_seconds() / self.step_s + 1e-9)
        skip = min(max(skip, 0), len(self.values) - 1)
        start = self.start_utc + timedelta(seconds=skip * self.step_s)
        return replace(self, start_utc=start, values=self.values[skip:])

    def in_steps_of(self, step_s: float) -> "Measured":
        """Means over longer steps, or repeated shorter ones; raises SignalError if none fits."""
        if step_s == self.step_s:
            return self
        if step_s < self.step_s:
            ratio = round(self.step_s / step_s)
            if abs(ratio * step_s - self.step_s) > 1e-6:
                raise SignalError(f"steps of {self.step_s:g} s do not divide into {step_s:g} s")
            return replace(self, step_s=step_s, values=np.repeat(self.values, ratio))
        ratio = round(step_s / self.step_s)
        if abs(ratio * self.step_s - step_s) > 1e-6:
            raise SignalError(f"steps of {self.step_s:g} s do not fill {step_s:g} s")
        times = self.start_utc.timestamp() + self.step_s * np.arange(len(self.values))
        points = [
            (datetime.fromtimestamp(at, UTC), float(value))
            for at, value in zip(times, self.values, strict=True)
            if math.isfinite(value)
        ]
        return Measured.from_points(
            points,
            step_s=step_s,
            provider=self.provider,
            region=self.region,
            quantity=self.quantity,
            basis=self.basis,
            scope=self.scope,
        )

    def merged(self, newer: "Measured") -> "Measured":
        """Both pasts on this one's grid; where both know a step, the newer word holds.

        Raises SignalError where they are not about the same thing.
        """
        for name in ("quantity", "basis", "scope", "region"):
            ours, theirs = getattr(self, name), getattr(newer, name)
            if ours != theirs:
                raise SignalError(
                    f"history of {self.provider} has {name} {ours!r}, the new part {theirs!r}: "
                    "not mixed"
                )
        newer = newer.in_steps_of(self.step_s)
        offset = round((newer.start_utc - self.start_utc).total_seconds() / self.step_s)
        first = min(offset, 0)
        last = max(len(self.values), offset + len(newer.values))
        values = np.full(last - first, np.nan)
        values[-first : -first + len(self.values)] = self.values
        there = slice(offset - first, offset - first + len(newer.values))
        values[there] = np.where(np.isnan(newer.values), values[there], newer.values)
        return replace(
            self,
            start_utc=self.start_utc + timedelta(seconds=first * self.step_s),
            values=values,
        )
