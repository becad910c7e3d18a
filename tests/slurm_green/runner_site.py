# SPDX-License-Identifier: Apache-2.0
"""A runner on a Slurm in memory, for tests of what one cycle after another does."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from builders import NOW, at, days, fresh, info, job, nodes, rules

from slurm_green.controller.books import Books
from slurm_green.controller.runner import Runner
from slurm_green.controller.source import Source
from slurm_green.errors import SignalError
from slurm_green.hook.record import Record
from slurm_green.ledger.entries import JobFacts, Query
from slurm_green.ledger.guard import Ledger
from slurm_green.ledger.store import Store
from slurm_green.plan.power import PowerModel
from slurm_green.signals.series import Series
from slurm_green.slurm.fake import FakeSlurm
from slurm_green.slurm.records import Job, Partition


@dataclass
class Site:
    """A runner on a Slurm in memory, with a clock that is turned by hand."""

    place: Path
    now: datetime = NOW
    signal: Series | None = field(default_factory=days)
    slurm: FakeSlurm = field(
        default_factory=lambda: FakeSlurm(
            nodes=list(nodes()),
            partitions=[Partition(name="gpu", node_names=("n0", "n1", "n2", "n3"), default=True)],
            info=info(),
        )
    )
    name: str = "test"

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.place / "ledger.sqlite")
        self.runner = self.new_runner()

    def fetch(self, now_utc: datetime) -> Series:
        """The signal, newly issued."""
        if self.signal is None:
            raise SignalError("the wind has dropped")
        return fresh(self.signal, now_utc)

    def new_runner(self, keep_s: float | None = None) -> Runner:
        """As after a restart."""
        return Runner(
            source=Source(
                client=self.slurm,
                provider=self,
                off_marker=self.place / "off",
                now=lambda: self.now,
            ),
            rules=rules(),
            books=Books(
                self.ledger,
                PowerModel(),
                record_field="admin_comment",
                hold_s=10.0,
                keep_s=keep_s,
            ),
            cpu_s=lambda: float(len(self.slurm.calls)),
        )

    def hold(self, number: int, **fields: object) -> Job:
        """A job as the submit hook leaves it now."""
        record = Record(
            token=f"t{number}",
            decided_utc=self.now,
            start_utc=at(5),
            latest_utc=at(11),
            policy="lowest-window",
            save_g=99,
        )
        one = job(
            number,
            submit_utc=self.now,
            eligible_utc=self.now + timedelta(seconds=10),
            admin_comment=str(record),
            **fields,
        )
        self.slurm.put(one)
        return one

    def facts(self, number: int) -> JobFacts:
        """What the ledger says of a job."""
        with Store(self.place / "ledger.sqlite", readonly=True) as store:
            (found,) = store.jobs(Query(job_id=number))
        return found


def run_to_its_end(site: Site, one: Job, *, begin: datetime) -> None:
    """The job starts at `begin` and takes its two hours."""
    site.slurm.change(
        one.job_id,
        state="COMPLETED",
        eligible_utc=begin,
        start_utc=begin,
        end_utc=begin + timedelta(hours=2),
    )
    site.now = begin + timedelta(hours=2, minutes=1)
    site.runner.step()
