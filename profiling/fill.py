# SPDX-License-Identifier: Apache-2.0
"""Fills a profile by its fit: every clock, and batches and contexts that nobody ran. Pure.

The trap: a filled profile is a model. It says so (`fitted`), keeps the provenance of what it was
fitted to, and its confidence intervals are those of the fit.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np

from profiling.errors import ProfileError
from profiling.fit import Fit, run
from profiling.fit_profile import LoadKey, ProfileFit
from profiling.law import Floats, Load
from profiling.profile import InferencePoint, Profile, TrainingPoint, assumed_engine
from profiling.roofline import load_at

__all__ = ["filled"]

_Z95 = 1.96


def filled(
    found: ProfileFit,
    *,
    settings: Sequence[float] = (),
    batches: Iterable[int] = (),
    contexts: Iterable[int] = (),
) -> Profile:
    """The profile as its fit has it, at `settings` (MHz or W), else at all that it knows.

    Batches and contexts are added to those of each phase. Raises ProfileError for settings
    outside of what was swept: the fit holds between, not beyond.
    """
    asked = _settings(found, settings)
    inference: list[InferencePoint] = []
    training: list[TrainingPoint] = []
    for phase, tp in sorted({(key.phase, key.tp) for key in found.keys}):
        rows = [at for at, key in enumerate(found.keys) if (key.phase, key.tp) == (phase, tp)]
        wanted = _wanted([found.keys[at] for at in rows], batches, contexts)
        values = _run(found, found.fit, rows, wanted, asked)
        drawn = [_run(found, one, rows, wanted, asked) for one in found.replicas]
        spread = _Z95 * np.std(drawn, axis=0) if drawn else np.full_like(values, np.nan)
        for (row, key), (column, setting) in product(enumerate(wanted), enumerate(asked)):
            point = _Point(
                key=key,
                setting=float(setting),
                capped=found.fit.knob == "power_cap_w",
                time_s=float(values[0, row, column]),
                power_w=_known(values[1, row, column] * key.gpus),
                ci_time_s=_known(spread[0, row, column]),
                ci_power_w=_known(spread[1, row, column] * key.gpus),
            )
            if phase == "training":
                training.append(point.training())
            else:
                inference.append(point.inference())
    # Readers would take the room of the cache from combinations that nobody ran.
    kv_tokens = assumed_engine(found.profile)[0].kv_tokens
    return replace(
        found.profile,
        fitted=True,
        engine=replace(found.profile.engine, kv_tokens=kv_tokens),
        inference=tuple(inference),
        training=tuple(training),
    )


@dataclass(frozen=True, kw_only=True)
class _Point:
    key: LoadKey
    setting: float
    capped: bool
    time_s: float
    power_w: float | None
    ci_time_s: float | None
    ci_power_w: float | None

    def inference(self) -> InferencePoint:
        return InferencePoint(
            phase=self.key.phase,
            batch=self.key.batch,
            context_tokens=None if self.key.context < 0 else self.key.context,
            tp=self.key.tp,
            latency_s=self.time_s,
            ci95_latency_s=self.ci_time_s,
            clock_mhz=None if self.capped else self.setting,
            power_cap_w=self.setting if self.capped else None,
            power_w=self.power_w,
            ci95_power_w=self.ci_power_w,
        )

    def training(self) -> TrainingPoint:
        rate = 1 / self.time_s
        return TrainingPoint(
            workers=self.key.batch,
            gpus_per_worker=self.key.tp,
            rate=rate,
            ci95_rate=None if self.ci_time_s is None else rate * self.ci_time_s / self.time_s,
            clock_mhz=None if self.capped else self.setting,
            power_cap_w=self.setting if self.capped else None,
            power_w=self.power_w,
            ci95_power_w=self.ci_power_w,
        )


def _settings(found: ProfileFit, settings: Sequence[float]) -> Floats:
    swept = np.concatenate([found.fit.seen(name) for name in found.fit.names])
    low, high = float(swept.min()), float(swept.max())
    for one in settings:
        if not low <= one <= high:
            raise ProfileError(
                f"{found.fit.knob} {one:g} is outside of what was swept, {low:g} to {high:g}"
            )
    everything = found.profile.clocks_mhz if found.fit.knob == "clock_mhz" else ()
    chosen = settings or [one for one in everything if low <= one <= high] or swept
    return np.unique(np.asarray(chosen, dtype=np.float64))


def _wanted(
    known: Sequence[LoadKey], batches: Iterable[int], contexts: Iterable[int]
) -> list[LoadKey]:
    """The loads known, and their batches and contexts in all combinations with more of them."""
    first = known[0]
    if first.phase == "training":
        return list(known)
    more_batches = {one.batch for one in known} | set(batches)
    more_contexts = {one.context for one in known}
    if -1 not in more_contexts:
        more_contexts |= set(contexts)
    asked = {
        LoadKey(phase=first.phase, tp=first.tp, batch=batch, context=context)
        for batch, context in product(more_batches, more_contexts)
    }
    return sorted(asked)


def _run(
    found: ProfileFit, fit: Fit, rows: list[int], wanted: Sequence[LoadKey], asked: Floats
) -> Floats:
    """Time and power per GPU of wanted loads, (2, wanted, settings); NaN for unknown power."""
    known = [found.keys[at] for at in rows]
    load = Load(**{one.name: getattr(fit.loads, one.name)[rows] for one in fields(Load)})
    if list(wanted) != known:
        load = load_at(
            wanted[0].phase,
            load,
            [(one.batch, max(one.context, 0)) for one in known],
            [(one.batch, max(one.context, 0)) for one in wanted],
        )
    setting = np.broadcast_to(asked, (len(wanted), len(asked)))
    time_s, power_w = run(fit.knob, setting, fit.top, load, fit.shape)
    for row, key in enumerate(wanted):
        if key in known:
            more = np.exp(fit.left_over(str(key), asked))
            time_s[row] *= more[0]
            power_w[row] *= more[1]
    blind = [key for key in known if not fit.knows_power(str(key))]
    for row, key in enumerate(wanted):
        if key in blind or len(blind) == len(known):
            power_w[row] = np.nan
    return np.stack([time_s, power_w])


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
