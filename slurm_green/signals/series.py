# SPDX-License-Identifier: Apache-2.0
"""A signal over time: uniform UTC steps that know their unit, basis, origin and age."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError

__all__ = ["Series"]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A step function of time: `values[i]` holds on [start + i*step, start + (i+1)*step).

    `values` must be finite and not negative; the series ends where its last step ends, and
    asking beyond either end raises SignalError: nothing is extrapolated silently.
    """

    start_utc: datetime
    step_s: float
    values: NDArray[np.float64]
    issued_utc: datetime
    provider: str
    region: str = ""
    unit: str = "gCO2e/kWh"
    basis: str = "average"  # or "marginal"
    scope: str = "unknown"  # "direct", "life-cycle" or "unknown"
    # How many seconds of the signal pass in one real second; above 1 only in demos and tests.
    time_scale: float = field(default=1.0)

    def __post_init__(self) -> None:
        """Refuse what cannot be a signal."""
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "values", values)
        if self.start_utc.tzinfo is None or self.issued_utc.tzinfo is None:
            raise SignalError(f"signal of {self.provider}: times must carry a time zone")
        if values.ndim != 1 or len(values) == 0:
            raise SignalError(f"signal of {self.provider} is empty")
        if not self.step_s > 0:
            raise SignalError(f"signal of {self.provider}: step {self.step_s} s is not positive")
        if not np.isfinite(values).all() or (values < 0).any():
            where = int(np.flatnonzero(~np.isfinite(values) | (values < 0))[0])
            raise SignalError(
                f"signal of {self.provider}: value {values[where]} at step {where} is not a "
                f"finite number of {self.unit} from 0 up"
            )

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
        at = when_utc.timestamp()
        self._must_cover(at, at)
        index = min(int((at - self.edges_s[0]) // self.step_s), len(self.values) - 1)
        return float(self.values[index])

    def covers(self, start_utc: datetime, end_utc: datetime) -> bool:
        """Whether [start, end] lies within the series."""
        return bool(self.start_utc <= start_utc and end_utc <= self.end_utc)

    def age_s(self, now_utc: datetime) -> float:
        """Seconds since the signal was issued."""
        return (now_utc - self.issued_utc).total_seconds()

    def relabelled(self, provider: str) -> "Series":
        """The same signal under another provider's name (a cache says it is one)."""
        return replace(self, provider=provider)

    def _must_cover(self, begin: float, end: float) -> None:
        if begin < self.edges_s[0] - 1e-6 or end > self.edges_s[-1] + 1e-6:
            raise SignalError(
                f"signal of {self.provider} covers {self.start_utc:%Y-%m-%dT%H:%M}Z to "
                f"{self.end_utc:%Y-%m-%dT%H:%M}Z, not all of what was asked"
            )
