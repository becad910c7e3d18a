# SPDX-License-Identifier: Apache-2.0
"""Providers and a forecaster that do as they are told, and a desk to refresh at."""

from datetime import UTC, datetime, timedelta

import numpy as np

from slurm_green.fetch.refresh import Source, refresh
from slurm_green.fetch.store import Store
from slurm_green.signals.measured import Measured
from slurm_green.signals.series import Series

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOUR_S = 3600.0
DAY_S = 86_400.0
FORECAST_G = 77.0  # what the fake forecaster says, whatever it learned from


def forecast(hours=48, *, now=NOW, provider="a", grams=123.0, step_s=1800.0, **fields):
    """A provider's forecast from now on, without quantiles."""
    given = {
        "start_utc": now,
        "step_s": step_s,
        "values": np.full(round(hours * HOUR_S / step_s), grams),
        "issued_utc": now,
        "provider": provider,
        "region": "GB",
        "scope": "direct",
    }
    return Series(**(given | fields))


def past(days=30, *, end=NOW, provider="a", step_s=HOUR_S, **fields):
    """A measured past of 100 to 300 g, cleaner at night and cleaner still on Sundays."""
    start = end - timedelta(days=days)
    hours = start.timestamp() / HOUR_S + np.arange(round(days * DAY_S / step_s)) * step_s / HOUR_S
    sunday = np.floor(hours / 24) % 7 == 3  # POSIX time began on a Thursday
    values = 200 - 80 * np.cos(hours * 2 * np.pi / 24) - 20 * sunday
    given = {"region": "GB", "scope": "direct"} | fields
    return Measured(start_utc=start, step_s=step_s, values=values, provider=provider, **given)


class Provider:
    """Gives what it was told to, or raises it; None takes the ability away."""

    def __init__(self, gives=None, *, measured=None):
        self.gives, self.measured = gives, measured
        self.asked = []
        self.spans = []
        if gives is not None:
            self.fetch = self._fetch

    def _fetch(self, now_utc):
        self.asked.append(now_utc)
        if isinstance(self.gives, Exception):
            raise self.gives.with_traceback(None)
        return self.gives


class Historian(Provider):
    """The same with a measured past."""

    def history(self, start_utc, end_utc):
        """The past it was given, whatever was asked."""
        self.spans.append((start_utc, end_utc))
        if isinstance(self.measured, Exception):
            raise self.measured.with_traceback(None)
        return self.measured


class Forecaster:
    """Always says the same, and remembers what it was shown."""

    def __init__(self, raises=None):
        self.raises = raises
        self.seen = []

    def __call__(self, measured, now_utc, ahead_s):
        self.seen.append(measured)
        if self.raises is not None:
            raise self.raises.with_traceback(None)
        hours = round(ahead_s / HOUR_S)
        return Series(
            start_utc=now_utc.replace(minute=0, second=0, microsecond=0),
            step_s=HOUR_S,
            values=np.full(hours, FORECAST_G),
            issued_utc=now_utc,
            provider="built-in",
            region=measured.region,
            quantity=measured.quantity,
            basis=measured.basis,
            scope=measured.scope,
            quantiles={
                share: np.full(hours, FORECAST_G + 20 * (share - 0.5)) for share in (0.1, 0.5, 0.9)
            },
        )


class Desk:
    """Where one quantity is refreshed; `links` and `status` tell of the last time."""

    def __init__(self, directory, *, forecaster=None):
        self.store = Store(directory=directory)
        self.now = NOW
        self.forecaster = forecaster or Forecaster()
        self.links = ()

    def refresh(self, providers, **changes):
        """Refresh from providers by their names, in order."""
        wanted = {
            "store": self.store,
            "forecaster": self.forecaster,
            "now_utc": self.now,
            "horizon_s": 14 * DAY_S,
            "forecast_s": 4 * DAY_S,
            "cache_max_age_s": 12 * HOUR_S,
        }
        bundle = refresh(sources_of(providers), **(wanted | changes))
        self.links = bundle.links
        return bundle

    def status(self, kind, name):
        """What became of a link: its status and its words."""
        ((status, said),) = [
            (one.status, one.said) for one in self.links if (one.kind, one.name) == (kind, name)
        ]
        return status, said


def sources_of(providers):
    """Sources by their names, in order, each with the sides it has."""
    return [
        Source(
            name=name,
            provider=one,
            forecasts=hasattr(one, "fetch"),
            measures=hasattr(one, "history"),
        )
        for name, one in providers.items()
    ]


def kinds(series):
    """The kinds of a series' stretches, in order and without repetition."""
    found = []
    for one in series.stretches:
        if one.kind not in found[-1:]:
            found.append(one.kind)
    return found
