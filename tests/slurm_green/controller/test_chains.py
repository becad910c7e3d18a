# SPDX-License-Identifier: Apache-2.0
"""Deadlines along dependency chains."""

from collections.abc import Iterable

from builders import HOUR, NOW_S, at, job
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.controller.chains import latest_by_dependents
from slurm_green.slurm.records import Job


def bounds(jobs: Iterable[Job], *, margin_s: float = 600.0, run_s: float = 7200.0) -> dict:
    """Hours after NOW per job."""
    jobs = list(jobs)
    found = latest_by_dependents(
        jobs,
        margins_s={one.job_id: margin_s for one in jobs},
        runs_s={one.job_id: run_s for one in jobs},
    )
    return {job_id: (latest_s - NOW_S) / HOUR for job_id, latest_s in found.items()}


def test_no_deadline_no_bound() -> None:
    assert bounds([job(1), job(2, dependency="afterok:1")]) == {}


def test_a_childs_deadline_leaves_both_runs_and_both_margins() -> None:
    found = bounds(
        [job(1), job(2, dependency="afterok:1(unfulfilled)", deadline_utc=at(12))], margin_s=1800
    )
    assert found == {1: 12 - 2 * 2.5}


def test_bounds_reach_back_through_jobs_without_a_deadline() -> None:
    chain = [
        job(1),
        job(2, dependency="afterok:1"),
        job(3, dependency="afterany:2", deadline_utc=at(12)),
    ]
    assert bounds(reversed(chain), margin_s=0) == {1: 6, 2: 8}


def test_the_nearest_of_several_children_and_several_parents() -> None:
    found = bounds(
        [
            job(1),
            job(2),
            job(3, dependency="afterok:1:2,afterany:9", deadline_utc=at(20)),
            job(4, dependency="afterok:2_7?afternotok:1", deadline_utc=at(10)),
        ],
        margin_s=0,
    )
    assert found == {1: 6, 2: 6}


def test_minutes_after_a_start_are_no_job() -> None:
    """after:JOB+MINUTES."""
    waits = job(3, dependency="after:2+1(unfulfilled)", deadline_utc=at(10))
    assert bounds([job(1), job(2), waits], margin_s=0) == {2: 6}


def test_only_jobs_that_wait_count() -> None:
    running = job(1, state="RUNNING")
    cancelled = job(3, dependency="afterok:2", state="CANCELLED", deadline_utc=at(3))
    child = job(4, dependency="afterok:1", deadline_utc=at(9))
    assert bounds([running, job(2), cancelled, child]) == {}


def test_a_circle_or_oneself_does_not_hang() -> None:
    assert (
        bounds(
            [
                job(1, dependency="afterok:2", deadline_utc=at(5)),
                job(2, dependency="afterok:1"),
                job(3, dependency="afterok:3", deadline_utc=at(5)),
            ]
        )
        == {}
    )


def test_a_chain_of_five_thousand() -> None:
    chain = [job(1)] + [job(i, dependency=f"afterok:{i - 1}") for i in range(2, 5001)]
    chain.append(job(5001, dependency="afterok:5000", deadline_utc=at(20_000)))
    found = bounds(chain, margin_s=0)
    assert len(found) == 5000
    assert found[1] == 20_000 - 5001 * 2


@given(st.text(max_size=60))
def test_no_dependency_text_raises(text: str) -> None:
    bounds([job(1), job(2, dependency=text, deadline_utc=at(9))])


@given(
    st.lists(
        st.tuples(st.sets(st.integers(1, 9), max_size=3), st.none() | st.integers(1, 90)),
        min_size=2,
        max_size=10,
    )
)
def test_every_bound_leaves_time_for_all_below_it(
    asked: list[tuple[set[int], int | None]],
) -> None:
    jobs = [
        job(
            i,
            dependency=",".join(f"afterok:{p}" for p in sorted(parents) if p < i),
            deadline_utc=None if hours is None else at(hours),
        )
        for i, (parents, hours) in enumerate(asked, start=1)
    ]
    found = bounds(jobs, margin_s=0)
    for child, (parents, hours) in enumerate(asked, start=1):
        own = [found[child]] if child in found else []
        own += [] if hours is None else [hours - 2]
        for parent in (p for p in parents if p < child):
            assert not own or found[parent] <= min(own) - 2 + 1e-9
