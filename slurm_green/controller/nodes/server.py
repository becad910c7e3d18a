# SPDX-License-Identifier: Apache-2.0
"""The node API's HTTP: a thread with an event loop, and few threads that ask munged.

Everything is bounded: connections, those of one address, bytes, seconds. Who keeps sending what
munge refuses is cut off for a while before munged, which Slurm needs too, hears of it again.
"""

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from slurm_green.controller.nodes.api import NodeApi, Reply
from slurm_green.controller.nodes.wire import ANSWER_HEADER, MOST_BYTES, REQUEST_HEADER

__all__ = ["Limits", "serve_nodes"]

_LOG = logging.getLogger(__name__)
_MOST_HEAD = 8192
_THREADS = 4
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the API bears; `refusals` in `pause_s` cut an address off for `pause_s`."""

    connections: int = 256
    per_address: int = 16
    request_s: float = 3.0
    refusals: int = 20
    pause_s: float = 30.0


class _TroubleError(Exception):
    """A request that ends before munge is asked."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Server:
    def __init__(self, api: NodeApi, limits: Limits) -> None:
        self._api = api
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._since_s = time.monotonic()
        self._munge = ThreadPoolExecutor(_THREADS, "munge")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("?",))[0])
        if self._unwelcome(peer):
            writer.transport.abort()
            return
        self._open[peer] += 1
        try:
            async with asyncio.timeout(self._limits.request_s):
                writer.write(_response(await self._reply(reader, peer)))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            pass  # by stop() alone; the streams of Python 3.11 log one that is passed on
        finally:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]
            with contextlib.suppress(RuntimeError):
                writer.transport.abort()

    def close(self) -> None:
        self._munge.shutdown(wait=False, cancel_futures=True)

    def _unwelcome(self, peer: str) -> bool:
        now_s = time.monotonic()
        if now_s - self._since_s > self._limits.pause_s:
            self._since_s = now_s
            self._refusals.clear()
        return (
            self._open.total() >= self._limits.connections
            or self._open[peer] >= self._limits.per_address
            or self._refusals[peer] >= self._limits.refusals
        )

    async def _reply(self, reader: asyncio.StreamReader, peer: str) -> Reply:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path, headers = _parsed(head)
            credential = headers.get(REQUEST_HEADER, "")
            if not credential.startswith("MUNGE:"):
                raise _TroubleError(HTTPStatus.UNAUTHORIZED, f"no credential in {REQUEST_HEADER}")
            body = await reader.readexactly(_length(headers))
        except _TroubleError as trouble:
            self._count(peer, trouble.status, str(trouble))
            return Reply(trouble.status, json.dumps({"error": str(trouble)}).encode())
        loop = asyncio.get_running_loop()
        try:
            reply = await loop.run_in_executor(
                self._munge, self._api.answer, path, body, credential
            )
        except Exception:
            _LOG.exception("%s asked for %.80r", peer, path)
            return Reply(HTTPStatus.INTERNAL_SERVER_ERROR, b'{"error": "a bug; see the log"}')
        self._count(peer, reply.status, reply.body.decode())
        return reply

    def _count(self, peer: str, status: HTTPStatus, why: str) -> None:
        if status in _REFUSED:
            self._refusals[peer] += 1
            if self._refusals[peer] == 1:
                _LOG.warning("node API: %s is refused: %s", peer, why)


def serve_nodes(address: str, api: NodeApi, limits: Limits | None = None) -> Callable[[], None]:
    """Serve on host:port in a thread of its own; returns what stops it.

    OSError where the address cannot be had.
    """
    host, _, port = address.rpartition(":")
    started: list[asyncio.Server] = []
    loop = asyncio.new_event_loop()
    one = _Server(api, limits or Limits())

    async def start() -> None:
        started.append(
            await asyncio.start_server(one.serve, host.strip("[]"), int(port), limit=_MOST_HEAD)
        )

    try:
        loop.run_until_complete(start())
    except (OSError, OverflowError):
        one.close()
        loop.close()
        raise
    thread = threading.Thread(target=loop.run_forever, name="nodes", daemon=True)
    thread.start()

    async def end() -> None:
        started[0].close()
        open_ones = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
        loop.stop()

    def stop() -> None:
        asyncio.run_coroutine_threadsafe(end(), loop)
        thread.join(timeout=2)
        one.close()
        if not thread.is_alive():
            loop.close()

    return stop


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    path, _, version = rest.partition(" ")
    if not version.startswith("HTTP/1."):
        raise _TroubleError(HTTPStatus.BAD_REQUEST, "this is not HTTP/1")
    if method != "POST":
        raise _TroubleError(HTTPStatus.METHOD_NOT_ALLOWED, "only POST is for nodes")
    pairs = (line.partition(":")[::2] for line in lines if line)
    return path, {name.strip().lower(): value.strip() for name, value in pairs}


def _length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise _TroubleError(HTTPStatus.LENGTH_REQUIRED, "Content-Length is wanted")
    if int(text) > MOST_BYTES:
        raise _TroubleError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST_BYTES} bytes")
    return int(text)


def _response(reply: Reply) -> bytes:
    credential = f"{ANSWER_HEADER}: {reply.credential}\r\n" if reply.credential else ""
    head = (
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(reply.body)}\r\n{credential}Connection: close\r\n\r\n"
    )
    return head.encode() + reply.body
