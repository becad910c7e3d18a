# SPDX-License-Identifier: Apache-2.0
"""Fits the law of a GPU to sweeps over clocks or power caps. Pure.

Empirical Bayes: all sweeps of one GPU share its constants, and how its loads differ is learned
from them, so that a load seen at three settings borrows the rest from its neighbours. The trap:
a single sweep has no neighbours; then only `fit_values` stands behind what it does not show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from profiling.errors import ProfileError
from profiling.fit_values import (
    LOAD_PRIOR,
    LOAD_SPREAD,
    load_of,
    normal,
    shape_of,
    shape_prior,
)
from profiling.law import Floats, Load, Shape, at_cap, at_clock
from profiling.leftover import carried
from profiling.solve import Prior, Solution, solve

__all__ = ["MIN_SETTINGS", "Fit", "Knob", "Sweep", "bootstrap", "fit_sweeps", "run"]

Knob: TypeAlias = Literal["clock_mhz", "power_cap_w"]

MIN_SETTINGS = 3
_ROUNDS = 3
_NOISE = np.array([0.008, 0.01])  # of time and power, relative
_NOISE_WEIGHT = 4.0  # observations that this assumption counts for
_PRIOR_WEIGHT = 6.0  # loads that the assumed spread counts for
_FIXED = 1e-3  # spread of a constant that is known


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One load at several settings, MHz or W; power per GPU, NaN where it is not known."""

    name: str
    setting: Floats
    time_s: Floats
    power_w: Floats
    error: Floats | None = None  # (n, 2), relative, of time and power; NaN without repeats


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The law with its constants, for one GPU and the loads that were fitted together."""

    knob: Knob
    top: float  # the highest setting
    names: tuple[str, ...]
    scale_w: float
    noise: Floats  # of time and power, relative; what the law does not explain is in it
    solution: Solution
    shape_prior: Prior
    load_prior: Prior
    data: "_Data"  # what it was fitted to

    @cached_property
    def shape(self) -> Shape:
        """The GPU's constants."""
        return shape_of(self.solution.common, self.scale_w)

    @cached_property
    def loads(self) -> Load:
        """All loads, in the order of `names`."""
        return load_of(self.solution.own, self.data.anchors, self.shape.idle_w)

    def predict(self, name: str, setting: Floats) -> tuple[Floats, Floats]:
        """Time (s) and power (W per GPU, NaN where the load had none) at settings.

        By the law, and what it leaves over. Raises ProfileError for a load that was not fitted.
        """
        at = self._row(name)
        rows = slice(at, at + 1)
        load = load_of(self.solution.own[rows], self.data.anchors[rows], self.shape.idle_w)
        asked = np.atleast_2d(np.asarray(setting, dtype=np.float64))
        time_s, power_w = run(self.knob, asked, self.top, load, self.shape)
        if not self.knows_power(name):
            power_w = np.full_like(power_w, np.nan)
        more = np.exp(self.left_over(name, asked[0]))
        return time_s[0] * more[0], power_w[0] * more[1]

    def left_over(self, name: str, setting: Floats) -> Floats:
        """Logarithms of time and power over what the law says at settings, (2, n)."""
        at = self._row(name)
        given, data = self.data.given[at], self.data
        left = np.where(given, -self._errors[at], np.nan)
        return np.stack(
            [carried(data.setting[at], left[:, k], data.error[at, :, k], setting) for k in (0, 1)]
        )

    @cached_property
    def _errors(self) -> Floats:
        return _errors(self, self.solution.common, self.solution.own)

    def seen(self, name: str) -> Floats:
        """The settings at which a load was seen."""
        at = self._row(name)
        return np.asarray(self.data.setting[at][self.data.given[at, :, 0]])

    def knows_power(self, name: str) -> bool:
        """Whether a load had power at any setting."""
        return bool(self.data.given[self._row(name), :, 1].any())

    def _row(self, name: str) -> int:
        if name not in self.names:
            raise ProfileError(f"no load {name!r} in this fit; it has {', '.join(self.names)}")
        return self.names.index(name)


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The sweeps side by side; where a cell is not given, its setting and target mean nothing."""

    setting: Floats  # (loads, n)
    target: Floats  # (loads, n, 2), logarithms of time and power
    given: NDArray[np.bool_]  # (loads, n, 2)
    anchors: Floats  # (loads, 2)
    error: Floats  # (loads, n, 2); NaN where unknown

    @classmethod
    def of(cls, sweeps: Sequence[Sweep]) -> "_Data":
        longest = max(len(one.setting) for one in sweeps)
        setting = np.ones((len(sweeps), longest))
        target = np.full((len(sweeps), longest, 2), np.nan)
        error = np.full_like(target, np.nan)
        for row, one in enumerate(sweeps):
            count = len(one.setting)
            setting[row, :count] = one.setting
            target[row, :count] = np.log(np.stack([one.time_s, one.power_w], axis=-1))
            if one.error is not None:
                error[row, :count] = one.error
        given = np.isfinite(target)
        at = np.where(given, setting[..., None], -np.inf).argmax(axis=1)[:, None, :]
        anchors = np.nan_to_num(np.take_along_axis(target, at, axis=1)[:, 0])
        return cls(
            setting=setting,
            target=np.nan_to_num(target),
            given=given,
            anchors=anchors,
            error=error,
        )


def fit_sweeps(
    sweeps: Sequence[Sweep],
    knob: Knob,
    *,
    top: float | None = None,
    idle_w: float | None = None,
    known: Fit | None = None,
) -> Fit:
    """Fit all sweeps of one GPU together.

    `top` is its highest setting where the sweeps do not reach it. With `known`, a fit of other
    loads on the same GPU, its constants hold and only loads are fitted. Raises ProfileError
    where nothing was swept.
    """
    if known is None and not any(len(np.unique(one.setting)) >= MIN_SETTINGS for one in sweeps):
        raise ProfileError(
            f"no load has {MIN_SETTINGS} settings of {knob} or more, which a fit needs; measure "
            "more, or use the points as they are"
        )
    data = _Data.of(sweeps)
    power_w = np.exp(data.target[..., 1])[data.given[..., 1]]
    scale_w = known.scale_w if known else float(power_w.max(initial=1.0))
    on_shape = shape_prior(scale_w, idle_w)
    if known is not None:
        held = np.full(len(known.solution.common), _FIXED)
        on_shape = normal(known.solution.common, held)
    fit = Fit(
        knob=knob,
        top=known.top if known else max(top or 0.0, float(data.setting.max())),
        names=tuple(one.name for one in sweeps),
        scale_w=scale_w,
        noise=known.noise if known else _NOISE,
        solution=_start(len(sweeps), on_shape, known.load_prior if known else LOAD_PRIOR),
        shape_prior=on_shape,
        load_prior=known.load_prior if known else LOAD_PRIOR,
        data=data,
    )
    fit = _refitted(fit)
    for _ in range(0 if known else _ROUNDS - 1):
        fit = _refitted(replace(fit, noise=_noise(fit), load_prior=_learned(fit.solution)))
    return fit


def bootstrap(fit: Fit, count: int, rng: np.random.Generator) -> list[Fit]:
    """Fits of as many redrawn data sets: the law plus noise, at the settings of the fit.

    What the priors say is redrawn too, else nothing would vary that the data does not show.
    They are the law alone: what they leave over is drawn.
    """
    expected = fit.data.target + _errors(fit, fit.solution.common, fit.solution.own)
    unknown = np.full_like(fit.data.error, np.nan)
    return [
        _refitted(
            replace(
                fit,
                data=replace(
                    fit.data,
                    target=expected + fit.noise * rng.standard_normal(expected.shape),
                    error=unknown,
                ),
                shape_prior=_redrawn(fit.shape_prior, (), rng),
                load_prior=_redrawn(fit.load_prior, (len(fit.names),), rng),
            ),
            tolerance=1e-3,
        )
        for _ in range(count)
    ]


def run(knob: Knob, setting: Floats, top: float, load: Load, shape: Shape) -> tuple[Floats, Floats]:
    """Time (s) and power (W) of loads at settings of shape (loads, n)."""
    if knob == "clock_mhz":
        return at_clock(setting / top, load, shape)
    return at_cap(setting, load, shape)


def _errors(fit: Fit, common: Floats, own: Floats) -> Floats:
    """Logarithms of what the law says over what was seen, (loads, n, 2); 0 where nothing was."""
    shape = shape_of(common, fit.scale_w)
    load = load_of(own, fit.data.anchors, shape.idle_w)
    said = np.stack(run(fit.knob, fit.data.setting, fit.top, load, shape), axis=-1)
    return np.where(fit.data.given, np.log(said) - fit.data.target, 0.0)


def _refitted(fit: Fit, tolerance: float = 1e-6) -> Fit:
    """The same with the constants that fit best, sought from those it has."""

    def residuals(common: Floats, own: Floats) -> Floats:
        return (_errors(fit, common, own) / fit.noise).reshape(len(own), -1)

    found = solve(
        residuals,
        fit.solution.common,
        fit.solution.own,
        fit.shape_prior,
        fit.load_prior,
        tolerance=tolerance,
    )
    return replace(fit, solution=found)


def _start(loads: int, on_shape: Prior, on_load: Prior) -> Solution:
    count = len(on_load.mean)
    return Solution(
        common=on_shape.mean.copy(),
        own=np.tile(on_load.mean, (loads, 1)),
        own_spread=np.zeros((loads, count, count)),
        common_spread=np.zeros((len(on_shape.mean),) * 2),
        cost=np.inf,
    )


def _learned(found: Solution) -> Prior:
    """The prior of loads after seeing some: the assumed one counts for `_PRIOR_WEIGHT` of them."""
    count = len(found.own)
    mean = (_PRIOR_WEIGHT * LOAD_PRIOR.mean + found.own.sum(axis=0)) / (_PRIOR_WEIGHT + count)
    off = found.own - mean
    seen = np.einsum("pk,pl->kl", off, off) + found.own_spread.sum(axis=0)
    spread = (_PRIOR_WEIGHT * np.diag(LOAD_SPREAD**2) + seen) / (_PRIOR_WEIGHT + count)
    return Prior(mean=mean, precision=np.linalg.inv(spread))


def _noise(fit: Fit) -> Floats:
    """Relative noise of time and power, from what the fit leaves over."""
    found = fit.solution
    held = np.trace(fit.shape_prior.precision @ found.common_spread)
    held += np.einsum("kl,plk->", fit.load_prior.precision, found.own_spread)
    determined = found.own.size + len(found.common) - held
    count = fit.data.given.sum(axis=(0, 1))
    free = count * max(0.2, 1 - determined / count.sum())
    square = (_errors(fit, found.common, found.own) ** 2).sum(axis=(0, 1))
    return np.asarray(
        np.sqrt((square + _NOISE_WEIGHT * _NOISE**2) / (free + _NOISE_WEIGHT)), dtype=np.float64
    )


def _redrawn(prior: Prior, shape: tuple[int, ...], rng: np.random.Generator) -> Prior:
    spread = np.linalg.cholesky(np.linalg.inv(prior.precision))
    noise = rng.standard_normal((*shape, len(prior.precision)))
    return Prior(mean=prior.mean + noise @ spread.T, precision=prior.precision)
