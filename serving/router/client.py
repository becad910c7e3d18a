# SPDX-License-Identifier: Apache-2.0
"""A client's connection: parses requests within limits, and writes answers.

One request is in work at a time; those that a client sends ahead wait for their turn. Answers are
written as whole messages whatever a replica sent: what was cut there ends in an error event here.
"""

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from serving.router.answers import Refusal, chunk, error_body, kept, status_line

if TYPE_CHECKING:
    from serving.router.door import Door
    from serving.router.exchange import Exchange

__all__ = ["Client", "Request"]

_AHEAD = 64  # requests sent before their turn
_JSON = [(b"content-type", b"application/json")]
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Request:
    """What a client asked."""

    __slots__ = ("body", "headers", "keep", "method", "modern", "target")

    def __init__(self, method: bytes, target: bytes, headers: dict[bytes, bytes]) -> None:
        self.method, self.target, self.headers = method, target, headers
        self.body = b""
        self.keep = self.modern = True  # modern: HTTP/1.1, which knows chunks


class Client(asyncio.Protocol):
    """See above."""

    __slots__ = (
        "_body", "_deaf", "_head", "_headers", "_parser", "_paused", "_plain_head", "_queue",
        "_request", "_room", "_target", "_tls", "_transport", "_unread", "deadline_s", "door",
        "exchange", "open", "reading_body",
    )  # fmt: skip

    def __init__(self, door: "Door") -> None:
        self.door = door
        self.exchange: Exchange | None = None
        self.open = False
        self.reading_body = False
        self.deadline_s = 0.0  # of what the client is doing, 0: nothing is due
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._request: Request | None = None  # in work
        self._deaf = False  # what they still send is thrown away
        self._paused = False
        self._plain_head = b""  # of a request that offered another protocol, without the offer
        self._unread = (0, 0.0)  # bytes that they have not read, and when they last read any
        self._fresh()

    def _fresh(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._head = self._room = 0

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._tls = transport.get_extra_info("ssl_object") is not None
        self.open = True
        self.door.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        while data and self.open and not self._deaf:
            data = self._parse(data)

    def _parse(self, data: bytes) -> bytes:
        """What is left to parse after an offer to talk another protocol, nothing otherwise."""
        door = self.door
        if self.deadline_s == 0.0 or not (self._head or self.reading_body):
            self.deadline_s = door.now_s() + door.settings.timeouts.head_s
        self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            reason = error.__context__
            self._reject(
                reason if isinstance(reason, Refusal) else Refusal(500, "the router failed")
            )
            if not isinstance(reason, Refusal):
                door.bug(reason or error)
        except httptools.HttpParserUpgrade as offer:
            # Nobody has to take it; the request is answered as if it were not there.
            self._parser = httptools.HttpRequestParser(self)
            head, self._plain_head = self._plain_head, b""
            return head + data[offer.args[0] :]
        except httptools.HttpParserError:
            self._reject(Refusal(400, "this is not a request in HTTP/1.1"))
        else:
            if self._head > door.settings.limits.header_bytes:
                self._reject(Refusal(431, "request headers are too large"))
        return b""

    def connection_lost(self, exc: Exception | None) -> None:
        """They went."""
        self.open = False
        self._queue.clear()
        self.door.left(self)
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            exchange.client_gone()

    def pause_writing(self) -> None:
        """They read more slowly than a replica writes."""
        self._paused = True
        if self.exchange is not None:
            self.exchange.pause()

    def resume_writing(self) -> None:
        """They caught up."""
        self._paused = False
        if self.exchange is not None:
            self.exchange.resume()
        elif self._queue:
            self.door.loop.call_soon(self._work_ahead)

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self._queue) >= _AHEAD:
            raise Refusal(429, "too many requests sent ahead on one connection")

    def on_url(self, url: bytes) -> None:
        """Its target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of it; what stands behind a body is none that we know."""
        if self.reading_body:
            return
        self._room += len(name) + len(value) + 4
        if self._room > self.door.settings.limits.header_bytes:
            raise Refusal(431, "request headers are too large")
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """All its headers are there."""
        door, headers = self.door, self._headers
        self.reading_body = True
        self._head = self._room = 0
        self.deadline_s = door.now_s() + door.settings.timeouts.body_s
        length = headers.get(b"content-length")
        if length is not None and int(length) > door.settings.limits.body_bytes:
            raise Refusal(413, _too_large(door.settings.limits.body_bytes))
        expects = headers.get(b"expect", b"").lower() == b"100-continue"
        if expects and self._request is None and self._parser.get_http_version() == "1.1":
            self._transport.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        """A part of its body."""
        self._head = 0
        self._room += len(data)
        if self._room > self.door.settings.limits.body_bytes:
            raise Refusal(413, _too_large(self.door.settings.limits.body_bytes))
        self._body.append(data)

    def on_message_complete(self) -> None:
        """It is whole."""
        parser = self._parser
        if parser.should_upgrade() and self._body_comes(parser.get_method()):
            self._plain_head = self._without_offer()
            self.reading_body = False
            self._fresh()
            return
        request = Request(parser.get_method(), self._target, self._headers)
        parts = self._body
        request.body = parts[0] if len(parts) == 1 else b"".join(parts)
        request.keep = parser.should_keep_alive()
        request.modern = parser.get_http_version() == "1.1"
        self.reading_body = False
        self.deadline_s = 0.0
        self._fresh()
        if self._request is not None or self._paused:
            self._queue.append(request)
            if len(self._queue) == 1:
                self._transport.pause_reading()
        else:
            self._work(request)

    def _body_comes(self, method: bytes) -> bool:
        """Whether a body follows that was not read.

        The trap: the parser takes the head of an offer for all of it, and what follows for requests
        (Java's client offers HTTP/2 with every body that it sends first).
        """
        headers = self._headers
        length = headers.get(b"content-length", b"0").strip()
        return method != b"CONNECT" and (b"transfer-encoding" in headers or int(length) > 0)

    def _without_offer(self) -> bytes:
        """The head again, to be parsed with its body."""
        parser = self._parser
        lines = [
            b"%b: %b\r\n" % one
            for one in self._headers.items()
            if one[0] not in (b"connection", b"upgrade", b"expect")
        ]
        stays = b"keep-alive" if parser.should_keep_alive() else b"close"
        return b"%b %b HTTP/%b\r\n%bconnection: %b\r\n\r\n" % (
            parser.get_method(), self._target, parser.get_http_version().encode(),
            b"".join(lines), stays,
        )  # fmt: skip

    # Answers.

    def _work(self, request: Request) -> None:
        self._request = request
        try:
            self.door.asked(self, request)
        except Exception as error:
            # Nobody would answer it any more.
            self.door.bug(error)
            self.abort()

    def _reject(self, refusal: Refusal) -> None:
        """The connection cannot be understood any further.

        The trap: a close while they still send takes the answer back (a reset), and most clients
        read none before all is sent. So what they send is thrown away until they see it.
        """
        if self._request is not None or self._queue:
            self.abort()  # in the middle of somebody else's answer
            return
        self._request = Request(b"", b"", {})
        self._request.keep = False
        self._deaf = True
        self.door.rejected(refusal)
        self.answer(refusal.status, _JSON, error_body(refusal.status, refusal.text))

    @property
    def paused(self) -> bool:
        """Whether they read too slowly just now."""
        return self._paused

    def answer(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        more: bytes = b"",
    ) -> None:
        """A whole answer."""
        request = self._request
        if request is None or not self.open:
            return
        keep = request.keep and not self.door.closing
        # HTTP/1.0 takes a connection for one that ends unless it is told.
        stays = b"" if request.modern else b"connection: keep-alive\r\n"
        self._transport.write(
            b"%b%b%b%bcontent-length: %d\r\n\r\n%b"
            % (
                status_line(status), kept(headers), more,
                stays if keep else b"connection: close\r\n",
                len(body), b"" if request.method == b"HEAD" else body,
            )
        )  # fmt: skip
        self._next(keep)

    def reply(
        self,
        exchange: "Exchange",
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        site: str,
    ) -> None:
        """A replica's whole answer."""
        self.exchange = None
        self.answer(status, headers, body, _ours(exchange, site))

    def refuse(
        self, exchange: "Exchange", status: int, text: str, retry_after_s: float | None
    ) -> None:
        """An error of ours as the answer."""
        self.exchange = None
        more = _ours(exchange, "")
        if retry_after_s is not None:
            more += b"retry-after: %d\r\n" % max(1, round(retry_after_s))
        self.answer(status, _JSON, error_body(status, text), more)

    def begin(self, exchange: "Exchange", headers: list[tuple[bytes, bytes]], site: str) -> None:
        """A stream begins."""
        request = self._request
        if request is None or not self.open:
            return
        request.keep = request.keep and request.modern and not self.door.closing
        ends = b"transfer-encoding: chunked\r\n" if request.modern else b""
        close = b"" if request.keep else b"connection: close\r\n"
        self._transport.write(
            b"%b%b%b%b%b\r\n"
            % (status_line(200), kept(headers), _ours(exchange, site), ends, close)
        )

    def write(self, data: bytes) -> None:
        """More of a stream."""
        if self.open and self._request is not None:
            self._transport.write(chunk(data) if self._request.modern else data)

    def end(self, exchange: "Exchange") -> None:
        """The stream is whole."""
        self.exchange = None
        request = self._request
        if request is None or not self.open:
            return
        if request.modern:
            self._transport.write(b"0\r\n\r\n")
        self._next(request.keep and not self.door.closing)

    def _next(self, keep: bool) -> None:
        self._request = None
        self._unread = (self._transport.get_write_buffer_size(), self.door.now_s())
        if self._deaf:
            self.deadline_s = self.door.now_s() + self.door.settings.timeouts.body_s
            if self._transport.can_write_eof():
                self._transport.write_eof()
        elif not keep:
            self.close()
        elif self._queue:
            # Not from here: the stack would grow with every request sent ahead.
            self.door.loop.call_soon(self._work_ahead)
        else:
            self.deadline_s = self.door.now_s() + self.door.settings.timeouts.idle_s

    def _work_ahead(self) -> None:
        if self.open and self._request is None and self._queue and not self._paused:
            request = self._queue.popleft()
            if not self._queue:
                self._transport.resume_reading()
            self._work(request)

    @property
    def unsent(self) -> bool:
        """Whether some of what was written has not left; of TLS only what is not encrypted yet."""
        return self._transport.get_write_buffer_size() > 0

    @property
    def idle(self) -> bool:
        """Whether nothing of theirs is in work."""
        return self._request is None and not self._queue

    def sweep(self, now_s: float) -> None:
        """Let them go whose time is up, and who read nothing of an answer that is whole.

        The trap: TLS hides what they have not read; the loop ends what closes there after 30 s.
        """
        if self._request is not None:
            return  # its own times hold
        if self._paused or not (self.open or self._tls):
            left = self._transport.get_write_buffer_size()
            if left != self._unread[0]:
                self._unread = left, now_s
            elif now_s - self._unread[1] > self.door.settings.timeouts.client_s:
                self._transport.abort()
        elif self.deadline_s and now_s > self.deadline_s and not self._queue:
            self.close()

    def close(self) -> None:
        """After what was written has left."""
        if self.open:
            self.open = False
            self._transport.close()

    def abort(self) -> None:
        """At once."""
        if self.open:
            with contextlib.suppress(RuntimeError):
                self._transport.abort()


def _ours(exchange: "Exchange", site: str) -> bytes:
    told = f"x-request-id: {exchange.request_id}\r\n"
    return (f"{told}x-sgreen-site: {site}\r\n" if site else told).encode()


def _too_large(most: int) -> str:
    return f"request body is larger than {most} bytes"
