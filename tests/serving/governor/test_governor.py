# SPDX-License-Identifier: Apache-2.0
"""Decisions of the governor that a whole replay shows only seldom."""

import pytest

from serving.governor.engine import Batch, EngineModel
from serving.governor.governor import Governor
from serving.governor.protocol import Moment, Slo
from tests.serving.made import profile

ENGINE = EngineModel(profile(kv_tokens=10_000))
HIGH = len(ENGINE.clocks_mhz) - 1


@pytest.mark.parametrize(("queued", "highest"), [(0, False), (4000, True)])
def test_a_cache_that_fills_is_emptied_at_the_highest_clock(queued: int, highest: bool) -> None:
    governor = Governor(ENGINE, Slo(ttft_s=60.0, tpot_s=0.5))
    chunks = [(0, queued)] if queued else []
    queue = [(0.0, queued)] if queued else []
    batch = Batch(4, 1000.0, chunks)
    moment = Moment(1.0, batch, HIGH, 0.0, queue, 0, [9.0] * 4, [20] * 4)
    assert (governor.choose(moment) == HIGH) is highest


@pytest.mark.parametrize(
    ("held", "queued", "computed", "highest"),
    [
        (None, 0, 0, True),
        (0.3, 0, 0, False),  # they share most of it
        (0.7, 0, 0, True),
        (0.3, 4000, 0, True),
        (0.55, 1000, 1000, False),  # which this batch computes: it is in what is held
    ],
)
def test_what_several_share_counts_once_where_the_cache_tells(
    held: float | None, queued: int, computed: int, highest: bool
) -> None:
    governor = Governor(ENGINE, Slo(ttft_s=60.0, tpot_s=0.5))
    chunks, queue = [(0, computed)] * (computed > 0), [(0.0, queued)] * (queued > 0)
    batch = Batch(8, 1000.0, chunks)
    moment = Moment(1.0, batch, HIGH, 0.0, queue, 0, [9.0] * 8, [20] * 8, held=held)
    assert (governor.choose(moment) == HIGH) is highest
