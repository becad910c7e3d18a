# SPDX-License-Identifier: Apache-2.0
"""What stands behind the hook's socket may be anything: the job is accepted as its user wrote it.

No sgreend here; a stub says what no sgreend would.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from tests.slurm.site import SHAPE, LiveSite, ago

RECORD = "green:v1%20id=a%20decided=-"


@pytest.fixture(scope="module")
def site(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """A cluster whose daemon never starts."""
    site = LiveSite(make_module_cluster(stem="so", **SHAPE))
    yield site
    site.close()


@pytest.fixture
def place(site: LiveSite) -> Iterator[Path]:
    """Where the socket belongs, empty before and after; slurmctld has met no bad daemon yet."""
    path = site.layout.hook_socket
    site.reload_hook()
    yield path
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)


class Stub:
    """Answers every question with what `answer` makes of its sequence number."""

    def __init__(self, path: Path, answer: Callable[[int], bytes], *, close: bool) -> None:
        self.asked = 0
        self._answer, self._close = answer, close
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(peer)
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        try:
            while line := peer.recv(65536):
                if line == b"ping\n":
                    peer.sendall(b"pong\n")
                    continue
                self.asked += 1
                peer.sendall(self._answer(int(line.split(b"\t")[0])))
                if self._close:
                    break
        except OSError:
            pass  # slurmctld hung up: so it should
        finally:
            peer.close()

    def stop(self) -> None:
        """Hang up on everybody."""
        # A thread that waits in accept() is woken by a shutdown only.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._open:
            peer.close()


def _soon(seconds: float) -> str:
    return str(int(time.time() + seconds))


BAD_ANSWERS: dict[str, Callable[[int], str | bytes]] = {
    "noise": lambda seq: bytes(range(256)) + b"\n",
    "empty": lambda seq: "\n",
    "another-question": lambda seq: f"{seq + 7}\tdefer\tbegin={_soon(5)}\n",
    "no-verb": lambda seq: f"{seq}\n",
    "unknown-verb": lambda seq: f"{seq}\trun-as-root\tuid=0\n",
    "no-begin": lambda seq: f"{seq}\tdefer\tlatest={_soon(60)}\trecord={RECORD}\n",
    "begin-in-the-past": lambda seq: (
        f"{seq}\tdefer\tbegin=1000\tlatest={_soon(7200)}\trecord={RECORD}\n"
    ),
    "begin-negative": lambda seq: (
        f"{seq}\tdefer\tbegin=-5\tlatest={_soon(7200)}\trecord={RECORD}\n"
    ),
    "begin-in-an-hour": lambda seq: (
        f"{seq}\tdefer\tbegin={_soon(3600)}\tlatest={_soon(7200)}\trecord={RECORD}\n"
    ),
    "begin-in-floats": lambda seq: (
        f"{seq}\tdefer\tbegin=1e10\tlatest={_soon(7200)}\trecord={RECORD}\n"
    ),
    "latest-before-begin": lambda seq: (
        f"{seq}\tdefer\tbegin={_soon(20)}\tlatest={_soon(10)}\trecord={RECORD}\n"
    ),
    "hostile-record": lambda seq: (
        f"{seq}\tdefer\tbegin={_soon(20)}\tlatest={_soon(60)}\trecord=$(reboot)%0a%00\n"
    ),
    "hostile-message": lambda seq: (
        f"{seq}\tdefer\tbegin={_soon(20)}\tlatest={_soon(60)}\trecord={RECORD}\tmsg=%1b[2J%25s\n"
    ),
    "endless": lambda seq: b"x" * 2_000_000,
    "truncated": lambda seq: f"{seq}\tdefer\tbegin={_soon(20)}\tlate",
    "nothing": lambda seq: b"",
}


@pytest.mark.parametrize("close", [True, False], ids=["then-closes", "then-silence"])
@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_bad_answer(site: LiveSite, place: Path, name: str, close: bool) -> None:
    """Garbage, lies, halves: the job is untouched, and so is the one after it."""

    def answer(seq: int) -> bytes:
        text = BAD_ANSWERS[name](seq)
        return text if isinstance(text, bytes) else text.encode()

    stub = Stub(place, answer, close=close)
    try:
        jobs = [site.sbatch("--comment=mine"), site.sbatch()]
    finally:
        stub.stop()
    assert stub.asked >= 1
    assert all(site.untouched(job_id) for job_id in jobs)
    assert site.job(jobs[0]).comment == "mine"


def _nothing(path: Path) -> None:
    assert not path.exists()


def _nobody_listens(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(path))


def _not_a_socket(path: Path) -> None:
    path.write_text("not a socket\n")


def _circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    "make",
    [_nothing, _nobody_listens, _not_a_socket, Path.mkdir, _circle],
    ids=lambda f: f.__name__,
)
def test_no_socket_to_speak_of(site: LiveSite, place: Path, make: Callable[[Path], None]) -> None:
    """Missing, left behind, a file, a directory, a link to itself (root may read anything)."""
    make(place)
    job_id = site.sbatch()
    assert site.untouched(job_id)
    job = site.await_done(job_id)
    assert ago(job.submit_utc) < 20


def test_a_full_backlog(site: LiveSite, place: Path) -> None:
    """A listener that never accepts: connections pile up, submissions pass."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(place))
        listener.listen(0)
        jobs = [site.sbatch() for _ in range(10)]
        assert all(site.untouched(job_id) for job_id in jobs)
