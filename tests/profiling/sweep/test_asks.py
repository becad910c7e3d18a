# SPDX-License-Identifier: Apache-2.0
"""Which windows are asked for, and that chance repeats itself."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.sweep.asks import block, more_batches, more_clocks, reference_of
from profiling.sweep.records import points
from profiling.workload.protocol import Load
from tests.profiling.sweep.test_records import window

LOAD = Load(phase="decode", batch=8, context_tokens=512)
CLOCKS = tuple(range(720, 1981, 15))


@given(
    clocks=st.sets(st.sampled_from(CLOCKS), min_size=1, max_size=8),
    repeats=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    round_=st.integers(0, 30),
)
def test_a_block_has_every_clock_and_returns_to_the_reference(clocks, repeats, seed, round_):
    rising = sorted(clocks)
    reference = reference_of(rising)

    def asked():
        options = {"round_": round_, "reference": reference, "repeats": repeats, "seed": seed}
        return list(block(LOAD, rising, **options))

    found = asked()
    assert found == asked()
    assert [one.order for one in found] == list(range(len(found)))
    assert all(0 <= one.delay_s <= 0.1 for one in found)
    counts = Counter(one.clock_mhz for one in found)
    assert all(counts[one] == repeats for one in rising if one != reference)
    assert counts[reference] >= min(repeats, 2)
    assert found[0].clock_mhz == found[-1].clock_mhz == reference
    assert {one.reference for one in found if one.clock_mhz == reference} == {True}


def test_the_order_differs_by_seed_and_load():
    orders = {
        tuple(
            one.clock_mhz
            for one in block(load, CLOCKS[:9], round_=0, reference=840, repeats=2, seed=seed)
        )
        for load in (LOAD, Load(workers=2))
        for seed in (0, 1)
    }
    assert len(orders) == 4


def test_in_place_of_a_clock_that_does_not_hold_comes_what_was_reached():
    name = LOAD.name
    good = [window(at, 720 + 15 * at, load=name) for at in range(2)]
    off = window(9, 1980, load=name, attempt=3, faults=("clock",), observed_mhz=1799.0)
    found = more_clocks(points(good), {(name, 1980): off}, {name: LOAD}, CLOCKS)
    assert found == {name: [1785]}


@pytest.mark.slow
def test_a_clock_that_failed_below_good_ones_is_no_ceiling():
    name = LOAD.name
    good = [
        window(at, clock, load=name, step=0.005 + 0.01 * 1980 / clock, power=clock / 5)
        for at, clock in enumerate((720, 1350, 1665, 1980))
    ]
    bad = window(9, 1035, load=name, attempt=3, faults=("counter",), observed_mhz=1035.0)
    asked = set()
    for _ in range(4):
        found = more_clocks(points(good), {(name, 1035): bad}, {name: LOAD}, CLOCKS)
        if not found:
            break
        (clock,) = found[name]
        assert clock != 1035
        asked.add(clock)
        good.append(window(20, clock, load=name, step=0.005 + 0.01 * 1980 / clock, power=clock / 5))
    assert asked


def test_between_batches_only_where_latency_bends():
    loads = [Load(phase="decode", batch=one, context_tokens=512) for one in (1, 8, 32, 128)]

    def measured(times):
        rows = [window(load=one.name, step=time) for one, time in zip(loads, times, strict=True)]
        return points(rows)

    assert more_batches(measured([0.01 + 1e-4 * (one.batch or 0) for one in loads]), loads) == []
    bent = more_batches(measured([0.01, 0.01, 0.01, 0.04]), loads)
    assert [one.batch for one in bent] == [16, 64]
    assert {one.phase for one in bent} == {"decode"}
