# SPDX-License-Identifier: Apache-2.0
"""A runner with a planner: advice in, questions out, and what Slurm may refuse of either."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from builders import DAY, NOW, NOW_S, at, days, fresh, info, job, nodes, rules
from clock_points import point, profile

from slurm_green.controller.books import Books
from slurm_green.controller.nodes.site import NodeSite
from slurm_green.controller.planning.advice import Advice, Place
from slurm_green.controller.planning.planner import Planner
from slurm_green.controller.planning.question import Question
from slurm_green.controller.runner import Runner
from slurm_green.controller.source import Source
from slurm_green.hook.record import PAUSE, Record, parse
from slurm_green.ledger.entries import Query
from slurm_green.ledger.guard import Ledger
from slurm_green.ledger.store import Store
from slurm_green.plan.power import PowerModel
from slurm_green.signals.file import write_series
from slurm_green.signals.series import Series
from slurm_green.signals.signal_file import SignalFile
from slurm_green.slurm.fake import FakeSlurm
from slurm_green.slurm.records import Job, Partition

WISH = "green:profile=p,runtime=30m,workers=1-4"
PROFILES = NodeSite(
    profiles={"p": profile(point(1980, 1.0, 600), point(1980, 1.8, 1200, workers=2))}
)


@dataclass
class StubDesk:
    """A desk whose plan is what the test says."""

    plan: Advice | None = None
    asked: list[Question] = field(default_factory=list)
    plans: int = 0
    failures: int = 0
    problem: str = ""

    def advice(self, now_s: float) -> Advice | None:
        return self.plan if self.plan is not None and self.plan.fresh(now_s) else None

    def busy(self) -> bool:
        return False

    def ask(self, question: Question) -> None:
        self.asked.append(question)


class Site:
    """A runner on a Slurm in memory with that desk."""

    def __init__(self, place: Path) -> None:
        self.now, self.place, self.desk = NOW, place, StubDesk()
        self.slurm = FakeSlurm(
            nodes=list(nodes()),
            partitions=[Partition(name="gpu", node_names=("n0", "n1", "n2", "n3"), default=True)],
            info=info(),
        )
        self.ledger = Ledger(place / "ledger.sqlite")
        self.runner = Runner(
            source=Source(
                client=self.slurm,
                provider=self,
                off_marker=place / "off",
                now=lambda: self.now,
                nodes=lambda: PROFILES,
            ),
            rules=rules(pause=True),
            books=Books(self.ledger, PowerModel(), record_field="admin_comment", hold_s=10.0),
            planner=Planner(desk=self.desk, interval_s=600),  # type: ignore[arg-type]
        )

    def fetch(self, now_utc: datetime) -> Series:
        return fresh(days(), now_utc)

    def waits(self, number: int, **fields: object) -> Job:
        """A confirmed job of one GPU."""
        record = Record(
            token="t", decided_utc=NOW, start_utc=at(5), latest_utc=at(11), policy="prices"
        )
        one = job(
            number, eligible_utc=at(11), admin_comment=str(record), gres_per_node="gres:gpu:1",
            **fields,
        )  # fmt: skip
        self.slurm.put(one)
        return one

    def kinds(self) -> list[str]:
        with Store(self.place / "ledger.sqlite", readonly=True) as store:
            return [event.kind for event in store.events(Query())]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.ledger.close()


def test_the_plan_is_followed_and_the_next_one_asked_for(site: Site) -> None:
    site.waits(1)
    report = site.runner.step()
    assert report is not None
    (question,) = site.desk.asked
    assert [one.job_id for one in question.pools["gpu"].waiting] == [1]
    assert report.status.plan is not None
    site.desk.plan = Advice(
        at_s=NOW_S, until_s=NOW_S + DAY, places={1: Place(start_s=at(3).timestamp())}
    )
    site.now += timedelta(seconds=30)
    site.runner.step()
    record = parse(site.slurm.jobs_by_id[1].admin_comment)
    assert record is not None
    assert record.start_utc == at(3)
    assert len(site.desk.asked) == 1, "no other plan is due yet"


def test_the_sites_own_supply_reaches_the_plan(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read, or is something else, is left out and said once."""
    path = site.place / "signal-renewable.json"
    site.runner.source.own = {"renewable_w": SignalFile(path=path)}
    for quantity, known in (("price_per_kwh", 0), ("renewable_w", 1)):
        write_series(path, replace(fresh(days(), site.now), quantity=quantity))
        site.runner.step()
        assert [len(one.own) for one in site.desk.asked][-1:] == [known]
        site.now += timedelta(hours=1)
    assert [one.quantity for one in site.desk.asked[-1].own] == ["renewable_w"]
    said = [one.message for one in caplog.records if "grid alone" in one.message]
    assert said == ["plans count on the grid alone: test has price_per_kwh, wanted renewable_w"]


def test_a_width_that_slurm_refuses_costs_one_cycle(site: Site) -> None:
    site.waits(1, comment=WISH)
    site.desk.plan = Advice(
        at_s=NOW_S, until_s=NOW_S + DAY, places={1: Place(start_s=NOW_S, workers=2)}
    )
    site.slurm.refuse[1] = "Requested node configuration is not available"
    site.runner.step()
    assert site.slurm.updates[-1][1].gres == "gpu:2"
    assert site.slurm.jobs_by_id[1].eligible_utc == at(11), "its promise stands in Slurm"
    site.slurm.refuse.clear()
    site.now += timedelta(seconds=30)
    site.runner.step()
    assert not site.slurm.updates[-1][1].reshapes
    assert site.slurm.jobs_by_id[1].eligible_utc <= site.now
    assert site.slurm.jobs_by_id[1].gpus == 1


def pausing(site: Site) -> None:
    """A job with checkpoints that the plan would pause."""
    site.slurm.put(
        job(
            7,
            state="RUNNING",
            start_utc=at(-1),
            end_utc=at(1),
            submit_utc=at(-2),
            requeue=True,
            comment="green:checkpoint=/ck",
            deadline_utc=at(20),
            node_names=("n0",),
        )
    )
    site.desk.plan = Advice(at_s=NOW_S, until_s=NOW_S + DAY, pauses=frozenset({7}))


def test_a_pause_is_a_requeue_and_then_a_begin_time(site: Site) -> None:
    pausing(site)
    site.runner.step()
    one = site.slurm.jobs_by_id[7]
    record = parse(one.admin_comment)
    assert record is not None
    assert (one.state, record.policy, one.eligible_utc) == ("PENDING", PAUSE, record.latest_utc)
    assert site.kinds() == ["paused"]
    site.desk.plan = replace(site.desk.plan, pauses=frozenset())
    site.now += timedelta(seconds=30)
    report = site.runner.step()
    assert report is not None
    assert report.status.deferred == 1


def test_a_pause_that_slurm_refuses_changes_nothing(site: Site) -> None:
    pausing(site)
    site.slurm.refuse[7] = "Requested operation is presently disabled"
    site.runner.step()
    assert site.slurm.jobs_by_id[7].state == "RUNNING"
    assert site.slurm.jobs_by_id[7].admin_comment == ""
    assert site.kinds() == ["refused"]
