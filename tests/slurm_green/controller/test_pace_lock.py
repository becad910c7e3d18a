# SPDX-License-Identifier: Apache-2.0
"""When a cycle is due, who may run one, as whom, and where it says what it does."""

import errno
import logging
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.controller.lock import DaemonLock
from slurm_green.controller.users import slurm_uid
from slurm_green.controller.worker import Pace
from slurm_green.errors import SlurmGreenError
from slurm_green.logs import set_up_logging


def pace() -> Pace:
    """30 s between cycles, 3 s in a burst; it is 100 s by the clock."""
    return Pace(interval_s=30, min_interval_s=3, now_s=100)


def test_the_first_cycle_is_due_at_once_and_the_next_an_interval_later() -> None:
    one = pace()
    assert one.wait_s(100) == 0
    one.ran(101)
    assert (one.wait_s(101), one.wait_s(121), one.wait_s(200)) == (30, 10, 0)


def test_a_poke_brings_it_forward_but_not_on_the_heels_of_the_last() -> None:
    one = pace()
    one.ran(101)
    one.poked(101.5)
    assert one.wait_s(101.5) == pytest.approx(2.5)
    one.ran(104)
    one.poked(120)
    assert one.wait_s(120) == pytest.approx(0.3)


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_pokes_never_put_a_cycle_off(gaps_s: list[float]) -> None:
    """A burst of submissions must not keep the first of them waiting."""
    one = pace()
    one.ran(100)
    now_s = 100.0
    due_s = 130.0
    for gap_s in gaps_s:
        now_s += gap_s
        one.poked(now_s)
        later_s = now_s + one.wait_s(now_s)
        assert later_s <= max(due_s, now_s) + 1e-9
        due_s = later_s
    assert due_s <= 100 + 3 + 0.3 + gaps_s[0] + 1e-9 or due_s <= now_s


# SIGTERM comes while Python collects garbage, in the first cycle or after it; a second one is its
# end, too.
WORKER = """
import os, signal, sys, types
from multiprocessing import Pipe
from slurm_green.config.load import loads
from slurm_green.controller import worker

class Garbage:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass

cycles = []

def step():
    print("cycle", flush=True)
    cycles.append(1)
    if len(cycles) > 1:
        os._exit(1)
    if sys.argv[1] == "cycle":
        Garbage()

def wait(*_):
    Garbage()
    return []

runner = types.SimpleNamespace(
    rules=None, remember=lambda: None, step=step,
    books=types.SimpleNamespace(close=lambda: print("books closed", flush=True)),
)
worker.wait = wait
worker.build_runner = lambda *_, **__: runner
worker.start_nodes = lambda *_: lambda: print("nodes let go", flush=True)
pokes, _poke = Pipe(duplex=False)
_report, reports = Pipe(duplex=False)
config = '[controller]\\ninterval = "1s"\\n[nodes]\\nlisten = "127.0.0.1:9"'
worker.run_worker(loads(config), pokes, reports)
"""


@pytest.mark.parametrize("when", ["cycle", "wait"])
def test_a_cycle_process_that_is_told_to_stop_runs_no_other_cycle(when: str) -> None:
    """Also where Python ends the exception: it went on to release jobs after "stopped"."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, when],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "cycle\nbooks closed\nnodes let go\n", done.stderr


# Takes the lock, says so, and lives until its standard input ends or it is killed.
HOLDER = """
import pathlib, sys
from slurm_green.controller.lock import DaemonLock
lock = DaemonLock(pathlib.Path(sys.argv[1]))
print(lock.try_acquire(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_a_second_daemon_waits_and_takes_over_when_the_first_is_killed(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    told: list[str] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            holder.kill()
            holder.wait(10)

    with DaemonLock(tmp_path / "lock") as lock:
        assert not lock.try_acquire()
        assert (tmp_path / "lock").read_text() == f"{holder.pid}\n"
        got = lock.acquire(waiting=lambda: told.append("waits"), stop=lambda: False, sleep=sleep)
        assert got and told == ["waits"] and len(slept) == 3
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.usefixtures("holder")
def test_whoever_waits_can_be_told_to_stop(tmp_path: Path) -> None:
    stops = iter([False, False, True])
    lock = DaemonLock(tmp_path / "lock")
    assert not lock.acquire(
        waiting=lambda: None, stop=lambda: next(stops), sleep=lambda seconds: None
    )


def test_a_lock_that_was_left_is_free(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4242\n")
    with DaemonLock(tmp_path / "lock") as first:
        assert first.try_acquire()
        assert not DaemonLock(tmp_path / "lock").try_acquire()
    with DaemonLock(tmp_path / "lock") as second:
        assert second.try_acquire()


def test_a_lock_without_a_place_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SlurmGreenError, match=r"set paths\.lock"):
        DaemonLock(tmp_path / "nowhere" / "lock").try_acquire()


def test_a_full_disk_has_room_for_a_lock() -> None:
    """Only the number of the holder's process does not fit."""
    with DaemonLock(Path("/dev/full")) as lock:
        assert lock.try_acquire()


def test_where_nothing_can_be_locked_it_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems; nobody holds the lock there."""

    def flock(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(SlurmGreenError, match=r"cannot be locked .* set paths\.lock"):
        DaemonLock(tmp_path / "lock").acquire(waiting=lambda: None, stop=lambda: True)


def test_slurm_user_is_a_name_a_number_or_ours() -> None:
    me = os.geteuid()
    assert slurm_uid("slurm(64030)") == 64030
    assert slurm_uid("64030") == 64030
    assert slurm_uid(pwd.getpwuid(0).pw_name) == 0
    assert slurm_uid("no-such-user-here") == me
    assert slurm_uid("") == slurm_uid(None) == slurm_uid("odd(x)") == me


@pytest.mark.usefixtures("plain_logging")
@pytest.mark.parametrize(
    ("journal", "line"),
    [
        ("", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING part: words\n"),
        ("8:1", r"WARNING part: words\n"),
    ],
)
def test_a_log_line_has_one_stamp(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    journal: str,
    line: str,
) -> None:
    """journald adds its own."""
    monkeypatch.setenv("JOURNAL_STREAM", journal)
    monkeypatch.setenv("SLURM_GREEN_LOG", "warning")
    set_up_logging("part")
    logging.getLogger("x").warning("words")
    logging.getLogger("x").info("not asked for")
    assert re.fullmatch(line, capsys.readouterr().err)


@pytest.mark.usefixtures("plain_logging")
def test_a_level_that_is_none_is_said_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stands in a drop-in of the unit: the daemon would not start."""
    monkeypatch.setenv("SLURM_GREEN_LOG", "verbose")
    set_up_logging("part")
    logging.getLogger("x").info("words")
    said = capsys.readouterr().err
    assert "SLURM_GREEN_LOG='VERBOSE' is no level" in said and "words" in said
