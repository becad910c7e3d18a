# SPDX-License-Identifier: Apache-2.0
"""One router process: listens, checks, steers, reads its configuration again, and drains."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace

from prometheus_client.core import Metric

from profiling.errors import ProfilingError
from serving.router.access import AccessLog
from serving.router.admin import Admin
from serving.router.ceilings import Ceilings
from serving.router.checks import Checks
from serving.router.client import Client
from serving.router.door import Door
from serving.router.exchange import Exchange
from serving.router.fleet import Fleet
from serving.router.policies import make_policy, prefill_cost
from serving.router.policy.protocol import Policy
from serving.router.registration import Registry
from serving.router.relay import Relay
from serving.router.replica import Replica
from serving.router.settings import Listen, Settings
from serving.router.stats import Stats
from serving.router.steer import Steer
from serving.router.supply import Fetcher, Supply
from serving.router.tls import tls_context
from serving.router.upstream import OURS
from slurm_green.errors import BadInputError

__all__ = ["Server", "bound"]

_log = logging.getLogger("sgreen.route")
_TICK_S = 0.25
_READ_S = 1.0
_CURED_S = 60.0  # a fault that comes again after so long is told again


class Server:
    """Everything of one process; `reload` reads the configuration anew."""

    def __init__(
        self, settings: Settings, reload: Callable[[], Settings], *, number: int = 0
    ) -> None:
        self.settings, self.number = settings, number
        self.port = self.admin_port = 0
        self._reload = reload
        self._stop = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.stats = Stats()
        self.access = AccessLog(settings.listen.access_log)
        self.fleet = Fleet(settings, self._policy)
        self.relay = Relay(settings, self.stats, self.loop, self._suspect, self._ended)
        self.door = Door(
            settings, self.fleet, self.relay, self.stats, self.loop, self._bug, self.access.refused
        )
        self.checks = Checks(settings, self.loop.time, self._changed, self.relay.lost, self._bug)
        self.steer = Steer(self.relay.lost, self._bug)
        self.ceilings = Ceilings({}, self.loop.time)
        self.supplies: dict[str, Supply] = {}
        self._fetcher = Fetcher()
        self.registry: Registry | None = None
        self.stats.gauges = self._gauges
        self._tls = tls_context(settings)
        self._faults: dict[tuple[str, str], tuple[str, float]] = {}  # as told, and last seen
        self._supplied = False
        self._states: dict[Replica, str] = {}  # as last logged
        self.stats.prefill_cost = prefill_cost(settings.policy)
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """New settings; where it listens and how many processes there are stays."""
        listen = replace(
            self.settings.listen,
            tls_cert=settings.listen.tls_cert,
            tls_key=settings.listen.tls_key,
            access_log=settings.listen.access_log,
        )
        settings = replace(settings, listen=listen)
        if self._tls is not None and listen.tls_cert is not None:
            self._tls.load_cert_chain(listen.tls_cert, listen.tls_key)
        policies, cost = {}, self.stats.prefill_cost
        if settings.policy != self.settings.policy:
            policies = {model: make_policy(settings.policy) for model in self.fleet.groups}
            cost = prefill_cost(settings.policy)
        # From here on nothing can be wrong any more.
        self.stats.prefill_cost = cost
        self.settings = self.relay.settings = self.checks.settings = settings
        for model, policy in policies.items():
            self.fleet.groups[model].policy = policy
        self.access.path = listen.access_log
        self.supplies = {
            one.name: self.supplies[one.name]
            if one.name in self.supplies and self.supplies[one.name].site == one
            else Supply(one, self.loop.time, self._fetcher.get)
            for one in settings.site
        }
        # One process of a router is enough to write them.
        self.ceilings.files = {
            one.name: one.ceiling_file
            for one in settings.site
            if one.ceiling_file is not None and self.number == 0
        }
        folder = settings.registrations
        if folder.dir is None:
            self.registry = None
        elif self.registry is None or self.registry.directory != folder.dir:
            self.registry = Registry(folder.dir, folder.stale_s)
        else:
            self.registry.stale_s = folder.stale_s
        self.door.configure(settings)
        self._left(self.fleet.configure(settings, self.loop.time()))
        if self.registry is None:
            self._left(self.fleet.registered((), self.loop.time()))
        self._give_orders()
        self.checks.watch(set(self.fleet.replicas.values()))

    async def run(self, ready: Callable[["Server"], None] = lambda _: None) -> None:
        """Until SIGTERM, and then until what runs has ended."""
        listen = self.settings.listen
        sock = bound(listen)
        self.port = sock.getsockname()[1]
        for number, react in (
            (signal.SIGTERM, self.stop), (signal.SIGINT, self.stop), (signal.SIGHUP, self.reload),
        ):  # fmt: skip
            self.loop.add_signal_handler(number, react)
        self._read_registrations()
        await asyncio.wait([self.loop.create_task(self._read_supplies())], timeout=_READ_S)
        self._supplied = True
        self._give_orders(anew=True)
        tasks = [self.loop.create_task(one) for one in (self._ticks(), self._reads())]
        admin = None
        if listen.admin_port:
            port = listen.admin_port + self.number
            try:
                admin = await self.loop.create_server(lambda: Admin(self), listen.admin_host, port)
            except OSError as error:
                raise BadInputError(f"[listen] admin_port {port}: {error.strerror}") from error
        server = await self.loop.create_server(
            lambda: Client(self.door),
            sock=sock,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else self.settings.timeouts.head_s,
            backlog=4096,
        )
        _log.info("listens on %s port %d", listen.host, self.port)
        ready(self)
        await self._stop.wait()
        _log.info("drains: %d requests run", len(self.relay.live))
        self.door.closing = True
        server.close()
        await self._drained()
        for task in tasks:
            task.cancel()
        await self._fetcher.close()
        self.checks.stop()
        for client in tuple(self.door.clients):
            client.close()
        for replica in self.fleet.replicas.values():
            replica.close_idle(self.loop.time(), 0.0)
        if admin is not None:
            admin.close()
        self.access.flush()

    def stop(self) -> None:
        """Take no new requests, end those that run, go."""
        self._stop.set()

    def reload(self) -> None:
        """Read the configuration again; one with a mistake changes nothing."""
        try:
            self.configure(self._reload())
        except (BadInputError, ProfilingError, OSError) as error:
            self.stats.reloads["refused"] += 1
            _log.error("configuration is not read again: %s", error)
        else:
            self.stats.reloads["ok"] += 1
            _log.info("configuration read again")

    async def _drained(self) -> None:
        until_s = self.loop.time() + self.settings.timeouts.drain_s
        while self.loop.time() < until_s and (
            self.relay.live or any(one.unsent for one in self.door.clients)
        ):
            for client in tuple(self.door.clients):
                if client.idle:
                    client.close()
            await asyncio.sleep(0.02)
        for exchange in tuple(self.relay.live):
            exchange.give_up(503, "the router shuts down")

    async def _ticks(self) -> None:
        while True:
            now_s = self.loop.time()
            try:
                self.relay.sweep()
                self.door.sweep()
                self._give_orders()
                for replica in self.fleet.replicas.values():
                    self._changed(replica)
                    replica.close_idle(now_s, self.settings.timeouts.keepalive_s)
                self.access.flush()
            except Exception as error:
                self._bug(error)
            await asyncio.sleep(_TICK_S)

    async def _reads(self) -> None:
        while True:
            try:
                self._read_registrations()
                await self._read_supplies()
            except Exception as error:
                self._bug(error)
            await asyncio.sleep(_READ_S)

    async def _read_supplies(self) -> None:
        supplies = list(self.supplies.values())
        await asyncio.gather(*(one.read() for one in supplies))
        self._tell("supply", {one.site.name: one.fault for one in supplies if one.fault})
        prices = {one.site.name: one.price_fault for one in supplies if one.price_fault}
        self._tell("prices", prices)

    def _read_registrations(self) -> None:
        if self.registry is None:
            return
        try:
            found = self.registry.read(self.loop.time())
        except OSError as error:
            self._tell("registrations", {"": f"{self.registry.directory}: {error.strerror}"})
            return
        self._tell("registrations", self.registry.faults)
        self._left(self.fleet.registered(found, self.loop.time()))
        if any(one.due_s == 0.0 for one in self.fleet.groups.values()):
            self._give_orders()  # a policy gives orders before it is asked
        self.checks.watch(set(self.fleet.replicas.values()))

    def _tell(self, source: str, faults: dict[str, str]) -> None:
        """Each fault once as long as it lasts."""
        now_s = self.loop.time()
        for name, what in faults.items():
            told, seen_s = self._faults.get((source, name), ("", now_s))
            if told != what or now_s - seen_s > _CURED_S:
                _log.warning("%s", what)
            self._faults[source, name] = what, now_s

    def _give_orders(self, *, anew: bool = False) -> None:
        if not self._supplied:
            return  # the first orders would think that no site has power
        groups = list(self.fleet.groups.values())
        for group in groups if anew else ():
            group.due_s = 0.0
        self.steer.tick(groups, self.supplies, self.ceilings, self.loop.time())
        self._tell("ceilings", self.ceilings.faults)

    def _left(self, gone: Iterable[Replica]) -> None:
        for replica in gone:
            self._states.pop(replica, None)
            _log.info("replica %s at %s is gone", replica.url, replica.site)
            replica.close_idle(self.loop.time(), 0.0)
            self.relay.lost(replica, "")

    def _policy(self) -> Policy:
        return make_policy(self.settings.policy)

    def _suspect(self, replica: Replica) -> None:
        self.checks.suspect(replica)

    def _changed(self, replica: Replica) -> None:
        group = self.fleet.groups.get(replica.model)
        ready = replica.changed(self.loop.time())
        self._log_state(replica)
        if group is not None and group.waiting and (ready or replica.view.ready):
            self.relay.pump(group)

    def _log_state(self, replica: Replica) -> None:
        state = replica.state(self.loop.time())
        state = "ready" if state == "full" else state
        before = self._states.get(replica)
        unseen = before is None and replica.misses < self.settings.health.failures
        if state == before or (state == "down" and unseen):
            return
        self._states[replica] = state
        level = logging.INFO if state in ("ready", "parked", "draining") else logging.WARNING
        was = "" if before is None else f", was {before}"
        _log.log(level, "replica %s at %s is %s%s", replica.url, replica.site, state, was)

    def _ended(self, exchange: Exchange, why: str) -> None:
        self.access.add(exchange, self.loop.time(), why)

    def _bug(self, error: BaseException) -> None:
        if isinstance(error, OSError) and error.errno in OURS:
            self._tell("sockets", {"": f"the router has no socket left: {error.strerror}"})
            return
        _log.error("the router goes on after: %s", error, exc_info=error)

    def _gauges(self) -> Iterable[Metric]:
        now_s, gauge = self.loop.time(), Stats.gauge
        yield gauge("running", "Requests in work.", (), [((), len(self.relay.live))])
        yield gauge("connections", "Of clients.", (), [((), len(self.door.clients))])
        yield gauge("waiting", "Requests without a replica.", ("model",),
            [((name,), len(one.waiting)) for name, one in self.fleet.groups.items()])  # fmt: skip
        yield gauge("policy_faults", "Times that a policy raised.", ("model",),
            [((name,), one.faults) for name, one in self.fleet.groups.items()])  # fmt: skip
        labels = ("replica", "model", "site")
        replicas = [((one.url, one.model, one.site), one) for one in self.fleet.replicas.values()]
        yield gauge("replica_state", "1 for the state it is in.", (*labels, "state"),
            [((*key, one.state(now_s)), 1) for key, one in replicas])  # fmt: skip
        yield gauge("replica_running", "Requests of this router there.", labels,
            [(key, one.own) for key, one in replicas])  # fmt: skip
        known = [(one, one.now()[0]) for one in self.supplies.values()]
        yield gauge("site_supply_watts", "What it has; assumed 1: telemetry is old or gone.",
            ("site", "assumed"),
            [((one.site.name, str(int(one.assumed))), w) for one, w in known if w is not None],
        )  # fmt: skip


def bound(listen: Listen) -> socket.socket:
    """A socket at the place to listen at; raises BadInputError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BadInputError(f"[listen] host {listen.host}: {error.strerror}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listen.workers > 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise BadInputError(
            f"[listen] {listen.host} port {listen.port}: {error.strerror}"
        ) from error
    return sock
