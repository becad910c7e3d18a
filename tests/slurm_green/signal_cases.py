# SPDX-License-Identifier: Apache-2.0
"""Signal files as the fetching process leaves them, for the tests of verbs that show them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from slurm_green.config.chains import signal_path
from slurm_green.config.load import loads
from slurm_green.fetch.store import Store
from slurm_green.signals.bundle import Bundle, Link, write_bundle
from slurm_green.signals.climatology import climatology_of
from slurm_green.signals.measured import Measured
from slurm_green.signals.series import Series

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
DAY = np.array([300.0, 250, 200, 150, 100, 350, 320, 310] * 3)
TABLES = """
[provider.em]
type = "electricity-maps"
key_file = "/etc/slurm-green/em.key"
zone = "GB"

[provider.uk]
type = "neso"
"""
REFUSED = "electricity-maps: answered 401, the key is expired, wrong, or not for this"
LINKS = (
    Link(name="uk", kind="history", status="used", said="60.0 days, the last step 30 min ago"),
    Link(name="em", kind="provider", status="failed", said=REFUSED),
    Link(name="uk", kind="provider", status="used", said="24 h 00 min ahead, issued 12 min ago"),
)


def configure(sgreen, signal='carbon = ["em", "uk"]', tables=TABLES):
    """Give the site providers, and keep its paths."""
    read = loads(f"[signal]\n{signal}\n{tables}")
    sgreen.config = replace(sgreen.config, signal=read.signal, provider=read.provider)


def series(provider="neso", start=NOW, hours=24, minutes_ago=12, band=True, **fields):
    """An hour a step, cleanest in the fifth, with a band of a fifth."""
    values = fields.pop("values", np.resize(DAY, hours))
    quantiles = {0.1: 0.8 * values, 0.5: values, 0.9: 1.2 * values} if band else {}
    return Series(
        start_utc=start,
        step_s=3600,
        values=values,
        issued_utc=NOW - timedelta(minutes=minutes_ago),
        provider=provider,
        quantiles=quantiles,
        **{"region": "GB", "scope": "direct", **fields},
    )


def past(days=60, **fields):
    """Hourly, until now."""
    return Measured(
        start_utc=NOW - timedelta(days=days),
        step_s=3600,
        values=np.resize(DAY, 24 * days),
        provider="neso",
        **{"region": "GB", "scope": "direct", **fields},
    )


def whole(**fields):
    """A forecast for a day, the built-in one for another, then what is usual for two weeks."""
    head = series(**fields)
    built_in = series("forecast(neso)", start=NOW, hours=48, minutes_ago=1)
    usual = climatology_of(past()).series(NOW, NOW + timedelta(days=14))
    return head.followed_by(built_in).followed_by(usual)


def leave(sgreen, signal, links=LINKS, *, minutes_ago=4, usual=None, quantity="carbon_g_per_kwh"):
    """Write a signal file as `sgreen fetch` does."""
    bundle = Bundle(
        written_utc=NOW - timedelta(minutes=minutes_ago),
        series=signal,
        links=links,
        climatology=usual,
    )
    write_bundle(signal_path(sgreen.config, quantity), bundle)


def keep(sgreen, measured, source="uk"):
    """Put a past where the fetching process keeps its own."""
    Store(directory=sgreen.config.paths.signals).add(source, measured)
