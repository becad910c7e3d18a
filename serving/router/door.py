# SPDX-License-Identifier: Apache-2.0
"""The front door: who comes in, what is asked, and to which model's replicas it goes."""

import asyncio
import random
import re
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from serving.router.answers import Refusal, error_body
from serving.router.client import Client, Request
from serving.router.continuation import CHAT, COMPLETIONS, Continuation, refusal
from serving.router.exchange import Exchange
from serving.router.policy.protocol import RequestView
from serving.router.relay import Relay
from serving.router.tenants import Guest, Tenants

if TYPE_CHECKING:
    from serving.router.fleet import Fleet
    from serving.router.settings import Settings
    from serving.router.stats import Stats

__all__ = ["Door"]

_JSON = [(b"content-type", b"application/json")]
_PATHS = frozenset((COMPLETIONS.encode(), CHAT.encode(), b"/v1/embeddings"))
_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_TRACE = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_BYTES_PER_TOKEN = 4  # of a prompt; a policy only needs the order of it


class Door:
    """One process's; connections call it."""

    def __init__(
        self,
        settings: "Settings",
        fleet: "Fleet",
        relay: Relay,
        stats: "Stats",
        loop: asyncio.AbstractEventLoop,
        bug: Callable[[BaseException], None],
        refused: Callable[[bytes, int, str], None],
    ) -> None:
        self.settings, self.fleet, self.relay, self.stats = settings, fleet, relay, stats
        self.loop, self.bug, self._refused = loop, bug, refused
        self.now_s = loop.time
        self.closing = False
        self.clients: set[Client] = set()
        self.tenants = Tenants(settings)
        self._resumes: frozenset[str] = frozenset()
        self._bits = random.SystemRandom().getrandbits(128), random.Random().getrandbits
        self.configure(settings)

    def configure(self, settings: "Settings") -> None:
        """New settings; requests in work keep what they were accepted with."""
        self.tenants = Tenants(settings, self.tenants)
        self._resumes = frozenset(one.name for one in settings.model if one.resume)
        self.settings = settings

    # What connections call.

    def arrived(self, client: Client) -> None:
        """A connection."""
        self.clients.add(client)
        client.deadline_s = self.now_s() + self.settings.timeouts.head_s
        if len(self.clients) > self.settings.limits.connections:
            self.stats.refusals["connections"] += 1
            client.abort()

    def left(self, client: Client) -> None:
        """It is gone."""
        self.clients.discard(client)

    def rejected(self, refusal: Refusal, target: bytes = b"") -> None:
        """What came was no request, or one that is not taken."""
        self.stats.refusals[str(refusal.status)] += 1
        self._refused(target, refusal.status, refusal.text)

    def asked(self, client: Client, request: Request) -> None:
        """A request to answer."""
        try:
            self._asked(client, request)
        except Refusal as refused:
            self.rejected(refused, request.target.partition(b"?")[0])
            more = b""
            if refused.retry_after_s is not None:
                more = b"retry-after: %d\r\n" % max(1, round(refused.retry_after_s))
            if refused.status == 401:
                more = b"www-authenticate: Bearer\r\n"
            client.answer(refused.status, _JSON, error_body(refused.status, refused.text), more)

    def sweep(self) -> None:
        """Several times a second: connections whose time is up."""
        now_s = self.now_s()
        for client in tuple(self.clients):
            client.sweep(now_s)

    def _asked(self, client: Client, request: Request) -> None:
        target = request.target.partition(b"?")[0]
        if target == b"/health" or target == b"/ping":
            up = not self.closing and self.fleet.any_ready()
            body = b'{"status":"ok"}' if up else b'{"status":"no replica is up"}'
            client.answer(200 if up else 503, _JSON, body)
            return
        guest = self.tenants.enter(request.headers.get(b"authorization"))
        if target == b"/v1/models" or target.startswith(b"/v1/models/"):
            self._models(client, request, guest, unquote(target[11:].decode("latin-1")))
            return
        if target not in _PATHS:
            raise Refusal(404, f"no such path: {target[:80].decode('latin-1')!r}")
        if request.method != b"POST":
            raise Refusal(405, "this path wants POST")
        document = _document(request.body)
        model = document.get("model")
        group = self.fleet.groups.get(model) if isinstance(model, str) else None
        if not isinstance(model, str) or not model:
            raise Refusal(400, "model: wanted the name of a model; GET /v1/models lists them")
        if not self.tenants.may_use(guest, model) or group is None:
            raise Refusal(404, f"model {model[:80]!r}: no such model here, or none for this key")
        if guest.most is not None and guest.running >= guest.most:
            raise Refusal(429, f"{guest.most} requests of this key run already", retry_after_s=1)
        sites = self.tenants.sites(guest, model)
        if sites is not None and not sites:
            raise Refusal(403, f"model {model!r}: no site may serve it for this key")
        view = RequestView(
            prompt_tokens=max(1, len(request.body) // _BYTES_PER_TOKEN),
            session=_session(request, document),
        )
        exchange = Exchange(self.relay, client, group, guest, view)
        exchange.path, exchange.body = target, request.body
        exchange.sites = sites
        exchange.stream = document.get("stream") is True
        self._name(exchange, request)
        if exchange.stream and model in self._resumes and target != b"/v1/embeddings":
            exchange.refused_resume = refusal(document)
            if exchange.refused_resume is None:
                exchange.continuation = Continuation(document)
                exchange.body = _written(exchange.continuation.first)
        client.exchange = exchange
        if client.paused:
            exchange.pause()
        self.relay.accept(exchange)

    def _models(self, client: Client, request: Request, guest: Guest, name: str) -> None:
        if request.method not in (b"GET", b"HEAD"):
            raise Refusal(405, "this path wants GET")
        rows: list[dict[str, Any]] = [
            {"id": model, "object": "model", "created": 0, "owned_by": "slurm-green"}
            for model, group in sorted(self.fleet.groups.items())
            if self.tenants.may_use(guest, model) and group.replicas
        ]
        if not name:
            client.answer(200, _JSON, orjson.dumps({"object": "list", "data": rows}))
            return
        found = [row for row in rows if row["id"] == name]
        if not found:
            raise Refusal(404, f"model {name[:80]!r}: no such model here, or none for this key")
        client.answer(200, _JSON, orjson.dumps(found[0]))

    def _name(self, exchange: Exchange, request: Request) -> None:
        """Its id and its place in a trace; what the replica sees of the client's headers."""
        headers = request.headers
        start, bits = self._bits
        given = headers.get(b"x-request-id")
        if given is not None and _ID.fullmatch(given):
            exchange.request_id = given.decode("ascii")
        else:
            exchange.request_id = f"{start ^ bits(128):032x}"
        traced = headers.get(b"traceparent")
        trace = _TRACE.fullmatch(traced) if traced is not None else None
        if trace is None:
            own = exchange.request_id if given is None else f"{bits(128) or 1:032x}"
            parent, state = f"00-{own}-{bits(64) or 1:016x}-00", b""
        else:
            parent = f"00-{trace[1].decode()}-{bits(64) or 1:016x}-{trace[2].decode()}"
            told = headers.get(b"tracestate")
            state = b"" if told is None else b"tracestate: %b\r\n" % told
        exchange.extra = (
            b"content-type: application/json\r\nx-request-id: %b\r\ntraceparent: %b\r\n%b"
            % (exchange.request_id.encode(), parent.encode(), state)
        )


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise Refusal(400, f"request body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Refusal(400, "request body: wanted a JSON object")
    return document


def _written(write: Callable[[], bytes]) -> bytes:
    """JSON of a part of a request; orjson reads four times as deep as it writes."""
    try:
        return write()
    except TypeError as error:
        raise Refusal(400, "request body: nested too deeply") from error


def _session(request: Request, document: dict[str, Any]) -> int | None:
    """What turns of one talk share: a name that the client gives, or how the talk begins."""
    name: object = request.headers.get(b"x-session-id") or document.get("prompt_cache_key")
    if name is None:
        messages = document.get("messages")
        if not isinstance(messages, list) or not messages or not isinstance(messages[0], dict):
            return None
        # A system's message is often the same for all; with the user's first it is a talk.
        general = messages[0].get("role") in ("system", "developer")
        name = _written(lambda: orjson.dumps(messages[: 2 if general else 1]))
    elif isinstance(name, str):
        name = name.encode()
    data = name if isinstance(name, bytes) else _written(lambda: orjson.dumps(name))
    return int.from_bytes(blake2b(data, digest_size=8).digest())
