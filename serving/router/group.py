# SPDX-License-Identifier: Apache-2.0
"""All replicas of one model: the policy that chooses among them, and who waits for one."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from serving.router.balance import Balanced
from serving.router.policy.protocol import Moment, Orders, Policy, SiteView
from serving.router.replica import Replica
from serving.router.settings import Site

if TYPE_CHECKING:
    from serving.router.exchange import Exchange

__all__ = ["Group"]

_NONE: frozenset[int] = frozenset()


class Group:
    """One model. Replicas stand in the order of their addresses, as in every other router."""

    def __init__(self, model: str, policy: Policy, now_s: float) -> None:
        self.model, self.policy = model, policy
        self.replicas: list[Replica] = []
        self.moment = Moment(now_s, [], [])
        self.waiting: deque[Exchange] = deque()
        self.orders = Orders()
        self.due_s = 0.0  # when orders are due
        self.refused = self.faults = 0
        self._spare = Balanced()
        self._index: dict[Replica, int] = {}
        self._allowed: dict[Collection[str] | None, frozenset[int] | None] = {}

    def arrange(self, replicas: Iterable[Replica], sites: Mapping[str, Site]) -> None:
        """These are the replicas from now on."""
        self.replicas = sorted(replicas, key=lambda one: one.url)
        old = {one.name: one for one in self.moment.sites}
        names = [*sites, *sorted({one.site for one in self.replicas} - set(sites))]
        self.moment.sites = []
        for name in names:
            view, own = old.get(name) or SiteView(name, 0.0, 0), sites.get(name)
            count = sum(one.site == name for one in self.replicas)
            view.gpus = own.gpus if own is not None and own.gpus is not None else count
            view.rtt_s = own.rtt_ms / 1e3 if own is not None else 0.0
            self.moment.sites.append(view)
        for one in self.replicas:
            one.view.site = names.index(one.site)
        self._index = {one: at for at, one in enumerate(self.replicas)}
        self.moment.replicas = [one.view for one in self.replicas]
        self._allowed.clear()
        self.due_s = 0.0
        if (members := getattr(self.policy, "members", None)) is not None:
            members([one.url for one in self.replicas])

    def allowed(self, names: frozenset[str] | None) -> frozenset[int] | None:
        """Indices of the sites with these names; None: all."""
        if names is None:
            return None
        if names not in self._allowed:
            self._allowed[names] = frozenset(
                at for at, one in enumerate(self.moment.sites) if one.name in names
            )
        return self._allowed[names]

    def choose(self, exchange: "Exchange", now_s: float) -> Replica | None:
        """The replica that this request goes to.

        The trap: who fails every request is the least busy of all. One that had an error goes
        where nobody had, which tells whose fault it is; else it may never meet one that is well.
        """
        if exchange.doubted:
            doubted = {one for one in self.replicas if one.breaker.doubted}
            found = self._choose(exchange, exchange.tried | doubted, now_s)
            if found is not None:
                return found
        return self._choose(exchange, exchange.tried, now_s)

    def _choose(self, exchange: "Exchange", tried: set[Replica], now_s: float) -> Replica | None:
        view = exchange.view
        self.moment.now_s = now_s
        view.waited_s = now_s - exchange.started_s
        view.sites = self.allowed(exchange.sites)
        index = self._index
        view.tried = frozenset(index[one] for one in tried if one in index) if tried else _NONE
        try:
            at = self.policy.route(view, self.moment)
        except Exception:
            # Nobody waits for somebody to mend a policy.
            self.faults += 1
            at = self._spare.route(view, self.moment)
        view.again = True
        if at is None:
            return None
        view.placed = True
        chosen = self.replicas[at]
        # A policy with a bug must not send where nobody answers, or where the tenant may not go.
        if not chosen.view.ready or (view.sites is not None and chosen.view.site not in view.sites):
            return None
        return chosen

    def learn(
        self,
        exchange: "Exchange",
        replica: Replica,
        ttft_s: float | None,
        tpot_s: float | None,
        tokens: int,
    ) -> None:
        """Tell the policy of an answer."""
        at = self._index.get(replica)
        if at is None:
            return
        try:
            self.policy.finished(exchange.view, at, ttft_s, tpot_s, tokens)
        except Exception:
            self.faults += 1

    def any_ready(self, exchange: "Exchange") -> bool:
        """Whether somebody could take it, whatever the policy says."""
        sites = self.allowed(exchange.sites)
        return any(
            one.view.ready
            for one in self.replicas
            if one not in exchange.tried and (sites is None or one.view.site in sites)
        )

    def begin(self, replica: Replica, exchange: "Exchange", now_s: float) -> None:
        """A request is on its way."""
        view = replica.view
        replica.own += 1
        replica.sent += 1
        view.running += 1
        view.queued_tokens += exchange.view.prompt_tokens
        replica.exchanges.add(exchange)
        replica.breaker.sent()
        if replica.own >= replica.most or replica.breaker.opened:
            replica.changed(now_s)

    def started(self, replica: Replica, exchange: "Exchange", now_s: float) -> None:
        """Its first token came."""
        self._dequeue(replica, exchange)
        if replica.breaker.opened:
            # A stream may last; who begins one is well.
            replica.breaker.succeeded()
            replica.changed(now_s)

    def _dequeue(self, replica: Replica, exchange: "Exchange") -> None:
        view = replica.view
        view.queued_tokens = max(0, view.queued_tokens - exchange.view.prompt_tokens)

    def end(self, replica: Replica, exchange: "Exchange", now_s: float, *, begun: bool) -> None:
        """It is no longer there, however that came."""
        if exchange not in replica.exchanges:
            return
        replica.exchanges.remove(exchange)
        if not begun:
            self._dequeue(replica, exchange)
        was_full = replica.own >= replica.most
        replica.own -= 1
        replica.view.running = max(0, replica.view.running - 1)
        if was_full or replica.breaker.opened:
            replica.changed(now_s)

    def park(self, now_s: float) -> list[Replica]:
        """Follow the orders on how many are awake; answers those that are parked from now on.

        All routers park the same ones: those that are down or drain, then the last in order.
        Without any power nobody is awake, whatever the policy says.
        """
        parked = []
        orders = self.orders.sites
        for at, site in enumerate(self.moment.sites):
            awake = orders[at].awake if at < len(orders) else None
            awake = 0 if site.supply_w == 0 else awake
            own = [one for one in self.replicas if one.view.site == at]
            for place, one in enumerate(sorted(own, key=lambda one: not one.up(now_s))):
                wanted = awake is not None and place >= awake
                if wanted != one.parked:
                    one.parked = wanted
                    one.changed(now_s)
                    if wanted:
                        parked.append(one)
        return parked
