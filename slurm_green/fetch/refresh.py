# SPDX-License-Identifier: Apache-2.0
"""One refresh of one quantity: who is asked, what is taken, and what is said about it.

The order is that of trust: the first provider that gives a good forecast, else the first last good
one that is not too old, else the built-in forecast; and each of them is followed by the next where
it ends, down to what is usual. What is of another basis, scope or region is never joined.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from slurm_green.errors import SignalError
from slurm_green.fetch.asking import from_cache, from_providers, measured_by
from slurm_green.fetch.store import Store
from slurm_green.fetch.work import Source, Work, ago, quietly, sentence, when
from slurm_green.signals.bundle import Bundle
from slurm_green.signals.climatology import MAX_AGE_S, Climatology, climatology_of
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import CARBON
from slurm_green.signals.regressors import read_regressors
from slurm_green.signals.series import Series

__all__ = ["Forecaster", "Source", "refresh"]

_LOG = logging.getLogger(__name__)
# A past, now, seconds ahead and, by name, regressors -> a forecast from now on.
Forecaster = Callable[..., Series]
# A past that ended longer ago is worse than another source's that did not.
_RECENT = timedelta(days=4)
_MODEL = "built-in forecast"
_USUAL = "climatology"


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
    work = Work(quantity=quantity, store=store, now_utc=now_utc)
    for source in sources:
        quietly(partial(store.adopt, source.name, source.settings))
    pasts = {source.name: measured_by(work, source) for source in sources}
    answered, series = from_providers(work, sources)
    if series is None:
        answered, series = from_cache(work, sources, cache_max_age_s)
    past = _past_for(work, answered, series, pasts)
    if past is not None and regressors is not None:
        forecaster = _leaning(work, forecaster, regressors)
    series = _forecast(work, series, past, pasts, forecaster, forecast_s)
    series, usual = _usual(work, series, past, horizon_s)
    if series is not None:
        end_utc = now_utc + timedelta(seconds=horizon_s)
        series = series.part(series.start_utc, min(series.end_utc, end_utc))
    return Bundle(written_utc=now_utc, series=series, links=tuple(work.links), climatology=usual)


def _past_for(
    work: Work,
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


def _leaning(work: Work, forecaster: Forecaster, path: Path) -> Forecaster:
    """The forecaster with what is known ahead; without a table that cannot be read or has ended."""
    try:
        found = read_regressors(path)
    except SignalError as exc:
        work.say("regressors", "regressors", "failed", str(exc))
        return forecaster
    end = found.start_utc + timedelta(hours=found.values.shape[1])
    said = f"{', '.join(found.names)} until {when(end)}"
    if end <= work.now_utc:
        # It tells of no hour to come.
        work.say("regressors", "regressors", "spare", said)
        return forecaster
    work.say("regressors", "regressors", "used", said)
    return partial(forecaster, regressors=found)


def _forecast(
    work: Work,
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
        work.say(_MODEL, "forecast", "failed", sentence(exc))
        return series
    since = work.now_utc if series is None else series.end_utc
    days = past.known * past.step_s / 86_400
    said = f"from {when(since)} on, learned from {days:.0f} days of {past.provider}"
    work.say(_MODEL, "forecast", "used", said)
    return joined


def _usual(
    work: Work, series: Series | None, past: Measured | None, horizon_s: float
) -> tuple[Series | None, Climatology | None]:
    if past is None:
        work.say(_USUAL, "climatology", "failed", "no measured past that could go on with it")
        return series, None
    try:
        usual = climatology_of(past)
        if (work.now_utc - usual.made_utc).total_seconds() > MAX_AGE_S:
            raise SignalError(f"what was measured ended {ago(usual.made_utc, work.now_utc)}")
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
    said = f"from {when(series.end_utc)} on: what is usual at that hour of the week"
    work.say(_USUAL, "climatology", "used", said)
    return joined, usual
