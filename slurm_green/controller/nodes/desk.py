# SPDX-License-Identifier: Apache-2.0
"""Between the cycle and the node API: orders go out, energies come in; nobody waits for anybody.

An energy counts as taken only once the cycle has put it into the ledger: until then the node
keeps its file and hands it in again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import TypeVar

from slurm_green.controller.nodes.site import NodeOrders
from slurm_green.ledger.entries import NodeEnergy

__all__ = ["Desk"]

_MOST = 10_000  # energies that wait, names remembered as taken, strangers remembered

Key = TypeVar("Key")


class Desk:
    """Any thread may call anything; `wake` asks for a cycle soon."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._orders: NodeOrders | None = None
        self._strangers: OrderedDict[int, None] = OrderedDict()
        self._waiting: dict[tuple[str, str], NodeEnergy] = {}
        self._taken: OrderedDict[tuple[str, str], None] = OrderedDict()

    def publish(self, orders: NodeOrders) -> None:
        """A cycle's orders replace those of the one before."""
        self._orders = orders

    def orders(self, job_ids: Iterable[int]) -> NodeOrders | None:
        """Those for these jobs; None before the first cycle.

        A job that no cycle has seen yet has just started: the next cycle comes soon, once.
        """
        orders = self._orders
        if orders is None:
            return None
        asked = set(job_ids)
        with self._lock:
            news = asked - orders.known - self._strangers.keys()
            _remember(self._strangers, news)
        if news:
            self._wake()
        jobs = {job_id: orders.jobs[job_id] for job_id in asked & orders.jobs.keys()}
        return NodeOrders(jobs=jobs, cap=orders.cap, known=orders.known & asked)

    def hand_in(self, energies: Collection[NodeEnergy]) -> list[str]:
        """Energies of one node; the names of those that the ledger holds by now."""
        with self._lock:
            taken = [one.name for one in energies if (one.node, one.name) in self._taken]
            for one in energies:
                key = (one.node, one.name)
                if key not in self._taken and len(self._waiting) < _MOST:
                    self._waiting[key] = one
        return taken

    def waiting(self, most: int = 500) -> list[NodeEnergy]:
        """Energies to put into the ledger, as many as a cycle has time for, oldest first."""
        with self._lock:
            return list(islice(self._waiting.values(), most))

    def settle(self, energies: Iterable[NodeEnergy]) -> None:
        """The ledger holds these."""
        keys = [(one.node, one.name) for one in energies]
        with self._lock:
            for key in keys:
                self._waiting.pop(key, None)
            _remember(self._taken, keys)


def _remember(known: OrderedDict[Key, None], more: Iterable[Key]) -> None:
    known.update(dict.fromkeys(more))
    while len(known) > _MOST:
        known.popitem(last=False)
