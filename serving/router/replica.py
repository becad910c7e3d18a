# SPDX-License-Identifier: Apache-2.0
"""A replica as one router sees it: whether requests may go there, and its idle connections."""

import ssl
from typing import TYPE_CHECKING

from serving.router.breaker import Breaker
from serving.router.policy.protocol import ReplicaView
from serving.router.settings import Breaking

if TYPE_CHECKING:
    from serving.router.exchange import Exchange
    from serving.router.upstream import Upstream

__all__ = ["Replica"]


class Replica:
    """One replica; `changed` must be called after its flags were set, `view` is then right.

    It takes requests while it is known to be there, healthy, neither draining nor parked, its
    breaker allows it, and fewer than `most` of ours run there.
    """

    def __init__(
        self, url: str, model: str, site: str, key: str | None, rules: Breaking, most: int
    ) -> None:
        self.url, self.model, self.site = url, model, site
        scheme, _, address = url.partition("://")
        host, _, port = address.rpartition(":")
        self.host, self.port = host.strip("[]"), int(port)
        self._address = address
        self.tls = ssl.create_default_context() if scheme == "https" else None
        self.most = most
        self.breaker = Breaker(rules, (hash(url) % 1000) / 1000)
        self.view = ReplicaView(site=0, ready=False)
        self.own = 0  # requests of this router
        self.foreign = 0  # of others, when last read
        self.healthy = False
        self.misses = 0  # health checks in a row without an answer
        self.draining = False  # said so itself, by a registration or by refusing
        self.drain_until_s = 0.0  # refused everything; looked at again then
        self.heard_s = 0.0  # when the last part of any answer came
        self.parked = False
        self.gone = False
        self.max_model_len: int | None = None
        self.exchanges: set[Exchange] = set()
        self.idle: list[Upstream] = []
        self.sent = self.failures = 0
        self.rekey(key)

    def rekey(self, key: str | None) -> None:
        """What it wants as a bearer token from now on."""
        self.key = key
        bearer = f"authorization: Bearer {key}\r\n" if key else ""
        self.head = f"host: {self._address}\r\n{bearer}".encode()

    def changed(self, now_s: float) -> bool:
        """Works out anew whether it takes requests; True where it does and did not before."""
        was = self.view.ready
        self.view.ready = (
            self.up(now_s)
            and not (self.parked or self.gone)
            and self.own < self.most
            and self.breaker.allows(now_s)
        )
        return self.view.ready and not was

    def up(self, now_s: float) -> bool:
        """Whether it could serve; of its breaker other routers know nothing."""
        return self.healthy and not self.draining and now_s >= self.drain_until_s

    def take(self, now_s: float, keepalive_s: float) -> "Upstream | None":
        """An idle connection, the one used last."""
        while self.idle:
            one = self.idle.pop()
            if now_s - one.idle_since_s < keepalive_s and one.open:
                return one
            one.abort()
        return None

    def close_idle(self, now_s: float, keepalive_s: float) -> None:
        """Closes connections that nobody used for a while."""
        kept = []
        for one in self.idle:
            if now_s - one.idle_since_s < keepalive_s and one.open:
                kept.append(one)
            else:
                one.abort()
        self.idle = kept

    def state(self, now_s: float) -> str:
        """In one word, for people."""
        if self.gone:
            return "gone"
        if self.draining or now_s < self.drain_until_s:
            return "draining"
        if not self.healthy:
            return "down"
        if self.parked:
            return "parked"
        if not self.breaker.allows(now_s):
            return "tripped"
        return "full" if self.own >= self.most else "ready"
