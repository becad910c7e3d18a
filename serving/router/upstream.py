# SPDX-License-Identifier: Apache-2.0
"""A connection to a replica: parses answers and hands their parts to the exchange that waits.

What comes is taken for what it is only when it is whole: lengths that do not fit, bytes that
nobody asked for and connections that end early are faults of the replica.
"""

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING, cast

import httptools

if TYPE_CHECKING:
    from serving.router.exchange import Exchange
    from serving.router.replica import Replica

__all__ = ["OURS", "Upstream"]

# No socket is left here, which says nothing of the replica.
OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_HEADERS = 65_536  # bytes of an answer's head


class Upstream(asyncio.Protocol):
    """One connection; it serves one exchange at a time."""

    __slots__ = (
        "_ended", "_extra", "_framed", "_head", "_kept", "_parser", "_parts", "_transport",
        "exchange", "headers", "idle_since_s", "open", "paused", "replica", "reused", "silent",
        "status", "tells",
    )  # fmt: skip

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self.exchange: Exchange | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.idle_since_s = 0.0
        self.open = False
        self.paused = False
        self.reused = False
        self.silent = True  # no byte of the answer yet
        self._reset()
        self._parser = httptools.HttpResponseParser(self)

    def _reset(self) -> None:
        self._parts: list[bytes] = []
        self._head = 0
        self._ended = self._extra = self._framed = self._kept = False
        self.tells = False  # what the answer cost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def send(self, exchange: "Exchange", request: bytes) -> None:
        """Sends a request; its answer goes to the exchange."""
        self.exchange = exchange
        self.headers, self.status, self.silent = [], 0, True
        self._reset()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer, or of nothing that we asked for."""
        exchange = self.exchange
        if exchange is None:
            self.abort()
            return
        self.silent = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._extra = True
        if not self.status:
            self._head += len(data)
        broken = self._extra or self._head > _HEADERS
        parts, self._parts = self._parts, []
        if self._ended:
            if broken or not self._kept:
                self.abort()
            self.exchange = None
            exchange.received(self, parts, ended=True)
        elif broken:
            self._fail("no HTTP")
        elif parts:
            exchange.received(self, parts, ended=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side went, or we let it go."""
        self.open = False
        exchange = self.exchange
        if exchange is None:
            return
        if self.status and not self._framed:
            # An answer without a length ends with its connection.
            self.exchange = None
            exchange.received(self, [], ended=True)
        else:
            self._fail("connection lost")

    def abort(self) -> None:
        """Away with it, at once."""
        if self.open:
            self.open = False
            with contextlib.suppress(RuntimeError):
                self._transport.abort()

    def drop(self) -> None:
        """As abort, and the exchange hears nothing of it."""
        self.exchange = None
        self.abort()

    def pause(self) -> None:
        """Reads nothing more until resume."""
        if self.open and not self.paused:
            self.paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self.open and self.paused:
            self.paused = False
            self._transport.resume_reading()

    def _fail(self, why: str) -> None:
        exchange = self.exchange
        self.drop()
        if exchange is not None:
            exchange.fault(self, why)

    # What httptools calls.

    def on_message_begin(self) -> None:
        """One answer begins; a second one is too much."""
        self._extra |= self._ended

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the answer."""
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._framed = True
        elif name.startswith(b"x-sgreen-"):
            self.tells = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if not self._ended:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self.status < 200:  # 100 Continue and the like come before the answer
            self.headers, self.status = [], 0
        else:
            self._ended = True
            self._kept = self._parser.should_keep_alive()
