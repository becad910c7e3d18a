# SPDX-License-Identifier: Apache-2.0
"""Energies from nodes into receipts, whether the job is closed before they come or after."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from builders import NOW, at, days, info, job, nodes, rules

from slurm_green.controller.books import Books
from slurm_green.controller.nodes.desk import Desk
from slurm_green.controller.nodes.notes import Notes
from slurm_green.controller.runner import Runner
from slurm_green.controller.source import Source
from slurm_green.ledger.entries import JobFacts, NodeEnergy, Query
from slurm_green.ledger.guard import Ledger
from slurm_green.ledger.store import Store
from slurm_green.plan.power import PowerModel
from slurm_green.slurm.fake import FakeSlurm
from slurm_green.slurm.records import Partition

ENERGY = NodeEnergy(
    node="n0", name="a.json", job_id=1, begin_utc=NOW, end_utc=at(1), gpus=1, energy_j=1e6,
    source="emulated",
)  # fmt: skip


class Signal:
    """The example day."""

    def fetch(self, _now: object) -> object:
        return days()


class Site:
    """A runner with a desk; `now` is turned by hand."""

    def __init__(self, place: Path) -> None:
        self.path = place / "ledger.sqlite"
        self.now = NOW
        self.desk = Desk()
        self.ledger = Ledger(self.path)
        self.slurm = FakeSlurm(
            nodes=list(nodes()),
            partitions=[Partition(name="gpu", node_names=("n0",), default=True)],
            info=info(),
        )
        self.runner = Runner(
            source=Source(
                client=self.slurm,
                provider=Signal(),  # type: ignore[arg-type]
                off_marker=place / "off",
                now=lambda: self.now,
            ),
            rules=rules(),
            books=Books(self.ledger, PowerModel(), record_field="admin_comment", hold_s=10.0),
            desk=self.desk,
        )
        self.runner.notes = Notes(self.slurm, self.runner.books.energies_of)
        self.slurm.put(job(1, state="RUNNING", start_utc=NOW))
        self.step()

    def step(self) -> None:
        self.now += timedelta(minutes=1)
        self.runner.step()

    def end(self) -> None:
        self.slurm.change(1, state="COMPLETED", end_utc=at(1))
        self.now = at(1)
        self.step()

    def facts(self) -> JobFacts:
        with Store(self.path, readonly=True) as store:
            (found,) = store.jobs(Query(job_id=1))
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.ledger.close()


def test_orders_are_published(site: Site) -> None:
    orders = site.desk.orders([1])
    assert orders is not None
    assert orders.jobs == {}


def test_before_the_job_is_closed(site: Site) -> None:
    assert site.desk.hand_in([ENERGY]) == []
    site.end()
    assert site.facts().energy_source == "emulated"
    assert site.desk.hand_in([ENERGY]) == ["a.json"]


def test_after_the_job_is_closed(site: Site) -> None:
    site.end()
    assert site.facts().energy_source == "modelled"
    site.desk.hand_in([ENERGY])
    site.step()
    facts = site.facts()
    assert (facts.energy_source, facts.carbon_g is None) == ("emulated", False)
    assert facts.energy_j == pytest.approx(1e6 + 4 * 5 * 3600)
    # What is in the receipt already counts once.
    site.desk.hand_in([ENERGY])
    site.step()
    assert site.facts() == facts


def test_long_after_slurm_has_forgotten_it(site: Site) -> None:
    site.end()
    site.slurm.jobs_by_id.clear()
    site.step()
    site.desk.hand_in([ENERGY])
    site.step()
    assert site.facts().energy_source == "emulated"


def given_back(site: Site, lock: sqlite3.Connection) -> None:
    """The ledger can be written again, and is."""
    lock.execute("ROLLBACK")
    lock.close()
    for _ in range(2):
        site.runner.books._ledger._next_try_s = 0.0
        site.step()


def test_a_ledger_that_cannot_be_written_leaves_them_with_the_node(
    site: Site,
) -> None:
    """And the receipt that waits for the disk, without them, is not written over theirs."""
    lock = sqlite3.connect(site.path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    site.end()
    site.desk.hand_in([ENERGY])
    for _ in range(2):
        site.runner.books._ledger._next_try_s = 0.0
        site.step()
    assert site.desk.hand_in([ENERGY]) == []
    given_back(site, lock)
    assert site.desk.hand_in([ENERGY]) == ["a.json"]
    assert site.facts().energy_source == "emulated"


def test_a_ledger_that_refuses_only_them_leaves_them_with_the_node(site: Site) -> None:
    """Nothing else waited for it."""
    site.end()
    lock = sqlite3.connect(site.path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    site.desk.hand_in([ENERGY])
    site.step()
    assert site.desk.hand_in([ENERGY]) == []
    given_back(site, lock)
    assert site.desk.hand_in([ENERGY]) == ["a.json"]


def test_the_ended_job_tells_its_users(site: Site) -> None:
    """In accounting, as slurmctld changes no job that has ended."""
    site.slurm.change(1, admin_comment="theirs, first")
    site.slurm.cluster = replace(site.slurm.cluster, accounting=True)
    site.runner.source._slow = None
    site.desk.hand_in([ENERGY])
    site.step()
    assert site.slurm.accounting == []
    site.end()
    assert [one.admin_comment for one in site.slurm.accounting or ()] == [
        "theirs, first green:energy j=1000000 by=emulated"
    ]
    site.step()
    assert site.slurm.calls.count("note") == 1


@pytest.mark.parametrize("theirs", ["See https://x/Y", "green:v1x A"])
def test_what_lower_case_would_spoil_is_left(site: Site, theirs: str) -> None:
    site.slurm.change(1, admin_comment=theirs)
    site.slurm.cluster = replace(site.slurm.cluster, accounting=True)
    site.runner.source._slow = None
    site.desk.hand_in([ENERGY])
    site.end()
    assert site.slurm.calls.count("note") == 0
    assert site.facts().energy_source == "emulated"


def test_unknown_is_not_noted_and_a_failure_makes_a_pause(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.slurm.cluster = replace(site.slurm.cluster, accounting=True)
    site.runner.source._slow = None
    site.desk.hand_in([replace(ENERGY, energy_j=None, why="reset")])
    site.end()
    assert site.slurm.calls.count("note") == 0

    site.slurm.accounting = None
    site.slurm.put(job(2, state="COMPLETED", start_utc=NOW, end_utc=at(1)))
    for name in ("b.json", "c.json"):
        site.desk.hand_in([replace(ENERGY, name=name, job_id=2)])
        site.step()
    assert site.slurm.calls.count("note") == 1
    assert "not noted in accounting for now" in caplog.text


@pytest.mark.parametrize(
    ("one_s", "noted", "rest_s"), [(0.3, 9, 0.0), (1.0, 4, 80.0), (19.0, 1, 380.0)]
)
def test_slow_accounting_does_not_keep_every_cycle_waiting(
    site: Site, one_s: float, noted: int, rest_s: float
) -> None:
    """Nineteen seconds for each of five jobs are no failure, and longer than any hold."""
    now, done = [0.0], []

    def slow(job_id: int, *_: str) -> None:
        now[0] += one_s
        done.append(job_id)

    site.slurm.note = slow  # type: ignore[method-assign]
    notes = Notes(site.slurm, lambda facts: [replace(ENERGY, job_id=facts.job_id)], lambda: now[0])
    over = [job(i, state="COMPLETED", start_utc=NOW, end_utc=at(1)) for i in range(1, 10)]
    site.slurm.put(*over)
    site.slurm.cluster = replace(site.slurm.cluster, accounting=True)
    site.runner.source._slow = None
    observed = site.runner.source.observe()
    notes.want(range(1, 10))
    notes.write(observed)
    notes.write(observed)
    assert len(done) == noted
    now[0] += rest_s - 1.0
    notes.write(observed)
    assert len(done) == noted
    now[0] += 1.0
    notes.write(observed)
    assert len(done) > noted or noted == 9
