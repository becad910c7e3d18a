# SPDX-License-Identifier: Apache-2.0
"""A unix socket for lines of JSON, asked by processes that nobody trusts.

The trap: floods. Root's hooks have a socket that nobody else can open, so that users who fill
theirs delay no job; who may not ask is cut off before a byte is read.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Limits", "LineServer", "Peer"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel says."""

    pid: int
    uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one socket stands; beyond it a connection is closed."""

    connections: int = 64
    per_user: int = 8
    per_user_s: int = 100  # requests
    line_bytes: int = 4096
    line_s: float = 10.0  # for a whole line to come
    answer_s: float = 2.0  # for an answer to be read


class LineServer:
    """Answers each line of whom `admits` lets in; one request of a connection at a time."""

    def __init__(
        self,
        path: Path,
        answer: Callable[[Peer, bytes], Awaitable[Mapping[str, Any]]],
        *,
        admits: Callable[[Peer], bool],
        mode: int,
        limits: Limits = Limits(),
    ) -> None:
        self.path = path
        self._answer = answer
        self._admits = admits
        self._mode = mode
        self._limits = limits
        self._server: asyncio.Server | None = None
        self._open: Counter[int] = Counter()  # connections by user
        self._asked: Counter[int] = Counter()  # requests by user in this second
        self._second = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen; a socket somebody left behind is replaced in one step."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            # The file takes the mode of the unbound socket: it is never open to others.
            os.fchmod(listener.fileno(), 0o600)
            temporary.unlink(missing_ok=True)
            try:
                listener.bind(os.fspath(temporary))
            except OSError as error:  # which says no more than why
                raise OSError(f"{self.path}: {error}") from error
            temporary.chmod(self._mode)
            listener.listen(128)
            temporary.replace(self.path)
        except BaseException:
            listener.close()
            temporary.unlink(missing_ok=True)
            raise
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=self._limits.line_bytes
        )

    async def close(self) -> None:
        """Stop, and cut everybody off."""
        if self._server is None:
            return
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        with contextlib.suppress(OSError):
            self.path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _peer(writer)
        limits = self._limits
        full = self._open.total() >= limits.connections or self._open[peer.uid] >= limits.per_user
        if full or not self._admits(peer):
            writer.transport.abort()
            return
        self._open[peer.uid] += 1
        self._writers.add(writer)
        writer.transport.set_write_buffer_limits(high=0)  # so that `drain` means: it was read
        try:
            while line := await asyncio.wait_for(reader.readline(), limits.line_s):
                if not line.endswith(b"\n") or self._too_many(peer.uid):
                    break
                reply = json.dumps(await self._answer(peer, line)).encode() + b"\n"
                writer.write(reply)
                await asyncio.wait_for(writer.drain(), limits.answer_s)
        except (TimeoutError, ValueError, OSError) as error:  # ValueError: a line too long
            _LOG.debug("uid %d, pid %d: %s", peer.uid, peer.pid, error or "too slow")
        finally:
            self._open[peer.uid] -= 1
            self._writers.discard(writer)
            writer.transport.abort()

    def _too_many(self, uid: int) -> bool:
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second = second
            self._asked.clear()
            self._open += Counter()  # forgets who has no connection left
        self._asked[uid] += 1
        return self._asked[uid] > self._limits.per_user_s


def _peer(writer: asyncio.StreamWriter) -> Peer:
    peer: socket.socket = writer.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    pid, uid, _gid = struct.unpack("iII", raw)
    return Peer(pid, uid)
