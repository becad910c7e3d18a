# SPDX-License-Identifier: Apache-2.0
"""A change of an array's number reaches what waits of it, and no task that left it."""

from datetime import UTC, datetime

import pytest

from slurm_green.slurm.arrays import marked, tasks_of_rest
from slurm_green.slurm.records import Job, JobChange
from slurm_green.slurm.update import change_arguments

LATER = JobChange(begin_utc=datetime(2026, 11, 30, 4, 0, tzinfo=UTC))
# Of --array=1-6 tasks 2 and 5 have been put off alone, task 6 has been given another time limit.
ANSWER = "1 4 2 9\n2 2 7 8\n1 1 1 8\n1 1 3 8\n1 1 4 8\n1 7 6 8\n1 5 5 N/A\n"


def test_only_what_waits_of_an_array_is_marked() -> None:
    rest = Job(job_id=1, array_job_id=1, array_task="1,3-4,6")
    task = Job(job_id=4, array_job_id=1, array_task="2")
    last = Job(job_id=9, array_job_id=9, array_task="3", state="RUNNING")
    plain = Job(job_id=3)
    found = marked(dict.fromkeys((1, 4, 9, 3, 77), LATER), [rest, task, last, plain])
    assert [job_id for job_id, change in found.items() if change.array] == [1]


@pytest.mark.parametrize(
    ("answer", "tasks"),
    [
        (ANSWER, {1: "1,3-4,6"}),
        ("2 2 7 8\n2 2 8 8\n", {}),
        ("2 2 7 8\n2 3 8 8\n", {}),
        # Under its own number nothing waits any more.
        ("1 4 2 8\n", {}),
        ("", {}),
        ("slurm_load_jobs error: Invalid job id specified\n", {}),
        ("1 1 30 8\n1 1 9 8\n1 1 8 8\n1 5 5 9\n1 1 7 8\n", {1: "7-9,30"}),
    ],
)
def test_the_tasks_that_wait_with_an_arrays_own_number(answer: str, tasks: dict[int, str]) -> None:
    """All with its begin time: what `sgreen off` leaves waiting nobody else lets go."""
    lines = [line.replace(" ", "@") + "@\n" for line in answer.splitlines()]
    assert tasks_of_rest("".join(lines)) == tasks


def test_what_slurm_is_told() -> None:
    when = f"StartTime=uts{int(LATER.begin_utc.timestamp())}"  # type: ignore[union-attr]
    assert change_arguments(1, LATER) == ["update", "JobId=1", when]
    assert change_arguments(1, LATER, tasks="1,3-4,6") == ["update", "JobId=1_[1,3-4,6]", when]
    assert change_arguments(1, JobChange(array=True), tasks="1") == []
