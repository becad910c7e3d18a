# SPDX-License-Identifier: Apache-2.0
"""Whole cycles against a tiny Slurm: hold, confirm, keep, pull, release."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import DAY, HOUR, NOW, at, days, info, job, observed, policy, rules, series
from simulator import Site, Slurm

from slurm_green.controller.cycle import cycle
from slurm_green.controller.observed import Memory
from slurm_green.hook.record import LOOK, Record, parse
from slurm_green.slurm.records import Job, Reservation


def record_of(job: Job) -> Record:
    found = parse(job.admin_comment)
    assert found is not None
    return found


def test_a_job_is_held_confirmed_and_released_in_its_window() -> None:
    site = Site()
    held = site.submit(name="train")
    assert held.eligible_utc == at(0) + timedelta(seconds=10)
    site.slurm.run_until(at(0) + timedelta(seconds=3))
    site.cycle()
    confirmed = site.slurm.jobs[held.job_id]
    record = record_of(confirmed)
    assert confirmed.eligible_utc == record.latest_utc == at(12)
    assert record.token == record_of(held).token
    assert at(4) < record.start_utc < at(6)
    site.run(8)
    done = site.slurm.jobs[held.job_id]
    assert done.state == "COMPLETED"
    assert abs(done.start_utc - record.start_utc) < timedelta(minutes=2)
    assert site.kinds(held.job_id) == ["confirmed", "released"]
    assert record_of(done).latest_utc == at(12)


def test_without_the_daemon_a_held_job_starts_after_its_hold() -> None:
    site = Site()
    held = site.submit()
    site.slurm.run_until(at(1))
    assert site.slurm.jobs[held.job_id].start_utc < at(0.05)


def test_without_the_daemon_a_confirmed_job_starts_at_its_latest_start() -> None:
    site = Site()
    held = site.deferred(deadline_utc=at(14))
    latest = held.eligible_utc
    assert latest == at(14) - timedelta(seconds=7200 + 600)
    site.slurm.run_until(at(21))
    done = site.slurm.jobs[held.job_id]
    assert (done.state, done.start_utc >= latest) == ("COMPLETED", True)
    assert done.start_utc - latest <= timedelta(minutes=1)


def test_a_daemon_that_comes_too_late_says_that_nothing_was_deferred() -> None:
    site = Site()
    site.cycle()
    site.slurm.submit(gpus=8, time_limit_s=3600)
    held, look = site.submit(), site.submit(look=True, comment="green:max-delay=0s")
    begin = held.eligible_utc
    # Somebody else's job took the cluster meanwhile: they still wait.
    site.slurm.run_until(at(0.5), step_s=5)
    assert site.slurm.jobs[held.job_id].pending
    outcome = site.cycle()
    assert all(change.begin_utc is None for change in outcome.changes.values())
    assert record_of(site.slurm.jobs[held.job_id]).start_utc == begin
    assert site.slurm.jobs[look.job_id].admin_comment == ""
    assert site.cycle().changes == {}


def test_what_the_user_was_told_at_submission_holds() -> None:
    """The hook's answer was more careful than the cycle's would be."""
    site = Site()
    held = site.submit()
    told = replace(record_of(held), latest_utc=at(8))
    site.slurm.change(held.job_id, admin_comment=str(told))
    site.cycle()
    assert site.slurm.jobs[held.job_id].eligible_utc == at(8)


def test_a_hidden_deadline_is_seen_when_confirming() -> None:
    site = Site()
    tight = site.submit(deadline_utc=at(5))
    assert record_of(tight).latest_utc == at(12)
    hopeless = site.submit(deadline_utc=at(2.1))
    site.cycle()
    assert site.slurm.jobs[tight.job_id].eligible_utc == at(5) - timedelta(seconds=7800)
    let_go = site.slurm.jobs[hopeless.job_id]
    assert let_go.eligible_utc == site.slurm.now + timedelta(seconds=1)
    assert site.kinds(hopeless.job_id) == ["released"]


def test_a_look_without_a_deadline_leaves_no_trace() -> None:
    site = Site(rules=rules(policy=policy(default_delay_s=0.0)))
    for kept in ("", "other tool: 5  J"):
        looked = site.submit(look=True, admin_comment=kept)
        assert parse(looked.admin_comment).policy == LOOK
        site.cycle()
        let_go = site.slurm.jobs[looked.job_id]
        assert let_go.admin_comment == kept
        assert let_go.eligible_utc <= site.slurm.now + timedelta(seconds=1)
        assert site.kinds(looked.job_id) == []


def test_a_look_finds_a_deadline_and_defers() -> None:
    site = Site(rules=rules(policy=policy(default_delay_s=0.0)))
    looked = site.submit(look=True, deadline_utc=at(14))
    site.cycle()
    found = site.slurm.jobs[looked.job_id]
    assert found.eligible_utc == at(14) - timedelta(seconds=7800)
    assert record_of(found).policy == "lowest-window"


def test_a_full_reservation_does_not_fill_the_rest_of_the_site() -> None:
    """Half of the nodes are a project's, who use them day and night; the other half is free."""
    site = Site(rules=rules(usual_over_s=3 * DAY, usual_least_s=DAY, reserve_deviations=1.0))
    project = Reservation(
        name="p", start_utc=at(-999), end_utc=at(999), node_names=("n0", "n1"), maintenance=False
    )
    site.slurm.reservations = (project,)
    for number in range(4):
        inside = site.slurm.submit(reservation="p", time_limit_s=86400)
        site.slurm.change(
            inside.job_id,
            state="RUNNING",
            start_utc=NOW,
            end_utc=at(24),
            node_names=(f"n{number % 2}",),
        )
    site.cycle()
    assert site.deferred(gpus=2).eligible_utc > at(1)


@pytest.mark.parametrize("begin", [at(1), at(30), NOW])
def test_a_begin_time_somebody_else_set_is_left_alone(begin: object) -> None:
    site = Site()
    mine = site.deferred()
    site.slurm.change(mine.job_id, eligible_utc=begin, held=True)
    before = site.slurm.jobs[mine.job_id]
    site.run(13)
    assert site.slurm.jobs[mine.job_id] == before
    assert site.kinds(mine.job_id) == ["confirmed"]


def test_a_user_may_pull_a_job_by_hand() -> None:
    site = Site()
    mine = site.deferred()
    site.slurm.change(mine.job_id, eligible_utc=site.slurm.now)
    site.run(0.1)
    assert site.slurm.jobs[mine.job_id].state == "RUNNING"
    assert site.kinds(mine.job_id) == ["confirmed"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"comment": "green:off"}, "opted-out"),
        ({"comment": "green:nonsense"}, "bad-options"),
        ({"time_limit_s": None}, "it has no time limit any more"),
        ({"deadline_utc": at(2.1)}, "its latest start has come"),
        ({"reservation": "class"}, "reservation"),
        ({"partition": "gone"}, "its partition is down or gone"),
    ],
)
def test_what_releases_a_job_at_once(change: dict, why: str) -> None:
    site = Site()
    mine = site.deferred()
    site.slurm.change(mine.job_id, **change)
    site.cycle()
    assert (mine.job_id, "released", why) in site.events
    assert site.slurm.jobs[mine.job_id].eligible_utc == site.slurm.now + timedelta(seconds=1)
    assert site.cycle().changes == {}


def test_slack_that_is_taken_back_ends_the_wait() -> None:
    site = Site(rules=rules(policy=policy(default_delay_s=0.0)))
    mine = site.deferred(comment="green:max-delay=8h")
    assert mine.eligible_utc == at(8)
    site.slurm.change(mine.job_id, comment="")
    site.cycle()
    assert site.kinds(mine.job_id) == ["confirmed", "released"]


@pytest.mark.parametrize(
    ("change", "latest"),
    [
        ({"deadline_utc": at(9)}, at(9) - timedelta(seconds=7800)),
        ({"comment": "green:max-delay=6h"}, at(6)),
        ({"comment": "green:deadline=16:00"}, at(10) - timedelta(seconds=7800)),
        ({"deadline_utc": at(50)}, at(12)),
        ({"deadline_utc": at(16), "time_limit_s": 7 * 3600}, at(9) - timedelta(seconds=600)),
    ],
)
def test_a_nearer_promise_pulls_and_a_farther_one_does_not_push(
    change: dict, latest: object
) -> None:
    site = Site()
    mine = site.deferred()
    site.slurm.change(mine.job_id, **change)
    site.cycle()
    assert site.slurm.jobs[mine.job_id].eligible_utc == latest
    assert record_of(site.slurm.jobs[mine.job_id]).latest_utc == latest


def test_a_held_job_is_left_held_and_goes_on_after() -> None:
    site = Site()
    mine = site.deferred()
    site.slurm.change(mine.job_id, held=True)
    site.run(13)
    assert site.kinds(mine.job_id) == ["confirmed"]
    site.slurm.change(mine.job_id, held=False)
    site.run(1)
    assert site.slurm.jobs[mine.job_id].state == "RUNNING"
    assert site.kinds(mine.job_id).count("released") <= 1


def test_a_requeued_job_is_not_touched() -> None:
    site = Site()
    mine = site.deferred()
    site.slurm.change(mine.job_id, restarts=1)
    assert site.cycle().changes == {}


def test_a_job_that_loses_its_room_is_released_early() -> None:
    site = Site()
    mine = site.deferred(gpus=8, cpus=8)
    site.slurm.nodes = site.slurm.nodes[:3]
    site.cycle()
    assert site.kinds(mine.job_id) == ["confirmed", "released-early"]
    assert record_of(site.slurm.jobs[mine.job_id]).save_g is None


def test_a_requeue_of_what_runs_costs_nobody_the_room_of_later() -> None:
    """Until the epilog is done Slurm shows the run that it would begin now, to its end."""
    site = Site()
    mine = site.deferred(gpus=8, cpus=8)
    names = tuple(node.name for node in site.slurm.nodes)
    ending = {"state": "COMPLETING", "start_utc": site.slurm.now, "end_utc": at(40)}
    site.slurm.submit(gpus=8, node_names=names, restarts=1, **ending)
    site.cycle()
    assert site.kinds(mine.job_id) == ["confirmed"]


def test_two_that_are_confirmed_together_are_not_promised_one_room() -> None:
    site = Site()
    both = [site.submit(gpus=8), site.submit(gpus=8)]
    site.slurm.run_until(at(0) + timedelta(seconds=3))
    site.cycle()
    first, second = sorted(site.slurm.jobs[one.job_id].eligible_utc for one in both)
    assert at(0.1) < first <= second - timedelta(hours=2)


@pytest.mark.parametrize(
    ("until_h", "younger", "apart_h"), [(10.0, "pulled", 2.0), (3.5, "released-early", 0.0)]
)
def test_of_two_promises_the_older_keeps_its_room(
    until_h: float, younger: str, apart_h: float
) -> None:
    site = Site()
    first, second = site.deferred(gpus=8), site.deferred(gpus=8)
    site.slurm.jobs = dict(reversed(site.slurm.jobs.items()))
    names = tuple(node.name for node in site.slurm.nodes)
    site.slurm.reservations = (
        Reservation(name="m", start_utc=at(until_h), end_utc=at(40), node_names=names),
    )
    site.cycle()
    assert site.kinds(first.job_id) == ["confirmed", "pulled"]
    assert site.kinds(second.job_id) == ["confirmed", younger]
    sooner, later = (site.slurm.jobs[one.job_id].eligible_utc for one in (second, first))
    assert sooner + timedelta(hours=apart_h) <= later <= at(until_h - 2)
    kept = record_of(site.slurm.jobs[first.job_id])
    assert kept.start_utc < kept.latest_utc, "or it would count as released"


def test_a_longer_delay_asked_for_later_makes_no_promise_later() -> None:
    site = Site()
    mine = site.deferred(comment="green:max-delay=8h")
    site.slurm.change(mine.job_id, comment="green:max-delay=20h")
    (kept,) = site.cycle().kept
    assert kept.latest_s <= at(8).timestamp()


def test_a_dependency_added_later_is_no_reason_to_let_go() -> None:
    site = Site()
    mine = site.deferred()
    site.slurm.change(mine.job_id, dependency="afterok:99")
    assert site.cycle().deferred == 1


def test_who_was_planned_for_while_nobody_looked_is_let_go_now() -> None:
    """And not in the past: what was saved is told by when it began."""
    site = Site()
    mine = site.deferred()
    planned = record_of(mine).start_utc
    late = planned + timedelta(hours=1)
    site.slurm.run_until(late)
    site.cycle()
    assert record_of(site.slurm.jobs[mine.job_id]).start_utc >= late


def test_a_maintenance_window_pulls_the_latest_start_before_it() -> None:
    site = Site()
    mine = site.deferred()
    names = tuple(node.name for node in site.slurm.nodes)
    site.slurm.reservations = (
        Reservation(name="m", start_utc=at(10), end_utc=at(30), node_names=names, maintenance=True),
    )
    site.cycle()
    assert site.slurm.jobs[mine.job_id].eligible_utc <= at(8)
    assert site.slurm.jobs[mine.job_id].eligible_utc > at(7.8)


def test_nodes_that_sleep_add_to_the_margin() -> None:
    site = Site(slurm=Slurm(info=info(resume_timeout_s=1200)))
    mine = site.deferred(deadline_utc=at(13))
    assert mine.eligible_utc == at(11) - timedelta(seconds=600)
    site.slurm.nodes = tuple(replace(node, powered_down=True) for node in site.slurm.nodes)
    site.cycle()
    assert site.slurm.jobs[mine.job_id].eligible_utc == at(11) - timedelta(seconds=1800)


def test_the_policy_is_that_of_the_jobs_partition_at_every_step() -> None:
    enforced, elsewhere = policy(), policy(mode="shadow")
    site = Site(
        rules=replace(
            rules(),
            policy_for=lambda partition, _: enforced if partition == "gpu" else elsewhere,
        )
    )
    assert site.deferred().eligible_utc == at(12)
    outcome = site.cycle()
    assert (outcome.changes, outcome.deferred) == ({}, 1)


def test_while_no_node_is_up_nobody_is_let_go() -> None:
    """As for seconds after slurmctld has started; what Slurm keeps is the promise."""
    site = Site()
    site.deferred()
    up = site.slurm.nodes
    for nodes in (tuple(replace(node, available=False) for node in up), up):
        site.slurm.nodes = nodes
        outcome = site.cycle()
        assert (outcome.changes, outcome.deferred) == ({}, 1)


@pytest.mark.parametrize(
    "child",
    [
        {"deadline_utc": at(12)},
        {"comment": f"green:deadline={at(12):%Y-%m-%dT%H:%M:%S}Z"},
        {"deadline_utc": at(13), "comment": f"green:deadline={at(12):%Y-%m-%dT%H:%M:%S}Z"},
    ],
)
def test_a_dependents_deadline_pulls_its_parent(child: dict[str, Any]) -> None:
    """Slurm's deadline, or the one its owner wrote for us."""
    site = Site()
    parent = site.deferred()
    site.slurm.submit(dependency=f"afterok:{parent.job_id}", **child)
    site.cycle()
    # Its two hours, the parent's two hours, and for each a margin of ten minutes.
    wanted = at(12) - timedelta(seconds=2 * 7800)
    assert site.slurm.jobs[parent.job_id].eligible_utc == wanted


def test_a_dependent_known_before_confirming_bounds_the_first_promise() -> None:
    site = Site()
    parent = site.submit()
    site.slurm.submit(dependency=f"afterok:{parent.job_id}", deadline_utc=at(12))
    site.cycle()
    assert site.slurm.jobs[parent.job_id].eligible_utc == at(12) - timedelta(seconds=15600)


def test_what_waits_of_an_array_is_changed_without_the_tasks_that_left_it() -> None:
    """By the array's number Slurm would change all: one was put off by its user."""
    site = Site()
    rest, plain = site.deferred(tasks=2, array_task="1,3"), site.deferred()
    site.slurm.change(rest.job_id, array_job_id=rest.job_id)
    site.slurm.run_until(at(6))
    outcome = site.cycle()
    assert {job_id: change.array for job_id, change in outcome.changes.items()} == {
        rest.job_id: True,
        plain.job_id: False,
    }


def test_switching_off_confirms_nothing_new_and_keeps_what_was_promised() -> None:
    site = Site()
    mine = site.deferred()
    new = site.submit()
    site.cycle(off=True)
    assert site.slurm.jobs[mine.job_id].eligible_utc == at(12)
    assert site.kinds(new.job_id) == ["released"]


def test_going_back_to_shadow_releases() -> None:
    site = Site()
    mine, new = site.deferred(), site.submit()
    site.rules = rules(policy=policy(mode="shadow"))
    site.cycle()
    assert (mine.job_id, "released", "not-enforced") in site.events
    assert (new.job_id, "released", "not-enforced") in site.events


@pytest.mark.parametrize("signal", [None, series([400.0]), replace(days(), issued_utc=NOW)])
def test_a_signal_lost_later_changes_no_promise(signal: object) -> None:
    site = Site()
    mine = site.deferred()
    planned = record_of(mine).start_utc
    site.signal = signal
    site.run(2, every_s=600)
    assert site.slurm.jobs[mine.job_id].eligible_utc == at(12)
    site.run(6, every_s=60)
    done = site.slurm.jobs[mine.job_id]
    assert abs(done.start_utc - planned) < timedelta(minutes=3)


def test_a_new_forecast_moves_the_plan_but_not_the_promise() -> None:
    site = Site()
    mine = site.deferred()
    values = [400.0] * 9 + [50.0] * 3 + [400.0] * 60
    site.signal = series(values)
    site.cycle()
    moved = record_of(site.slurm.jobs[mine.job_id])
    assert (moved.start_utc, moved.latest_utc) == (at(9), at(12))
    assert (moved.save_g, moved.signal) == (294, "test"), "0.84 kWh by 350 g/kWh less"
    assert site.slurm.jobs[mine.job_id].eligible_utc == at(12)
    assert site.cycle().changes == {}


def test_a_job_whose_latest_start_has_passed_is_released_once() -> None:
    """The daemon was away, the job queues behind others: its place and its age are its own."""
    site = Site()
    mine = site.deferred()
    site.slurm.run_until(at(11.9))
    other = site.slurm.submit(gpus=8, time_limit_s=6 * 3600)
    site.slurm.run_until(at(13))
    assert site.slurm.jobs[other.job_id].state == "RUNNING"
    for _ in range(5):
        site.run(0.05)
    waiting = site.slurm.jobs[mine.job_id]
    assert waiting.pending
    assert waiting.eligible_utc == at(12)
    assert site.kinds(mine.job_id) == ["confirmed", "released"]
    assert waiting.site_factor == int(1000 * 12 * HOUR / (7 * DAY))


def test_a_released_job_keeps_its_place() -> None:
    site = Site()
    mine = site.deferred()
    site.run(5.5, every_s=60)
    waiting = site.slurm.jobs[mine.job_id]
    aged_s = (waiting.start_utc - NOW).total_seconds()
    assert waiting.site_factor == pytest.approx(1000 * aged_s / (7 * DAY), abs=1)


@pytest.mark.parametrize(
    ("fields", "keep_place"),
    [
        ({"priority_flags": frozenset({"ACCRUE_ALWAYS"})}, True),
        ({"priority_type": "priority/basic"}, True),
        ({"priority_weight_age": 0}, True),
        ({}, False),
    ],
)
def test_no_credit_where_age_counts_anyway_or_not_at_all(fields: dict, keep_place: bool) -> None:
    """Or where the site wants none."""
    site = Site(slurm=Slurm(info=info(**fields)), rules=rules(keep_place=keep_place))
    mine = site.deferred()
    site.run(7, every_s=300)
    assert site.slurm.jobs[mine.job_id].site_factor == 0


def waiting_with_credit(*, forget: bool = False) -> tuple[Site, Job]:
    """A released job that still queues; seven points of its site factor are the site's own."""
    site = Site()
    mine = site.deferred(gpus=8)
    site.slurm.change(mine.job_id, site_factor=7)
    site.slurm.run_until(at(3))
    site.slurm.submit(gpus=1, time_limit_s=36000)
    site.slurm.run_until(at(3.1))
    site.cycle()
    waiting = site.slurm.jobs[mine.job_id]
    assert waiting.pending
    assert site.kinds(mine.job_id) == ["confirmed", "released-early"]
    assert waiting.site_factor == 7 + int(1000 * 3.1 * HOUR / (7 * DAY))
    if forget:
        site.restart()
        site.cycle()
    return site, waiting


@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize(
    "change",
    [{"gpus": 4}, {"nodes": 2}, {"time_limit_s": 60}, {"qos": "high"}],
)
def test_credit_goes_when_the_job_is_no_longer_the_one_that_waited(
    change: dict, forget: bool
) -> None:
    site, mine = waiting_with_credit(forget=forget)
    site.cycle()
    assert site.slurm.jobs[mine.job_id].site_factor == mine.site_factor
    site.slurm.change(mine.job_id, **change)
    site.cycle()
    assert site.slurm.jobs[mine.job_id].site_factor == 7
    assert site.kinds(mine.job_id)[-1] == "credit-dropped"
    assert site.cycle().changes == {}


def test_a_herd_is_released_in_portions() -> None:
    site = Site(rules=rules(releases_per_cycle=3))
    mine = [site.submit() for _ in range(8)]
    site.cycle()
    assert [site.kinds(one.job_id) for one in mine] == [["confirmed"]] * 8
    site.slurm.now = at(3)
    site.signal = series([100.0] * 3 + [900.0] * 60, start=at(3))
    released = []
    for _ in range(4):
        before = len(site.events)
        outcome = site.cycle()
        released.append(sum(kind == "released" for _, kind, _ in site.events[before:]))
        assert outcome.deferred == 8 - sum(released)
        site.slurm.now += timedelta(seconds=30)
    assert released == [3, 3, 2, 0]


def test_a_new_forecast_moves_a_herd_in_portions() -> None:
    """Each is a change for slurmctld; what the plan says counts before its record does."""
    site = Site(rules=rules(releases_per_cycle=3))
    for _ in range(8):
        site.submit()
    site.cycle()
    site.signal = series([400.0] * 9 + [50.0] * 3 + [400.0] * 60)
    moved = []
    for _ in range(4):
        before = len(site.events)
        site.cycle()
        moved.append(sum(kind == "moved" for _, kind, _ in site.events[before:]))
    assert moved == [3, 3, 2, 0]


def test_a_job_is_released_to_the_second_of_its_plan() -> None:
    """Its record is true as it is, so that Slurm is told none."""
    site = Site()
    mine = site.deferred()
    planned = record_of(mine).start_utc
    site.slurm.run_until(planned - timedelta(seconds=10))
    change = site.cycle().changes[mine.job_id]
    assert (change.begin_utc, change.admin_comment) == (planned, None)
    assert site.slurm.jobs[mine.job_id].eligible_utc == planned


def test_a_window_takes_only_as_many_as_it_has_room_for() -> None:
    """Two-hour jobs on eight GPUs, a clean stretch of four hours, then another one at night."""
    site = Site(rules=rules(policy=policy(default_delay_s=20 * HOUR)))
    site.signal = series([400.0] * 2 + [100.0] * 4 + [300.0] * 6 + [120.0] * 8 + [300.0] * 40)
    mine = [site.submit() for _ in range(32)]
    site.cycle()
    site.run(2.2, every_s=60)
    gone = [one for one in mine if "released" in site.kinds(one.job_id)]
    running = [one for one in mine if site.slurm.jobs[one.job_id].state == "RUNNING"]
    assert len(running) == 8
    assert len(gone) == 16
    site.run(12, every_s=300)
    assert all(site.kinds(one.job_id)[-1].startswith("released") for one in mine)
    starts = [site.slurm.jobs[one.job_id].start_utc for one in mine]
    assert sum(at(12) <= start for start in starts) == 16


def test_the_sites_watts_hold_when_the_window_comes() -> None:
    site = Site(rules=rules(policy=policy(default_delay_s=20 * HOUR), budget_w=1000.0))
    site.signal = series([400.0] * 2 + [100.0] * 4 + [300.0] * 60)
    mine = [site.submit() for _ in range(6)]
    site.cycle()
    # A job takes 420 W: two at a time.
    for hours, released in ((2.2, 2), (1.6, 2), (0.4, 4), (1.6, 4), (0.4, 6)):
        site.run(hours, every_s=60)
        assert sum("released" in site.kinds(one.job_id) for one in mine) == released


def test_a_job_takes_its_turn_on_a_full_cluster() -> None:
    """Its clean hour has come, others' jobs fill the cluster: it queues, with its credit."""
    site = Site()
    mine = site.deferred()
    site.slurm.run_until(at(4.5))
    for _ in range(2):
        site.slurm.submit(gpus=8, time_limit_s=2 * 3600)
    site.run(2, every_s=60)
    assert "released" in site.kinds(mine.job_id)[-1]


def test_shadow_changes_nothing_and_judges_each_new_job_once() -> None:
    site = Site(rules=rules(policy=policy(mode="shadow")))
    old = site.slurm.submit()
    assert site.cycle().judged == ()
    new = site.submit()
    site.slurm.run_until(site.slurm.now + timedelta(seconds=30))
    outcome = site.cycle()
    assert outcome.changes == {}
    assert [one.job.job_id for one in outcome.judged] == [new.job_id]
    assert outcome.judged[0].decision.defer
    assert site.cycle().judged == ()
    assert old.admin_comment == new.admin_comment == ""


def test_a_job_without_a_record_is_never_changed() -> None:
    site = Site()
    for fields in ({}, {"eligible_utc": at(5)}, {"held": True}, {"comment": "green:v1 id=x"}):
        site.slurm.submit(**fields)
    site.slurm.submit(
        comment=str(
            Record(
                token="forged",
                decided_utc=NOW - timedelta(seconds=10),
                start_utc=at(1),
                latest_utc=at(2),
                policy="x",
            )
        )
    )
    for _ in range(3):
        assert site.cycle().changes == {}
        site.slurm.run_until(site.slurm.now + timedelta(hours=1))


def test_the_extra_field_serves_as_well() -> None:
    record = Record(
        token="t",
        decided_utc=NOW - timedelta(seconds=4),
        start_utc=at(1),
        latest_utc=at(12),
        policy="lowest-window",
    )
    held = job(extra=f"theirs {record}", eligible_utc=NOW + timedelta(seconds=6))
    outcome = cycle(observed(held), Memory(), rules(record_field="extra"))
    change = outcome.changes[1]
    assert change.admin_comment is None
    assert change.extra.startswith("theirs green:v1 id=t")
    assert cycle(observed(held), Memory(), rules()).changes == {}


def busy_site() -> Site:
    """Jobs in every state."""
    site = Site()
    site.slurm.submit(gpus=2)
    for _ in range(3):
        site.deferred()
    site.slurm.change(2, eligible_utc=at(3))
    site.submit()
    site.submit(deadline_utc=at(9))
    site.slurm.run_until(site.slurm.now + timedelta(seconds=2))
    return site


@pytest.mark.parametrize("forget", [False, True])
def test_the_same_input_gives_the_same_outcome(forget: bool) -> None:
    site = busy_site()
    seen = site.slurm.observed(days())
    first = cycle(seen, site.memory, site.rules)
    again = cycle(seen, Memory() if forget else site.memory, site.rules)
    assert first.changes
    assert again.changes == first.changes
    assert again.events == first.events


def test_a_second_cycle_a_moment_later_finds_nothing_to_do() -> None:
    site = busy_site()
    assert site.cycle().changes
    site.slurm.run_until(site.slurm.now + timedelta(seconds=2))
    assert site.cycle().changes == {}
