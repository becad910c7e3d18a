# SPDX-License-Identifier: Apache-2.0
"""Four routers that know nothing of each other, and see each other's load late."""

from collections import Counter

import pytest

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.router.policy.protocol import Moment, ReplicaView, RequestView, SiteView
from serving.router.policy.registry import policy_named
from tests.serving.made import profile

ENGINE = EngineModel(profile())
SLO = Slo(ttft_s=1.0, tpot_s=0.05)
ROUTERS, REPLICAS = 4, 8
EVERY_S, STALE_S, LASTS_S = 0.05, 2.0, 5.0  # a request each, load read, and how long one runs


def seen() -> Moment:
    sites = [SiteView(f"s{at}", 0.005 * at, REPLICAS // 2) for at in range(2)]
    views = [ReplicaView(site=at % 2, clock_mhz=1800.0) for at in range(REPLICAS)]
    return Moment(0.0, sites, views)


def worst_of(name: str) -> float:
    """The most requests that a replica had at a time, of an even share."""
    routers = [policy_named(name, ENGINE, SLO, seed=seed) for seed in range(ROUTERS)]
    moments = [seen() for _ in routers]
    for policy, moment in zip(routers, moments, strict=True):
        policy.control(moment)
    running: list[tuple[float, int, int]] = []  # until, router, replica
    worst = 0
    for step in range(round(60 / EVERY_S)):
        now_s = step * EVERY_S
        ended = [one for one in running if one[0] <= now_s]
        running = [one for one in running if one[0] > now_s]
        for _, router, replica in ended:
            moments[router].replicas[replica].running -= 1
            routers[router].finished(RequestView(200), replica, 0.1, 0.02, 100)
        for at, (policy, moment) in enumerate(zip(routers, moments, strict=True)):
            moment.now_s = now_s
            if step % round(STALE_S / EVERY_S) == at:
                for number, one in enumerate(moment.replicas):
                    one.running = sum(replica == number for _, _, replica in running)
                policy.control(moment)
            chosen = policy.route(RequestView(200), moment)
            assert chosen is not None
            moment.replicas[chosen].running += 1
            running.append((now_s + LASTS_S, at, chosen))
        if now_s > LASTS_S:
            loads = Counter(replica for _, _, replica in running)
            worst = max(worst, *loads.values())
    return worst / (ROUTERS * LASTS_S / EVERY_S / REPLICAS)


@pytest.mark.parametrize("name", ["prices", "reactive"])
def test_four_routers_do_not_herd(name: str) -> None:
    assert worst_of(name) < 2.0


def test_the_least_delay_alone_herds() -> None:
    assert worst_of("greedy-latency") > 2.5
