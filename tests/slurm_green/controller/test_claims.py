# SPDX-License-Identifier: Apache-2.0
"""What a record claims to save once its job was let go: only what it waited for."""

from dataclasses import replace

import pytest
from builders import at, series
from simulator import Site

from slurm_green.hook.record import parse
from slurm_green.slurm.records import Job


def claimed(job: Job) -> int | None:
    """The saving a job's record claims."""
    record = parse(job.admin_comment)
    assert record is not None
    return record.save_g


def told(site: Site, **fields: object) -> Job:
    """A job held at submission whose user was told of 99 g."""
    held = site.submit(**fields)
    record = parse(held.admin_comment)
    assert record is not None
    site.slurm.change(held.job_id, admin_comment=str(replace(record, save_g=99)))
    return held


def test_a_job_that_reached_its_window_claims_what_was_expected() -> None:
    site = Site()
    held = told(site)
    site.cycle()
    site.run(12.5)
    assert site.kinds(held.job_id)[-1] == "released"
    assert claimed(site.slurm.jobs[held.job_id])


@pytest.mark.parametrize("how", ["let go", "too late", "opted out"])
def test_a_job_let_go_before_its_time_claims_nothing(how: str) -> None:
    site = Site()
    site.cycle()
    if how == "too late":
        site.slurm.submit(gpus=8, time_limit_s=3600)
    held = told(site, **({"deadline_utc": at(2.1)} if how == "let go" else {}))
    if how == "too late":
        site.slurm.run_until(at(0.5), step_s=5)
    if how == "opted out":
        site.cycle()
        site.slurm.change(held.job_id, comment="green:off")
    site.cycle()
    assert site.kinds(held.job_id)[-1] == "released"
    assert claimed(site.slurm.jobs[held.job_id]) is None


def test_a_moved_job_claims_against_its_submission_and_not_against_the_move() -> None:
    """Held at 400 g/kWh; when its plan moves to 50 power has fallen to 100 already."""
    site = Site()
    mine = site.deferred()
    site.run(3)
    site.signal = series([400.0] * 2 + [100.0] * 7 + [50.0] * 3 + [400.0] * 60)
    site.cycle()
    assert site.kinds(mine.job_id)[-1] == "moved"
    assert claimed(site.slurm.jobs[mine.job_id]) == 294, "0.84 kWh by 350 g/kWh less"


def test_a_forecast_from_now_on_adds_what_the_move_changes() -> None:
    """A provider's forecast does not reach back to the submission."""
    site = Site()
    mine = site.deferred()
    was = claimed(mine)
    site.run(3)
    # It was to start at noon or so, in six hours.
    site.signal = series([100.0] * 6 + [50.0] * 3 + [400.0] * 60, start=at(3))
    site.cycle()
    assert site.kinds(mine.job_id)[-1] == "moved"
    assert was is not None
    assert claimed(site.slurm.jobs[mine.job_id]) == was + 42, "0.84 kWh by 50 g/kWh less"


def test_a_job_let_go_in_dirtier_hours_claims_what_it_waited_for() -> None:
    """Its room later is gone, and now is the best that is left: worse than at its submission."""
    site = Site()
    mine = site.deferred()
    site.run(3)
    site.signal = series([100.0] * 3 + [300.0] * 60)
    site.slurm.change(mine.job_id, comment="green:max-delay=3.005h")
    site.cycle()
    assert site.kinds(mine.job_id)[-1] == "released"
    assert claimed(site.slurm.jobs[mine.job_id]) == -168, "0.84 kWh by 200 g/kWh more"
