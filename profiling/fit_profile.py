# SPDX-License-Identifier: Apache-2.0
"""Fits a whole profile, and checks the fit on settings it left out. Pure.

The trap: power goes in per GPU, so that a tensor-parallel group and a training shape share the
constants of their GPU with everything else.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from profiling.errors import ProfileError
from profiling.fit import MIN_SETTINGS, Fit, Knob, Sweep, bootstrap, fit_sweeps
from profiling.leftover import relative_error
from profiling.profile import InferencePoint, Profile, TrainingPoint

__all__ = ["HeldOut", "LoadKey", "ProfileFit", "fit_profile", "sweeps_of"]

_KNOBS: tuple[Knob, ...] = ("clock_mhz", "power_cap_w")
# A load with fewer settings has none to spare for the check.
_SPARES_FROM = MIN_SETTINGS + 2
# Setting, time, power, and the relative errors of the latter two.
_Row: TypeAlias = tuple[float, float, float, float, float]


@dataclass(frozen=True, kw_only=True, order=True)
class LoadKey:
    """What runs: a phase with batch, context and tensor parallelism, or a training shape."""

    phase: str  # prefill, decode or training
    batch: int  # or workers
    context: int = -1  # tokens; -1 where there is none
    tp: int = 1  # or GPUs per worker

    @property
    def gpus(self) -> int:
        """GPUs that its power is of."""
        return self.tp * self.batch if self.phase == "training" else self.tp

    def __str__(self) -> str:
        """As people read it."""
        if self.phase == "training":
            return f"training, {self.batch} x {self.tp} GPU"
        context = "" if self.context < 0 else f", context {self.context}"
        return f"{self.phase}, batch {self.batch}{context}" + (f", tp {self.tp}" * (self.tp > 1))


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How far a fit is off at settings it did not see; mean relative errors, None without any."""

    settings: int
    time: float | None
    power: float | None


@dataclass(frozen=True, kw_only=True)
class ProfileFit:
    """A profile's fit, and how sure it is."""

    profile: Profile
    fit: Fit
    keys: tuple[LoadKey, ...]  # of the fit's loads, in their order
    replicas: tuple[Fit, ...]
    held_out: HeldOut


def fit_profile(profile: Profile, *, replicas: int = 40, seed: int = 0) -> ProfileFit:
    """Fit all loads of a profile together; ProfileError where it has nothing to fit."""
    knob, sweeps = sweeps_of(profile)
    # A cap's top is where the sweep ends: above the card's own limit there is nothing.
    top = max(profile.clocks_mhz, default=None) if knob == "clock_mhz" else None
    fit = fit_sweeps(list(sweeps.values()), knob, top=top, idle_w=profile.gpu.idle_w)
    return ProfileFit(
        profile=profile,
        fit=fit,
        keys=tuple(sweeps),
        replicas=tuple(bootstrap(fit, replicas, np.random.default_rng(seed))),
        held_out=_held_out(sweeps, knob, top, profile.gpu.idle_w),
    )


def sweeps_of(profile: Profile) -> tuple[Knob, dict[LoadKey, Sweep]]:
    """Every load of a profile as a sweep: over clocks, or over caps where no clock was set.

    A clock under a cap is what came of the cap, so it is none. Power is per GPU. Raises
    ProfileError for a profile with neither clocks nor caps.
    """
    for knob in _KNOBS:
        rows: dict[LoadKey, list[_Row]] = {}
        for one in profile.inference:
            context = -1 if one.context_tokens is None else one.context_tokens
            key = LoadKey(phase=one.phase, batch=one.batch, context=context, tp=one.tp)
            errors = (
                relative_error(one.latency_s, one.ci95_latency_s, one.n),
                relative_error(one.power_w, one.ci95_power_w, one.n),
            )
            _add(rows, key, _setting(one, knob), one.latency_s, one.power_w, errors)
        for shape in profile.training:
            key = LoadKey(phase="training", batch=shape.workers, tp=shape.gpus_per_worker)
            errors = (
                relative_error(shape.rate, shape.ci95_rate, shape.n),
                relative_error(shape.power_w, shape.ci95_power_w, shape.n),
            )
            _add(rows, key, _setting(shape, knob), 1 / shape.rate, shape.power_w, errors)
        if rows:
            return knob, {key: _sweep(key, found) for key, found in sorted(rows.items())}
    raise ProfileError(
        "no point has a clock or a power cap: there is no sweep; use the points as they are"
    )


def _setting(point: InferencePoint | TrainingPoint, knob: Knob) -> float | None:
    if knob == "power_cap_w":
        return point.power_cap_w
    return point.clock_mhz if point.power_cap_w is None else None


def _add(
    rows: dict[LoadKey, list[_Row]],
    key: LoadKey,
    setting: float | None,
    time_s: float,
    power_w: float | None,
    errors: tuple[float, float],
) -> None:
    if setting is not None:
        power_w = math.nan if power_w is None else power_w / key.gpus
        rows.setdefault(key, []).append((setting, time_s, power_w, *errors))


def _sweep(key: LoadKey, rows: list[_Row]) -> Sweep:
    setting, time_s, power_w, *error = np.array(sorted(rows)).T
    return Sweep(
        name=str(key),
        setting=setting,
        time_s=time_s,
        power_w=power_w,
        error=np.stack(error, axis=-1),
    )


def _held_out(
    sweeps: Mapping[LoadKey, Sweep], knob: Knob, top: float | None, idle_w: float | None
) -> HeldOut:
    """The middle setting of every load that can spare one, predicted by a fit of the others."""
    kept, spared = [], []
    for one in sweeps.values():
        middle = np.arange(len(one.setting)) == len(one.setting) // 2
        middle &= len(one.setting) >= _SPARES_FROM
        kept.append(_part(one, ~middle))
        spared.append(_part(one, middle))
    count = sum(len(one.setting) for one in spared)
    if not count:
        return HeldOut(settings=0, time=None, power=None)
    fit = fit_sweeps(kept, knob, top=top, idle_w=idle_w)
    off = []
    for one in spared:
        time_s, power_w = fit.predict(one.name, one.setting)
        off.append(np.stack([time_s / one.time_s, power_w / one.power_w]))
    error = np.abs(np.concatenate(off, axis=1) - 1)
    power = error[1][np.isfinite(error[1])]
    return HeldOut(
        settings=count,
        time=float(error[0].mean()),
        power=float(power.mean()) if len(power) else None,
    )


def _part(sweep: Sweep, rows: NDArray[np.bool_]) -> Sweep:
    return Sweep(
        name=sweep.name,
        setting=sweep.setting[rows],
        time_s=sweep.time_s[rows],
        power_w=sweep.power_w[rows],
        error=None if sweep.error is None else sweep.error[rows],
    )
