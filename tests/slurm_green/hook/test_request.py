# SPDX-License-Identifier: Apache-2.0
"""From a queued job to the request behind it."""

from builders import NOW, at, job, request

from slurm_green.hook.request import request_of


def test_a_queued_job_asks_what_it_asked_at_submission() -> None:
    assert request_of(job(), begin_set=False) == request()


def test_what_the_queue_shows_is_carried_over() -> None:
    found = request_of(
        job(
            deadline_utc=at(9),
            nodes=3,
            tasks=5,
            max_running_tasks=2,
            het_job_id=7,
            held=True,
            restarts=1,
            dependency="afterok:3",
            reservation="maint",
            batch=False,
            comment="green:off",
        ),
        begin_set=True,
    )
    assert found == request(
        deadline_utc=at(9),
        nodes=3,
        tasks=5,
        max_running_tasks=2,
        heterogeneous=True,
        held=True,
        restarted=True,
        dependent=True,
        reservation="maint",
        batch=False,
        comment="green:off",
        begin_set=True,
    )
    assert found is not None
    assert found.submit_utc == NOW


def test_without_a_submit_time_there_is_no_request() -> None:
    assert request_of(job(submit_utc=None), begin_set=False) is None
