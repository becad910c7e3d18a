# SPDX-License-Identifier: Apache-2.0
"""One refresh of one quantity: who is asked, what is taken, and what is said about it.

The order is that of trust: the first provider that gives a good forecast, else the first last good
one that is not too old, else the built-in forecast; and each of them is followed by the next where
it ends, down to what is usual. What is of another basis, scope or region is never joined.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from slurm_green.errors import SignalError
from slurm_green.fetch.store import Store
from slurm_green.signals.bundle import Bundle, Link
from slurm_green.signals.climatology import MAX_AGE_S, Climatology, climatology_of
from slurm_green.signals.measured import Measured
from slurm_green.signals.provider import RateLimitedError
from slurm_green.signals.quantity import CARBON
from slurm_green.signals.regressors import read_regressors
from slurm_green.signals.series import Series
from slurm_green.words import length

__all__ = ["Forecaster", "Source", "refresh"]

_LOG = logging.getLogger(__name__)
# A past, now, seconds ahead and, by name, regressors -> a forecast from now on.
Forecaster = Callable[..., Series]
# How much of the past a new source is asked for; a model is worth having from four weeks on.
_FIRST = timedelta(days=60)
# Sources correct what they measured for about this long.
_CORRECTED = timedelta(days=2)
# Who limits us without saying for how long is left alone for the first, and nobody for longer than
# the second: a mistaken Retry-After must not silence a provider for ever.
_PATIENCE_S = 900.0
_MOST_PATIENCE_S = 86_400.0
# A past that ended longer ago is worse than another source's that did not.
_RECENT = timedelta(days=4)
_MODEL = "built-in forecast"
_USUAL = "climatology"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A configured provider under the name the site gave it, and which of its sides it has.

    `problem` says why there is no provider, as when its key cannot be read; `settings` is any text
    that changes when the site means another zone.
    """

    name: str
    provider: Any = None
    forecasts: bool = True
    measures: bool = True
    problem: str = ""
    settings: str = ""


@dataclass(kw_only=True)
class _Work:
    """One refresh under way."""

    quantity: str
    store: Store
    now_utc: datetime
    links: list[Link] = field(default_factory=list)

    def say(self, name: str, kind: str, status: str, said: str) -> None:
        self.links.append(Link(name=name, kind=kind, status=status, said=said))


def refresh(
    sources: Sequence[Source],
    *,
    quantity: str = CARBON.name,
    store: Store,
    forecaster: Forecaster,
    now_utc: datetime,
    horizon_s: float,
    forecast_s: float,
    cache_max_age_s: float,
    regressors: Path | None = None,
) -> Bundle:
    """Ask, fall back, join; never raises for anything a provider or a file did.

    `regressors` names the table of what is known ahead, if the site has one.
    """
    work = _Work(quantity=quantity, store=store, now_utc=now_utc)
    for source in sources:
        _quietly(partial(store.adopt, source.name, source.settings))
    pasts = {source.name: _history(work, source) for source in sources}
    answered, series = _from_providers(work, sources)
    if series is None:
        answered, series = _from_cache(work, sources, cache_max_age_s)
    past = _past_for(work, answered, series, pasts)
    if past is not None and regressors is not None:
        forecaster = _leaning(work, forecaster, regressors)
    series = _forecast(work, series, past, pasts, forecaster, forecast_s)
    series, usual = _usual(work, series, past, horizon_s)
    if series is not None:
        end_utc = now_utc + timedelta(seconds=horizon_s)
        series = series.part(series.start_utc, min(series.end_utc, end_utc))
    return Bundle(written_utc=now_utc, series=series, links=tuple(work.links), climatology=usual)


def _history(work: _Work, source: Source) -> Measured | None:
    """What the source measured since we last asked, merged into what we keep."""
    kept = work.store.past(source.name, work.quantity)
    kept = None if kept is None else kept.until(work.now_utc)
    if not source.measures or source.problem or _left_alone(work, source, "history"):
        return kept
    start = work.now_utc - _FIRST
    asked = work.store.asked_since(source.name, work.quantity)
    # A source that keeps less than we asked for is not asked for it again every time.
    whole = kept is None or (kept.start_utc > start and (asked is None or asked > kept.start_utc))
    if kept is not None and not whole:
        start = max(start, kept.end_utc - _CORRECTED)
    try:
        measured: Measured | None = source.provider.history(start, work.now_utc)
        measured = None if measured is None else measured.until(work.now_utc)
        if measured is not None:
            kept = _added(work, source, kept, measured)
            if whole:
                _quietly(partial(work.store.note_asked, source.name, work.quantity, start))
    except Exception as exc:
        work.say(source.name, "history", "failed", _why(work, source, exc))
        return kept
    if kept is None:
        work.say(source.name, "history", "failed", "nothing is measured yet")
    else:
        days = kept.known * kept.step_s / 86_400
        last = _ago(kept.end_utc, work.now_utc)
        work.say(source.name, "history", "used", f"{days:.1f} days, the last step {last}")
    return kept


def _added(work: _Work, source: Source, kept: Measured | None, measured: Measured) -> Measured:
    """What was kept and the new part together; a full disk costs tomorrow's, not today's."""
    if measured.quantity != work.quantity:
        raise SignalError(f"measures {measured.quantity}, not {work.quantity}")
    try:
        return work.store.add(source.name, measured).until(work.now_utc) or measured
    except SignalError as exc:
        _LOG.warning("the past of %s is not kept: %s", source.name, exc)
    try:
        return measured if kept is None else kept.merged(measured)
    except SignalError:
        return measured  # what was kept is of another kind


def _from_providers(work: _Work, sources: Sequence[Source]) -> tuple[Source | None, Series | None]:
    found: tuple[Source | None, Series | None] = (None, None)
    for source in sources:
        if source.problem:
            work.say(source.name, "provider", "failed", source.problem)
            continue
        if not source.forecasts:
            continue
        if found[1] is not None:
            work.say(source.name, "provider", "spare", "not needed: one before it answered")
            continue
        if _left_alone(work, source, "provider"):
            continue
        try:
            series: Series = source.provider.fetch(work.now_utc)
            if series.quantity != work.quantity:
                raise SignalError(f"gives {series.quantity}, not {work.quantity}")
            if not series.covers(work.now_utc, work.now_utc):
                raise SignalError("its series does not cover now")
        except Exception as exc:
            work.say(source.name, "provider", "failed", _why(work, source, exc))
            continue
        _quietly(partial(work.store.let_wait, source.name, None))
        _quietly(partial(work.store.keep, source.name, series))
        work.say(source.name, "provider", "used", _reach(series, work.now_utc))
        found = (source, series)
    return found


def _from_cache(
    work: _Work, sources: Sequence[Source], max_age_s: float
) -> tuple[Source | None, Series | None]:
    """The last good forecast of the first source whose is fresh enough."""
    for source in sources:
        if not source.forecasts:
            continue
        name = f"last good of {source.name}"
        try:
            series = work.store.last(source.name, work.quantity)
            age_s = series.age_s(work.now_utc)
            if age_s > max_age_s:
                raise SignalError(
                    f"{length(age_s)} old, signal.cache_max_age allows {length(max_age_s)}"
                )
            if not series.covers(work.now_utc, work.now_utc):
                raise SignalError(f"reaches until {_when(series.end_utc)}, not over now")
        except SignalError as exc:
            work.say(name, "cache", "failed", str(exc))
            continue
        work.say(name, "cache", "used", _reach(series, work.now_utc))
        return source, series.relabelled(f"cache({series.provider})")
    return None, None


def _past_for(
    work: _Work,
    answered: Source | None,
    series: Series | None,
    pasts: dict[str, Measured | None],
) -> Measured | None:
    """The past that may go on where a series ends: of the same kind and region.

    The answering source's own comes first. Without a series it is the first in order of trust that
    reaches close to now, else the one that reaches furthest.
    """
    known = {name: one for name, one in pasts.items() if one is not None}
    if series is not None:
        own = [one for name, one in known.items() if answered and name == answered.name]
        for one in (*own, *known.values()):
            if (one.basis, one.scope, one.region) == (series.basis, series.scope, series.region):
                return one
        return None
    recent = [one for one in known.values() if one.end_utc >= work.now_utc - _RECENT]
    if recent:
        return recent[0]
    return max(known.values(), key=lambda one: one.end_utc, default=None)


def _leaning(work: _Work, forecaster: Forecaster, path: Path) -> Forecaster:
    """The forecaster with what is known ahead; without it where the table cannot be read."""
    try:
        found = read_regressors(path)
    except SignalError as exc:
        work.say("regressors", "regressors", "failed", str(exc))
        return forecaster
    end = found.start_utc + timedelta(hours=found.values.shape[1])
    said = f"{', '.join(found.names)} until {_when(end)}"
    work.say("regressors", "regressors", "used" if end > work.now_utc else "spare", said)
    return partial(forecaster, regressors=found)


def _forecast(
    work: _Work,
    series: Series | None,
    past: Measured | None,
    pasts: dict[str, Measured | None],
    forecaster: Forecaster,
    forecast_s: float,
) -> Series | None:
    if series is not None and (series.end_utc - work.now_utc).total_seconds() >= forecast_s:
        work.say(_MODEL, "forecast", "spare", "not needed: the provider's reaches further")
        return series
    if past is None:
        if series is not None and any(pasts.values()):
            kind = ", ".join(filter(None, (series.basis, series.scope, series.region)))
            said = f"{series.provider} is {kind}; what was measured is of another kind, not mixed"
            work.say(_MODEL, "forecast", "spare", said)
        else:
            work.say(_MODEL, "forecast", "failed", "no measured past to learn from")
        return series
    try:
        model = forecaster(past, work.now_utc, forecast_s)
        joined = model if series is None else series.followed_by(model)
    except Exception as exc:
        if not isinstance(exc, SignalError):
            _LOG.exception("the built-in forecast failed, this is a bug of slurm-green")
        work.say(_MODEL, "forecast", "failed", _sentence(exc))
        return series
    since = work.now_utc if series is None else series.end_utc
    days = past.known * past.step_s / 86_400
    said = f"from {_when(since)} on, learned from {days:.0f} days of {past.provider}"
    work.say(_MODEL, "forecast", "used", said)
    return joined


def _usual(
    work: _Work, series: Series | None, past: Measured | None, horizon_s: float
) -> tuple[Series | None, Climatology | None]:
    if past is None:
        work.say(_USUAL, "climatology", "failed", "no measured past that could go on with it")
        return series, None
    try:
        usual = climatology_of(past)
        if (work.now_utc - usual.made_utc).total_seconds() > MAX_AGE_S:
            raise SignalError(f"what was measured ended {_ago(usual.made_utc, work.now_utc)}")
    except SignalError as exc:
        work.say(_USUAL, "climatology", "failed", str(exc))
        return series, None
    end_utc = work.now_utc + timedelta(seconds=horizon_s)
    if series is None:
        work.say(_USUAL, "climatology", "used", f"all there is: {usual.days} days of the past")
        return usual.series(work.now_utc, end_utc), usual
    usual = usual.at_least_as_wide_as(series)
    if series.end_utc >= end_utc:
        work.say(_USUAL, "climatology", "spare", "not needed: the forecast reaches the horizon")
        return series, usual
    try:
        joined = series.followed_by(usual.series(series.end_utc, end_utc))
    except SignalError as exc:
        work.say(_USUAL, "climatology", "failed", str(exc))
        return series, None
    said = f"from {_when(series.end_utc)} on: what is usual at that hour of the week"
    work.say(_USUAL, "climatology", "used", said)
    return joined, usual


def _left_alone(work: _Work, source: Source, kind: str) -> bool:
    until = work.store.wait_until(source.name)
    if until is None or until <= work.now_utc:
        return False
    left_s = (until - work.now_utc).total_seconds()
    work.say(source.name, kind, "waiting", f"asked to be left alone for {length(left_s)} more")
    return True


def _why(work: _Work, source: Source, exc: Exception) -> str:
    """One sentence for a failure; a request to wait is remembered."""
    if isinstance(exc, RateLimitedError):
        wait_s = _PATIENCE_S if exc.retry_after_s is None else exc.retry_after_s
        until = work.now_utc + timedelta(seconds=min(wait_s, _MOST_PATIENCE_S))
        _quietly(lambda: work.store.let_wait(source.name, until))
    elif not isinstance(exc, SignalError):
        # A plug-in's bug must cost the plug-in, not the signal.
        _LOG.exception("provider %s failed in an unexpected way", source.name)
    return _sentence(exc)


def _quietly(keep: Callable[[], None]) -> None:
    """Keep something for the next time; a full disk costs that and nothing else."""
    try:
        keep()
    except (SignalError, OSError) as exc:
        _LOG.warning("not kept for the next refresh: %s", exc)


def _sentence(exc: Exception) -> str:
    return str(exc) if isinstance(exc, SignalError) else f"{type(exc).__name__}: {exc}"[:200]


def _reach(series: Series, now_utc: datetime) -> str:
    ahead = length((series.end_utc - now_utc).total_seconds())
    return f"{ahead} ahead, issued {_ago(series.issued_utc, now_utc)}"


def _ago(when_utc: datetime, now_utc: datetime) -> str:
    return f"{length(max((now_utc - when_utc).total_seconds(), 0.0))} ago"


def _when(when_utc: datetime) -> str:
    return f"{when_utc:%Y-%m-%d %H:%M} UTC"
