# SPDX-License-Identifier: Apache-2.0
"""Random days: whatever users, nodes, signals and our own death do, promises hold."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import HOUR, NOW, days, nodes, policy, rules, series
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import Site, Slurm

from slurm_green.controller.cycle import cycle
from slurm_green.controller.observed import Memory
from slurm_green.controller.state import Stage, tracked
from slurm_green.hook.record import LOOK, parse
from slurm_green.slurm.records import Job, JobChange, Reservation

MARGIN_S = 600.0
MAX_DELAY_S = 24 * HOUR
# A change arrives a second after our clock, in whole seconds.
SLACK = timedelta(seconds=2)


@dataclass(kw_only=True)
class Watched(Site):
    """A site that checks every change a cycle makes."""

    # The latest begin time anybody was promised, per job; only ever earlier.
    promised: dict[int, datetime] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    credited: set[int] = field(default_factory=set)

    def submit(self, **fields: Any) -> Job:
        new = super().submit(**fields)
        record = parse(new.admin_comment)
        if record is not None and record.policy != LOOK:
            self.promised[new.job_id] = record.latest_utc
        return new

    def cycle(self, **fields: Any) -> Any:
        before = dict(self.slurm.jobs)
        stages = {
            i: tracked(j, record_text=j.admin_comment, hold_s=10.0) for i, j in before.items()
        }
        outcome = super().cycle(**fields)
        for job_id, change in outcome.changes.items():
            found = stages[job_id]
            assert found is not None, "a job without our record was changed"
            assert found.stage is not Stage.FOREIGN or change.begin_utc is None
            # A credit of ours is taken back from a job that changed its shape, whoever moved it.
            own = job_id not in self.foreign or change.begin_utc is None
            assert own, "somebody else's begin time was touched"
            self._check(before[job_id], change)
        return outcome

    def _check(self, job: Job, change: JobChange) -> None:
        assert job.pending
        assert not job.restarts
        if (change.site_factor or 0) > job.site_factor:
            assert job.job_id not in self.credited, "credit was given twice"
            self.credited.add(job.job_id)
        if change.begin_utc is None:
            return
        begin = self.slurm.jobs[job.job_id].eligible_utc
        assert job.submit_utc is not None
        if begin > self.slurm.now + SLACK:  # not a release
            assert begin <= job.submit_utc + timedelta(seconds=MAX_DELAY_S)
            if job.deadline_utc is not None:
                left = (job.deadline_utc - begin).total_seconds()
                assert left >= (job.time_limit_s or 0) + MARGIN_S
            if job.job_id in self.promised:
                assert begin <= self.promised[job.job_id], "later than promised"
            self.promised[job.job_id] = begin
        elif job.job_id in self.promised:
            assert begin <= max(self.promised[job.job_id], self.slurm.now) + SLACK

    def user_moves(self, job_id: int, begin: datetime) -> None:
        """scontrol update StartTime by a user: from then on the job is theirs."""
        if self.slurm.jobs[job_id].eligible_utc == begin:
            return
        self.slurm.change(job_id, eligible_utc=begin)
        one = self.slurm.jobs[job_id]
        found = tracked(one, record_text=one.admin_comment, hold_s=10.0)
        if found is not None and found.stage is Stage.FOREIGN:
            self.foreign.add(job_id)
        elif begin > self.promised.get(job_id, begin):
            # By seconds, as Slurm itself may: it counts as ours, but not as kept from anybody.
            del self.promised[job_id]


hours = st.floats(0, 20).map(lambda h: round(h, 2))
pick = st.integers(0, 30)
operations = st.one_of(
    st.tuples(
        st.just("submit"),
        st.fixed_dictionaries(
            {
                "gpus": st.integers(1, 8),
                "time_limit_s": st.sampled_from([1800, 3600, 3 * 3600, 9 * 3600]),
                "comment": st.sampled_from(["", "green:max-delay=5h", "green:off", "green:x"]),
                "tasks": st.sampled_from([1, 1, 1, 4]),
            }
        ),
        st.none() | st.floats(0.2, 30).map(lambda h: round(h, 2)),
        st.booleans(),
    ),
    st.tuples(st.just("run"), st.floats(0.01, 3), st.sampled_from([30.0, 600.0])),
    st.tuples(st.just("alone"), st.floats(0.01, 8)),
    st.tuples(st.just("cycle")),
    st.tuples(st.just("move"), pick, hours),
    st.tuples(
        st.just("edit"),
        pick,
        st.sampled_from(
            [
                {"comment": "green:off"},
                {"comment": "green:max-delay=2h"},
                {"comment": ""},
                {"held": True},
                {"held": False},
                {"time_limit_s": 12 * 3600},
                {"time_limit_s": None},
                {"gpus": 7},
                {"partition": "gone"},
                {"restarts": 1},
                {"qos": "high"},
            ]
        ),
    ),
    st.tuples(st.just("deadline"), pick, hours),
    st.tuples(st.just("depend"), pick, hours),
    st.tuples(st.just("signal"), st.sampled_from(["none", "days", "flat", "falling", "short"])),
    st.tuples(st.just("nodes"), st.integers(1, 5), st.booleans()),
    st.tuples(st.just("reserve"), hours),
    st.tuples(st.just("restart")),
    st.tuples(st.just("off")),
)


def play(site: Watched, step: tuple) -> None:
    kind, *rest = step
    slurm = site.slurm
    waiting = [one for one in slurm.jobs.values() if one.pending]
    if kind == "submit":
        fields, deadline_h, look = rest
        if deadline_h is not None:
            fields = fields | {"deadline_utc": slurm.now + timedelta(hours=deadline_h)}
        site.submit(look=look, **fields)
    elif kind == "run":
        site.run(rest[0], every_s=rest[1] if rest[0] < 0.5 else 600.0)
    elif kind == "alone":
        slurm.run_until(slurm.now + timedelta(seconds=int(3600 * rest[0])), step_s=300)
    elif kind == "cycle":
        site.cycle()
    elif kind == "signal":
        flat = series([300.0] * 96)
        site.signal = {
            "none": None,
            "days": days(6),
            "flat": flat,
            "falling": series([float(x) for x in range(960, 0, -10)]),
            "short": series([400.0]),
        }[rest[0]]
    elif kind == "nodes":
        slurm.nodes = nodes(rest[0], powered_down=rest[1])
    elif kind == "reserve":
        begin = slurm.now + timedelta(hours=rest[0])
        names = tuple(node.name for node in slurm.nodes)
        slurm.reservations = (
            Reservation(
                name="m", start_utc=begin, end_utc=begin + timedelta(hours=6), node_names=names
            ),
        )
    elif kind == "restart":
        site.restart()
    elif kind == "off":
        site.cycle(off=True)
    elif waiting:
        one = waiting[rest[0] % len(waiting)]
        if kind == "move":
            site.user_moves(one.job_id, slurm.now + timedelta(seconds=int(3600 * rest[1])))
        elif kind == "edit":
            slurm.change(one.job_id, **rest[1])
        elif kind == "deadline":
            slurm.change(one.job_id, deadline_utc=slurm.now + timedelta(hours=rest[1]))
        elif kind == "depend":
            site.submit(
                dependency=f"afterok:{one.job_id}",
                deadline_utc=slurm.now + timedelta(hours=rest[1]),
            )


def new_site(*, deferred: int = 0) -> Watched:
    site = Watched(
        slurm=Slurm(),
        rules=rules(policy=policy(max_delay_s=MAX_DELAY_S, margin_floor_s=MARGIN_S), budget_w=5000),
    )
    for number in range(deferred):
        site.deferred(gpus=1 + number)
    return site


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(operations, max_size=12))
def test_no_day_breaks_a_promise(script: list[tuple]) -> None:
    site = new_site(deferred=3)
    for step in script:
        play(site, step)
    # The daemon dies here: whatever we deferred is eligible by what was promised.
    site.slurm.run_until(site.slurm.now + timedelta(hours=1))
    for job_id, latest in site.promised.items():
        one = site.slurm.jobs[job_id]
        if one.pending and job_id not in site.foreign:
            assert one.eligible_utc <= max(latest, site.slurm.now)


@settings(max_examples=60, deadline=None)
@given(st.lists(operations, max_size=10))
def test_every_moment_is_one_to_restart_at(script: list[tuple]) -> None:
    """A daemon that forgot everything does what one that remembers would do."""
    site = new_site(deferred=2)
    for step in script:
        play(site, step)
    signal = site.signal and replace(site.signal, issued_utc=site.slurm.now)
    seen = site.slurm.observed(signal)
    # What it learned of waits and run times comes back from accounting, not from memory.
    kept = cycle(seen, Memory(history=site.memory.history, credits=site.memory.credits), site.rules)
    remembered = cycle(seen, site.memory, site.rules)
    assert kept.changes == remembered.changes
    again = cycle(seen, site.memory, site.rules)
    assert (again.changes, again.events) == (remembered.changes, remembered.events)


FIELDS = st.fixed_dictionaries(
    {
        "gpus": st.integers(1, 4),
        "time_limit_s": st.sampled_from([1800, 3600, 2 * 3600]),
    }
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(FIELDS, st.none() | st.floats(2.5, 20)), min_size=1, max_size=8),
    st.floats(0.0, 20.0),
)
def test_a_daemon_that_dies_at_any_time_leaves_every_job_in_time(
    asked: list[tuple[dict, float | None]], dies_after_h: float
) -> None:
    """On a cluster with room for all of them no deadline is missed, dead or alive."""
    site = new_site()
    site.slurm.nodes = nodes(16)
    for fields, deadline_h in asked:
        given_fields = dict(fields)
        if deadline_h is not None:
            limit_h = fields["time_limit_s"] / 3600
            given_fields["deadline_utc"] = NOW + timedelta(hours=round(limit_h + deadline_h, 2))
        site.submit(**given_fields)
    if dies_after_h > 0.01:
        site.slurm.run_until(site.slurm.now + timedelta(seconds=3))
        site.cycle()
        site.run(dies_after_h, every_s=600.0)
    site.slurm.run_until(NOW + timedelta(hours=30), step_s=120)
    assert {one.state for one in site.slurm.jobs.values()} == {"COMPLETED"}
