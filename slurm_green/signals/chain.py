# SPDX-License-Identifier: Apache-2.0
"""Ordered readers of sgreend: the first good series wins.

What providers, cache, forecast and climatology make of each other is `refresh`'s business, in the
fetching process; a link here is anything with `name` and `fetch` that meets no network.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from slurm_green.errors import SignalError
from slurm_green.signals.bundle import Link
from slurm_green.signals.provider import Provider
from slurm_green.signals.series import Series

__all__ = ["Chain"]

_LOG = logging.getLogger(__name__)


class Chain:
    """Provider that asks its links in order; `failures` tells why earlier ones failed."""

    def __init__(self, links: Sequence[Provider]) -> None:
        """Links in order of preference."""
        self._links = tuple(links)
        self.failures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """All links' names."""
        return ">".join(link.name for link in self._links)

    @property
    def links(self) -> tuple[Link, ...]:
        """What the fetching process said of its chain, where one of ours reads its file."""
        return tuple(one for link in self._links for one in getattr(link, "links", ()))

    def fetch(self, now_utc: datetime) -> Series:
        """The first good series; raises SignalError naming every link and its reason."""
        failures: list[str] = []
        for link in self._links:
            series = self._ask(link, now_utc, failures)
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
            # A reader's bug must cost the reader, not the signal.
            _LOG.exception("provider %s failed in an unexpected way", link.name)
            failures.append(f"{link.name}: {type(exc).__name__}: {exc}")
        return None
