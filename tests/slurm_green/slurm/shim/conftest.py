# SPDX-License-Identifier: Apache-2.0
"""A real Lua 5.1 with a fake slurmctld around the courier, and daemons for it to ask."""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote_to_bytes

import pytest

import slurm_green.slurm
from slurm_green.controller.answer import AnswerServer
from slurm_green.hook.wire import Answer, Ask, Defer

LUA_DIR = Path(slurm_green.slurm.__file__).parent
RECORD = (
    "green:v1 id=0123456789ab decided=2026-11-22T00:00:00Z start=2026-11-22T03:00:00Z"
    " latest=2026-11-22T06:00:00Z workers=- clock=- by=lowest-window save_g=12 sig=csv@3s"
)

LuaValue = str | bytes | int | float | bool


def lua_literal(value: LuaValue) -> str:
    """A Python value as Lua source on one line, any bytes included."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    raw = value.encode() if isinstance(value, str) else value
    return '"' + "".join(f"\\{byte:03d}" for byte in raw) + '"'


def lua_table(values: Mapping[str, LuaValue]) -> str:
    """A Lua table with string keys."""
    return "{" + ",".join(f"[{lua_literal(k)}]={lua_literal(v)}" for k, v in values.items()) + "}"


@dataclass
class Result:
    """What one call did: fields written, lines for the user, lines for slurmctld's log."""

    fields: dict[str, bytes] = field(default_factory=dict)
    user: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def unchanged(self) -> bool:
        """Whether the job is as the user wrote it and nobody told the user anything."""
        return not self.fields and not self.user


class Shim:
    """One Lua state with the courier in it."""

    def __init__(self, directory: Path, env: dict[str, str] | None = None) -> None:
        self.socket = directory / "hook.sock"
        self.published = directory / "hook.plan"
        self._process = subprocess.Popen(
            ["lua5.1", str(Path(__file__).parent / "harness.lua")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
        )
        self.run(f"WIRE={lua_literal(str(LUA_DIR / 'slurm_green_wire.lua'))}")

    def load(self, module: Path = LUA_DIR / "slurm_green.lua") -> Result:
        """Load the module as job_submit.lua does."""
        result = self.run(f"return load_module({lua_literal(str(module))})")
        if result.fields["ok"] == b"true":
            # Far from 50 ms: that a daemon answers late is not what most tests are about.
            self.configure(socket=str(self.socket), published=str(self.published), timeout_s=10.0)
        return result

    def configure(self, **options: LuaValue) -> None:
        """green.configure{...}"""
        self.run(f"return configure({lua_table(options)})")

    def submit(self, times: int = 1, /, **fields: LuaValue) -> Result:
        """slurm_job_submit with these fields set; the last result where there are several."""
        return self.run(f"return submit({lua_table(fields)}, {times})")

    def modify(self, wanted: Mapping[str, LuaValue], record: str, *, uid: int = 1001) -> int:
        """slurm_job_modify of a job with this record; the code."""
        self.last = self.run(
            f"return modify({lua_table(wanted)}, {lua_table({'admin_comment': record})}, {uid})"
        )
        return int(self.last.fields["code"])

    def question(self, **fields: LuaValue) -> tuple[bytes, str]:
        """The request line, and why there is none."""
        fields = self.run(f"return question({lua_table(fields)})").fields
        return fields["line"], fields["why"].decode()

    def run(self, chunk: str) -> Result:
        """One Lua chunk on one line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        started = time.perf_counter()
        self._process.stdin.write(chunk.encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        result = Result(took_s=time.perf_counter() - started)
        assert line.endswith(b"\n"), "Lua died"
        for item in line[:-1].split(b"\t") if line != b"\n" else []:
            key, _, raw = item.partition(b"=")
            value = unquote_to_bytes(raw)
            assert key != b"!harness", value
            if key == b"!user":
                result.user.append(value.decode("latin-1"))
            elif key == b"!log":
                result.log.append(value.decode("ascii"))
            else:
                result.fields[key.decode()] = value
        return result

    def close(self) -> None:
        """End the Lua process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture
def new_shim(tmp_path: Path) -> Iterator[Callable[..., Shim]]:
    """Makes Lua states; skips where there is no Lua 5.1."""
    if shutil.which("lua5.1") is None:
        pytest.skip("lua5.1 is not installed")
    shims: list[Shim] = []

    def make(env: dict[str, str] | None = None) -> Shim:
        shims.append(Shim(tmp_path, env))
        return shims[-1]

    yield make
    for shim in shims:
        shim.close()


@pytest.fixture
def shim(new_shim: Callable[..., Shim]) -> Shim:
    """A courier that is loaded and points at this test's socket."""
    shim = new_shim()
    assert shim.load().fields["ok"] == b"true"
    return shim


def later(seconds: float) -> datetime:
    """An instant that many seconds from now, whole."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


def defer(begin_in_s: float = 10, record: str = RECORD, message: str = "it waits") -> Defer:
    """A deferral as the daemon makes it."""
    return Defer(
        begin_utc=later(begin_in_s), latest_utc=later(7200), record=record, message=message
    )


@contextmanager
def daemon(
    path: Path, handle: Callable[[Ask], Answer], *, allowed_uids: tuple[int, ...] | None = None
) -> Iterator[AnswerServer]:
    """The real answer server in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = AnswerServer(
        path,
        handle,
        allowed_uids=(os.geteuid(),) if allowed_uids is None else allowed_uids,
        clock=time.monotonic,
    )
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


class BadDaemon:
    """Listens like sgreend and behaves as the test says: `reply(line)` gives bytes or None."""

    def __init__(
        self, path: Path, reply: Callable[[bytes], bytes | None], *, hang_up: bool
    ) -> None:
        self.lines: list[bytes] = []
        self.connections = 0
        self._reply = reply
        self._hang_up = hang_up
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._peers: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: socket.socket) -> None:
        try:
            with peer.makefile("rb") as lines:
                for line in lines:
                    self.lines.append(line)
                    answer = self._reply(line)
                    if answer is not None:
                        peer.sendall(answer)
                    if self._hang_up:
                        peer.shutdown(socket.SHUT_RDWR)
                        return
        except OSError:
            return  # the courier hung up

    def close(self) -> None:
        """Stop listening and hang up on everybody."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(60)  # so that no peer is added any more
        for peer in self._peers:
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the courier hung up first
        for thread in self._threads:
            thread.join(60)
        for peer in self._peers:
            peer.close()


@pytest.fixture
def bad_daemon(tmp_path: Path) -> Iterator[Callable[..., BadDaemon]]:
    """Makes daemons that misbehave on this test's socket."""
    made: list[BadDaemon] = []

    def make(reply: Callable[[bytes], bytes | None], *, hang_up: bool = False) -> BadDaemon:
        made.append(BadDaemon(tmp_path / "hook.sock", reply, hang_up=hang_up))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def tools() -> SimpleNamespace:
    """The helpers above: test modules cannot import a conftest by name."""
    return SimpleNamespace(RECORD=RECORD, LUA_DIR=LUA_DIR, daemon=daemon, defer=defer, later=later)
