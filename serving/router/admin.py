# SPDX-License-Identifier: Apache-2.0
"""For operators, on a port of its own: `/metrics`, `/health`, and `/replicas` as JSON."""

import asyncio
from typing import TYPE_CHECKING, cast

import orjson

from serving.router.answers import status_line

if TYPE_CHECKING:
    from serving.router.server import Server

__all__ = ["Admin"]

_MOST = 8192


class Admin(asyncio.Protocol):
    """One request per connection."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody asks."""
        self._transport = cast("asyncio.Transport", transport)
        server = self._server
        server.loop.call_later(server.settings.timeouts.head_s, transport.close)

    def data_received(self, data: bytes) -> None:
        """What they ask."""
        self._asked += data
        if b"\r\n\r\n" not in self._asked and len(self._asked) < _MOST:
            return
        words = self._asked.split(b" ", 2)
        path = (
            words[1].partition(b"?")[0]
            if len(words) == 3 and words[0] in (b"GET", b"HEAD")
            else b""
        )
        status, kind, body = self._answer(path)
        self._transport.write(
            b"%bcontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status_line(status), kind, len(body), b"" if words[0] == b"HEAD" else body)
        )
        self._transport.close()

    def _answer(self, path: bytes) -> tuple[int, bytes, bytes]:
        server = self._server
        if path == b"/metrics":
            return 200, b"text/plain; version=0.0.4; charset=utf-8", server.stats.text()
        if path == b"/health":
            up = server.fleet.any_ready() and not server.door.closing
            return (200 if up else 503), b"application/json", orjson.dumps({"ready": up})
        if path == b"/replicas":
            return 200, b"application/json", orjson.dumps(self._replicas())
        return 404, b"application/json", b'{"error":"there are /metrics, /health, /replicas"}'

    def _replicas(self) -> list[dict[str, object]]:
        now_s = self._server.loop.time()
        return [
            {
                "url": one.url,
                "model": one.model,
                "site": one.site,
                "state": one.state(now_s),
                "running": one.own,
                "running_of_others": one.foreign,
                "sent": one.sent,
                "failures": one.failures,
                "ceiling_mhz": one.view.clock_mhz,
            }
            for one in self._server.fleet.replicas.values()
        ]
