# SPDX-License-Identifier: Apache-2.0
"""The ledger as the daemon holds it: never in the way.

What cannot be written waits in a bounded queue and is tried again; the oldest goes when the queue
is full. A ledger that was deleted or moved away under us is begun anew.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from slurm_green.errors import LedgerError
from slurm_green.ledger.entries import Entry
from slurm_green.ledger.rows import to_row
from slurm_green.ledger.store import Store
from slurm_green.signals.series import Series

__all__ = ["Ledger"]

_LOG = logging.getLogger(__name__)
_SIGNALS_KEPT = 16


class Ledger:
    """Writes when it can; `record` and `flush` never raise.

    working -> waiting when a write fails; waiting -> working when a retry, at most one every
    `retry_s`, succeeds. Each change is logged once.
    """

    def __init__(
        self,
        path: Path,
        *,
        queue_limit: int = 10_000,
        retry_s: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
        open_store: Callable[[Path], Store] = Store,
    ) -> None:
        """Nothing is opened before the first write."""
        self._path = path
        self._queue: deque[Entry] = deque(maxlen=queue_limit)
        self._signals: deque[Series] = deque(maxlen=_SIGNALS_KEPT)
        self._last_signal: tuple[object, ...] | None = None
        self._retry_s = retry_s
        self._monotonic = monotonic
        self._open_store = open_store
        self._store: Store | None = None
        self._inode: tuple[int, int] | None = None
        self._next_try_s = -float("inf")
        self.dropped = 0
        self._told = False
        self.problem: str | None = None

    @property
    def waiting(self) -> int:
        """Entries not yet written."""
        return len(self._queue)

    def record(self, *entries: Entry) -> None:
        """Write now if possible, else later."""
        for entry in entries:
            try:
                to_row(entry)
            except LedgerError as exc:
                # It could never be written, and must not keep the others from it.
                self.dropped += 1
                _LOG.error("an entry of job %s was dropped: %s", entry.job_id, exc)
                continue
            if len(self._queue) == self._queue.maxlen:
                # More may come at once than it holds: the week that is read at a start.
                self.flush()
            if len(self._queue) == self._queue.maxlen:
                self._drop_one()
            self._queue.append(entry)
        self.flush()

    def record_signal(self, series: Series) -> None:
        """Keep what the signal says; the same issue again costs nothing."""
        key = (series.provider, series.issued_utc, series.start_utc, len(series.values))
        if key != self._last_signal:
            self._last_signal = key
            self._signals.append(series)
        self.flush()

    def flush(self) -> bool:
        """Try to write what waits; True when nothing waits any more."""
        if not self._queue and not self._signals:
            return True
        if self._monotonic() < self._next_try_s:
            return False
        try:
            store = self.store()
            store.add(tuple(self._queue))
            self._queue.clear()
            while self._signals:
                store.add_signal(self._signals[0])
                self._signals.popleft()
        except LedgerError as exc:
            self._stumble(exc)
            return False
        if self.problem is not None:
            _LOG.warning("ledger %s is written again; %d entries lost", self._path, self.dropped)
            self.problem = None
            self._told = False
        return True

    def prune(self, before_utc: datetime) -> bool:
        """Forget some of what is older; True when there may be more, False also when it failed."""
        try:
            return self.store().prune(before_utc) > 0
        except LedgerError as exc:
            _LOG.warning("nothing is forgotten now: %s", exc)
            return False

    def store(self) -> Store:
        """The open store, for reading too; raises LedgerError."""
        if self._store is not None and self._inode != _inode(self._path):
            self._store.close()
            self._store = None
        if self._store is None:
            self._store = self._open_store(self._path)
            self._inode = _inode(self._path)
        return self._store

    def close(self) -> None:
        """A last try, then close."""
        self._next_try_s = -float("inf")
        self.flush()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _drop_one(self) -> None:
        """The queue lets the oldest go by itself; said once, until the ledger is written again."""
        self.dropped += 1
        if not self._told:
            _LOG.error("%d entries wait for ledger %s, the oldest go", len(self._queue), self._path)
            self._told = True

    def _stumble(self, exc: LedgerError) -> None:
        self._next_try_s = self._monotonic() + self._retry_s
        if self.problem is None:
            _LOG.error("%s; jobs are not affected, entries wait in memory", exc)
        self.problem = str(exc)
        if self._store is not None:
            self._store.close()
            self._store = None


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - one call a cycle, no Path object wanted
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino)
