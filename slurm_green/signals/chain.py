# SPDX-License-Identifier: Apache-2.0
"""Ordered providers: the first good series wins, then the last known good.

Forecaster and climatology join as further links; a link is anything with `name` and `fetch`.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from slurm_green.errors import SignalError
from slurm_green.signals.cache import LastKnownGood
from slurm_green.signals.provider import Provider
from slurm_green.signals.series import Series

__all__ = ["Chain"]

_LOG = logging.getLogger(__name__)


class Chain:
    """Provider that asks its links in order; `failures` tells why earlier ones failed."""

    def __init__(self, links: Sequence[Provider], *, cache: LastKnownGood | None = None) -> None:
        """Links in order of preference; `cache` is written on success and asked last."""
        self._links = tuple(links)
        self._cache = cache
        self.failures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """All links' names."""
        return ">".join(link.name for link in self._links)

    def fetch(self, now_utc: datetime) -> Series:
        """The first good series; raises SignalError naming every link and its reason."""
        failures: list[str] = []
        for link in self._links:
            series = self._ask(link, now_utc, failures)
            if series is not None:
                self.failures = tuple(failures)
                self._keep(series)
                return series
        if self._cache is not None:
            series = self._ask(self._cache, now_utc, failures)
            if series is not None:
                self.failures = tuple(failures)
                return series
        self.failures = tuple(failures)
        raise SignalError("no usable signal: " + ("; ".join(failures) or "no provider is set"))

    def _ask(self, link: Provider, now_utc: datetime, failures: list[str]) -> Series | None:
        try:
            series = link.fetch(now_utc)
            if series.covers(now_utc, now_utc):
                return series
            failures.append(f"{link.name}: its series does not cover now")
        except SignalError as exc:
            failures.append(f"{link.name}: {exc}")
        except Exception as exc:
            # A plug-in's bug must cost the plug-in, not the signal.
            _LOG.exception("provider %s failed in an unexpected way", link.name)
            failures.append(f"{link.name}: {type(exc).__name__}: {exc}")
        return None

    def _keep(self, series: Series) -> None:
        if self._cache is None:
            return
        try:
            self._cache.store(series)
        except SignalError as exc:
            _LOG.warning("the last good signal was not kept: %s", exc)
