# SPDX-License-Identifier: Apache-2.0
"""The desk between the cycle and the nodes: nothing is lost between them, nobody waits."""

from datetime import UTC, datetime

from slurm_green.controller.nodes.desk import Desk
from slurm_green.controller.nodes.site import NodeOrders
from slurm_green.ledger.entries import NodeEnergy

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ORDERS = NodeOrders(jobs={1: {"clock_mhz": 1095}}, cap={"clock_mhz": 1500}, known=frozenset({1, 2}))


def energy(name: str = "a.json", node: str = "n1") -> NodeEnergy:
    return NodeEnergy(
        node=node, name=name, job_id=1, begin_utc=NOW, end_utc=NOW, gpus=1, energy_j=5.0, source="x"
    )


def test_no_orders_before_the_first_cycle() -> None:
    woken: list[int] = []
    desk = Desk(lambda: woken.append(1))
    assert desk.orders([1]) is None
    assert woken == []


def test_only_those_asked_for() -> None:
    desk = Desk()
    desk.publish(ORDERS)
    assert desk.orders([1, 2]) == ORDERS
    assert desk.orders([2]) == NodeOrders(cap=ORDERS.cap, known=frozenset({2}))


def test_a_job_no_cycle_has_seen_makes_one_come_once() -> None:
    woken: list[int] = []
    desk = Desk(lambda: woken.append(1))
    desk.publish(ORDERS)
    desk.orders([1, 2])
    assert woken == []
    for _ in range(3):
        desk.orders([1, 7])
    desk.orders([8])
    assert len(woken) == 2


def test_taken_is_what_the_ledger_holds() -> None:
    desk = Desk()
    assert desk.hand_in([energy()]) == []
    assert desk.hand_in([energy(), energy("b.json")]) == []
    assert desk.waiting() == [energy(), energy("b.json")]

    desk.settle([energy()])
    assert desk.hand_in([energy(), energy("b.json")]) == ["a.json"]
    # Another node's file of that name is another.
    assert desk.hand_in([energy(node="n2")]) == []
    assert desk.waiting() == [energy("b.json"), energy(node="n2")]


def test_what_waits_is_bounded() -> None:
    desk = Desk()
    desk.hand_in([energy(str(number)) for number in range(20_000)])
    assert len(desk.waiting(20_000)) == 10_000
    assert [one.name for one in desk.waiting()] == [str(number) for number in range(500)]
