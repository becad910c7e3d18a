# SPDX-License-Identifier: Apache-2.0
"""The unix socket the submit hook asks: one line in, one line out, from memory.

slurmctld waits under its locks while we answer, so nothing here touches a disk or blocks; an
exception in the handler costs its own job a `pass`, never the server or the next job.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from slurm_green.errors import SlurmGreenError
from slurm_green.hook.wire import (
    PING,
    PONG,
    Answer,
    Ask,
    Pass,
    WireError,
    encode_answer,
    parse_ask,
    passes,
)

__all__ = ["AnswerCounts", "AnswerServer"]

_LOG = logging.getLogger(__name__)
_LINE_LIMIT = 16384
_BACKLOG = 128
# A broken handler in a burst of submissions must not fill the log.
_LOG_EVERY_S = 10.0


@dataclass(slots=True)
class AnswerCounts:
    """What happened since the server started; counters only grow."""

    asked: int = 0
    deferred: int = 0
    looked: int = 0
    passed: int = 0
    failed: int = 0
    malformed: int = 0
    strangers: int = 0
    # Why jobs passed; the words are ours, so there are few.
    reasons: Counter[str] = field(default_factory=Counter)

    def passes(self) -> dict[str, int]:
        """How often jobs passed, by reason, as it is now: another thread adds to it."""
        return dict(list(self.reasons.items()))


class AnswerServer:
    """Serves `handle` on a unix socket that only `allowed_uids` may use.

    `after` is called once the answer is on its way, for whatever need not delay it. `owner_uid`
    owns the socket: slurmctld's user, where the daemon runs as root.
    """

    def __init__(
        self,
        path: Path,
        handle: Callable[[Ask], Answer],
        *,
        allowed_uids: Collection[int],
        clock: Callable[[], float],
        after: Callable[[Ask, Answer], None] | None = None,
        owner_uid: int | None = None,
    ) -> None:
        self.path = path
        self.counts = AnswerCounts()
        self._handle = handle
        self._after = after
        self._allowed = frozenset(allowed_uids)
        self._clock = clock
        self._owner_uid = owner_uid
        self._server: asyncio.Server | None = None
        self._inode: int | None = None
        self._open: set[asyncio.Transport] = set()
        self._logged_s: float | None = None

    async def start(self) -> None:
        """Listen; a socket somebody left behind is replaced in one step.

        SlurmGreenError, with what to do, where it cannot be made.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            # On Linux the file takes the mode of the unbound socket: it is never open to others.
            os.fchmod(listener.fileno(), 0o600)
            temporary.unlink(missing_ok=True)
            listener.bind(os.fspath(temporary))
            self._give(temporary)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            self._inode = temporary.stat().st_ino
            temporary.replace(self.path)
        except BaseException as error:
            listener.close()
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise SlurmGreenError(
                    f"{self.path}: the socket cannot be made ({error.strerror or error}); create "
                    "its directory for sgreend's user, or set paths.socket"
                ) from error
            raise
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _Connection(self), sock=listener, backlog=_BACKLOG
        )

    def _give(self, path: Path) -> None:
        """To slurmctld's user, who alone may write to it."""
        if self._owner_uid is None:
            return
        try:
            os.chown(path, self._owner_uid, -1)
        except PermissionError as error:
            raise SlurmGreenError(
                f"sgreend runs as uid {os.geteuid()} and slurmctld as uid {self._owner_uid}, who "
                "could not ask it; run sgreend as SlurmUser, or as root"
            ) from error

    def admit(self, uid: int) -> None:
        """Let this user ask, too: slurmctld's, where Slurm said only later who that is."""
        if uid in self._allowed:
            return
        self._allowed |= {uid}
        self._owner_uid = uid
        try:
            self._give(self.path)
        except (SlurmGreenError, OSError) as error:
            _LOG.error("slurmctld cannot ask: %s", error)

    async def close(self) -> None:
        """Stop, and remove the socket unless another daemon has taken the place meanwhile."""
        if self._server is None:
            return
        self._server.close()
        for transport in list(self._open):
            transport.abort()
        await self._server.wait_closed()
        self._server = None
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    def _admits(self, transport: asyncio.Transport) -> bool:
        peer: socket.socket = transport.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _pid, uid, _gid = struct.unpack("3i", raw)
        if uid in self._allowed:
            return True
        self.counts.strangers += 1
        self._log(f"refused a connection of uid {uid}; allowed are {sorted(self._allowed)}")
        return False

    def _reply(self, transport: asyncio.Transport, line: bytes) -> None:
        if line == PING:
            transport.write(PONG)
            return
        counts = self.counts
        counts.asked += 1
        try:
            ask = parse_ask(line)
        except WireError as error:
            counts.malformed += 1
            transport.write(passes(_seq_of(line), "malformed-request"))
            self._log(f"unreadable request: {error}")
            return
        try:
            answer = self._handle(ask)
            reply = encode_answer(ask.seq, answer)
        except Exception as error:  # one job's trouble, whatever it is, stays that job's
            counts.failed += 1
            transport.write(passes(ask.seq, "internal-error"))
            self._log(f"answer failed: {error!r}", error)
            return
        transport.write(reply)
        if isinstance(answer, Pass):
            counts.passed += 1
            counts.reasons[answer.reason] += 1
            told = (answer.reason, ask.uid, ask.partition, ask.name)
            _LOG.debug("passed, %s: uid %d, partition %r, name %r", *told)
        elif answer.message:
            counts.deferred += 1
        else:
            counts.looked += 1
        if self._after is not None:
            asyncio.get_running_loop().call_soon(self._after, ask, answer)

    def _log(self, text: str, error: BaseException | None = None) -> None:
        now_s = self._clock()
        if self._logged_s is None or now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            # Off the current callback: the answer leaves first.
            asyncio.get_running_loop().call_soon(lambda: _LOG.error("%s", text, exc_info=error))


class _Connection(asyncio.Protocol):
    """One peer; slurmctld keeps a single connection for all jobs."""

    def __init__(self, server: AnswerServer) -> None:
        self._answers = server
        self._transport: asyncio.Transport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._answers._admits(transport):
            transport.abort()
            return
        self._transport = transport
        self._answers._open.add(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if len(line) > _LINE_LIMIT:
                self._transport.abort()
                return
            self._answers._reply(self._transport, line + b"\n")
        if len(self._rest) > _LINE_LIMIT:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._answers._open.discard(self._transport)


def _seq_of(line: bytes) -> int:
    head = line.split(b"\t", 1)[0]
    return int(head) if head.isdigit() and len(head) <= 15 else 0
