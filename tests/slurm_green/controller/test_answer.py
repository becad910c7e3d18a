# SPDX-License-Identifier: Apache-2.0
"""The answer server with real sockets: one bad request, peer or handler harms nobody else."""

import asyncio
import logging
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from slurm_green.controller.answer import AnswerServer
from slurm_green.errors import SlurmGreenError
from slurm_green.hook.wire import Ask, Pass

ME = os.geteuid()


def run(
    path: Path,
    body: Callable[[AnswerServer], Awaitable[None]],
    handle=lambda ask: Pass(reason=ask.name or "ok"),
    **options,
) -> None:
    """A server for the length of one coroutine."""

    async def main() -> None:
        values = {"allowed_uids": {ME}, "clock": time.monotonic, **options}
        server = AnswerServer(path, handle, **values)
        await server.start()
        try:
            async with asyncio.timeout(20):
                await body(server)
        finally:
            await server.close()

    asyncio.run(main())


async def talk(path: Path, *lines: bytes) -> list[bytes]:
    """One connection: all lines at once, then as many answers (b"" once it was closed)."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(b"".join(lines))
        return [await reader.readline() for _ in lines]
    except ConnectionError:
        return [b""]
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass  # the server hung up, which is what some tests are about


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hook.sock"


def test_answers_come_in_order_on_one_connection(path: Path):
    async def body(server: AnswerServer) -> None:
        lines = [f"{i}\tuid=0\tname=n{i}\n".encode() for i in range(50)]
        assert await talk(path, *lines) == [f"{i}\tpass\tn{i}\n".encode() for i in range(50)]
        assert (server.counts.asked, server.counts.passed) == (50, 50)
        assert server.counts.reasons == {f"n{i}": 1 for i in range(50)}

    run(path, body)


def test_a_ping_is_answered_without_the_handler(path: Path):
    async def body(server: AnswerServer) -> None:
        assert await talk(path, b"ping\n") == [b"pong\n"]
        assert server.counts.asked == 0

    run(path, body, handle=lambda ask: 1 / 0)


def test_a_request_in_pieces_is_one_request(path: Path):
    async def body(server: AnswerServer) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        for byte in b"1\tuid=0\n":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert await reader.readline() == b"1\tpass\tok\n"
        writer.close()
        await writer.wait_closed()

    run(path, body)


def test_garbage_gets_a_pass_and_the_connection_lives(path: Path):
    async def body(server: AnswerServer) -> None:
        assert await talk(path, b"\xff\x00\n", b"7\tnonsense\n", b"8\tuid=0\n") == [
            b"0\tpass\tmalformed-request\n",
            b"7\tpass\tmalformed-request\n",
            b"8\tpass\tok\n",
        ]
        assert server.counts.malformed == 2

    run(path, body)


def test_a_handler_that_raises_costs_one_pass_and_one_log_line(path: Path, caplog):
    def handle(ask: Ask):
        if ask.name == "bad":
            raise RuntimeError("bug")
        return Pass(reason="ok")

    async def body(server: AnswerServer) -> None:
        bad, good = b"1\tuid=0\tname=bad\n", b"2\tuid=0\n"
        with caplog.at_level(logging.ERROR):
            answers = await talk(path, *([bad] * 100), good)
        assert answers == [b"1\tpass\tinternal-error\n"] * 100 + [b"2\tpass\tok\n"]
        assert server.counts.failed == 100

    run(path, body, handle)
    assert ["RuntimeError('bug')" in r.getMessage() for r in caplog.records] == [True]


def test_an_endless_line_is_cut_off_and_others_are_served(path: Path):
    async def body(server: AnswerServer) -> None:
        assert await talk(path, b"1\tname=" + b"x" * 20000) == [b""]
        assert await talk(path, b"1\tname=" + b"x" * 20000 + b"\n") == [b""]
        assert await talk(path, b"2\tuid=0\n") == [b"2\tpass\tok\n"]

    run(path, body)


def test_strangers_are_turned_away(path: Path, caplog):
    async def body(server: AnswerServer) -> None:
        assert await talk(path, b"1\tuid=0\n") == [b""]
        assert (server.counts.strangers, server.counts.asked) == (1, 0)

    with caplog.at_level(logging.ERROR):
        run(path, body, allowed_uids={ME + 1})
    assert f"uid {ME}" in caplog.text


def test_the_socket_is_private_and_gone_afterwards(path: Path):
    async def body(server: AnswerServer) -> None:
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert [entry.name for entry in path.parent.iterdir()] == ["hook.sock"]

    run(path, body)
    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(ME != 0, reason="only root may give a socket away")
def test_the_socket_can_belong_to_slurmctlds_user(path: Path):
    async def body(server: AnswerServer) -> None:
        assert path.stat().st_uid == 65534

    run(path, body, owner_uid=65534)


def test_slurmctlds_user_is_let_in_once_slurm_has_said_who_it_is(path: Path, monkeypatch, caplog):
    """sgreend as root was up before slurmctld answered, as after a boot."""
    given: list[int] = []

    async def body(server: AnswerServer) -> None:
        assert await talk(path, b"1\tuid=0\n") == [b""]
        monkeypatch.setattr("os.chown", lambda _path, uid, _gid: given.append(uid))
        server.admit(ME)
        server.admit(ME)
        assert await talk(path, b"1\tuid=0\n") == [b"1\tpass\tok\n"]

    run(path, body, allowed_uids={ME + 1})
    assert given == [ME]


def test_who_may_not_give_the_socket_away_says_so(path: Path, monkeypatch, caplog):
    async def body(server: AnswerServer) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError

        monkeypatch.setattr("os.chown", refuse)
        server.admit(ME + 2)
        assert await talk(path, b"1\tuid=0\n") == [b"1\tpass\tok\n"]

    run(path, body)
    assert "slurmctld cannot ask: sgreend runs as uid" in caplog.text


def test_a_stale_socket_is_replaced(path: Path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    async def body(server: AnswerServer) -> None:
        assert await talk(path, b"1\tuid=0\n") == [b"1\tpass\tok\n"]

    run(path, body)


def test_a_daemon_that_ends_leaves_its_successors_socket(path: Path):
    async def body(first: AnswerServer) -> None:
        second = AnswerServer(
            path, lambda ask: Pass(reason="second"), allowed_uids={ME}, clock=time.monotonic
        )
        await second.start()
        try:
            await first.close()
            assert await talk(path, b"1\tuid=0\n") == [b"1\tpass\tsecond\n"]
        finally:
            await second.close()

    run(path, body)


def test_what_need_not_delay_the_answer_comes_after_it(path: Path):
    seen: list[tuple[int, str]] = []

    async def body(server: AnswerServer) -> None:
        await talk(path, b"5\tuid=0\n")
        assert seen == [(5, "ok")]

    run(path, body, after=lambda ask, answer: seen.append((ask.seq, answer.reason)))


def test_a_socket_that_cannot_be_made_comes_with_what_to_do(path: Path, monkeypatch):
    """A directory that is missing, and a user who is neither SlurmUser nor root."""

    async def body(server: AnswerServer) -> None:
        raise AssertionError("never started")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with pytest.raises(SlurmGreenError, match=r"No such file.*; create its directory"):
        run(path.parent / "nowhere" / path.name, body)
    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(SlurmGreenError, match=r"slurmctld as uid 7, .* run sgreend as SlurmUser"):
        run(path, body, owner_uid=7)
    assert list(path.parent.iterdir()) == [], "nothing is left behind"
