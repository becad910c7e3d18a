# SPDX-License-Identifier: Apache-2.0
"""Sends requests to replicas, again where that is safe, and lets them wait where nobody is free.

A request that was accepted ends in a whole answer or in one clear error: an attempt that fails
before the client saw anything is made again elsewhere, a stream that breaks goes on elsewhere
where its route allows it.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from serving.router.continuation import COMPLETIONS
from serving.router.exchange import Exchange
from serving.router.group import Group
from serving.router.judge import Verdict
from serving.router.replica import Replica
from serving.router.upstream import OURS, Upstream

if TYPE_CHECKING:
    from serving.router.settings import Settings
    from serving.router.stats import Stats

__all__ = ["Relay"]

_NO_SOCKET = "the router has no socket left"
# Faults that say nothing bad of the replica's next answer.
_INNOCENT = frozenset((Verdict.BUSY.value, Verdict.NO_REST.value, "moved away", _NO_SOCKET))
# Faults that may be the request's: vLLM has an error for each `top_k` beyond 64 bits.
_DOUBTFUL = frozenset((Verdict.ERROR.value, "error event"))
_STILL_S = 1.0  # a stream without a byte for so long may be gone
_DRAIN_S = 30.0  # a replica that refuses everything is looked at again after this


class Relay:
    """Of one process; `settings` may be replaced at any time."""

    def __init__(
        self,
        settings: "Settings",
        stats: "Stats",
        loop: asyncio.AbstractEventLoop,
        suspect: Callable[[Replica], None],
        log: Callable[[Exchange, str], None],
    ) -> None:
        self.settings, self.stats, self.loop = settings, stats, loop
        self.now_s = loop.time
        self.live: set[Exchange] = set()
        self._suspect, self._log = suspect, log  # a replica to be checked; a request that ended

    def accept(self, exchange: Exchange) -> None:
        """From now on it is ours to answer."""
        exchange.started_s = self.now_s()
        exchange.guest.running += 1
        self.live.add(exchange)
        self.dispatch(exchange)

    def dispatch(self, exchange: Exchange) -> None:
        """Send it, or let it wait."""
        now_s = self.now_s()
        group = exchange.group
        replica = None
        # Who waited longer comes first, among those that may go to the same sites.
        sites = exchange.sites
        asked = exchange.view.begun or not any(one.sites == sites for one in group.waiting)
        if asked:
            replica = group.choose(exchange, now_s)
        if replica is None:
            self._wait(exchange, now_s, asked=asked)
        else:
            self._send(exchange, replica, now_s)

    def pump(self, group: Group) -> None:
        """Somebody may be free: those in the queue try in their order.

        The trap: who has waited for too long is wanted by no policy that counts time, and with it
        everybody behind would wait for too long. Nor does a stream for which its policy knows no
        place (its site may be down) say that there is none for others.
        """
        now_s = self.now_s()
        in_vain: set[frozenset[str] | None] = set()
        unwanted = []
        for exchange in tuple(group.waiting):
            if exchange.sites in in_vain:
                continue
            # A policy counts whom it is asked for: in vain it is asked for nobody.
            ready = group.any_ready(exchange)
            replica = group.choose(exchange, now_s) if ready else None
            if not ready:
                in_vain.add(exchange.sites)
                continue
            if replica is None and exchange.view.begun:
                continue
            group.waiting.remove(exchange)
            exchange.waits_until_s = None
            if replica is None:
                unwanted.append(exchange)
            else:
                self._send(exchange, replica, now_s)
        for exchange in unwanted:
            self._turn_away(exchange)

    def lost(self, replica: Replica, why: str) -> None:
        """A replica hangs, is down or is put to rest: what can go elsewhere does, if it can."""
        now_s = self.now_s()
        for exchange in tuple(replica.exchanges):
            going_on = exchange.continuation
            if not exchange.begun and not exchange.head_sent:
                self.move(exchange)
            elif (
                why
                and going_on is not None
                and going_on.broken is None
                and now_s - exchange.progress_s > _STILL_S
                and exchange.group.any_ready(exchange)
            ):
                upstream = exchange.upstream
                if upstream is not None:
                    upstream.drop()
                exchange.fault(upstream, why)

    def failed(self, exchange: Exchange, why: str, *, stale: bool = False) -> None:
        """An attempt came to nothing."""
        replica, now_s = exchange.replica, self.now_s()
        if replica is None or exchange.client is None:
            return
        self._detach(exchange, now_s)
        exchange.anew()
        if stale and not exchange.fresh:
            # The replica closed an idle connection just when we used it.
            exchange.fresh = True
            replica.breaker.undecided()
            exchange.attempts -= 1
            self._retry(exchange)
            return
        exchange.fresh = False
        self._blame(exchange, replica, why, now_s)
        self.stats.retried(exchange.group.model, replica.site, why)
        exchange.tried.add(replica)
        if exchange.head_sent:
            self._go_on(exchange, replica, why)
        elif exchange.attempts >= self.settings.retry.attempts:
            exchange.give_up(502, f"no replica could answer: {why}")
        else:
            self._retry(exchange)

    def move(self, exchange: Exchange) -> None:
        """Send a request elsewhere that its replica has not begun to answer."""
        if exchange.head_sent or exchange.begun or exchange.replica is None:
            return
        if exchange.group.any_ready(exchange):
            exchange.attempts -= 1  # it is not its fault
            self.failed(exchange, "moved away")

    def ended(self, exchange: Exchange, status: int, why: str) -> None:
        """Its answer is whole, or it has none."""
        if exchange not in self.live:
            return
        self.live.discard(exchange)
        now_s = self.now_s()
        group, replica = exchange.group, exchange.replica
        if replica is not None:
            if why or status >= 500:
                replica.breaker.undecided()
            else:
                replica.breaker.succeeded()
                if status == 200:  # a refusal is quick and short, and says nothing of others
                    self.proven(exchange)
                    self._learn(exchange, replica, now_s)
        elif exchange.waits_until_s is not None:
            group.waiting.remove(exchange)
        self._detach(exchange, now_s)
        exchange.status = status
        exchange.client = None
        exchange.guest.running -= 1
        exchange.replica = replica  # for the log
        self.stats.ended(exchange, now_s)
        self._log(exchange, why)
        exchange.replica = None
        if group.waiting:
            self.pump(group)

    def sweep(self) -> None:
        """Several times a second: what takes too long, who has waited long enough."""
        now_s = self.now_s()
        for exchange in tuple(self.live):
            what = exchange.overdue(now_s)
            if what is not None:
                self._overdue(exchange, what)
            elif exchange.waits_until_s is not None and now_s >= exchange.waits_until_s:
                self._waited(exchange)

    def _overdue(self, exchange: Exchange, what: str) -> None:
        if what == "client":
            if exchange.client is not None:
                exchange.client.abort()
            return
        upstream = exchange.upstream
        if upstream is not None:
            upstream.drop()
        if what == "answer":
            if exchange.replica is not None:
                self._blame(exchange, exchange.replica, "timeout: answer", self.now_s())
            exchange.last = None  # what came before is not why
            exchange.give_up(504, "the replica did not answer in time")
        else:
            exchange.fault(upstream, f"timeout: {what}")

    def _send(self, exchange: Exchange, replica: Replica, now_s: float) -> None:
        exchange.attempts += 1
        exchange.replica = replica
        exchange.sent_s = now_s
        exchange.group.begin(replica, exchange, now_s)
        upstream = None
        if not exchange.fresh:
            upstream = replica.take(now_s, self.settings.timeouts.keepalive_s)
        if upstream is not None:
            upstream.reused = True
            self._write(exchange, replica, upstream)
        else:
            exchange.connecting = self.loop.create_task(self._connect(exchange, replica))

    async def _connect(self, exchange: Exchange, replica: Replica) -> None:
        me = exchange.connecting
        upstream: Upstream | None = None
        why = "connect: "
        try:
            async with asyncio.timeout(self.settings.timeouts.connect_s):
                _, upstream = await self.loop.create_connection(
                    lambda: Upstream(replica), replica.host, replica.port, ssl=replica.tls
                )
        except TimeoutError:
            why += "no answer"
        except OSError as error:
            why += error.strerror or type(error).__name__
            why = _NO_SOCKET if error.errno in OURS else why
        if exchange.connecting is not me or exchange.client is None:
            if upstream is not None:
                upstream.abort()
            return
        exchange.connecting = None
        if upstream is None:
            exchange.fault(None, why)
        else:
            self._write(exchange, replica, upstream)

    def _write(self, exchange: Exchange, replica: Replica, upstream: Upstream) -> None:
        exchange.upstream = upstream
        body = exchange.body
        upstream.send(
            exchange,
            b"POST %b HTTP/1.1\r\n%b%bcontent-length: %d\r\n\r\n%b"
            % (exchange.path, replica.head, exchange.extra, len(body), body),
        )
        if exchange.paused_s is not None:
            upstream.pause()

    def _detach(self, exchange: Exchange, now_s: float) -> None:
        """It has nothing to do with its replica any more; a clean connection is kept."""
        upstream, replica = exchange.upstream, exchange.replica
        if exchange.connecting is not None:
            exchange.connecting.cancel()
            exchange.connecting = None
        if upstream is not None:
            upstream.resume()
            if upstream.exchange is None and upstream.open:
                upstream.idle_since_s = now_s
                upstream.replica.idle.append(upstream)
            else:
                upstream.drop()
        if replica is not None:
            exchange.group.end(replica, exchange, now_s, begun=exchange.begun)
        exchange.upstream = exchange.replica = None

    def _retry(self, exchange: Exchange) -> None:
        # Not from here: a row of dead replicas would make the stack grow.
        self.loop.call_soon(self._again, exchange)

    def _again(self, exchange: Exchange) -> None:
        if exchange.client is not None and exchange.replica is None:
            self.dispatch(exchange)

    def _go_on(self, exchange: Exchange, replica: Replica, why: str) -> None:
        """A stream that the client has seen a part of."""
        going_on = exchange.continuation
        limit = self.settings.retry.attempts
        body = None
        if going_on is not None and exchange.attempts < limit:
            body = going_on.again(replica.max_model_len)
            exchange.refused_resume = going_on.broken
        if going_on is None or body is None:
            reason = exchange.refused_resume or (
                "no attempts are left" if going_on is not None else "its route does not resume"
            )
            exchange.give_up(502, f"the stream broke ({why}) and cannot go on: {reason}")
            return
        exchange.path, exchange.body = COMPLETIONS.encode(), body
        exchange.resumed += 1
        exchange.view.begun = True
        exchange.view.prompt_tokens = going_on.known
        self._retry(exchange)

    def proven(self, exchange: Exchange) -> None:
        """A replica answers the request well: others' errors were theirs."""
        now_s = self.now_s()
        for one in exchange.doubted:
            if one is not exchange.replica:
                one.breaker.failed(now_s)
                one.changed(now_s)
        exchange.doubted.clear()

    def _blame(self, exchange: Exchange, replica: Replica, why: str, now_s: float) -> None:
        replica.failures += 1
        if why == Verdict.DRAINING.value:
            replica.drain_until_s = now_s + _DRAIN_S
            replica.breaker.undecided()
        elif why in _INNOCENT or (
            # Slow for one and quick for others: it has too much to do.
            why.startswith("timeout")
            and now_s - replica.heard_s < self.settings.timeouts.progress_s
        ):
            replica.breaker.undecided()
        elif (
            why in _DOUBTFUL
            and not (exchange.head_sent or replica.breaker.opened)
            and self.settings.retry.attempts > 1  # else nobody else is ever asked
        ):
            # One client's request must not close every replica to everybody.
            exchange.doubted.append(replica)
            replica.breaker.doubted = True
            self._suspect(replica)
        else:
            sure = why.startswith("connect:") or why == Verdict.LOCKED.value
            replica.breaker.failed(now_s, at_once=sure)
            self._suspect(replica)
        replica.changed(now_s)
        if replica.breaker.opened == 1 and why.startswith("timeout"):
            self.loop.call_soon(self.lost, replica, "")

    def _wait(self, exchange: Exchange, now_s: float, *, asked: bool) -> None:
        group, limits = exchange.group, self.settings.limits
        begun = exchange.view.begun
        if asked and not begun and not exchange.attempts and group.any_ready(exchange):
            self._turn_away(exchange)
        elif not begun and len(group.waiting) >= limits.queue:
            exchange.give_up(429, "too many requests wait", group.policy.retry_after_s)
        else:
            # Those that failed it may be well again when its turn comes.
            exchange.tried.clear()
            exchange.waits_until_s = now_s + limits.queue_s
            (group.waiting.appendleft if begun else group.waiting.append)(exchange)
            if exchange.attempts and len(group.waiting) == 1:
                self.loop.call_later(0.05, self.pump, group)

    def _turn_away(self, exchange: Exchange) -> None:
        """The policy could send it and does not want to."""
        group = exchange.group
        group.refused += 1
        exchange.give_up(429, "all sites are at their limit", group.policy.retry_after_s)

    def _waited(self, exchange: Exchange) -> None:
        group = exchange.group
        group.waiting.remove(exchange)
        exchange.waits_until_s = None
        retry_after_s = group.policy.retry_after_s
        if any(one.own for one in group.replicas):
            exchange.give_up(429, "no replica became free in time", retry_after_s)
        else:
            exchange.give_up(503, "no replica of this model is up", retry_after_s)

    def _learn(self, exchange: Exchange, replica: Replica, now_s: float) -> None:
        """The policy hears of an answer, and the view of how fast they come."""
        # vLLM sends an event per token, then the usage and the end.
        tokens = exchange.tokens or max(0, exchange.events - 2)
        ttft_s = tpot_s = None
        if exchange.streamed:
            view = replica.view
            ttft_s = exchange.first_s - exchange.started_s
            view.ttft_s = _mean(view.ttft_s, ttft_s)
            if tokens > 1:
                tpot_s = (now_s - exchange.first_s) / (tokens - 1)
                view.tpot_s = _mean(view.tpot_s, tpot_s)
        exchange.group.learn(exchange, replica, ttft_s, tpot_s, tokens)


def _mean(old: float | None, new: float) -> float:
    return new if old is None else old + 0.1 * (new - old)
