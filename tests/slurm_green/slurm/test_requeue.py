# SPDX-License-Identifier: Apache-2.0
"""A decision is about the submission that it was made for."""

from datetime import UTC, datetime, timedelta

import pytest

from slurm_green.slurm.records import Job
from slurm_green.slurm.requeue import last_runs, submitted_anew

DECIDED = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(("after_s", "anew"), [(-3600, False), (0, False), (60, False), (61, True)])
def test_a_clock_may_be_a_minute_behind_but_no_more(after_s: int, anew: bool) -> None:
    assert submitted_anew(DECIDED + timedelta(seconds=after_s), DECIDED) is anew


def test_the_last_run_of_a_job_is_that_submitted_last_and_no_requeued_one() -> None:
    def run(job_id: int, minutes: int, state: str) -> Job:
        return Job(job_id=job_id, submit_utc=DECIDED + timedelta(minutes=minutes), state=state)

    last, failed = run(1, 2, "COMPLETED"), run(2, 0, "NODE_FAIL")
    runs = [run(1, 1, "FAILED"), last, run(1, 0, "FAILED"), failed, run(2, 5, "REQUEUED")]
    assert last_runs(runs) == [last, failed]
    assert last_runs([Job(job_id=3, state="FAILED")])
