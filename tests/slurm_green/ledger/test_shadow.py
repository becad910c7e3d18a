# SPDX-License-Identifier: Apache-2.0
"""What shadow mode would have done, against what happened."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.ledger.entries import Decision, Event, JobFacts, lookup_in
from slurm_green.ledger.shadow import SHADOW_START, ShadowOutcome, compare_shadow
from slurm_green.plan.power import PowerModel
from slurm_green.signals.series import Series

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
POWER = PowerModel(gpu_w=1000.0, cpu_core_w=0.0, gpu_idle_w=100.0)


def series(*values: float) -> Series:
    return Series(
        start_utc=NOW, step_s=3600.0, values=np.array(values), issued_utc=NOW, provider="t"
    )


def ran(job_id: int = 1, start_h: float = 0.0, length_h: float = 1.0, **more: object) -> JobFacts:
    given_: dict[str, object] = {
        "cluster": "c", "job_id": job_id, "submit_utc": NOW, "start_utc": NOW + start_h * HOUR,
        "end_utc": NOW + (start_h + length_h) * HOUR, "gpus": 1, "state": "COMPLETED",
    }  # fmt: skip
    return JobFacts(**(given_ | more))  # type: ignore[arg-type]


def thought(job_id: int = 1, start_h: float = 2.0, **more: object) -> Decision:
    given_: dict[str, object] = {
        "cluster": "c", "job_id": job_id, "decided_utc": NOW, "mode": "shadow",
        "action": "defer", "start_utc": NOW + start_h * HOUR, "save_g": 250.0,
    }  # fmt: skip
    return Decision(**(given_ | more))  # type: ignore[arg-type]


def told(at_h: float, job_id: int = 1, kind: str = SHADOW_START) -> Event:
    return Event(cluster="c", job_id=job_id, at_utc=NOW + at_h * HOUR, kind=kind)


def compared(
    jobs: list[JobFacts], decisions: list[Decision], events: list[Event], *,
    signal: Series | None = None, now_h: float = 24.0,
) -> ShadowOutcome:  # fmt: skip
    return compare_shadow(
        jobs, decisions, events,
        signal=lookup_in(signal or series(*[300.0] * 2, *[100.0] * 2, *[500.0] * 20)),
        power=POWER, now_utc=NOW + now_h * HOUR,
    )  # fmt: skip


def test_one_job_at_the_planned_time() -> None:
    """1 kWh at 300 g, against 1 kWh at 100 g; 250 g were expected to be saved."""
    got = compared([ran()], [thought()], [])
    assert (got.compared, got.actual_g, got.would_g) == (1, pytest.approx(300), pytest.approx(100))
    assert (got.saved_g, got.expected_g) == (pytest.approx(200), 250)
    assert got.mean_delay_s == got.most_delay_s == 7200


def test_what_the_plans_made_of_it_counts_not_the_first_thought() -> None:
    got = compared([ran()], [thought()], [told(10.0)])
    assert (got.would_g, got.saved_g) == (pytest.approx(500), pytest.approx(-200))
    assert compared([ran()], [thought()], [told(10.0, kind="released")]).would_g == pytest.approx(
        100
    )


def test_of_two_decisions_the_newer_counts() -> None:
    newer = thought(start_h=10.0, decided_utc=NOW + HOUR)
    assert compared([ran()], [newer, thought()], []).would_g == pytest.approx(500)


def test_a_requeued_run_is_not_moved_to_before_its_submission() -> None:
    """Slurm gives it a new submission; what was thought of was the first run."""
    again = ran(submit_utc=NOW + 5 * HOUR, start_h=6.0)
    first = compared([ran()], [thought()], [])
    assert compared([ran(), again], [thought()], []) == first
    assert compared([again], [thought()], []).compared == 0


def test_who_was_moved_by_hand_would_have_been_left_alone() -> None:
    moved = ran(start_h=10.0, asked_begin_utc=NOW + 10 * HOUR)
    assert compared([moved], [thought()], []) == ShadowOutcome()


@pytest.mark.parametrize("events", [[], [told(2.0)]])
def test_tasks_that_wait_for_their_turn_are_moved_with_their_array(events: list[Event]) -> None:
    """Of `--array=0-3%1` Slurm makes each task eligible when the one before has ended."""
    tasks = [
        ran(
            2 + turn,
            array_job_id=1,
            start_h=turn,
            asked_begin_utc=NOW + turn * HOUR if turn else None,
            deadline_utc=NOW + 5.5 * HOUR,
        )
        for turn in range(4)
    ]
    got = compared(tasks, [thought(tasks=4)], events)
    assert (got.compared, got.expected_g) == (4, pytest.approx(250))
    assert got.actual_g == pytest.approx(2 * 300 + 2 * 100)
    assert got.would_g == pytest.approx(2 * 100 + 2 * 500), "begun at 2, 3, 4 and 5 o'clock"
    assert got.mean_delay_s == got.most_delay_s == 7200
    assert (got.deadlines, got.late) == (4, 1)


def test_what_is_told_of_delays() -> None:
    got = compared([ran(), ran(2)], [thought(), thought(2, start_h=10.0)], [])
    assert (got.mean_delay_s, got.most_delay_s) == (6 * 3600, 10 * 3600)


def test_what_cannot_be_known_is_not_counted() -> None:
    """Past the signal's end or before it, in another time, or of a run without a length."""
    day, trace = series(*[300.0] * 6), series(*[300.0] * 24)
    assert compared([ran()], [thought(start_h=5.5)], [], signal=day).unknown == 1
    assert compared([ran(start_h=-2.0, submit_utc=NOW - 2 * HOUR)], [thought()], []).unknown == 1
    assert compared([ran(length_h=0.0)], [thought()], []).unknown == 1
    got = compare_shadow(
        [ran()], [thought()], [], power=POWER, now_utc=NOW + 24 * HOUR,
        signal=lambda start, _: trace if start == NOW else replace(trace, time_scale=720.0),
    )  # fmt: skip
    assert (got.compared, got.unknown) == (0, 1)


def test_a_run_that_would_not_be_over_is_not_compared() -> None:
    assert compared([ran()], [thought()], [], now_h=2.5).ahead == 1
    assert compared([ran()], [thought()], [], now_h=2.5).compared == 0


def test_a_deadline_that_would_have_been_missed() -> None:
    due = {"deadline_utc": NOW + 2 * HOUR}
    got = compared([ran(**due), ran(2, **due)], [thought(), thought(2, start_h=1.0)], [])
    assert (got.deadlines, got.late) == (2, 1)


def test_a_run_that_a_requeue_ended_is_no_job() -> None:
    """The saving was expected of all of it, and nobody knows when it would have ended."""
    one = ran(length_h=0.1, state="REQUEUED", deadline_utc=NOW + 2 * HOUR)
    assert compared([one], [thought()], []) == ShadowOutcome()


@pytest.mark.parametrize(("state", "whole"), [("NODE_FAIL", 0), ("PREEMPTED", 0), ("FAILED", 1)])
def test_a_run_that_a_failed_node_ended_is_none_if_its_job_went_on(state: str, whole: int) -> None:
    """As accounting tells it; by its state alone it may have been the last."""
    one = ran(length_h=0.1, state=state)
    again = ran(submit_utc=NOW + 2 * HOUR, start_utc=NOW + 2 * HOUR, end_utc=NOW + 3 * HOUR)
    for jobs, counted in (([one], 1), ([one, again], whole), ([again, one], whole)):
        assert compared(jobs, [thought()], []).compared == counted


def test_enforced_passed_running_and_unknown_jobs() -> None:
    jobs = [ran(1), ran(2), ran(3, end_utc=None), ran(4, start_utc=None), ran(5)]
    decisions = [
        thought(1, mode="enforce"), thought(2, action="pass"), thought(3), thought(4),
        thought(5, start_utc=NOW - 30 * HOUR),
    ]  # fmt: skip
    got = compared(jobs, decisions, [])
    assert (got.compared, got.unknown, got.mean_delay_s) == (0, 2, None)


def test_tasks_of_an_array_share_its_decision() -> None:
    tasks = [ran(n, array_job_id=10, array_task=str(n)) for n in (11, 12)]
    got = compared(tasks, [thought(10, tasks=2)], [])
    assert (got.compared, got.expected_g) == (2, 250)


@given(st.lists(st.tuples(st.floats(0, 8), st.floats(0.1, 4), st.floats(0, 8)), max_size=8))
def test_sums_are_those_of_the_runs(runs: list[tuple[float, float, float]]) -> None:
    """With one intensity at all times nothing is won or lost by moving anything."""
    jobs = [ran(n, start, length) for n, (start, length, _) in enumerate(runs)]
    decisions = [thought(n, start_h=at) for n, (_, _, at) in enumerate(runs)]
    got = compared(jobs, decisions, [], signal=series(*[200.0] * 24))
    assert got.compared == len(runs)
    assert got.saved_g == pytest.approx(0, abs=1e-6)
    assert got.actual_g == pytest.approx(200 * sum(length for _, length, _ in runs), rel=1e-5)
