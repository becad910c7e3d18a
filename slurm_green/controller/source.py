# SPDX-License-Identifier: Apache-2.0
"""One batch of Slurm queries a cycle: jobs and nodes fresh, what hardly changes from a cache."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from slurm_green.controller.nodes.site import NodeSite
from slurm_green.controller.observed import Observed
from slurm_green.errors import SignalError
from slurm_green.signals.provider import Provider
from slurm_green.signals.series import Series
from slurm_green.slurm.client import SlurmClient
from slurm_green.slurm.records import ClusterInfo, Partition, Reservation

__all__ = ["Source"]

_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Source:
    """Reads Slurm and the signal into one Observed; raises SlurmError if Slurm does not answer."""

    client: SlurmClient
    provider: Provider
    off_marker: Path
    # Quantity -> who reads it: the site's own supply and its draw besides jobs.
    own: Mapping[str, Provider] = field(default_factory=dict)
    # What the node API plans with; None where it is off.
    nodes: Callable[[], NodeSite] | None = None
    now: Callable[[], datetime]
    # Partitions, reservations and slurm.conf change by hand, not by the minute.
    slow_every_s: float = 60.0
    _slow: tuple[list[Partition], list[Reservation], ClusterInfo] | None = field(default=None)
    _slow_at: datetime | None = field(default=None)
    _off_problem: str = ""

    def observe(self) -> Observed:
        """Everything a cycle needs, at one moment."""
        partitions, reservations, info = self._slowly()
        jobs, nodes = self.client.jobs(), self.client.nodes()
        # Taken after the queries: begin times must be judged by a clock that is not behind them.
        now = self.now()
        signal, problem = self._signal(now)
        own, own_problem = self._own(now)
        return Observed(
            now_utc=now,
            jobs=tuple(jobs),
            nodes=tuple(nodes),
            partitions=tuple(partitions),
            reservations=tuple(reservations),
            info=info,
            signal=signal,
            signal_problem=problem,
            signal_links=getattr(self.provider, "links", ()),
            own=own,
            own_problem=own_problem,
            off=self._off(),
            nodes_site=None if self.nodes is None else self.nodes(),
        )

    def _off(self) -> bool:
        """Also while a shared place of the marker cannot be asked: it may be there."""
        try:
            self.off_marker.stat()
        except (FileNotFoundError, NotADirectoryError):
            off, problem = False, ""
        except OSError as error:
            off, problem = True, str(error)
        else:
            off, problem = True, ""
        if problem and problem != self._off_problem:
            _LOG.warning("taken to be switched off: %s", problem)
        self._off_problem = problem
        return off

    def _slowly(self) -> tuple[list[Partition], list[Reservation], ClusterInfo]:
        now = self.now()
        # A time in the future is one from before the clock was set back.
        age_s = -1.0 if self._slow_at is None else (now - self._slow_at).total_seconds()
        if self._slow is None or not 0.0 <= age_s < self.slow_every_s:
            self._slow = (
                self.client.partitions(),
                self.client.reservations(),
                self.client.info(),
            )
            self._slow_at = now
        return self._slow

    def _signal(self, now: datetime) -> tuple[Series | None, str]:
        try:
            return self.provider.fetch(now), ""
        except SignalError as error:
            return None, str(error)

    def _own(self, now: datetime) -> tuple[tuple[Series, ...], str]:
        """All of it or nothing: half of a balance would be a wrong one."""
        found = []
        for quantity, provider in self.own.items():
            try:
                series = provider.fetch(now)
            except SignalError as error:
                return (), str(error)
            if series.quantity != quantity:
                return (), f"{series.provider} has {series.quantity}, wanted {quantity}"
            found.append(series)
        return tuple(found), ""
