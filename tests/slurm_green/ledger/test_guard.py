# SPDX-License-Identifier: Apache-2.0
"""The daemon's ledger: a full disk, a read-only one, a corrupt or deleted file cost no job."""

import shutil
import subprocess
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from slurm_green.errors import LedgerError
from slurm_green.ledger.entries import Decision
from slurm_green.ledger.guard import Ledger
from slurm_green.ledger.store import Store
from slurm_green.signals.series import Series

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def decision(job_id, **changes):
    return Decision(**{"cluster": "c", "job_id": job_id, "decided_utc": NOW, **changes})


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    one = Ledger(tmp_path / "l.db", monotonic=clock, retry_s=10)
    yield one
    one.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB of our own, or a skip where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def ids(ledger):
    return [one.job_id for one in ledger.store().decisions()]


def test_without_entries_there_is_no_file(tmp_path, ledger):
    """A cycle that brings nothing costs nothing, and nothing waits."""
    assert ledger.flush()
    ledger.record()
    assert list(tmp_path.iterdir()) == []


def test_writes_at_once(ledger, caplog):
    """With a working disk nothing waits, and nothing is said."""
    ledger.record(decision(1), decision(2))
    assert caplog.records == []
    assert (ids(ledger), ledger.waiting, ledger.problem) == ([1, 2], 0, None)


def test_what_comes_at_once_is_one_transaction(ledger, monkeypatch):
    """A cycle's entries stand together, or not at all."""
    written = []
    monkeypatch.setattr(ledger.store(), "add", lambda entries: written.append(len(entries)))
    ledger.record(decision(1), decision(2), decision(3))
    ledger.record(decision(4))
    assert written == [3, 1]


def test_missing_directory_then_there(tmp_path, clock, caplog):
    """Entries wait while there is no place, are written when there is, and the log says so once."""
    ledger = Ledger(tmp_path / "later" / "l.db", monotonic=clock, retry_s=10)
    for number in range(5):
        ledger.record(decision(number))
        assert not ledger.flush(), "it is not tried again yet"
        clock.now += 11
        assert not ledger.flush()
    assert ledger.waiting == 5
    assert "later" in ledger.problem
    assert len(caplog.records) == 1
    (tmp_path / "later").mkdir()
    clock.now += 11
    assert ledger.flush()
    assert (ids(ledger), ledger.waiting, ledger.problem) == ([0, 1, 2, 3, 4], 0, None)
    assert "written again" in caplog.text
    ledger.close()


def test_retries_are_spaced(tmp_path, clock):
    """A broken disk is not hammered: one try every ten seconds."""
    tries = []

    def broken(path):
        tries.append(clock.now)
        raise LedgerError("broken")

    ledger = Ledger(tmp_path / "l.db", monotonic=clock, retry_s=10, open_store=broken)
    for _ in range(100):
        ledger.record(decision(1))
        clock.now += 1
    assert tries == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]


def test_more_at_once_than_the_queue_holds(tmp_path, clock):
    """With a working disk all of it is written."""
    ledger = Ledger(tmp_path / "l.db", monotonic=clock, queue_limit=10)
    ledger.record(*map(decision, range(25)))
    assert (ids(ledger), ledger.waiting, ledger.dropped) == (list(range(25)), 0, 0)
    ledger.close()


def test_it_says_whether_there_is_more_to_forget(ledger):
    ledger.record(decision(1))
    assert not ledger.prune(NOW)
    assert ledger.prune(NOW + timedelta(hours=1))
    assert not ledger.prune(NOW + timedelta(hours=1))


def test_what_cannot_be_forgotten_stays(tmp_path, caplog):
    """And that is said, and raises nothing."""
    ledger = Ledger(tmp_path / "no" / "l.db")
    assert not ledger.prune(NOW)
    assert "nothing is forgotten" in caplog.text


@pytest.mark.parametrize("at_once", [False, True])
def test_queue_is_bounded(tmp_path, clock, caplog, at_once):
    """The oldest goes first, it is counted, and the log says so once."""
    ledger = Ledger(tmp_path / "no" / "l.db", monotonic=clock, queue_limit=10)
    entries = [decision(number) for number in range(25)]
    for some in [entries] if at_once else [[one] for one in entries]:
        ledger.record(*some)
    assert (ledger.waiting, ledger.dropped) == (10, 15)
    assert caplog.text.count("the oldest go") == 1
    (tmp_path / "no").mkdir()
    ledger.close()
    with Store(tmp_path / "no" / "l.db") as store:
        assert [one.job_id for one in store.decisions()] == list(range(15, 25))


def test_of_each_outage_it_is_said_that_the_oldest_go(tmp_path, clock, caplog):
    place = tmp_path / "no"
    ledger = Ledger(place / "l.db", monotonic=clock, queue_limit=2)
    for outages in (1, 2):
        ledger.record(*map(decision, range(5)))
        assert caplog.text.count("the oldest go") == outages
        place.mkdir()
        clock.now += 11
        assert ledger.flush()
        shutil.rmtree(place)
    ledger.close()


def test_full_disk(small_disk, clock):
    """A really full file system: nothing raises, and all is written once there is room."""
    ledger = Ledger(small_disk / "l.db", monotonic=clock, retry_s=10)
    number = 0
    while ledger.problem is None:
        ledger.record(decision(number, reason="x" * 2000))
        number += 1
        assert number < 1000, "the disk never filled up"
    assert "full" in ledger.problem or "I/O" in ledger.problem
    ledger.record(decision(number))
    assert ledger.waiting == 2
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    clock.now += 11
    assert ledger.flush()
    assert ids(ledger) == list(range(number + 1))
    ledger.close()


def test_read_only_disk(small_disk, clock):
    """A file system that turned read-only under an open ledger."""
    ledger = Ledger(small_disk / "l.db", monotonic=clock, retry_s=10)
    ledger.record(decision(1))
    ledger.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ledger.record(decision(2))
    assert ledger.waiting == 1
    assert ledger.problem is not None
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    clock.now += 11
    assert ledger.flush()
    assert ids(ledger) == [1, 2]
    ledger.close()


def test_corrupt_file(tmp_path, ledger, clock):
    """A corrupt file is left for its owner; moved away, a new one is begun."""
    path = tmp_path / "l.db"
    path.write_bytes(b"not a database, " * 1000)
    ledger.record(decision(1))
    assert "move the file away" in ledger.problem
    path.rename(tmp_path / "old.db")
    clock.now += 11
    ledger.record(decision(2))
    assert ids(ledger) == [1, 2]


def test_deleted_while_open(tmp_path, ledger):
    """A ledger deleted by hand is begun anew, not written into nowhere."""
    ledger.record(decision(1))
    for path in tmp_path.glob("l.db*"):
        path.unlink()
    ledger.record(decision(2))
    with Store(tmp_path / "l.db", readonly=True) as store:
        assert [one.job_id for one in store.decisions()] == [2]
    opened = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    assert not [one for one in opened if one.startswith(f"{tmp_path}/") and one.endswith(")")]


def test_impossible_entry_does_not_block(ledger):
    """What no row can hold is dropped and counted; the others are written."""
    ledger.record(decision(1), decision(2, save_g=float("nan")), decision(3))
    assert (ids(ledger), ledger.dropped) == ([1, 3], 1)


def signal(issued_utc=NOW):
    return Series(
        start_utc=NOW, step_s=1800, values=np.ones(96), issued_utc=issued_utc, provider="neso"
    )


def test_signals_are_kept_once(ledger, clock):
    """The same issue every cycle is written once."""
    written = []
    store = ledger.store()
    add = store.add_signal
    store.add_signal = lambda one: (written.append(one), add(one))
    for _ in range(10):
        ledger.record_signal(signal())
    ledger.record_signal(signal(NOW + timedelta(hours=1)))
    assert len(written) == 2
    assert ledger.store().signal(NOW, NOW + timedelta(hours=48)) is not None


def test_memory_is_flat(tmp_path, clock):
    """Ten thousand more cycles on a dead disk take no more memory than the first thousand."""
    ledger = Ledger(tmp_path / "no" / "l.db", monotonic=clock, queue_limit=200)

    def cycles(count):
        for number in range(count):
            ledger.record(decision(number, reason="x" * 50))
            ledger.record_signal(signal(NOW + timedelta(seconds=number)))
            clock.now += 1

    tracemalloc.start()
    try:
        cycles(1000)
        before = tracemalloc.get_traced_memory()[0]
        cycles(3000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000
