# SPDX-License-Identifier: Apache-2.0
"""One refresh under way: what was said of each link so far, and the words for it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from slurm_green.errors import SignalError
from slurm_green.fetch.store import Store
from slurm_green.signals.bundle import Link
from slurm_green.signals.series import Series
from slurm_green.words import length

__all__ = ["Source", "Work", "ago", "quietly", "reach", "sentence", "when"]

_LOG = logging.getLogger(__name__)


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
class Work:
    """One refresh under way."""

    quantity: str
    store: Store
    now_utc: datetime
    links: list[Link] = field(default_factory=list)

    def say(self, name: str, kind: str, status: str, said: str) -> None:
        """What became of one link."""
        self.links.append(Link(name=name, kind=kind, status=status, said=said))


def quietly(keep: Callable[[], None]) -> None:
    """Keep something for the next time; a full disk costs that and nothing else."""
    try:
        keep()
    except (SignalError, OSError) as exc:
        _LOG.warning("not kept for the next refresh: %s", exc)


def sentence(exc: Exception) -> str:
    """What went wrong, for people."""
    return str(exc) if isinstance(exc, SignalError) else f"{type(exc).__name__}: {exc}"[:200]


def reach(series: Series, now_utc: datetime) -> str:
    """How far a forecast reaches, and how old it is."""
    ahead = length((series.end_utc - now_utc).total_seconds())
    return f"{ahead} ahead, issued {ago(series.issued_utc, now_utc)}"


def ago(when_utc: datetime, now_utc: datetime) -> str:
    """How long ago something was."""
    return f"{length(max((now_utc - when_utc).total_seconds(), 0.0))} ago"


def when(when_utc: datetime) -> str:
    """A time in words."""
    return f"{when_utc:%Y-%m-%d %H:%M} UTC"
