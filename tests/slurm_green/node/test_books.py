# SPDX-License-Identifier: Apache-2.0
"""What a node writes down: jobs until they end, energies until sgreend has them."""

import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_green.node.books import Begun, Books
from slurm_green.node.energy import JobEnergy

NOW = datetime(2026, 11, 24, tzinfo=UTC)
JOB = Begun(job_id=7, uid=1000, begin_utc=NOW, energy_j={"GPU-0": 1.5, "GPU-1": None})
ENERGY = JobEnergy(
    job_id=7, node="n1", begin_utc=NOW, end_utc=NOW + timedelta(hours=1), gpus=("GPU-0",),
    energy_j=5.0, source="nvml-counter",
)  # fmt: skip


def begun(directory: Path, boot: str = "one") -> list[Begun]:
    return list(Books(directory, boot).begun())


def test_a_job_is_known_until_it_ends(tmp_path: Path) -> None:
    books = Books(tmp_path, "one")
    other = replace(JOB, job_id=8)
    books.begin(JOB)
    books.begin(other)
    assert begun(tmp_path) == [JOB, other]

    books.forget(7)
    books.forget(7)
    assert begun(tmp_path) == [other]


def test_a_job_of_an_earlier_boot_is_over(tmp_path: Path) -> None:
    """Its counters began anew."""
    Books(tmp_path, "one").begin(JOB)
    assert begun(tmp_path, "two") == []
    assert begun(tmp_path, "one") == [], "and its file is gone"


def test_a_job_is_on_disk_when_it_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file, and the name of it in its directory; neither stays open."""
    books, synced = Books(tmp_path, "one"), []
    monkeypatch.setattr(os, "fsync", lambda one: synced.append(stat.S_ISDIR(os.fstat(one).st_mode)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    books.begin(JOB)
    assert synced == [False, True]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"boot": "one", "job_id": "x"}', '{"boot": "one", "job_id": []}', "\udcff"],
)
def test_what_cannot_be_read_is_removed_and_costs_no_other(tmp_path: Path, text: str) -> None:
    Books(tmp_path, "one").begin(JOB)
    damaged = tmp_path / "jobs" / "6.json"
    damaged.write_bytes(text.encode(errors="surrogateescape"))
    assert begun(tmp_path) == [JOB]
    assert not damaged.exists()


def test_energies_go_out_oldest_first_until_they_are_taken(tmp_path: Path) -> None:
    books = Books(tmp_path, "one")
    later = [replace(ENERGY, job_id=n, end_utc=NOW + timedelta(hours=12 - n)) for n in range(9)]
    for one in later:
        books.account(one)
    assert [one["job_id"] for one in books.unreported(2).values()] == [8, 7]

    books.reported(next(iter(books.unreported())))
    books.reported("never-was.json")
    assert [one["job_id"] for one in books.unreported().values()] == [7, 6, 5, 4, 3, 2, 1, 0]


def test_a_node_that_never_reaches_sgreend_does_not_fill_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm_green.node.books._MOST_RECORDS", 3)
    books = Books(tmp_path, "one")
    for n in range(5):
        books.account(replace(ENERGY, job_id=n, end_utc=NOW + timedelta(hours=n)))
    assert [one["job_id"] for one in books.unreported().values()] == [2, 3, 4]


def test_a_disk_that_cannot_be_read_for_a_moment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Handed in as nothing, a figure would be dropped and its file removed."""
    books = Books(tmp_path, "one")
    for n in (7, 8):
        books.begin(replace(JOB, job_id=n))
        books.account(replace(ENERGY, job_id=n))
    read = Path.read_bytes

    def some(path: Path) -> bytes:
        if "7" in path.name.rpartition("-")[2]:
            raise OSError(5, "Input/output error")
        return read(path)

    with monkeypatch.context() as failing:
        failing.setattr(Path, "read_bytes", some)
        for _ in range(2):
            assert [one["job_id"] for one in books.unreported(1).values()] == [8]
        assert [one.job_id for one in books.begun()] == [8]
    assert caplog.text.count("stays for later: Input/output error") == 2
    assert [one["job_id"] for one in books.unreported().values()] == [7, 8]
    assert [one.job_id for one in books.begun()] == [7, 8]


def test_an_energy_that_cannot_be_written_is_reported_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("slurm_green.node.books._MOST_RECORDS", 2)
    books = Books(tmp_path, "one")
    with monkeypatch.context() as patch:
        patch.setattr("slurm_green.node.books._write", full)
        for n in range(3):
            with pytest.raises(OSError, match="No space"):
                books.account(replace(ENERGY, job_id=n, end_utc=NOW + timedelta(hours=n)))
    books.account(replace(ENERGY, job_id=9))
    found = books.unreported()
    assert [one["job_id"] for one in found.values()] == [1, 9, 2]
    for name in found:
        books.reported(name)
    assert books.unreported() == {}


def test_an_energy_that_could_not_be_written_is_once_the_disk_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While sgreend is away for longer than this life lasts."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    books = Books(tmp_path, "one")
    with monkeypatch.context() as patch:
        patch.setattr("slurm_green.node.books._write", full)
        for n in range(2):
            with pytest.raises(OSError, match="No space"):
                books.account(replace(ENERGY, job_id=n))
        books.write_late()
        assert Books(tmp_path, "one").unreported() == {}
    found = books.unreported()
    books.write_late()
    assert [one["job_id"] for one in Books(tmp_path, "two").unreported().values()] == [0, 1]
    for name in found:
        books.reported(name)
    books.write_late()
    assert Books(tmp_path, "two").unreported() == {}
