# SPDX-License-Identifier: Apache-2.0
"""What a sweep has measured so far: windows, and what they say of each setting. Pure.

The trap: a window with faults is kept for the record, and must enter nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

__all__ = ["DRIFT", "Mean", "Point", "Window", "left_out", "points"]

DRIFT = 0.01  # of the reference's power, from which on it is corrected
_TWO_SIDED = 0.975


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One attempt to measure a load at a clock; None: the driver's own choice.

    `step_s` is the time of a step, `rate` work units per second, `power_w` of all GPUs together.
    """

    round: int
    load: str
    order: int
    attempt: int
    clock_mhz: int | None
    reference: bool
    faults: tuple[str, ...]
    step_s: float
    rate: float
    power_w: float | None
    observed_mhz: float | None

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Window":
        """From its line of a journal."""
        values = {name: entry[name] for name in cls.__slots__}
        return cls(**{**values, "faults": tuple(values["faults"])})


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and half of its 95 % interval by Student's t; None of a single value."""

    value: float
    ci95: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Of repeats."""
        count = len(values)
        mean = math.fsum(values) / count
        if count < 2:
            return cls(mean, None)
        deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in values) / (count - 1))
        return cls(mean, float(stdtrit(count - 1, _TWO_SIDED)) * deviation / math.sqrt(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What all good windows of a load at a clock say together."""

    load: str
    clock_mhz: int | None
    n: int
    step_s: Mean
    rate: Mean
    power_w: Mean
    observed_mhz: float | None


def points(windows: Iterable[Window]) -> list[Point]:
    """The settings that have good windows, by load and clock; drift is taken out of power."""
    good = [one for one in windows if not one.faults and one.power_w is not None]
    found = []
    for load in dict.fromkeys(one.load for one in good):
        own = sorted((one for one in good if one.load == load), key=_when)
        powers = _without_drift(own)
        drifted = powers != [one.power_w for one in own]
        for clock_mhz in sorted({one.clock_mhz for one in own}, key=lambda mhz: mhz or 0):
            rows = [at for at, one in enumerate(own) if one.clock_mhz == clock_mhz]
            observed = [mhz for at in rows if (mhz := own[at].observed_mhz) is not None]
            power_w = Mean.of([powers[at] for at in rows])
            if drifted and own[rows[0]].reference:
                # They tell the drift, so less it they are all alike, however noisy they were.
                power_w = Mean(power_w.value, None)
            found.append(
                Point(
                    load=load,
                    clock_mhz=clock_mhz,
                    n=len(rows),
                    step_s=Mean.of([own[at].step_s for at in rows]),
                    rate=Mean.of([own[at].rate for at in rows]),
                    power_w=power_w,
                    observed_mhz=math.fsum(observed) / len(observed) if observed else None,
                )
            )
    return found


def left_out(windows: Iterable[Window], attempts: int) -> dict[tuple[str, int | None], Window]:
    """Settings given up after so many attempts at one window, with the last of them."""
    return {
        (one.load, one.clock_mhz): one for one in windows if one.faults and one.attempt >= attempts
    }


def _when(window: Window) -> tuple[int, int]:
    return window.round, window.order


def _without_drift(own: Sequence[Window]) -> list[float]:
    """Powers, less what the reference's power changed since its first window, if that is much.

    Where only the reference was measured nothing tells drift from noise, and none is taken out.
    """
    powers = np.array([one.power_w for one in own], dtype=np.float64)
    at = [place for place, one in enumerate(own) if one.reference]
    if 1 < len(at) < len(own) and abs(powers[at[-1]] / powers[at[0]] - 1) > DRIFT:
        powers = powers / np.interp(np.arange(len(own)), at, powers[at] / powers[at[0]])
    found: list[float] = powers.tolist()
    return found
