# SPDX-License-Identifier: Apache-2.0
"""Receipts of jobs that ended while no cycle looked: Slurm forgets them after MinJobAge."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from slurm_green.controller.books import Books
from slurm_green.errors import SlurmError
from slurm_green.slurm.client import SlurmClient
from slurm_green.slurm.records import ClusterInfo, Job

__all__ = ["Missed"]

_LOG = logging.getLogger(__name__)
# Slurm's own default, for a slurm.conf that does not show it.
_MIN_JOB_AGE_S = 300
# Where MinJobAge is shorter than a cycle's interval every cycle misses jobs. And accounting that
# hangs keeps the next cycle waiting: it is asked ever more rarely.
_ASK_EVERY, _ASK_AT_LEAST_EVERY = timedelta(minutes=1), timedelta(hours=1)
# Receipts in one cycle: half a second or two, so that no hold waits for a whole week's.
_AT_ONCE = 2_000
# The last cycle asked for jobs a little before its time, and clocks differ.
_EARLIER = timedelta(seconds=60)


@dataclass(kw_only=True)
class Missed:
    """Asks accounting after a gap between cycles; what is only remembered comes last.

    seeing -> blind when two cycles lie further apart than MinJobAge, or a job ran between them and
    was requeued; blind -> seeing when accounting has answered, with at most one question a minute.
    """

    client: SlurmClient
    books: Books
    now: Callable[[], datetime]
    _jobs: Sequence[Job] = ()
    _since: datetime | None = None
    _next_ask: datetime | None = None
    _wait: timedelta = _ASK_EVERY

    def add(self, past: Sequence[Job]) -> None:
        """Jobs that accounting told of at the start."""
        self._jobs = (*self._jobs, *past)

    def unknown_since(self, since: datetime) -> None:
        """Accounting did not answer at the start."""
        self._since = since

    def looked(self, before: datetime | None, now: datetime, info: ClusterInfo) -> None:
        """A cycle has seen and booked all that Slurm knows; the one before did so at `before`."""
        since = [one for one in (self._since, self.books.missed_since) if one is not None]
        forgotten_s = _min_job_age_s(info)
        if before is not None and forgotten_s and (now - before).total_seconds() > forgotten_s:
            since.append(before)
        self._since = min(since, default=None)

    def write(self) -> None:
        """Whatever is wrong with accounting or the ledger, cycles go on."""
        try:
            self._ask()
        except Exception:
            _LOG.exception("accounting is not asked what ended while nobody looked")
        try:
            written = not self._jobs or self.books.observe(self._jobs[:_AT_ONCE])
        except Exception:
            _LOG.exception("what ended while nobody looked is not in the ledger")
            written = True  # it would fail again
        if written:
            self._jobs = self._jobs[_AT_ONCE:]

    def _ask(self) -> None:
        since, now = self._since, self.now()
        # A clock that was set back must not make it wait.
        waits = self._next_ask is not None and now < self._next_ask <= now + self._wait
        if since is None or waits:
            return
        try:
            found = self.client.finished(since - _EARLIER, runs=True)
        except SlurmError as error:
            self._next_ask, self._wait = now + self._wait, min(2 * self._wait, _ASK_AT_LEAST_EVERY)
            shown = f"{since:%Y-%m-%dT%H:%M:%SZ}"
            _LOG.warning("accounting did not answer what ended since %s: %s", shown, error)
            return
        self._since, self._next_ask, self._wait = None, now + _ASK_EVERY, _ASK_EVERY
        self.add(found or ())


def _min_job_age_s(info: ClusterInfo) -> int:
    """0 where Slurm forgets no job."""
    found = re.match(r"\d+", info.settings.get("MinJobAge", ""))
    return _MIN_JOB_AGE_S if found is None else int(found[0])
