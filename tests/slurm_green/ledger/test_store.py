# SPDX-License-Identifier: Apache-2.0
"""The ledger's file: round trips, queries, migrations, damage, speed."""

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from slurm_green.errors import LedgerError
from slurm_green.ledger.entries import Decision, Event, JobFacts, Query, facts_of
from slurm_green.ledger.rows import TABLES
from slurm_green.ledger.schema import MIGRATIONS
from slurm_green.ledger.store import Store
from slurm_green.signals.climatology import CLIMATOLOGY
from slurm_green.signals.series import Series, Stretch
from slurm_green.slurm.records import Job

NOW = datetime(2026, 5, 1, 12, 0, 0, 123457, tzinfo=UTC)
HOUR = timedelta(hours=1)


def decision(job_id=1, **changes):
    return Decision(**{"cluster": "c", "job_id": job_id, "decided_utc": NOW, **changes})


def job(job_id=1, **changes):
    return JobFacts(**{"cluster": "c", "job_id": job_id, "submit_utc": NOW, **changes})


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "ledger.db") as one:
        yield one


FULL = JobFacts(
    cluster="c", job_id=7, submit_utc=NOW, array_job_id=5, array_task="2", user="ann",
    account="ml", partition="gpu", qos="normal", name="träin 'x'; DROP TABLE jobs;--",
    asked_begin_utc=NOW, eligible_utc=NOW + HOUR, start_utc=NOW + HOUR, end_utc=NOW + 3 * HOUR,
    deadline_utc=NOW + 9 * HOUR, time_limit_s=7200.0, state="COMPLETED", restarts=1,
    earlier_runs=((NOW, NOW + HOUR / 3),), gpus=4, cpus=16, nodes=2,
    mode="enforce", action="defer", energy_j=1e7, energy_source="modelled", power_w=1234.5,
    carbon_g=10.5, carbon_now_g=12.0, saved_g=1.5, basis="average", scope="direct",
    time_scale=1.0,
)  # fmt: skip


def test_round_trip(store):
    """Every field of every kind survives, microseconds and unknowns too."""
    whole = decision(
        token="t", submit_utc=NOW, start_utc=NOW + HOUR, latest_utc=NOW + 2 * HOUR, save_g=3.5,
        expected_s=60.0, power_w=7.0, age_s=5.0, promise="becomes eligible by ...",
    )  # fmt: skip
    event = Event(cluster="c", job_id=1, at_utc=NOW, kind="released", detail="room shrank")
    store.add([whole, event, FULL, job(8), decision(9)])
    assert store.decisions() == [whole, decision(9)]
    assert store.events() == [event]
    assert store.jobs() == [job(8), FULL]


def test_survives_reopening(tmp_path):
    """What was added is on disk once the store is closed."""
    with Store(tmp_path / "l.db") as store:
        store.add([FULL])
    with Store(tmp_path / "l.db", readonly=True) as store:
        assert store.jobs() == [FULL]
        with pytest.raises(LedgerError, match="cannot write"):
            store.add([FULL])


def test_same_key_replaces(store):
    """A replayed entry does no harm, and later facts replace earlier ones."""
    store.add([job(1, state="RUNNING"), decision(1)])
    store.add([job(1, state="COMPLETED", end_utc=NOW), decision(1, reason="again")])
    assert [(one.state, one.end_utc) for one in store.jobs()] == [("COMPLETED", NOW)]
    assert [one.reason for one in store.decisions()] == ["again"]


def test_all_or_nothing(store):
    """One impossible entry keeps the others of its call out, and says why."""
    for bad in (
        decision(2, decided_utc=NOW.replace(tzinfo=None)),
        decision(2, save_g=float("nan")),
        decision(2, gpus=2**70),
        decision(2, name=None),
        decision(2, name=b"bytes"),
    ):
        with pytest.raises(LedgerError):
            store.add([decision(1), bad])
    assert store.decisions() == []


def test_a_write_that_fails_half_way_leaves_nothing_open(store):
    """The next one goes on, and what was written before the failure is not there."""
    with closing(sqlite3.connect(store.path)) as raw:
        raw.execute("ALTER TABLE events RENAME TO elsewhere")
    event = Event(cluster="c", job_id=1, at_utc=NOW, kind="released")
    with pytest.raises(LedgerError, match=r"no such table: events$"):
        store.add([decision(1), event])
    store.add([decision(2)])
    assert [one.job_id for one in store.decisions()] == [2]


def test_hostile_text(store):
    """Quotes, newlines, NUL, lone surrogates and 100 kB are data."""
    names = ["'; --", "a\nb", "nul\0x", "\udcff", "x" * 100_000]
    store.add([decision(i, name=name) for i, name in enumerate(names)])
    got = [one.name for one in store.decisions()]
    assert got == ["'; --", "a\nb", "nul?x", "?", "x" * 100_000]


def test_queries(store):
    """By time, user, account, partition, job and array; limits are honoured."""
    store.add(
        [
            job(1, user="ann", account="ml", partition="gpu", end_utc=NOW + HOUR),
            job(2, user="bob", account="ml", partition="cpu", end_utc=NOW + 2 * HOUR),
            job(3, user="ann", account="bio", array_job_id=3, array_task="0"),
            job(4, user="ann", account="bio", array_job_id=3, array_task="1", end_utc=NOW + HOUR),
            replace(job(1), cluster="other"),
        ]
    )

    def ids(**query):
        return sorted((one.cluster, one.job_id) for one in store.jobs(Query(**query)))

    assert ids(user="ann", cluster="c") == [("c", 1), ("c", 3), ("c", 4)]
    assert ids(account="ml", partition="cpu") == [("c", 2)]
    assert ids(job_id=3) == [("c", 3), ("c", 4)]
    assert ids(since_utc=NOW + HOUR, until_utc=NOW + 2 * HOUR) == [("c", 1), ("c", 4)]
    assert ids(cluster="other") == [("other", 1)]
    assert ids(user="x' OR '1'='1") == []
    assert len(store.jobs(Query(limit=2))) == 2


def test_decisions_by_what_was_asked(store):
    """Of one user, of one job, of some hours; without a word all of them."""
    store.add([decision(1, user="ann"), decision(2, user="bob", decided_utc=NOW + HOUR)])

    def ids(*query):
        return [one.job_id for one in store.decisions(*query)]

    assert ids() == ids(Query()) == [1, 2]
    assert ids(Query(user="bob")) == ids(Query(since_utc=NOW + HOUR)) == [2]
    assert ids(Query(job_id=1)) == ids(Query(until_utc=NOW + HOUR)) == [1]


def test_whether_a_run_has_its_end(store):
    """Each run of a requeued job has a row of its own; one that runs has no end yet."""
    store.add([job(1, end_utc=NOW + HOUR), job(1, submit_utc=NOW + HOUR), job(2)])
    assert store.has_ended("c", 1, NOW)
    others = [("c", 1, NOW + HOUR), ("c", 2, NOW), ("c", 3, NOW), ("d", 1, NOW)]
    assert not any(store.has_ended(*one) for one in others)


def test_events_by_user(store):
    """Events have no user of their own: the decision has."""
    store.add([decision(1, user="ann"), decision(2, user="bob")])
    store.add([Event(cluster="c", job_id=i, at_utc=NOW, kind="confirmed") for i in (1, 2)])
    assert [one.job_id for one in store.events(Query(user="bob"))] == [2]


def series(start_utc=NOW, values=(1.0, 2.0, 3.0, 4.0), step_s=1800.0, issued_utc=NOW, **more):
    return Series(
        start_utc=start_utc,
        step_s=step_s,
        values=np.array(values),
        issued_utc=issued_utc,
        **{"provider": "neso", "region": "GB", **more},
    )


START = datetime(2026, 5, 1, tzinfo=UTC)


def test_signal_later_issue_wins(store):
    """The past is what was said last about it; an older issue written later changes nothing."""
    store.add_signal(series(START))
    newer = series(START + HOUR, values=(30.0, 40.0, 50.0), issued_utc=NOW + HOUR)
    store.add_signal(newer)
    store.add_signal(series(START))
    got = store.signal(START, START + 2.5 * HOUR)
    assert list(got.values) == [1.0, 2.0, 30.0, 40.0, 50.0]
    assert (got.region, got.basis, got.issued_utc) == ("GB", "average", NOW + HOUR)


def test_what_is_usual_takes_no_forecasts_place(store):
    """Said later, too; where nothing else is known it counts, and the newer of two does."""

    def usual(value, issued_utc):
        stretches = [
            Stretch(steps=2, provider="climatology(neso)", issued_utc=issued_utc, kind=CLIMATOLOGY),
            Stretch(steps=1, provider="neso", issued_utc=issued_utc),
        ]
        return series(
            START + HOUR, values=(value,) * 3, issued_utc=issued_utc, provenance=tuple(stretches)
        )

    store.add_signal(usual(70.0, NOW + HOUR))
    store.add_signal(series(START, values=(1.0, 2.0, 3.0)))
    store.add_signal(usual(80.0, NOW + 2 * HOUR))
    got = store.signal(START, START + 2.5 * HOUR)
    assert list(got.values) == [1.0, 2.0, 3.0, 80.0, 80.0]
    assert got.provider == "climatology(neso)+neso"


def test_signal_with_a_hole_is_unknown(store):
    """Half of it known is unknown, at either end and in the middle."""
    store.add_signal(series(START))
    store.add_signal(series(START + 3 * HOUR))
    assert store.signal(START + HOUR, START + 4 * HOUR) is None
    assert store.signal(START - HOUR, START + HOUR) is None
    assert store.signal(START + 4 * HOUR, START + 6 * HOUR) is None
    assert store.signal(START + 10 * HOUR, START + 11 * HOUR) is None
    assert store.signal(START + HOUR, START + 2 * HOUR).mean(START + HOUR, START + 2 * HOUR) == 3.5


def test_signal_of_different_steps_and_kinds(store):
    """Hours and half hours join on a common grid; two kinds of signal never do."""
    store.add_signal(series(START, values=(10.0, 20.0), step_s=3600.0))
    store.add_signal(series(START + HOUR / 2, values=(1.0,), issued_utc=NOW + HOUR, provider="b"))
    got = store.signal(START, START + 2 * HOUR)
    assert (got.step_s, list(got.values)) == (1800.0, [10.0, 1.0, 20.0, 20.0])
    assert got.provider == "b+neso"
    late = series(START, values=(7.0,), basis="marginal", issued_utc=NOW + 2 * HOUR)
    store.add_signal(late)
    got = store.signal(START, START + 2 * HOUR)
    assert (got.basis, list(got.values)) == ("average", [10.0, 1.0, 20.0, 20.0])
    assert list(store.signal(START, START + HOUR / 2).values) == [7.0]
    store.add_signal(series(START + 2 * HOUR, values=(7.0,), basis="marginal"))
    assert store.signal(START, START + 2.5 * HOUR) is None


def test_signal_time_scaled(store):
    """A demo's five-second steps, fetched again and again at shifted starts, stay one row each."""
    for shift in range(3):
        begin = START + timedelta(seconds=5 * shift + 2e-4 * shift)
        store.add_signal(
            series(begin, values=np.arange(24.0) + shift, step_s=5.0, time_scale=720.0)
        )
    with closing(sqlite3.connect(store.path)) as raw:
        assert raw.execute("SELECT COUNT(*) FROM signal_history").fetchone() == (26,)
    got = store.signal(START, START + timedelta(seconds=130))
    assert (got.time_scale, len(got.values)) == (720.0, 26)


def test_signal_of_steps_that_are_no_whole_milliseconds(store):
    """Ten minutes scaled by 720: rounding must not leave a hole between two slots."""
    store.add_signal(series(START, values=np.arange(144.0), step_s=600 / 720, time_scale=720.0))
    got = store.signal(START, START + timedelta(seconds=119))
    assert got.mean(START, START + timedelta(seconds=60)) == pytest.approx(35.5, abs=0.1)


def test_prune(store):
    """What is older goes, the rest stays."""
    store.add([decision(1), decision(2, decided_utc=NOW + HOUR)])
    store.add_signal(series(NOW - 3 * HOUR))
    assert store.prune(NOW + HOUR / 2) == 5
    assert [one.job_id for one in store.decisions()] == [2]


def test_prune_takes_no_more_than_it_may(store):
    """A year that goes at once must not keep the next cycle waiting."""
    store.add([decision(n) for n in range(5)] + [job(n) for n in range(3)])
    assert [store.prune(NOW + HOUR, most=2) for _ in range(4)] == [4, 3, 1, 0]
    assert (store.decisions(), store.jobs()) == ([], [])


def test_facts_of_a_slurm_record():
    """A Slurm record becomes facts without losing what receipts need."""
    record = Job(
        job_id=4, array_job_id=3, array_task="1", user="ann", gpus=2, time_limit_s=60,
        start_utc=NOW, end_utc=NOW + HOUR, state="COMPLETED", cluster="c", restarts=2,
    )  # fmt: skip
    got = facts_of(record, submit_utc=NOW, mode="enforce", action="defer")
    assert (got.label, got.ours, got.now_utc, got.restarts) == ("3_1", True, NOW, 2)
    assert (got.gpus, got.time_limit_s, got.end_utc) == (2, 60, NOW + HOUR)


def test_older_files_are_migrated(tmp_path, monkeypatch):
    """A file of an older release gets what is missing and keeps its rows."""
    path = tmp_path / "l.db"
    with Store(path) as store:
        store.add([decision(1)])
    more = (*MIGRATIONS, "CREATE TABLE extra (x); CREATE INDEX extra_x ON extra (x)")
    monkeypatch.setattr("slurm_green.ledger.store.MIGRATIONS", more)
    with pytest.raises(LedgerError, match=r"version \d: restart sgreend"):
        Store(path, readonly=True)
    with Store(path) as store:
        assert len(store.decisions()) == 1
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(more),)
    raw.close()


@pytest.mark.parametrize("version", range(len(MIGRATIONS)))
def test_files_of_every_older_version_open(tmp_path, version):
    """They become what a new file is."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as raw:
        raw.executescript(";".join(MIGRATIONS[:version]))
        raw.execute(f"PRAGMA user_version = {version}")
    raw.close()
    for one in (path, tmp_path / "new.db"):
        Store(one).close()
    assert _schema(path) == _schema(tmp_path / "new.db")


def _schema(path):
    with sqlite3.connect(path) as raw:
        names = {row[0] for row in raw.execute("SELECT name FROM sqlite_master")}
    raw.close()
    return names


def test_a_receipt_does_not_read_the_whole_signal(tmp_path):
    """Each asks twice how long the longest step is: over a year of signal that must be a look."""
    Store(tmp_path / "l.db").close()
    with sqlite3.connect(tmp_path / "l.db") as raw:
        plan = raw.execute("EXPLAIN QUERY PLAN SELECT MAX(step_s) FROM signal_history").fetchall()
    raw.close()
    assert [row[3].rpartition(" ")[2] for row in plan] == ["signal_by_step"]


def test_failed_migration_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    """Half a migration is none."""
    path = tmp_path / "l.db"
    Store(path).close()
    monkeypatch.setattr(
        "slurm_green.ledger.store.MIGRATIONS", (*MIGRATIONS, "CREATE TABLE extra (x); nonsense")
    )
    with pytest.raises(LedgerError, match="cannot write"):
        Store(path)
    monkeypatch.undo()
    with Store(path) as store:
        assert store.decisions() == []


def test_newer_files_are_refused(tmp_path):
    """A newer release's file is not touched."""
    path = tmp_path / "l.db"
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(LedgerError, match="version 99"):
        Store(path)


def test_columns_match_the_schema(store):
    """The dataclasses and the tables name the same columns."""
    for kind, table in TABLES.items():
        rows = store._connection.execute(f"PRAGMA table_info({table})").fetchall()
        assert [row[1] for row in rows] == [field.name for field in fields(kind)]


def test_cannot_open(tmp_path):
    """A missing directory, a directory, rubbish and a read-only tree are LedgerErrors."""
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_bytes(os.urandom(8192))
    with pytest.raises(LedgerError, match="move the file away"):
        Store(rubbish)
    for path in (tmp_path / "no" / "l.db", tmp_path, tmp_path / "none.db"):
        with pytest.raises(LedgerError, match="cannot"):
            Store(path, readonly=path.name == "none.db")
    with pytest.raises(LedgerError, match="cannot open"):
        Store(Path("/proc/sys/ledger.db"))


def test_what_cannot_be_used_is_not_kept_open(tmp_path):
    """sgreend tries again every ten seconds, for as long as it takes."""
    path = tmp_path / "rubbish.db"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(LedgerError) as error:  # which keeps what it came from alive
        Store(path)
    opened = [one.readlink() for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    assert path not in opened
    assert error.value.__cause__ is not None


def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(LedgerError, match="cannot open"):
        Store(tmp_path / "a\0b")


def test_a_copy_that_sqlite_made_can_be_read(store, tmp_path):
    """It has no write-ahead log, and who reads it may not give it one."""
    store.add([decision(1)])
    with closing(sqlite3.connect(store.path)) as raw:
        raw.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    with Store(tmp_path / "copy.db", readonly=True) as copy:
        assert copy.decisions() == [decision(1)]


@pytest.mark.parametrize(
    "change", ["earlier_runs = '[1'", "earlier_runs = '[1]'", "end_utc = 'x'", "end_utc = 1e300"]
)
def test_a_damaged_row(store, change):
    """Somebody wrote to the file by hand."""
    store.add([FULL])
    with sqlite3.connect(store.path) as raw:
        raw.execute(f"UPDATE jobs SET {change}")
    raw.close()
    with pytest.raises(LedgerError, match="holds a damaged row"):
        store.jobs()


def test_damaged_pages(tmp_path):
    """A file whose inside was overwritten raises nothing but LedgerError, with what to do."""
    path = tmp_path / "l.db"
    with Store(path) as store:
        store.add([decision(i, reason="x" * 500) for i in range(500)])
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 8192))
    with pytest.raises(LedgerError, match="malformed; move the file away"), Store(path) as store:
        store.decisions()


def test_a_reader_stops_no_writer(store):
    """A report that reads for long must not cost sgreend its entries."""
    raw = sqlite3.connect(store.path, isolation_level=None)
    raw.execute("BEGIN")
    assert raw.execute("SELECT COUNT(*) FROM jobs").fetchone() == (0,)
    store.add([job(1)])
    raw.close()
    assert [one.job_id for one in store.jobs()] == [1]


def test_who_may_read_it_is_not_left_to_the_umask(tmp_path):
    """It says whose jobs ran when, and so does what SQLite keeps beside it."""
    before = os.umask(0)
    try:
        with Store(tmp_path / "l.db") as store:
            store.add([job(1)])
            modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o640}


def test_locked_by_another(tmp_path):
    """A writer that holds the lock costs the wait and then a LedgerError."""
    path = tmp_path / "l.db"
    with Store(path, busy_s=0.01) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(LedgerError, match=r"locked$"):  # no word of moving it away
            store.add([decision(1)])
        assert time.monotonic() - began < 4  # SQLite's own wait is five seconds
        other.execute("ROLLBACK")
        other.close()
        store.add([decision(1)])
        assert len(store.decisions()) == 1


def test_thousand_decisions_within_a_second(store):
    """The bar of the issue, one call each: the slowest way."""
    began = time.process_time()
    for number in range(1000):
        store.add([decision(number, reason="lowest carbon", user="ann")])
    assert time.process_time() - began < 1.0
    assert len(store.decisions()) == 1000
