# SPDX-License-Identifier: Apache-2.0
"""A decision is about the submission that it was made for."""

from datetime import UTC, datetime, timedelta

import pytest

from slurm_green.slurm.requeue import submitted_anew

DECIDED = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(("after_s", "anew"), [(-3600, False), (0, False), (60, False), (61, True)])
def test_a_clock_may_be_a_minute_behind_but_no_more(after_s: int, anew: bool) -> None:
    assert submitted_anew(DECIDED + timedelta(seconds=after_s), DECIDED) is anew
