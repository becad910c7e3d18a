# SPDX-License-Identifier: Apache-2.0
"""Where a deferral stands, read off the job alone."""

from datetime import datetime, timedelta

import pytest
from builders import NOW, at, job

from slurm_green.controller.state import Stage, tracked
from slurm_green.hook.record import LOOK, Record

HOLD_S = 10.0
HELD = NOW + timedelta(seconds=HOLD_S)


def stage(begin: datetime | None, **fields: object) -> Stage:
    given: dict = {
        "token": "t",
        "decided_utc": NOW,
        "start_utc": at(5),
        "latest_utc": at(12),
        "policy": "lowest-window",
    }
    record = Record(**(given | fields))
    found = tracked(job(eligible_utc=begin), record_text=f"x {record}", hold_s=HOLD_S)
    assert found is not None
    assert found.record == record
    return found.stage


@pytest.mark.parametrize(
    ("begin", "fields", "expected"),
    [
        (HELD, {}, Stage.HOLDING),
        (HELD, {"policy": LOOK, "start_utc": NOW, "latest_utc": HELD}, Stage.HOLDING),
        (at(12), {}, Stage.CONFIRMED),
        # Its latest start happens to be the end of its hold.
        (HELD, {"start_utc": NOW, "latest_utc": HELD}, Stage.CONFIRMED),
        (at(5), {}, Stage.RELEASED),
        # Let go in the second in which its hold ends.
        (HELD, {"start_utc": HELD}, Stage.RELEASED),
        (HELD, {"start_utc": HELD - timedelta(seconds=1)}, Stage.RELEASED),
        # Slurm's clock at the change, a little after ours.
        (at(5) + timedelta(seconds=3), {}, Stage.RELEASED),
        # Left alone after its latest start: released there.
        (at(12), {"start_utc": at(12)}, Stage.RELEASED),
        (at(13), {"start_utc": at(13)}, Stage.RELEASED),
        (at(4), {}, Stage.FOREIGN),
        (at(11), {}, Stage.FOREIGN),
        (at(30), {}, Stage.FOREIGN),
        (NOW, {}, Stage.FOREIGN),
        (None, {}, Stage.FOREIGN),
    ],
)
def test_each_stage(begin: datetime | None, fields: dict, expected: Stage) -> None:
    assert stage(begin, **fields) is expected


def test_a_job_without_our_record_is_not_tracked() -> None:
    assert tracked(job(), record_text="green:v2 id=x", hold_s=HOLD_S) is None
