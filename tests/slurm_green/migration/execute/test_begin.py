# SPDX-License-Identifier: Apache-2.0
"""What is checked before a move begins, each in one line that says what to do."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from slurm_green.errors import BadInputError, SlurmError
from slurm_green.hook.record import Record
from slurm_green.migration.execute.begin import begin
from slurm_green.migration.execute.commands import CommandAccess
from slurm_green.migration.execute.proposals import _limits
from slurm_green.migration.execute.record import Limits, MoveRecord, Order, Step, Way
from slurm_green.migration.execute.site import Site
from slurm_green.migration.execute.sites_file import Connection
from slurm_green.slurm.records import Job
from tests.slurm_green.migration.execute.test_words import SHOWN, A, B

JOB = Job(
    job_id=14,
    user="me",
    state="RUNNING",
    requeue=True,
    comment="green:checkpoint=ck,signal=B:USR1",
)


@dataclass
class Stub:
    """What begin asks of a site, answered as told."""

    site: Site
    user: str = "me"
    ids: str = "1000 1000"
    writable: str = "yes"
    lacks: tuple[str, ...] = ()
    script: str = "#!/bin/sh\nexec train ck\n"
    shown: str = SHOWN
    refuses: str = ""
    silent: bool = False
    calls: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.site.name

    def whoami(self) -> str:
        return self.user

    def call(self, *argv: str) -> str:
        self.calls.append(argv)
        return self.shown if argv[1] == "show" else self.script

    def shell(self, script: str, *arguments: str) -> str:
        if self.silent:
            return "Welcome to this node\n"
        assert arguments[1] == f"{self.site.root}/me"  # its checkpoint appears there by a rename
        lacking = [one for one in arguments[2:] if one in self.lacks]
        welcome = ["Welcome to this node", "sgreen-asked"]  # the first by a prolog of the site
        return "\n".join([*welcome, self.ids, self.writable, "  1000", *lacking])

    def test(self, order: Order) -> None:
        if self.refuses:
            raise SlurmError(f"{self.name}: {self.refuses}")


def started(
    job: Job = JOB,
    here: Stub | None = None,
    there: Stub | None = None,
    past: Sequence[MoveRecord] = (),
) -> MoveRecord:
    source = cast("CommandAccess", here or Stub(A))
    destination = cast("CommandAccess", there or Stub(B))
    return begin(job, source, destination, now_s=5.0, past=past)


def test_a_move_begins_with_all_that_it_needs() -> None:
    move = started()
    assert (move.step, move.way, move.signal) == (Step.SIGNAL, Way.RESUBMIT, "B:USR1")
    assert (move.directory, move.target) == ("/scratch/a/me/ck", "/scratch/b/me/ck")
    assert move.order is not None
    assert move.order.script.endswith("train ck\n")
    assert started().token != move.token


def test_a_move_knows_the_ended_ones_of_its_job() -> None:
    """Those of this job, from there: each may have left its mark."""
    one = started()
    ended = replace(one, step=Step.STAYED)
    others = (replace(ended, job_id=15), replace(ended, source="c"), replace(one, token="m14-now"))
    found = started(past=[ended, *others])
    assert found.earlier == (ended.token,)
    assert MoveRecord.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_stopped_job_waits_for_as_long_as_its_checkpoint_is_read() -> None:
    """Its begin time is put off every third of the lease, and not while either site reads."""
    link = Connection(source="a", destination="b", gbps=10.0, limit_mbps=80.0)
    slow = replace(A, read_s=20_000.0)
    for one in (None, link):
        assert _limits(one, 1e9, [A, B]).lease_s == 7200.0
        for ends in ([slow, B], [B, slow]):
            limits = _limits(one, 1e9, ends)
            assert limits.lease_s * 2 / 3 > 20_000.0
            assert limits == replace(_limits(one, 1e9, [A, B]), lease_s=limits.lease_s)
    assert started().limits == Limits()


def test_a_fast_link_carries_whole_files() -> None:
    """Where rsync would look for unchanged parts for longer than it takes to send them."""
    for gbps, limit_mbps, sharers, delta in (
        (10.0, 0.0, 1, False),
        (10.0, 1000.0, 1, False),
        (10.0, 1000.0, 2, True),
        (10.0, 80.0, 1, True),
        (0.1, 0.0, 1, True),
    ):
        link = Connection(source="a", destination="b", gbps=gbps, limit_mbps=limit_mbps)
        assert _limits(link, 1e9, [A, B], sharers).delta == delta
    assert started().limits.delta, "nobody says how fast"


def test_a_node_that_does_not_say_what_it_was_asked() -> None:
    with pytest.raises(SlurmError, match="b: a node answered 'Welcome to this node"):
        started(there=Stub(B, silent=True))


def test_a_federation_keeps_the_job() -> None:
    one = replace(A, federation="green")
    two = replace(B, federation="green", root=A.root)
    move = started(replace(JOB, origin="a"), Stub(one), Stub(two))
    assert (move.way, move.order, move.origin) == (Way.FEDERATION, None, "a")
    with pytest.raises(BadInputError, match="`root` must be the same"):
        started(JOB, Stub(one), Stub(replace(two, root="/scratch/b")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"requeue": False}, "--requeue"),
        ({"batch": False}, "interactive"),
        ({"array_job_id": 3}, "array"),
        ({"het_job_id": 3}, "heterogeneous"),
        ({"state": "PENDING", "held": True}, "it is held"),
        ({"state": "PENDING", "reason": "BeginTime"}, "begin time that was asked for"),
        ({"state": "COMPLETED"}, "it is COMPLETED"),
        ({"dependency": "afterok:3"}, "depends"),
        ({"comment": "green:max-delay=3h"}, "no green:checkpoint=DIR"),
        ({"comment": "green:checkpoint=x,signal=;"}, "one it can catch"),
        ({"comment": "green:checkpoint=."}, "directory of its own"),
        ({"comment": "green:checkpoint=/scratch/a"}, "directory of its own"),
        ({"origin": "c"}, "belongs to a federation that b is not part of"),
        ({"user": "bob"}, "is bob's, and you are me"),
    ],
)
def test_jobs_that_cannot_move(change: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match="job 14") as caught:
        started(replace(JOB, **change))  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_job_with_a_deadline_has_the_time_that_its_whole_limit_leaves() -> None:
    """Slurm ends one that waits, at either site, as soon as its limit no longer fits before it."""
    assert started(replace(JOB, time_limit_s=3600.0)).until_s is None

    def due(after_s: float) -> Job:
        when = datetime.fromtimestamp(5.0 + after_s, UTC)
        return replace(JOB, deadline_utc=when, time_limit_s=3600.0)

    for after_s in (-1.0, 3600.0, 4200.0):
        with pytest.raises(BadInputError, match="until its deadline") as caught:
            started(due(after_s))
        assert "its whole time limit of 60 min: Slurm would end it" in str(caught.value)
    move = started(due(4800.0))
    assert (move.until_s, move.limits.start_s) == (305.0, 300.0)
    late = begin(
        due(90_000.0), cast("CommandAccess", Stub(A)), cast("CommandAccess", Stub(B)),
        now_s=5.0, until_s=50.0,
    )  # fmt: skip
    assert (late.until_s, late.limits) == (50.0, Limits())


def test_a_move_that_no_deadline_leaves_time_for_is_not_begun() -> None:
    """The job would be stopped, and let go on where it was: nothing but time is lost."""
    when = datetime.fromtimestamp(5.0 + 4800.0, UTC)
    job = replace(JOB, deadline_utc=when, time_limit_s=3600.0)

    def begun(takes_s: float, job: Job = job) -> MoveRecord:
        sites = (cast("CommandAccess", Stub(one)) for one in (A, B))
        return begin(job, *sites, now_s=5.0, takes_s=takes_s)

    assert begun(300.0).until_s == 305.0
    for takes_s, words in ((301.0, "5 min"), (1200.0, "20 min")):
        with pytest.raises(BadInputError, match=f"takes {words}, and its deadline leaves 5 min"):
            begun(takes_s)
    assert begun(301.0, JOB).until_s is None


def test_a_job_that_we_deferred_may_move() -> None:
    """Nobody asked for its begin time, unless it was changed since: by hand, by another tool."""
    moment, hour = datetime(2026, 11, 29, tzinfo=UTC), timedelta(hours=1)
    ours = Record(
        token="t", decided_utc=moment, start_utc=moment + 2 * hour, latest_utc=moment + 9 * hour,
        policy="prices",
    )  # fmt: skip
    deferred = replace(JOB, state="PENDING", reason="BeginTime", admin_comment=f"x {ours}")
    held, released = timedelta(seconds=10), 2 * hour + timedelta(seconds=3)
    for wait in (held, released, 9 * hour):
        assert started(replace(deferred, eligible_utc=moment + wait)).step is Step.SIGNAL
    for wait in (hour, 5 * hour, 24 * hour):
        with pytest.raises(BadInputError, match="begin time that was asked for"):
            started(replace(deferred, eligible_utc=moment + wait))


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        ({}, {"ids": "1001 1000"}, "your files would not be yours"),
        ({}, {"writable": "rootless"}, "site b: its nodes have no directory /scratch/b (`root`)"),
        ({}, {"writable": "no"}, "cannot write where /scratch/b/me/ck"),
        ({"writable": "no"}, {}, "site a: you cannot write beside /scratch/a/me/ck"),
        ({}, {"lacks": ("rsync",)}, "site b: its nodes have no rsync"),
        ({"lacks": ("b2sum",)}, {}, "site a: its nodes have no b2sum"),
        ({}, {"site": replace(B, software=("apptainer",)), "lacks": ("apptainer",)}, "apptainer"),
        ({}, {"refuses": "Invalid generic resource"}, "does not fit site b: Invalid generic"),
        ({"script": "cd /scratch/a/me\n"}, {}, "names paths below /scratch/a"),
        ({"script": "#!/bin/sh\n# Gr\ufffdn\n"}, {}, "its script is not UTF-8"),
        ({"script": "#SBATCH -M a\n"}, {}, "names the clusters"),
        ({"shown": SHOWN.replace("a/me", "a/m\ufffd")}, {}, "paths are not all UTF-8"),
        ({"site": replace(A, root="/home")}, {}, "not below /home"),
        ({}, {"site": A}, "is at a already"),
    ],
)
def test_sites_that_do_not_fit(
    here: dict[str, object], there: dict[str, object], words: str
) -> None:
    source, destination = Stub(**{"site": A, **here}), Stub(**{"site": B, **there})  # type: ignore[arg-type]
    with pytest.raises(BadInputError) as caught:
        started(JOB, source, destination)
    assert words in str(caught.value)
    # Nothing but looks.
    assert {argv[1] for argv in source.calls} <= {"show", "write"}
    assert destination.calls == []
