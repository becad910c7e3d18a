# SPDX-License-Identifier: Apache-2.0
"""What a window of measurement shows, and when it must not count. Pure.

The trap: the energy counter moves in steps, so power is the energy between two of its steps over
the time between them; a window's own ends lie anywhere in between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from profiling.device.apply import TOLERANCE_MHZ
from profiling.device.gpu import Events
from profiling.workload.protocol import Steps

__all__ = ["Sample", "Seen", "faults", "seen", "steady"]

STEADY = 0.01  # power of two successive windows
AGREE = 0.05  # counter against the mean of power readings
# While any of these is on, the clock is not the one that was asked for.
_HELD_BACK = (
    Events.POWER_CAP
    | Events.HW_SLOWDOWN
    | Events.SW_THERMAL
    | Events.HW_THERMAL
    | Events.POWER_BRAKE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at one GPU; None is what it does not tell."""

    at_s: float
    energy_j: float | None
    power_w: float | None
    clock_mhz: int | None
    events: Events | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One GPU over a window; `counter_w` from its energy counter, `readings_w` of its power.

    `counter_w` is None where the counter moved less than twice, went back, or is not there.
    """

    counter_w: float | None
    readings_w: float | None
    counts: bool  # whether it has a counter
    lowest_mhz: float | None
    highest_mhz: float | None
    mean_mhz: float | None
    events: Events

    @property
    def power_w(self) -> float | None:
        """Its mean power: by the counter, else by the readings."""
        return self.counter_w if self.counts else self.readings_w


def seen(samples: Sequence[Sample], begin_s: float, end_s: float) -> Seen:
    """What the samples from `begin_s` to `end_s` say."""
    inside = [one for one in samples if begin_s <= one.at_s <= end_s]
    powers = [one.power_w for one in inside if one.power_w is not None]
    clocks = [one.clock_mhz for one in inside if one.clock_mhz is not None]
    events = Events(0)
    for one in inside:
        events |= one.events or Events(0)
    return Seen(
        counter_w=_counter_w(inside),
        readings_w=float(np.mean(powers)) if powers else None,
        counts=any(one.energy_j is not None for one in inside),
        lowest_mhz=min(clocks, default=None),
        highest_mhz=max(clocks, default=None),
        mean_mhz=float(np.mean(clocks)) if clocks else None,
        events=events,
    )


def steady(before_w: float | None, now_w: float | None) -> bool:
    """Whether power has settled, by two successive windows."""
    return before_w is not None and now_w is not None and abs(now_w - before_w) < STEADY * now_w


def faults(
    gpus: Sequence[Seen], steps: Steps, *, asked_mhz: int | None, least_s: float
) -> tuple[str, ...]:
    """Why a window must not count; nothing where it may.

    Without `asked_mhz` the driver chose the clock, and that a power cap held it is no fault.
    """
    found = [
        why if len(gpus) == 1 else f"GPU {at}: {why}"
        for at, one in enumerate(gpus)
        for why in _faults(one, asked_mhz)
    ]
    if steps.count < 1 or steps.end_s - steps.begin_s < least_s * (1 - 1e-9):
        found.append(f"it ran {steps.end_s - steps.begin_s:.3g} s, wanted {least_s:g}")
    return tuple(found)


def _faults(one: Seen, asked_mhz: int | None) -> Iterator[str]:
    held = one.events & (_HELD_BACK if asked_mhz is not None else _HELD_BACK & ~Events.POWER_CAP)
    if held:
        yield f"held back: {Events(held).words}"
    if asked_mhz is not None:
        for clock_mhz in (one.lowest_mhz, one.highest_mhz):
            if clock_mhz is None or abs(clock_mhz - asked_mhz) > TOLERANCE_MHZ:
                shown = "not known" if clock_mhz is None else f"{clock_mhz:g} MHz"
                yield f"clock {shown}, asked {asked_mhz} MHz"
                break
    if one.counts and one.counter_w is None:
        yield "the energy counter did not advance"
    elif one.power_w is None or one.power_w <= 0:
        yield "its power is not known"
    elif one.readings_w is not None and abs(one.power_w - one.readings_w) > AGREE * one.readings_w:
        yield f"counter {one.power_w:.4g} W, readings {one.readings_w:.4g} W"


def _counter_w(samples: Sequence[Sample]) -> float | None:
    """Mean power between the first and the last step of the counter."""
    known = [(one.at_s, one.energy_j) for one in samples if one.energy_j is not None]
    if len(known) < 2:
        return None
    at_s, energy_j = np.array(known).T
    rise_j = np.diff(energy_j)
    moved = np.flatnonzero(rise_j)
    if len(moved) < 2 or rise_j.min() < 0:
        return None
    first, last = moved[0], moved[-1]
    # It moved between two looks; both ends are half a look late, or early, alike.
    passed_s = (at_s[last] + at_s[last + 1] - at_s[first] - at_s[first + 1]) / 2
    return float((energy_j[last + 1] - energy_j[first + 1]) / passed_s)
