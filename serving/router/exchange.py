# SPDX-License-Identifier: Apache-2.0
"""One request until its answer has ended: what a replica sends is judged here, then passed on.

A plain answer is passed on when it is whole, a stream event by event from its first whole one;
until then the request can go to another replica and nobody notices.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from serving.router.answers import error_event
from serving.router.judge import Verdict, judge, judge_event
from serving.router.policy.protocol import RequestView

if TYPE_CHECKING:
    from serving.router.client import Client
    from serving.router.continuation import Continuation
    from serving.router.group import Group
    from serving.router.relay import Relay
    from serving.router.replica import Replica
    from serving.router.tenants import Guest
    from serving.router.upstream import Upstream

__all__ = ["Exchange"]

_EVENT = 4 * 2**20  # bytes of one event
_DONE = b"data: [DONE]\n\n"
_ERROR = b'data: {"error"'  # what was generated cannot look so: its quotes are escaped


class Exchange:
    """See above; `relay` decides where it goes, and counts it when it has ended."""

    __slots__ = (
        "attempts", "begun", "body", "bytes_out", "client", "connecting", "continuation", "done",
        "doubted", "erred", "events", "extra", "first_s", "fresh", "group", "guest", "head_sent",
        "last", "path", "paused_s", "plain", "progress_s", "refused_resume", "relay", "replica",
        "request_id", "resumed", "sent_s", "sites", "started_s", "status", "stream", "streamed",
        "tail", "tokens", "tried", "upstream", "view", "waits_until_s",
    )  # fmt: skip

    def __init__(
        self, relay: "Relay", client: "Client", group: "Group", guest: "Guest", view: RequestView
    ) -> None:
        self.relay, self.group, self.guest, self.view = relay, group, guest, view
        self.client: Client | None = client
        self.sites: frozenset[str] | None = None
        self.path = self.body = self.extra = b""
        self.request_id = ""
        self.stream = False  # what the client asked for
        self.continuation: Continuation | None = None
        self.refused_resume: str | None = None  # why it cannot go on elsewhere
        self.started_s = self.sent_s = self.progress_s = self.first_s = 0.0
        self.paused_s: float | None = None  # since when the client reads nothing
        self.waits_until_s: float | None = None
        self.attempts = self.resumed = self.bytes_out = self.status = self.events = 0
        self.tokens: int | None = None  # of the answer, where somebody said
        self.tried: set[Replica] = set()
        self.doubted: list[Replica] = []  # that had an error, which may be the request's own
        self.last: tuple[int, list[tuple[bytes, bytes]], bytes] | None = None
        self.replica: Replica | None = None
        self.upstream: Upstream | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.fresh = False  # wants a new connection
        self.head_sent = False
        self.erred = False  # the client was told of an error in the middle
        self.anew()

    def anew(self) -> None:
        """Forget what the last replica sent and nobody saw."""
        self.streamed: bool | None = None  # what the replica sends; None: no head yet
        self.plain: list[bytes] = []
        self.tail = b""  # of an event that is not whole yet
        self.begun = False  # this replica's first token came
        self.done = False
        if self.continuation is not None and not self.head_sent:
            self.continuation.anew()

    # What the connection to the replica calls.

    def received(self, upstream: "Upstream", parts: list[bytes], *, ended: bool) -> None:
        """Parts of a body; `ended`: it is whole."""
        self.progress_s = upstream.replica.heard_s = self.relay.now_s()
        if self.streamed is None:
            self.streamed = upstream.status == 200 and any(
                name == b"content-type" and value.startswith(b"text/event-stream")
                for name, value in upstream.headers
            )
        if self.streamed:
            self._events(upstream, parts, ended)
            return
        self.plain += parts
        if ended:
            self._whole(upstream)
        elif len(parts) and sum(map(len, self.plain)) > self.relay.settings.limits.answer_bytes:
            self._too_large(upstream, "answer", self.relay.settings.limits.answer_bytes)

    def fault(self, upstream: "Upstream | None", why: str) -> None:
        """The replica failed this request."""
        if self.client is None or (upstream is not None and upstream is not self.upstream):
            return
        if self.done:
            self._finish()
            return
        if self.continuation is not None and self.continuation.finished and self.client is not None:
            self.client.write(self.continuation.ending())
            self._finish()
            return
        stale = upstream is not None and upstream.reused and upstream.silent
        self.relay.failed(self, why, stale=stale)

    def _too_large(self, upstream: "Upstream", what: str, most: int) -> None:
        """More than we take: nobody's fault, and as large from any other replica."""
        upstream.drop()
        self.last = None  # another replica's error is not why
        self.give_up(502, f"the {what} is larger than the {most} bytes that the router takes")

    # What the client's connection calls.

    def client_gone(self) -> None:
        """Nobody waits for the answer any more.

        The trap: OpenAI's client closes when it reads [DONE], before the end of the body is there.
        """
        self.client = None
        if self.done and self.paused_s is None:
            self._ended()
        else:
            self.relay.ended(self, 499, "client gone")

    def pause(self) -> None:
        """The client reads too slowly."""
        self.paused_s = self.relay.now_s()
        if self.upstream is not None:
            self.upstream.pause()

    def resume(self) -> None:
        """It has read."""
        self.paused_s = None
        self.progress_s = self.relay.now_s()
        if self.upstream is not None:
            self.upstream.resume()

    def overdue(self, now_s: float) -> str | None:
        """What took too long, if anything."""
        times = self.relay.settings.timeouts
        if self.replica is None:
            return None
        if self.paused_s is not None:
            return "client" if now_s - self.paused_s > times.client_s else None
        if self.done:
            return "end" if now_s - self.progress_s > 1.0 else None
        if not self.stream:
            return "answer" if now_s - self.sent_s > times.answer_s else None
        if self.progress_s < self.sent_s:
            return "first byte" if now_s - self.sent_s > times.first_byte_s else None
        return "progress" if now_s - self.progress_s > times.progress_s else None

    # Plain answers.

    def _whole(self, upstream: "Upstream") -> None:
        body = b"".join(self.plain)
        verdict, document = judge(upstream.status, upstream.headers, body)
        if verdict is Verdict.GOOD and self.head_sent:
            verdict = Verdict.NO_REST  # the client is in the middle of a stream
        if verdict is Verdict.GOOD:
            self._count(document)
            if upstream.tells:
                self.relay.stats.told(self, upstream.headers)
            self.first_s = self.first_s or self.progress_s
            self._reply(upstream, upstream.status, upstream.headers, body)
            return
        if verdict in (Verdict.BUSY, Verdict.ERROR):
            self.last = (upstream.status, upstream.headers, body)
        self.upstream = upstream  # it may be used again
        self.relay.failed(self, verdict.value)

    def _reply(
        self,
        upstream: "Upstream",
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
    ) -> None:
        client, replica = self.client, self.replica
        if client is None or replica is None:
            return
        self.bytes_out += len(body)
        client.reply(self, status, headers, body, replica.site)
        self.relay.ended(self, status, "")

    def _count(self, document: Any) -> None:
        usage = document.get("usage") if isinstance(document, dict) else None
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        if isinstance(tokens, int):
            self.tokens = tokens

    # Streams.

    def _events(self, upstream: "Upstream", parts: list[bytes], ended: bool) -> None:
        data = parts[0] if len(parts) == 1 and not self.tail else self.tail + b"".join(parts)
        cut = data.rfind(b"\n\n") + 2
        if cut == 1 and b"\n\r\n" in data:  # the first line's end may have been read already
            data = data.replace(b"\r\n", b"\n")
            cut = data.rfind(b"\n\n") + 2
        if cut == 1:
            self.tail, data = data, b""
        else:
            self.tail, data = data[cut:], data[:cut]
        if len(self.tail) > _EVENT:
            self._too_large(upstream, "event", _EVENT)
            return
        if data and not self._pass_on(upstream, data):
            return
        if self.done and ended:
            self._finish()
        elif ended:
            self.fault(self.upstream, "stream ended early")

    def _pass_on(self, upstream: "Upstream", data: bytes) -> bool:
        """Whole events to the client; False where they were none that go there."""
        if not self.begun:
            error = judge_event(data)
            if error is not None and not self.head_sent and 400 <= error[0] < 500:
                # Ours to say, not the replica's fault.
                upstream.drop()
                self._reply(upstream, error[0], [(b"content-type", b"application/json")], error[1])
                return False
            if error is not None:
                upstream.drop()
                self.fault(upstream, "error event")
                return False
            if self.first_s == 0.0:
                self.first_s = self.progress_s
            self.begun = True
            self.relay.proven(self)
            if self.replica is not None:
                self.group.started(self.replica, self, self.progress_s)
        self.done = data.endswith(_DONE)
        self.erred |= self.continuation is None and _ERROR in data
        self.events += data.count(b"\n\n")
        going_on = self.continuation
        if going_on is not None:
            data = going_on.translate(data)
        client, replica = self.client, self.replica
        if data and client is not None and replica is not None:
            if not self.head_sent:
                self.head_sent = True
                client.begin(self, upstream.headers, replica.site)
            self.bytes_out += len(data)
            client.write(data)
        if going_on is not None and going_on.failed:
            upstream.drop()
            self.done = False
            self.fault(upstream, "error event")
            return False
        return self.client is not None

    def _finish(self) -> None:
        if self.client is not None:
            self.client.end(self)
            self._ended()

    def _ended(self) -> None:
        if self.erred:
            self.relay.ended(self, 502, "the replica sent an error")
        else:
            self.relay.ended(self, 200, "")

    def give_up(self, status: int, text: str, retry_after_s: float | None = None) -> None:
        """No replica can answer it: one clear error, in the form in which the client can read."""
        client = self.client
        if client is None:
            return
        if self.head_sent:
            data = error_event(status, text)
            self.bytes_out += len(data)
            client.write(data)
            client.end(self)
        elif self.last is not None:
            last_status, headers, body = self.last
            client.reply(self, last_status, headers, body, "")
            status = last_status
        else:
            client.refuse(self, status, text, retry_after_s)
        self.relay.ended(self, status, text)
