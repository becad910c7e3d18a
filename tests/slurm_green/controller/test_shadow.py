# SPDX-License-Identifier: Apache-2.0
"""Shadow mode: every new job judged once, as if the others' imagined deferrals were real."""

from dataclasses import replace

from builders import DAY, NOW, NOW_S, at, job, memory, observed, policy, rules

from slurm_green.controller.cycle import cycle
from slurm_green.controller.observed import Memory, ShadowBooking
from slurm_green.controller.planning.advice import Advice, Place
from slurm_green.slurm.records import Job

SHADOW = rules(policy=policy(mode="shadow"))


def judge(*jobs: Job, before: Memory | None = None) -> list[tuple[int, str]]:
    outcome = cycle(observed(*jobs), before or memory(), SHADOW)
    assert outcome.changes == {}
    assert {one.mode for one in outcome.judged} <= {"shadow"}
    return [(one.job.job_id, one.decision.reason) for one in outcome.judged]


def test_a_new_job_is_judged_wherever_it_stands() -> None:
    started = job(2, state="RUNNING", start_utc=NOW, end_utc=at(2), node_names=("n0",))
    assert judge(job(1), started) == [(1, "deferred"), (2, "deferred")]


def test_what_was_there_before_is_not_new() -> None:
    assert judge(job(1), before=Memory()) == []
    assert judge(job(1, submit_utc=at(-1))) == []
    assert judge(job(1), before=memory(seen=frozenset({1}))) == []


def test_reasons_are_those_of_enforce() -> None:
    assert judge(
        job(1, comment="green:off"),
        job(2, eligible_utc=at(1)),
        job(3, time_limit_s=60),
        job(4, submit_utc=None),
        job(5, partition="gone"),
    ) == [(1, "opted-out"), (2, "begin-set"), (3, "short"), (5, "unknown-partition")]


def test_a_job_is_not_in_its_own_way() -> None:
    """It takes the whole cluster, as it would if it were not there yet."""
    whole = job(1, state="RUNNING", gpus=8, start_utc=NOW, end_utc=at(2))
    assert judge(whole) == [(1, "deferred")]


def test_imagined_deferrals_do_not_all_take_one_hour() -> None:
    before = memory()
    for first in (1, 9, 17):
        new = (job(i) for i in range(first, first + 8))
        after = cycle(observed(*new), before, SHADOW).memory
        before = replace(after, last_utc=before.last_utc)
    starts = [one.start_s for one in before.shadow]
    assert len(starts) == 24
    hours = {start: sum(start <= other < start + 7200 for other in starts) for start in starts}
    assert max(hours.values()) <= 8


def test_imagined_deferrals_are_forgotten_when_they_would_have_ended() -> None:
    first = cycle(observed(job(1)), memory(), SHADOW)
    assert len(first.memory.shadow) == 1
    assert len(cycle(observed(now=at(13)), first.memory, SHADOW).memory.shadow) == 1
    assert cycle(observed(now=at(15)), first.memory, SHADOW).memory.shadow == ()


def test_imagined_deferrals_follow_the_plan_from_now_to_their_latest_start() -> None:
    first = cycle(observed(job(1)), memory(), SHADOW).memory
    assert first.shadow[0].power_w > 0

    def planned(hours: float, before: Memory, *, now_h: float = 1.0) -> ShadowBooking:
        advice = Advice(
            at_s=NOW_S, until_s=NOW_S + DAY, places={1: Place(start_s=at(hours).timestamp())}
        )
        (one,) = cycle(observed(now=at(now_h), advice=advice), before, SHADOW).memory.shadow
        return one

    for hours, followed in ((2.0, 2.0), (-3.0, 1.0), (30.0, 12.0)):
        one = planned(hours, first)
        assert (one.start_s, one.started) == (at(followed).timestamp(), followed == 1.0)
    # Once let go it stays so.
    begun = replace(first, shadow=(planned(-3.0, first),))
    assert planned(5.0, begun, now_h=1.5).start_s == at(1).timestamp()


def test_the_policy_is_that_of_the_jobs_partition() -> None:
    here, elsewhere = policy(mode="shadow"), policy(mode="enforce", default_delay_s=0.0)
    by_partition = replace(SHADOW, policy_for=lambda name, _: here if name == "gpu" else elsewhere)
    outcome = cycle(observed(job(1)), memory(), by_partition)
    assert [one.decision.reason for one in outcome.judged] == ["deferred"]


def test_a_partition_in_enforce_is_not_judged_here() -> None:
    outcome = cycle(observed(job(1)), memory(), rules())
    assert outcome.judged == ()
