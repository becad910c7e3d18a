# SPDX-License-Identifier: Apache-2.0
"""What the pictures of a profile show: lines against the clock, and time against energy. Pure.

The trap: a profile under power caps has no clocks; its lines run against the cap.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from profiling.errors import ProfileError
from profiling.fit import Sweep
from profiling.fit_profile import LoadKey, sweeps_of
from profiling.law import Floats
from profiling.profile import Profile
from profiling.roofline import tokens

__all__ = ["Chart", "Line", "charts"]

_MOST_LINES = 8
_LONG_S = 10.0
_AXES = {"clock_mhz": "clock (MHz)", "power_cap_w": "power cap (W)"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points joined in order; of a Pareto front, which `front` marks, only those on it."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    front: tuple[bool, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One picture."""

    phase: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]


def charts(profile: Profile) -> list[Chart]:
    """Power, time and energy against the setting, and energy against time, for each phase.

    Of many loads, eight spread over their range are shown. Raises ProfileError for a profile
    without a sweep.
    """
    knob, sweeps = sweeps_of(profile)
    found: list[Chart] = []
    for phase in sorted({key.phase for key in sweeps}):
        keys = [key for key in sweeps if key.phase == phase and len(sweeps[key].setting) > 1]
        if keys:
            found += _phase(phase, _AXES[knob], {key: sweeps[key] for key in _spread(keys)})
    if not found:
        raise ProfileError("no load has two settings or more: there is nothing to draw")
    return found


def _phase(phase: str, x_label: str, sweeps: Mapping[LoadKey, Sweep]) -> Iterator[Chart]:
    longest_s = max(one.time_s.max() for one in sweeps.values())
    scale, time_unit = (1000.0, "ms") if longest_s < _LONG_S else (1.0, "s")
    unit = "work unit" if phase == "training" else "token"
    power: list[Line] = []
    time: list[Line] = []
    energy: list[Line] = []
    front: list[Line] = []
    for key, one in sweeps.items():
        label = str(key).partition(", ")[2]
        power_w = one.power_w * key.gpus
        energy_j = power_w * one.time_s / _units(key)
        power += _line(label, one.setting, power_w)
        time += _line(label, one.setting, scale * one.time_s)
        energy += _line(label, one.setting, energy_j)
        front += _front(label, scale * one.time_s, energy_j)
    duration = f"time of a {unit}" if phase == "training" else "time of an iteration"
    for title, x, y, lines in (
        ("Power", x_label, "W", power),
        (duration.capitalize(), x_label, time_unit, time),
        (f"Energy per {unit}", x_label, "J", energy),
        ("Pareto front", f"{duration} ({time_unit})", f"J per {unit}", front),
    ):
        if lines:
            yield Chart(phase=phase, title=title, x_label=x, y_label=y, lines=tuple(lines))


def _units(key: LoadKey) -> float:
    """Tokens or work units of one iteration; NaN for prompts of unknown length."""
    if key.phase == "training":
        return 1.0
    return tokens(key.phase, float(key.batch), math.nan if key.context < 0 else float(key.context))


def _spread(keys: list[LoadKey]) -> list[LoadKey]:
    if len(keys) <= _MOST_LINES:
        return keys
    at = np.linspace(0, len(keys) - 1, _MOST_LINES).round().astype(int)
    return [keys[one] for one in at]


def _line(label: str, x: Floats, y: Floats) -> Iterator[Line]:
    known = np.isfinite(y)
    if known.any():
        yield Line(label=label, x=tuple(x[known].tolist()), y=tuple(y[known].tolist()))


def _front(label: str, time: Floats, energy: Floats) -> Iterator[Line]:
    """By rising time; a point is on the front if nothing is both faster and more frugal."""
    known = np.flatnonzero(np.isfinite(energy))
    if not len(known):
        return
    order = known[np.lexsort((energy[known], time[known]))]
    least = np.minimum.accumulate(energy[order])
    before = np.append(np.inf, least[:-1])
    yield Line(
        label=label,
        x=tuple(time[order].tolist()),
        y=tuple(energy[order].tolist()),
        front=tuple((energy[order] < before).tolist()),
    )
