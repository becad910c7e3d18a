# SPDX-License-Identifier: Apache-2.0
"""`balanced`: the less busy of two replicas drawn at random; talks stay at their cache. Pure.

Two draws instead of the least busy of all: routers that know nothing of each other would all send
to the same one (Mitzenmacher 2001, the power of two choices). A session goes to the replica with
its highest hash (rendezvous hashing: when a replica goes, only its own sessions move) unless that
one is much busier than the other.
"""

import random
from collections.abc import Sequence
from hashlib import blake2b

from serving.router.policy.protocol import Moment, Orders, ReplicaView, RequestView, SiteOrder

__all__ = ["Balanced"]

_SPARE = 4  # more requests than elsewhere that a session may wait behind for its cache
_FACTOR = 1.5
_RTT_PER_REQUEST_S = 0.01  # so much further away counts as one more request before
_DRAWS = 8
_MOST_HOMES = 100_000
_MASK = 2**64 - 1


class Balanced:
    """Knows neither power nor prices; `pick` draws a number below its argument."""

    period_s = 1.0
    retry_after_s = 1.0

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed).random
        self._salts: list[int] = []
        self._homes: dict[int, int] = {}

    def control(self, moment: Moment) -> Orders:
        """Everybody as they are."""
        return Orders([SiteOrder() for _ in moment.sites])

    def members(self, names: Sequence[str]) -> None:
        """Which replicas there are, in their order; a name keeps its sessions."""
        self._homes = {}
        self._salts = [
            int.from_bytes(blake2b(one.encode(), digest_size=8).digest()) for one in names
        ]

    def route(self, request: RequestView, moment: Moment) -> int | None:
        """See above."""
        other = self._of_two(request, moment)
        if other is None or request.session is None or len(self._salts) != len(moment.replicas):
            return other
        home = self._home(request.session, request, moment.replicas)
        # Nobody knows the mean without looking at all; the one drawn stands for it.
        most = _FACTOR * moment.replicas[other].running + _SPARE
        return home if moment.replicas[home].running <= most else other

    def finished(
        self,
        request: RequestView,
        replica: int,
        ttft_s: float | None,
        tpot_s: float | None,
        tokens: int,
    ) -> None:
        """It does not learn."""

    def _of_two(self, request: RequestView, moment: Moment) -> int | None:
        """The less busy of two; None where nobody may."""
        replicas, draw = moment.replicas, self._random
        count = len(replicas)
        found: int | None = None
        for _ in range(_DRAWS if count > 2 else 0):
            at = int(draw() * count)
            if at == found or not _able(at, replicas[at], request):
                continue
            if found is None:
                found = at
                continue
            return self._less_busy(found, at, moment)
        able = [at for at, one in enumerate(replicas) if _able(at, one, request)]
        if len(able) < 2:
            return able[0] if able else None
        first = int(draw() * len(able))
        second = (first + 1 + int(draw() * (len(able) - 1))) % len(able)
        return self._less_busy(able[first], able[second], moment)

    def _less_busy(self, one: int, other: int, moment: Moment) -> int:
        replicas = moment.replicas
        return one if _busy(replicas[one], moment) <= _busy(replicas[other], moment) else other

    def _home(self, session: int, request: RequestView, replicas: Sequence[ReplicaView]) -> int:
        """The highest hash among those that may; mostly that among all."""
        salts = self._salts
        home = self._homes.get(session)
        if home is None:
            home = max(range(len(salts)), key=lambda at: _hash(session ^ salts[at]))
            if len(self._homes) >= _MOST_HOMES:
                self._homes.clear()
            self._homes[session] = home
        if _able(home, replicas[home], request):
            return home
        able = (at for at, one in enumerate(replicas) if _able(at, one, request))
        return max(able, key=lambda at: _hash(session ^ salts[at]))


def _able(at: int, one: ReplicaView, request: RequestView) -> bool:
    allowed = request.sites
    return one.ready and (allowed is None or one.site in allowed) and at not in request.tried


def _busy(one: ReplicaView, moment: Moment) -> float:
    return one.running + one.waiting + moment.sites[one.site].rtt_s / _RTT_PER_REQUEST_S


def _hash(value: int) -> int:
    """Mixes all 64 bits (the finaliser of splitmix64)."""
    x = value & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
