# SPDX-License-Identifier: Apache-2.0
"""What the daemon shows over HTTP on localhost: /metrics, /healthz and a page for people.

One request at a time and two seconds for each: whoever keeps a connection open delays the next
scrape and nothing else. Nothing can be changed here.
"""

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from slurm_green.controller.answer import AnswerCounts
from slurm_green.controller.listen import listen
from slurm_green.controller.metrics import StatusCollector
from slurm_green.controller.page import status_page
from slurm_green.controller.status import Status, taken_utc
from slurm_green.words import length

__all__ = ["Board", "Shown", "serve_board"]

_LOG = logging.getLogger(__name__)
_REQUEST_S = 2.0
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Shown:
    """One response."""

    code: int
    kind: str
    body: bytes


class Board:
    """What there is to show at each path; `clock` gives POSIX seconds."""

    def __init__(
        self,
        *,
        status: Callable[[], Status | None],
        counts: Callable[[], AnswerCounts],
        clock: Callable[[], float],
        fresh_s: float,
    ) -> None:
        self._status = status
        self._counts = counts
        self._clock = clock
        self._fresh_s = fresh_s
        self._registry = CollectorRegistry()
        self._registry.register(
            StatusCollector(status, counts, lambda it: self._age_s(it) <= fresh_s)
        )

    def show(self, path: str) -> Shown:
        """The response to GET `path`."""
        match path.partition("?")[0]:
            case "/metrics":
                return Shown(200, CONTENT_TYPE_LATEST, generate_latest(self._registry))
            case "/healthz":
                healthy, words = self.health()
                return Shown(200 if healthy else 503, _TEXT, f"{words}\n".encode())
            case "/":
                healthy, words = self.health()
                page = status_page(self._status(), self._counts(), health=words, healthy=healthy)
                return Shown(200, "text/html; charset=utf-8", page.encode("utf-8", "replace"))
        return Shown(404, _TEXT, b"there are /, /metrics and /healthz\n")

    def health(self) -> tuple[bool, str]:
        """Whether the last cycle is fresh enough to confirm deferrals, and a sentence about it."""
        status = self._status()
        if status is None:
            return False, "no cycle has run yet: new jobs pass unchanged"
        age_s = self._age_s(status)
        if age_s > self._fresh_s:
            return False, f"the last cycle ran {length(age_s)} ago: new jobs pass unchanged"
        return True, f"ok, the last cycle ran {length(max(age_s, 0.0))} ago"

    def _age_s(self, status: Status) -> float:
        return self._clock() - taken_utc(status).timestamp()


def serve_board(address: str, board: Board) -> Callable[[], None]:
    """Listen on `host:port`; returns what stops it. A taken port costs the page only, for now."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"

    class Handler(_Handler):
        shows = board

    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def serve() -> Callable[[], None]:
        server = Server((host, int(port)), Handler)
        thread = threading.Thread(target=server.serve_forever, name="board", daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join(timeout=_REQUEST_S)

        return stop

    without = f"no metrics and no status page on {address}"
    return listen(serve, level=logging.WARNING, without=without)


class _Server(TCPServer):
    """Not http.server's own: that one asks the DNS for a name before it listens."""

    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        _LOG.debug("%s went away", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    shows: Board
    timeout = _REQUEST_S
    server_version = "sgreend"
    sys_version = ""

    def do_GET(self) -> None:
        self._respond(with_body=True)

    def do_HEAD(self) -> None:
        self._respond(with_body=False)

    def _respond(self, *, with_body: bool) -> None:
        try:
            shown = self.shows.show(self.path)
        except Exception:
            _LOG.exception("%s cannot be shown", self.path)
            shown = Shown(500, _TEXT, b"a bug; sgreend's log has it\n")
        self.send_response(shown.code)
        self.send_header("Content-Type", shown.kind)
        self.send_header("Content-Length", str(len(shown.body)))
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(shown.body)

    def log_message(self, format: str, *args: object) -> None:
        _LOG.debug("%s " + format, self.client_address[0], *args)
