# SPDX-License-Identifier: Apache-2.0
"""The ledger's file: SQLite in WAL mode. Every failure is a LedgerError with the path in it.

A store belongs to one thread. What must go on without a disk uses `guard.Ledger`.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from slurm_green.errors import LedgerError
from slurm_green.ledger.entries import Decision, Entry, Event, JobFacts, NodeEnergy, Query
from slurm_green.ledger.history import SignalRow, assemble
from slurm_green.ledger.rows import TABLES, columns, from_row, insert_sql, seconds, to_row
from slurm_green.ledger.schema import MIGRATIONS
from slurm_green.signals.climatology import CLIMATOLOGY
from slurm_green.signals.series import Series, Stretch

__all__ = ["Store"]

_T = TypeVar("_T", Decision, Event, JobFacts, NodeEnergy)
_WHEN = {
    Decision: "decided_utc",
    Event: "at_utc",
    JobFacts: "COALESCE(end_utc, submit_utc)",
    NodeEnergy: "end_utc",
}
_SIGNAL_SQL = f"""
    INSERT INTO signal_history ({", ".join(SignalRow._fields)})
    VALUES ({", ".join("?" * len(SignalRow._fields))})
    ON CONFLICT DO UPDATE SET value = excluded.value, provider = excluded.provider,
        issued_utc = excluded.issued_utc
    WHERE excluded.issued_utc >= signal_history.issued_utc
"""


class Store:
    """An open ledger file; a context manager."""

    def __init__(self, path: Path, *, readonly: bool = False, busy_s: float = 0.5) -> None:
        """Open, and create or migrate unless `readonly`; `busy_s` bounds the wait for a lock."""
        self.path = path
        self._connection = self._connect(readonly, busy_s)
        try:
            self._prepare(readonly)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        self._connection.close()

    def add(self, entries: Iterable[Entry]) -> None:
        """Write all or none; an entry with a key already there replaces it."""
        by_kind: dict[type[Entry], list[tuple[Any, ...]]] = {}
        for entry in entries:
            by_kind.setdefault(type(entry), []).append(to_row(entry))
        with self._writing():
            for kind, rows in by_kind.items():
                self._connection.executemany(insert_sql(kind), rows)

    def add_signal(self, series: Series) -> None:
        """Keep what the series says for each of its slots; a later issue wins."""
        start_s = seconds(series.start_utc)
        # A step's own origin: what is only usual must not pass for the forecast before it.
        origins = [one for one in series.stretches for _ in range(one.steps)]
        rows = [
            SignalRow(
                # Milliseconds: two fetches of one slot must meet in one row.
                start_utc=round(start_s + i * series.step_s, 3),
                step_s=round(series.step_s, 3),
                value=float(value),
                provider=origins[i].provider,
                region=series.region,
                unit=series.unit,
                basis=series.basis,
                scope=series.scope,
                time_scale=series.time_scale,
                issued_utc=_rank_s(origins[i]),
            )
            for i, value in enumerate(series.values)
        ]
        with self._writing():
            self._connection.executemany(_SIGNAL_SQL, rows)

    def decisions(self, query: Query | None = None) -> list[Decision]:
        """Decisions by time of decision."""
        return self._select(Decision, query or Query())

    def events(self, query: Query | None = None) -> list[Event]:
        """Events by time; a query by user, account or partition goes through the job."""
        return self._select(Event, query or Query())

    def jobs(self, query: Query | None = None) -> list[JobFacts]:
        """Jobs by end, or by submission while they have none."""
        return self._select(JobFacts, query or Query())

    def has_ended(self, cluster: str, job_id: int, submit_utc: datetime) -> bool:
        """Whether there is a row of this run of the job, with its end."""
        sql = """
            SELECT 1 FROM jobs
            WHERE cluster = ? AND job_id = ? AND submit_utc = ? AND end_utc IS NOT NULL
        """
        with self._reading():
            found = self._connection.execute(sql, (cluster, job_id, seconds(submit_utc)))
            return found.fetchone() is not None

    def energies(self, query: Query | None = None) -> list[NodeEnergy]:
        """What nodes told of jobs' counters, by end; of a query cluster, job, times count."""
        return self._select(NodeEnergy, query or Query())

    def signal(self, start_utc: datetime, end_utc: datetime) -> Series | None:
        """What the signal said over the whole of [start, end]; None where a slot is missing."""
        sql = f"""
            SELECT {", ".join(SignalRow._fields)} FROM signal_history
            WHERE start_utc <= ? AND start_utc > ? - (SELECT MAX(step_s) FROM signal_history)
        """
        with self._reading():
            found = self._connection.execute(sql, (seconds(end_utc), seconds(start_utc)))
            rows = [SignalRow(*row) for row in found]
        return assemble(rows, start_utc, end_utc)

    def prune(self, before_utc: datetime, *, most: int = 10_000) -> int:
        """Forget what is older, at most so many rows of a table; returns how many went."""
        before_s, gone = seconds(before_utc), 0
        tables = {TABLES[kind]: when for kind, when in _WHEN.items()}
        with self._writing():
            for table, when in (tables | {"signal_history": "start_utc + step_s"}).items():
                old = f"SELECT rowid FROM {table} WHERE {when} < ? LIMIT ?"
                sql = f"DELETE FROM {table} WHERE rowid IN ({old})"
                gone += self._connection.execute(sql, (before_s, most)).rowcount
        return gone

    def _connect(self, readonly: bool, busy_s: float) -> sqlite3.Connection:
        try:
            if readonly:
                uri = f"file:{quote(str(self.path))}?mode=ro"
            else:
                # Created by us first: who else may read it is not left to the umask alone.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
                uri = f"file:{quote(str(self.path))}?mode=rw"
            return sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None)
        except (sqlite3.Error, OSError, ValueError) as exc:
            raise self._failed("cannot open", exc) from exc

    def _prepare(self, readonly: bool) -> None:
        with self._reading():
            if not readonly:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
                # A power cut may cost the last seconds, never the file.
                self._connection.execute("PRAGMA synchronous = NORMAL")
            version = self._version()
        if version > len(MIGRATIONS):
            raise LedgerError(
                f"ledger {self.path} has version {version}, this release knows "
                f"{len(MIGRATIONS)}; run the newer release, or move the file away"
            )
        if version == len(MIGRATIONS):
            return
        if readonly:
            raise LedgerError(
                f"ledger {self.path} has version {version}: restart sgreend, which migrates it"
            )
        with self._writing():
            # Again under the lock: another process may have migrated it meanwhile.
            for number in range(self._version(), len(MIGRATIONS)):
                for statement in MIGRATIONS[number].split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {number + 1}")

    def _version(self) -> int:
        with closing(self._connection.execute("PRAGMA user_version")) as cursor:
            return int(cursor.fetchone()[0])

    def _select(self, kind: type[_T], query: Query) -> list[_T]:
        where, values = _conditions(kind, query)
        sql = (
            f"SELECT {', '.join(columns(kind))} FROM {TABLES[kind]}{where}"
            f" ORDER BY {_WHEN[kind]}, job_id"
        )
        if query.limit is not None:
            sql += " LIMIT ?"
            values.append(query.limit)
        with self._reading():
            rows = self._connection.execute(sql, values).fetchall()
        try:
            return [from_row(kind, row) for row in rows]
        except (ValueError, TypeError, OverflowError) as exc:
            raise self._failed("holds a damaged row", exc) from exc

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise self._failed("cannot read", exc) from exc

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself on a full disk.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            raise self._failed("cannot write", exc) from exc

    def _failed(self, what: str, exc: Exception) -> LedgerError:
        hint, said = "", str(exc)
        if "not a database" in said or "malformed" in said:
            hint = "; move the file away, with its -wal and -shm, and a new one is begun"
        return LedgerError(f"{what} ledger {self.path}: {exc}{hint}")


def _conditions(kind: type[Entry], query: Query) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []

    def add(part: str, *given: Any) -> None:
        parts.append(part)
        values.extend(given)

    if query.since_utc is not None:
        add(f"{_WHEN[kind]} >= ?", seconds(query.since_utc))
    if query.until_utc is not None:
        add(f"{_WHEN[kind]} < ?", seconds(query.until_utc))
    if query.cluster:
        add("cluster = ?", query.cluster)
    if query.job_id is not None:
        if kind is JobFacts:
            add("(job_id = ? OR array_job_id = ?)", query.job_id, query.job_id)
        else:
            add("job_id = ?", query.job_id)
    for name in ("user", "account", "partition"):
        wanted = getattr(query, name)
        if not wanted or kind is NodeEnergy:
            continue
        if kind is Event:
            add(
                "EXISTS (SELECT 1 FROM decisions d WHERE d.cluster = events.cluster"
                f" AND d.job_id = events.job_id AND d.{name} = ?)",
                wanted,
            )
        else:
            add(f"{name} = ?", wanted)
    return (" WHERE " + " AND ".join(parts) if parts else ""), values


def _rank_s(origin: Stretch) -> float:
    """When it was issued; what is only usual gives way to any forecast of the slot."""
    return 0.0 if origin.kind == CLIMATOLOGY else seconds(origin.issued_utc)
