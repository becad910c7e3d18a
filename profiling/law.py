# SPDX-License-Identifier: Apache-2.0
"""How clock, voltage, time and power of a GPU hang together; many loads at once. Pure.

Clocks are fractions of the top clock, times and powers are per load, so every array has shape
(loads, settings). The trap: a power cap acts on the time the GPU works, while what is published
is the average over the iteration, waiting for the host included.

Power `P = idle + s f v(f)^2 + m a`: a floor, switching, and memory traffic by its share `a` of the
time (CMOS dynamic power with the voltage held up to a knee). Time `T = ((A/f)^p + M^p)^(1/p) + C`:
compute that scales with the clock and memory that does not overlap up to p, and the host.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Load", "Shape", "at_cap", "at_clock", "delivered_clock", "voltage"]

Floats: TypeAlias = NDArray[np.float64]

_LEAST_CLOCK = 0.02
_GRID = np.linspace(_LEAST_CLOCK, 1.0, 96)
# Switching power that the clock tree alone takes while the GPU waits for the host: on an idle A100
# at 1,275 MHz, 11.5 W/GHz of what a full load takes.
_WAITING_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What all loads on one GPU share."""

    knee: float  # clock, as a fraction of the top one, up to which the voltage is flat
    rise: float  # voltage at the top clock over the flat one, less 1
    bend: float  # exponent of the rise
    idle_w: float
    ceiling: float  # clock that the board sustains, as a fraction of the top one
    ceiling_sharpness: float
    overlap: float  # p of compute and memory; large: the slower one alone counts
    floor: float  # lowest clock that a power cap can force
    floor_sharpness: float
    cap_factor: float  # what the cap's regulation lets through, over the cap


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is a load's own; every field has shape (loads, 1)."""

    compute_s: Floats  # A, at the top clock
    memory_s: Floats  # M
    host_s: Floats  # C
    switching_w: Floats  # s, at the top clock and the flat voltage
    memory_w: Floats  # m
    base_w: Floats  # the GPU's idle power as this load sees it
    cap_sharpness: Floats  # how abruptly a cap begins to bind; phases of different power blur it


def voltage(clock: Floats | float, shape: Shape) -> Floats:
    """Voltage over its flat value."""
    above = np.maximum(clock - shape.knee, 1e-9) / (1 - shape.knee)
    return np.asarray(1 + shape.rise * above**shape.bend)


def delivered_clock(asked: Floats, shape: Shape) -> Floats:
    """What runs when a clock is asked for: the board's own ceiling blends in."""
    return _least(asked, shape.ceiling, shape.ceiling_sharpness)


def at_clock(asked: Floats, load: Load, shape: Shape) -> tuple[Floats, Floats]:
    """Time (s) and average power (W) under a locked clock."""
    return _running(delivered_clock(asked, shape), load, shape)


def at_cap(cap_w: Floats, load: Load, shape: Shape) -> tuple[Floats, Floats]:
    """Time (s) and average power (W) under a power cap, the clock being left to the GPU."""
    by_clock = _active_w(_GRID, load, shape)
    lowest = _active_w(shape.floor, load, shape)
    active_w = _least(cap_w * shape.cap_factor, by_clock[:, -1:], load.cap_sharpness)
    active_w = _most(active_w, lowest, shape.floor_sharpness)
    return _running(_inverse(active_w, by_clock), load, shape)


def _running(clock: Floats, load: Load, shape: Shape) -> tuple[Floats, Floats]:
    busy_s = _busy_s(clock, load, shape)
    time_s = busy_s + load.host_s
    switching_w = load.switching_w * clock * voltage(clock, shape) ** 2
    switching_j = switching_w * (busy_s + _WAITING_SHARE * load.host_s)
    power_w = load.base_w + (switching_j + load.memory_w * load.memory_s) / time_s
    return time_s, power_w


def _active_w(clock: Floats | float, load: Load, shape: Shape) -> Floats:
    """Power while the GPU works."""
    memory_w = load.memory_w * load.memory_s / _busy_s(clock, load, shape)
    return load.base_w + load.switching_w * clock * voltage(clock, shape) ** 2 + memory_w


def _busy_s(clock: Floats | float, load: Load, shape: Shape) -> Floats:
    return _most(load.compute_s / clock, load.memory_s, shape.overlap)


def _most(one: Floats, other: Floats, sharpness: Floats | float) -> Floats:
    """A smooth maximum: the p-norm, scaled so that it neither over- nor underflows."""
    size = np.maximum(one, other)
    return np.asarray(
        size * ((one / size) ** sharpness + (other / size) ** sharpness) ** (1 / sharpness)
    )


def _least(one: Floats, other: Floats | float, sharpness: Floats | float) -> Floats:
    return 1 / _most(1 / one, np.asarray(1 / other), sharpness)


def _inverse(active_w: Floats, by_clock: Floats) -> Floats:
    """The clocks at which the rows of `by_clock`, rising over the grid, reach the powers."""
    last = len(_GRID) - 2
    at = (by_clock[:, None, :] <= active_w[:, :, None]).sum(axis=2) - 1
    at = at.clip(0, last)
    low = np.take_along_axis(by_clock, at, axis=1)
    high = np.take_along_axis(by_clock, at + 1, axis=1)
    share = (active_w - low) / (high - low)
    return np.asarray(_GRID[at] + share.clip(0, 1) * (_GRID[1] - _GRID[0]))
