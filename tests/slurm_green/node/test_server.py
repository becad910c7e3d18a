# SPDX-License-Identifier: Apache-2.0
"""The sockets: hostile clients of any user delay nobody, and get nothing that is not theirs."""

import asyncio
import json
import os
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from slurm_green import __version__
from slurm_green.node.answers import Answers
from slurm_green.node.server import Limits, LineServer, Peer
from slurm_green.node.sgreend import NoSgreend
from slurm_green.node.state import Orders, Plan
from slurm_green.node.worker import BusyError, Worker
from tests.slurm_green.node.rig import Rig

OWN = os.geteuid()
Answer = Callable[[Peer, bytes], Awaitable[Mapping[str, Any]]]


async def echo(peer: Peer, line: bytes) -> Mapping[str, Any]:
    return {"uid": peer.uid, "pid": peer.pid, "line": line.decode()}


@asynccontextmanager
async def serving(path: Path, answer: Answer = echo, **options: Any) -> AsyncIterator[LineServer]:
    values: dict[str, Any] = {"admits": lambda _: True, "mode": 0o600, **options}
    server = LineServer(path, answer, **values)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(path: Path, line: bytes) -> Any:
    async with connected(path) as (reader, writer):
        try:
            writer.write(line)
            return json.loads(await asyncio.wait_for(reader.readline(), 60) or "null")
        except ConnectionError:
            return None


async def cut_off(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes the connection without a word."""
    try:
        return await asyncio.wait_for(reader.read(1), 60) == b""
    except ConnectionError:
        return True


def test_it_knows_who_asks(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "s"
        async with serving(path, mode=0o666):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            assert await ask(path, b"hello\n") == {
                "uid": OWN,
                "pid": os.getpid(),
                "line": "hello\n",
            }
        assert not path.exists()

    asyncio.run(run())


def test_strangers_are_cut_off_unheard(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "s"
        async with serving(path, admits=lambda _: False), connected(path) as (reader, _):
            assert await cut_off(reader)

    asyncio.run(run())


@pytest.mark.parametrize(
    "sent", [b"x" * 5000, b"x" * 100_000, b"half a line"], ids=["long", "longer", "slow"]
)
def test_who_sends_no_line_is_cut_off(tmp_path: Path, sent: bytes) -> None:
    async def run() -> None:
        path = tmp_path / "s"
        async with serving(path, limits=Limits(line_s=0.1)):
            async with connected(path) as (reader, writer):
                writer.write(sent)
                assert await cut_off(reader)
            assert (await ask(path, b"hello\n"))["line"] == "hello\n"

    asyncio.run(run())


def test_who_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async def long(peer: Peer, line: bytes) -> Mapping[str, Any]:
        return {"much": "x" * 4_000_000}

    async def run() -> None:
        path = tmp_path / "s"
        limits = Limits(answer_s=0.1)
        async with serving(path, long, limits=limits) as server, connected(path) as (_, writer):
            writer.transport.pause_reading()
            writer.write(b"more\n")
            while not server._writers:
                await asyncio.sleep(0)
            while server._writers:
                await asyncio.sleep(0.01)

    asyncio.run(run())


@pytest.mark.parametrize("limits", [Limits(per_user=3), Limits(connections=3, per_user=99)])
def test_connections_are_bounded_and_come_back(tmp_path: Path, limits: Limits) -> None:
    async def run() -> None:
        path = tmp_path / "s"
        async with serving(path, limits=limits):
            async with AsyncExitStack() as stack:
                opened = [await stack.enter_async_context(connected(path)) for _ in range(10)]
                assert all([await cut_off(reader) for reader, _ in opened[3:]])
                assert await ask(path, b"hello\n") is None
            while await ask(path, b"hello\n") is None:
                await asyncio.sleep(0.01)

    asyncio.run(run())


def test_requests_are_bounded(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "s"
        async with serving(path, limits=Limits(per_user_s=20)):
            async with connected(path) as (reader, writer):
                writer.write(b"hello\n" * 1000)
                answers = 0
                try:
                    while await asyncio.wait_for(reader.readline(), 60):
                        answers += 1
                except ConnectionError:
                    pass
            assert 20 <= answers <= 40  # a new second may begin meanwhile

    asyncio.run(run())


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "s"
        path.touch()
        async with serving(path):
            assert (await ask(path, b"hello\n"))["line"] == "hello\n"

    asyncio.run(run())


def test_it_is_never_open_to_others_before_it_has_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the umask, and whatever an earlier life with the same number left behind."""
    seen: list[int] = []
    chmod = Path.chmod

    def watched(path: Path, mode: int) -> None:
        seen.append(stat.S_IMODE(path.stat().st_mode))
        chmod(path, mode)

    async def run() -> None:
        path = tmp_path / "s"
        path.with_name(f".s.{os.getpid()}").touch()
        async with serving(path, mode=0o640):
            assert stat.S_IMODE(path.stat().st_mode) == 0o640

    monkeypatch.setattr(Path, "chmod", watched)
    before = os.umask(0)
    try:
        asyncio.run(run())
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_cannot_be_leaves_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        (tmp_path / "s").mkdir()
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(IsADirectoryError):
            await LineServer(tmp_path / "s", echo, admits=lambda _: True, mode=0o600).start()
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    asyncio.run(run())
    assert [one.name for one in tmp_path.iterdir()] == ["s"]


def test_its_end_cuts_everybody_off(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "s"
        async with serving(path) as server, connected(path) as (reader, writer):
            writer.write(b"hello\n")
            assert json.loads(await reader.readline())["line"] == "hello\n"
            await server.close()
            assert await cut_off(reader)

    asyncio.run(run())


def test_one_that_never_began_ends_quietly(tmp_path: Path) -> None:
    server = LineServer(tmp_path / "s", echo, admits=lambda _: True, mode=0o600)
    asyncio.run(server.close())


class TestAnswers:
    """Both sockets on a node; peers as the kernel would tell them."""

    ROOT = Peer(1, 0)
    USER = Peer(4242, 1000)

    def _ask(self, rig: Rig, peer: Peer, **values: object) -> Mapping[str, Any]:
        return asyncio.run(self._asked(rig, peer, json.dumps(values).encode()))

    async def _asked(self, rig: Rig, peer: Peer, line: bytes) -> Mapping[str, Any]:
        answers = Answers(rig.node, Worker(5.0), NoSgreend(), Worker(0.2))
        return await (answers.of_root if peer.uid == 0 else answers.of_user)(peer, line)

    def test_prolog_lease_epilog(self, rig: Rig) -> None:
        begun = self._ask(rig, self.ROOT, op="begin", job="7", uid="1000", gpus="0", at_s=rig.now_s)
        assert begun["ok"]
        assert begun["gpus"]["0"]["clock_mhz"] is None

        held = self._ask(rig, self.USER, op="set", job=7, gpus="0", clock_mhz=1095, ttl_s=2)
        assert (held["ok"], held["gpus"]["0"]["clock_mhz"]) == (True, 1095)
        assert rig.gpus[0].lock == (210, 1095)

        assert self._ask(rig, self.ROOT, op="end", job="7", at_s=rig.now_s) == {"ok": True}
        assert rig.gpus[0].at_default

    def test_a_lease_is_given_up_by_its_own_job_only(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.ask(7, 0, 1095)
        rig.sight.jobs_of = {88: 8}
        for peer in (Peer(4242, 1001), Peer(88, 1000)):
            answer = self._ask(rig, peer, op="release", job=7)
            assert (answer["ok"], "not yours" in answer["error"]) == (False, True)
        assert rig.gpus[0].lock == (210, 1095)

        assert self._ask(rig, self.USER, op="release", job=7) == {"ok": True}
        assert rig.gpus[0].at_default

    def test_who_may_ask_at_all_hears_the_version(self, rig: Rig) -> None:
        for peer in (self.ROOT, self.USER):
            assert self._ask(rig, peer, op="ping") == {"ok": True, "version": __version__}

    @pytest.mark.parametrize("op", ["begin", "end"])
    def test_a_user_is_no_prolog(self, rig: Rig, op: str) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        answer = self._ask(rig, self.USER, op=op, job=7, uid=1000, gpus="0", at_s=rig.now_s)

        assert (answer["ok"], "only root" in answer["error"]) == (False, True)
        assert rig.gpus[0].lock == (210, 1095)

    def test_garbage_is_one_clear_line(self, rig: Rig) -> None:
        answer = asyncio.run(self._asked(rig, self.USER, b"GET / HTTP/1.1\r\n"))

        assert answer == {"ok": False, "error": "not a line of JSON"}

    def test_only_users_with_a_job_here_are_heard(self, rig: Rig) -> None:
        worker = Worker(5.0)
        answers = Answers(rig.node, worker, NoSgreend(), worker)
        rig.begin(7, 0)

        assert [answers.admits_user(Peer(1, uid)) for uid in (0, 1000, 1001)] == [True, True, False]
        assert [answers.admits_root(Peer(1, uid)) for uid in (0, 1000)] == [True, False]

    def test_a_bug_is_no_end(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rig.node, "end", lambda *_: 1 / 0)

        assert self._ask(rig, self.ROOT, op="end", job=7, at_s=rig.now_s)["error"].startswith(
            "a bug"
        )

    @pytest.mark.parametrize("silent", ["fails", "hangs"])
    def test_without_sgreend_a_job_runs_unchanged(self, rig: Rig, silent: str) -> None:
        async def run() -> Mapping[str, Any]:
            hung = threading.Event()

            class Sgreend(NoSgreend):
                def orders(self, job_ids: object) -> Orders:
                    if silent == "fails":
                        raise OSError("no route")
                    hung.wait(60)
                    return Orders({7: Plan(clock_mhz=1095)})

            answers = Answers(rig.node, Worker(5.0), Sgreend(), Worker(0.1))
            line = b'{"op":"begin","job":7,"uid":1000,"gpus":"0","at_s":1000}'
            answer = await answers.of_root(self.ROOT, line)
            hung.set()
            return answer

        assert asyncio.run(run())["ok"]
        assert rig.gpus[0].at_default

    def test_a_hanging_gpu_is_told_at_once_and_an_end_is_not_lost(self, rig: Rig) -> None:
        async def run() -> None:
            worker, begun, hangs = Worker(0.1), threading.Event(), threading.Event()
            answers = Answers(rig.node, worker, NoSgreend(), worker)
            with pytest.raises(BusyError, match=r"no answer within 0\.1 s"):
                await worker.run(lambda: (begun.set(), hangs.wait(60)), whatever=True)
            assert await asyncio.to_thread(begun.wait, 60)
            await asyncio.sleep(0.15)  # longer than its limit
            end = await answers.of_root(self.ROOT, b'{"op":"end","job":7,"at_s":1000}')
            begin = await answers.of_root(
                self.ROOT, b'{"op":"begin","job":8,"uid":1000,"gpus":"1","at_s":1000}'
            )
            assert "hangs since" in end["error"]
            assert not begin["ok"]
            hangs.set()
            await worker.run(lambda: None, limit_s=60)  # after the end
            assert rig.gpus[0].at_default

        rig.begin(7, 0, clock_mhz=1095)
        asyncio.run(asyncio.wait_for(run(), 60))
        assert set(rig.node.state.jobs) == set()


def test_a_thread_that_waits_for_calls_hangs_in_none() -> None:
    """However long ago the last one was."""

    async def run() -> None:
        worker = Worker(60)
        await worker.run(lambda: None)
        while worker._since_s is not None:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_what_nobody_waits_for_any_more_is_not_begun(caplog: pytest.LogCaptureFixture) -> None:
    """Unless it is to happen whatever: an end is, a begin is not."""
    done: list[str] = []

    async def run() -> None:
        worker, hangs = Worker(0.1), threading.Event()
        calls = [
            asyncio.ensure_future(worker.run(lambda: hangs.wait(60), limit_s=0.2)),
            asyncio.ensure_future(worker.run(lambda: done.append("begin"))),
            asyncio.ensure_future(worker.run(lambda: done.append("end"), whatever=True)),
        ]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in found] == [BusyError] * 3
        hangs.set()
        await worker.run(lambda: done.append("next"), whatever=True, limit_s=60)

    asyncio.run(run())
    assert done == ["end", "next"]
    assert caplog.messages == []


_CLIENT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
    s.sendall(b'{"op":"ping"}\\n')
    print(s.recv(100))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(OWN != 0, reason="needs another user")
def test_roots_socket_is_closed_to_others(tmp_path: Path) -> None:
    for one in (tmp_path, *list(tmp_path.parents)[:-2]):
        if one.stat().st_uid == OWN:
            one.chmod(0o755)

    async def run() -> str:
        path = tmp_path / "root.sock"
        async with serving(path):
            done = await asyncio.to_thread(
                subprocess.run,
                ["/usr/bin/python3", "-IS", "-c", _CLIENT, str(path)],
                user=65534,
                cwd="/",
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stdout.strip()

    assert asyncio.run(run()) == "PermissionError"
