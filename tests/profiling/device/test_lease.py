# SPDX-License-Identifier: Apache-2.0
"""A lease journals first, gives back last, and what a dead holder left is found and paid."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.device.apply import Setting
from profiling.device.gpu import RefusedError, Why
from profiling.device.journal import Journal, Owed
from profiling.device.lease import Lease, restore_left
from profiling.errors import DeviceError
from tests.profiling.device.fake_gpu import FakeGpu, Killed


def _lease(gpu: FakeGpu, directory: Path) -> Lease:
    return Lease(gpu, Journal(directory), default=Setting(), holder="test")


def test_a_context_gives_back(tmp_path: Path) -> None:
    gpu = FakeGpu()

    with _lease(gpu, tmp_path) as lease:
        lease.set(Setting(clock_mhz=1095, power_limit_w=400))
        assert [path.name for path in tmp_path.iterdir()] == ["GPU-0.owed"]
        assert (gpu.lock, gpu.limit_w) == ((1095, 1095), 400)

    assert gpu.at_default
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """A daemon does this for months."""
    lease = _lease(FakeGpu(), tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        lease.set(Setting(clock_mhz=1095))
        lease.release()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_nor_where_nothing_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory is on a file server whose locks are away, and every look tries again."""

    def away(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", away)
    journal = Journal(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(DeviceError, match="No locks available"):
        Lease(FakeGpu(), journal, default=Setting(), holder="test").set(Setting(clock_mhz=1095))
    assert journal.take_over() == ()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_journal_comes_first(tmp_path: Path) -> None:
    """Somebody killed at any call leaves an entry wherever the GPU is not at its default."""

    def killed(_: str) -> None:
        raise Killed

    gpu = FakeGpu(around=killed)
    with pytest.raises(Killed):
        _lease(gpu, tmp_path).set(Setting(clock_mhz=1095))

    assert list(tmp_path.iterdir()) != []


def test_it_is_on_disk_before_the_gpu_is_touched_and_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and its name, for a power cut; but a governor sets many times a second."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    before: list[list[int]] = []
    gpu = FakeGpu(around=lambda _: before.append(list(synced)))
    with _lease(gpu, tmp_path) as lease:
        lease.set(Setting(clock_mhz=1095))
        entry = (tmp_path / "GPU-0.owed").stat().st_ino
        lease.set(Setting(clock_mhz=600))
        assert before[0] == synced == [entry, tmp_path.stat().st_ino]
    assert synced[2:] == [tmp_path.stat().st_ino]


def test_a_full_disk_touches_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    gpu = FakeGpu()
    lease = _lease(gpu, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for _ in range(2):  # asked again, it is still not on disk
            with pytest.raises(DeviceError, match="No space left"):
                lease.set(Setting(clock_mhz=1095))
    assert "lock_clocks" not in gpu.calls

    lease.set(Setting(clock_mhz=1095))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        lease.release()
    assert gpu.at_default
    # Nothing may rest on an entry that has no name any more.
    lease.set(Setting(clock_mhz=1095))
    assert [path.name for path in tmp_path.iterdir()] == ["GPU-0.owed"]


def test_an_entry_that_cannot_be_removed_stays_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    lease = _lease(FakeGpu(), tmp_path)
    lease.set(Setting(clock_mhz=1095))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(DeviceError, match="Read-only"):
            lease.release()
    assert lease.held
    lease.release()
    assert list(tmp_path.iterdir()) == []


def test_the_last_word_of_an_entry_is_all_of_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for owed in (Owed("GPU-0", "a holder of long name", False), Owed("GPU-0", "short", True)):
        journal.write(owed)
    _die(journal)
    assert Journal(tmp_path).take_over() == (Owed("GPU-0", "short", True),)


@given(
    kill_at=st.integers(0, 12),
    settings=st.lists(
        st.sampled_from(
            [
                Setting(clock_mhz=1095),
                Setting(clock_mhz=600, power_limit_w=300),
                Setting(power_limit_w=400),
                Setting(),
            ]
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_whenever_its_holder_dies_the_next_one_restores(
    tmp_path_factory: pytest.TempPathFactory, kill_at: int, settings: list[Setting]
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    steps = iter(range(kill_at))

    def maybe(_: str) -> None:
        if next(steps, None) is None:
            raise Killed

    gpu = FakeGpu(around=maybe)
    journal = Journal(directory)
    try:
        with Lease(gpu, journal, default=Setting(), holder="test") as lease:
            for setting in settings:
                lease.set(setting)
                assert gpu.limit_w == (setting.power_limit_w or 700)
                assert (gpu.lock or (None, None))[1] == setting.clock_mhz
    except Killed:
        pass
    _die(journal)
    gpu.around = lambda _: None

    assert restore_left(Journal(directory), [gpu], Setting()) == ()
    assert gpu.at_default
    assert list(directory.iterdir()) == []


def test_a_gpu_that_refuses_stays_owed(tmp_path: Path) -> None:
    gpu = FakeGpu()
    lease = _lease(gpu, tmp_path)
    lease.set(Setting(clock_mhz=1095))
    gpu.refuses["reset_clocks"] = Why.LOST

    with pytest.raises(RefusedError):
        lease.release()

    assert lease.held
    gpu.refuses.clear()
    lease.release()
    assert gpu.at_default


def test_a_gpu_that_takes_nothing_owes_nothing(tmp_path: Path) -> None:
    gpu = FakeGpu(refuses={"lock_clocks": Why.NO_PERMISSION})
    lease = _lease(gpu, tmp_path)

    applied = lease.set(Setting(clock_mhz=1095))

    assert not applied.took
    assert not lease.held
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_lost_while_it_is_set_stays_owed(tmp_path: Path) -> None:
    """Nobody knows what it made of it."""
    lease = _lease(FakeGpu(refuses={"lock_clocks": Why.LOST}), tmp_path)

    assert not lease.set(Setting(clock_mhz=1095)).took
    assert lease.held


def test_a_setting_that_is_refused_leaves_the_one_before_owed(tmp_path: Path) -> None:
    gpu = FakeGpu()
    lease = _lease(gpu, tmp_path)
    lease.set(Setting(clock_mhz=1095))
    gpu.refuses["lock_clocks"] = Why.INVALID

    assert not lease.set(Setting(clock_mhz=600)).took

    assert lease.held
    lease.release()
    assert gpu.at_default


def test_a_clock_follows_another_without_a_detour(tmp_path: Path) -> None:
    """Not by way of the default, many times a second; nor is the power limit ever touched."""
    gpu = FakeGpu(limit_w=650.0)
    with _lease(gpu, tmp_path) as lease:
        lease.set(Setting(clock_mhz=1095))
        lease.set(Setting(clock_mhz=600))
        assert "reset_clocks" not in gpu.calls

    assert (gpu.lock, gpu.limit_w) == (None, 650.0)
    assert "set_power_limit" not in gpu.calls
    with _lease(gpu, tmp_path) as lease:
        gpu.calls.clear()
        lease.set(Setting(power_limit_w=400))
        lease.set(Setting(power_limit_w=300))
        assert (gpu.calls.count("set_power_limit"), gpu.calls.count("reset_clocks")) == (2, 0)


def test_of_a_clock_that_is_given_up_the_power_limit_knows_nothing(tmp_path: Path) -> None:
    gpu = FakeGpu(limit_w=650.0)
    with _lease(gpu, tmp_path) as lease:
        lease.set(Setting(clock_mhz=1095))
        lease.set(Setting())
        assert gpu.lock is None
    assert gpu.limit_w == 650.0


def test_no_journal_no_setting(tmp_path: Path) -> None:
    gpu = FakeGpu(uuid="../escape")

    with pytest.raises(DeviceError, match="cannot name a file"):
        _lease(gpu, tmp_path).set(Setting(clock_mhz=1095))

    assert gpu.at_default


def test_an_entry_without_content_is_owed_everything(tmp_path: Path) -> None:
    (tmp_path / "GPU-0.owed").touch()
    gpu = FakeGpu(lock=(600, 600), limit_w=300)

    assert restore_left(Journal(tmp_path), [gpu], Setting()) == ()
    assert gpu.at_default


def test_what_could_not_be_restored_is_before_anything_else_is_set(tmp_path: Path) -> None:
    (tmp_path / "GPU-0.owed").touch()
    gpu = FakeGpu(lock=(600, 600), limit_w=300, refuses={"set_power_limit": Why.LOST})
    journal = Journal(tmp_path)
    assert len(restore_left(journal, [gpu], Setting())) == 1
    gpu.refuses.clear()

    lease = Lease(gpu, journal, default=Setting(), holder="test")
    lease.set(Setting(clock_mhz=1095))

    assert (gpu.lock, gpu.limit_w) == ((1095, 1095), 700)
    lease.release()
    assert gpu.at_default


def test_a_gpu_that_is_gone_stays_owed(tmp_path: Path) -> None:
    (tmp_path / "GPU-9.owed").touch()

    failed = restore_left(Journal(tmp_path), [FakeGpu()], Setting())

    assert failed == ("GPU-9 (set by unknown): this machine has no such GPU now",)
    assert (tmp_path / "GPU-9.owed").exists()


def test_another_process_keeps_what_it_holds(tmp_path: Path) -> None:
    """It is neither restored nor set by others while it lives, and owed as soon as it is killed."""
    program = (
        "import sys, pathlib; from profiling.device.journal import Journal, Owed;"
        "Journal(pathlib.Path(sys.argv[1])).write(Owed('GPU-0', 'other', False));"
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        journal = Journal(tmp_path)
        assert journal.take_over() == ()
        with pytest.raises(DeviceError, match="another process"):
            journal.write(Owed("GPU-0", "me", False))
        other.kill()
        other.wait()

    assert journal.take_over() == (Owed("GPU-0", "other", False),)
    journal.forget("GPU-0")


def _die(journal: Journal) -> None:
    """What the kernel does for a killed process."""
    for descriptor, _ in journal._ours.values():
        os.close(descriptor)
