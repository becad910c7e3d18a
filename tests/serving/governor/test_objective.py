# SPDX-License-Identifier: Apache-2.0
"""Objectives and ceilings: never slower than the SLO allows, never above what the site allows."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.governor.ceiling import Capped, Ceiling, highest_below, worst_power_w
from serving.governor.engine import Batch, EngineModel
from serving.governor.fixed import Fixed
from serving.governor.floor import Floor
from serving.governor.governor import Governor
from serving.governor.objective import Budget, Steering
from serving.governor.protocol import Moment, Slo
from slurm_green.plan.outcome import Objective
from tests.serving.made import CLOCKS, profile

ENGINE = EngineModel(profile())
TOP = len(CLOCKS) - 1
SLO = Slo(0.5, 0.02)

chunks = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 2048)), max_size=3)
batches = st.builds(
    lambda decodes, context, some: Batch(decodes, context if decodes else 0.0, some),
    st.integers(0, 200),
    st.floats(0, 8000),
    chunks,
).filter(lambda one: one.decodes or one.chunks)
mus = st.none() | st.just(0.0) | st.floats(1.0, 1000.0)
worths = st.floats(0, 1e5)


@st.composite
def moments(draw: st.DrawFn) -> Sequence[Moment]:
    """One after the other; time goes on."""
    found, now_s = [], 0.0
    for batch in draw(st.lists(batches, min_size=1, max_size=12)):
        now_s += draw(st.floats(0.001, 2.0))
        banks = (draw(st.floats(-0.5, 0.5)),) if batch.decodes else ()
        queue = [(now_s - draw(st.floats(0, 0.6)), new) for _, new in batch.chunks]
        found.append(Moment(now_s, batch, draw(st.integers(0, TOP)), 0.0, queue, len(queue), banks))
    return found


def steering(objective: Objective, mu: float | None, budget_g: float | None = None) -> Steering:
    budget = None if budget_g is None else Budget(budget_g, 3600.0, lambda: mu)
    return Steering(ENGINE, objective, lambda _: mu, budget)


@settings(max_examples=60)
@given(moments(), st.sampled_from(Objective), mus, st.floats(0.1, 1e4))
def test_carbon_is_no_reason_to_miss_an_slo(
    run: Sequence[Moment], objective: Objective, mu: float | None, budget_g: float
) -> None:
    governor = Governor(ENGINE, SLO, steering=steering(objective, mu, budget_g))
    for moment in run:
        safe = governor._lowest(moment)
        assert governor.choose(moment) >= safe
        governor.saw(moment, ENGINE.time_s(moment.batch, moment.clock))


@settings(max_examples=60)
@given(moments(), st.sampled_from([*Objective]), st.booleans())
def test_without_known_carbon_all_objectives_are_the_plain_governor(
    run: Sequence[Moment], objective: Objective, steered: bool
) -> None:
    plain = Governor(ENGINE, SLO)
    own = Governor(ENGINE, SLO, steering=steering(objective, None, 10.0) if steered else None)
    for moment in run:
        assert own.choose(moment) == plain.choose(moment)
        for one in (own, plain):
            one.saw(moment, ENGINE.time_s(moment.batch, moment.clock))


@given(batches, st.floats(0, 1.0), worths, worths)
def test_the_more_speed_is_worth_the_higher_the_clock(
    batch: Batch, crowd: float, one: float, other: float
) -> None:
    floor = Floor(ENGINE)
    low, high = sorted((one, other))
    found = [floor.clock(batch, crowd, worth) for worth in (0.0, low, high, math.inf)]
    assert found == sorted(found)
    fastest_s = ENGINE.time_s(batch, TOP)
    if batch.decodes == 0 or not batch.chunks:
        assert ENGINE.time_s(batch, found[-1]) == pytest.approx(fastest_s, rel=0.02)


@given(st.floats(0.1, 100), st.floats(0.1, 100), st.floats(1, 900), st.lists(st.floats(0, 5)))
def test_a_greater_budget_never_makes_speed_worth_less(
    one: float, other: float, mu: float, spent: list[float]
) -> None:
    low, high = (Budget(grams, 100.0, lambda: mu) for grams in sorted((one, other)))
    for grams in spent:
        for budget in (low, high):
            budget.passed(1.0, mu, grams)
        # Rounding of the last digit aside: both may be worth the same.
        assert low.worth_g(mu, 100.0) <= high.worth_g(mu, 100.0) * (1 + 1e-12)


def test_an_overspent_budget_buys_nothing_and_recovers() -> None:
    budget = Budget(3600.0, 3600.0)
    budget.passed(1.0, 100.0, 1000.0)
    assert budget.worth_g(100.0, 100.0) == 0.0
    budget.passed(3600.0, 100.0, 0.0)
    assert budget.worth_g(100.0, 100.0) > 0.0


def test_a_budget_buys_speed_where_a_gpu_idles_at_nothing_too() -> None:
    made = profile()
    ideal = EngineModel(replace(made, gpu=replace(made.gpu, idle_w=0.0, parked_w=0.0)))
    moment = Moment(0.0, Batch(8, 500.0), 0, 0.0, (), 0, (0.0,))
    for engine in (ENGINE, ideal):
        budget = Budget(3600.0, 3600.0)
        steered = Steering(engine, Objective.CARBON_CONSTRAINED, lambda _: 100.0, budget)
        budget.passed(3600.0, 100.0, 0.0)
        assert steered.worth_w(moment) > 0.0


@pytest.mark.parametrize("objective", list(Objective))
def test_free_energy_is_used_and_dirty_is_not(objective: Objective) -> None:
    moment = Moment(10.0, Batch(1, 500.0), 0, 0.0, banks_s=(0.4,))
    free = Governor(ENGINE, SLO, steering=steering(objective, 0.0, 1.0))
    assert ENGINE.time_s(moment.batch, free.choose(moment)) == ENGINE.time_s(moment.batch, TOP)
    dirty = Governor(ENGINE, SLO, steering=steering(objective, 900.0, 1e-6))
    assert dirty.choose(moment) == Governor(ENGINE, SLO).choose(moment) < TOP


@given(st.floats(0, 2000), st.none() | st.floats(100, 2500), batches)
def test_a_ceiling_is_kept_by_clock_and_power(
    most_w: float, clock_mhz: float | None, batch: Batch
) -> None:
    top = highest_below(ENGINE, Ceiling(clock_mhz=clock_mhz, power_w=most_w))
    policy = Capped(Fixed(TOP), lambda: top)
    moment = Moment(0.0, batch, TOP, 0.0)
    clock = policy.choose(moment)
    assert clock_mhz is None or clock == 0 or CLOCKS[clock] <= clock_mhz
    assert clock == 0 or worst_power_w(ENGINE, clock) <= most_w
    assert ENGINE.time_and_power(batch, clock)[1] <= worst_power_w(ENGINE, clock) + 1e-6


def test_what_no_clock_can_keep_and_what_a_ceiling_takes_is_counted() -> None:
    governor = Governor(ENGINE, Slo(0.5, 1e-4))
    capped = Capped(governor, lambda: 1)
    assert capped.choose(Moment(0.0, Batch(4, 100.0), TOP, 0.0, banks_s=(0.0,))) == 1
    assert (governor.out_of_reach, capped.held_down) == (1, 1)
    easy = Governor(ENGINE, SLO)
    easy.choose(Moment(0.0, Batch(1, 100.0), TOP, 0.0, banks_s=(0.4,)))
    assert easy.out_of_reach == 0


def test_an_engine_below_a_clock_is_the_same_replica() -> None:
    low = ENGINE.below(2)
    assert low.clocks_mhz == CLOCKS[:3]
    assert low.time_s(Batch(4, 100.0), 2) == ENGINE.time_s(Batch(4, 100.0), 2)
    assert low.idle_power_w(2) == ENGINE.idle_power_w(2)
