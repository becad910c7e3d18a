# SPDX-License-Identifier: Apache-2.0
"""Asking: what sources measured, what they forecast, and what they last forecast well."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from slurm_green.errors import SignalError
from slurm_green.fetch.work import Source, Work, ago, quietly, reach, sentence, when
from slurm_green.signals.measured import Measured
from slurm_green.signals.provider import RateLimitedError
from slurm_green.signals.series import Series
from slurm_green.words import length

__all__ = ["from_cache", "from_providers", "measured_by"]

_LOG = logging.getLogger(__name__)
# How much of the past a new source is asked for; a model is worth having from four weeks on.
_FIRST = timedelta(days=60)
# Sources correct what they measured for about this long.
_CORRECTED = timedelta(days=2)
# Who limits us without saying for how long is left alone for the first, and nobody for longer than
# the second: a mistaken Retry-After must not silence a provider for ever.
_PATIENCE_S = 900.0
_MOST_PATIENCE_S = 86_400.0


def measured_by(work: Work, source: Source) -> Measured | None:
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
                quietly(partial(work.store.note_asked, source.name, work.quantity, start))
    except Exception as exc:
        work.say(source.name, "history", "failed", _why(work, source, exc))
        return kept
    if kept is None:
        work.say(source.name, "history", "failed", "nothing is measured yet")
    else:
        days = kept.known * kept.step_s / 86_400
        last = ago(kept.end_utc, work.now_utc)
        work.say(source.name, "history", "used", f"{days:.1f} days, the last step {last}")
    return kept


def _added(work: Work, source: Source, kept: Measured | None, measured: Measured) -> Measured:
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


def from_providers(work: Work, sources: Sequence[Source]) -> tuple[Source | None, Series | None]:
    """The first good forecast and who gave it; those after it are not asked."""
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
        quietly(partial(work.store.let_wait, source.name, None))
        quietly(partial(work.store.keep, source.name, series))
        work.say(source.name, "provider", "used", reach(series, work.now_utc))
        found = (source, series)
    return found


def from_cache(
    work: Work, sources: Sequence[Source], max_age_s: float
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
                raise SignalError(f"reaches until {when(series.end_utc)}, not over now")
        except SignalError as exc:
            work.say(name, "cache", "failed", str(exc))
            continue
        work.say(name, "cache", "used", reach(series, work.now_utc))
        return source, series.relabelled(f"cache({series.provider})")
    return None, None


def _left_alone(work: Work, source: Source, kind: str) -> bool:
    until = work.store.wait_until(source.name)
    if until is None or until <= work.now_utc:
        return False
    left_s = (until - work.now_utc).total_seconds()
    if left_s > _MOST_PATIENCE_S:
        # Noted by a clock that was ahead: nobody is left alone for longer.
        return False
    work.say(source.name, kind, "waiting", f"asked to be left alone for {length(left_s)} more")
    return True


def _why(work: Work, source: Source, exc: Exception) -> str:
    """One sentence for a failure; a request to wait is remembered."""
    if isinstance(exc, RateLimitedError):
        wait_s = _PATIENCE_S if exc.retry_after_s is None else exc.retry_after_s
        until = work.now_utc + timedelta(seconds=min(wait_s, _MOST_PATIENCE_S))
        quietly(lambda: work.store.let_wait(source.name, until))
    elif not isinstance(exc, SignalError):
        # A plug-in's bug must cost the plug-in, not the signal.
        _LOG.exception("provider %s failed in an unexpected way", source.name)
    return sentence(exc)
