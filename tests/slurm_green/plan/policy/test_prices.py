# SPDX-License-Identifier: Apache-2.0
"""Our policy: it starts where it is cheapest, and keeps what it promised."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from problems import HOUR, make
from replay_cases import drawn, forecasts_of, run, wrong

from slurm_green.plan.policy import fifo, prices
from slurm_green.plan.policy.protocol import Setup
from slurm_green.replay.forecasts import Forecasts
from slurm_green.replay.inputs import prepared

ONE = ((1, 1.0, 1000.0),)
ELASTIC = ((1, 1.0, 400.0), (2, 2.0, 900.0))
DIRTY_THEN_CLEAN = [500.0] * 6 + [50.0] * 3 + [500.0] * 15


def setup_of(inputs):
    """What a policy is told at first."""
    site = inputs.problem.site
    return Setup(
        shapes=inputs.problem.shapes,
        gpus=site.gpus,
        step_s=site.step_s,
        pause_cost_s=inputs.pause_cost_s,
        power_cap_w=site.power_cap_w,
        ramp_w_per_slot=site.ramp_w_per_slot,
    )


def known(problem):
    """Inputs with a forecast that is right, issued once."""
    site = problem.site
    return prepared(
        problem,
        forecasts=Forecasts(
            issued_s=np.zeros(1),
            first=np.array([0, site.slots]),
            start_s=np.arange(site.slots) * site.step_s,
            step_s=site.step_s,
            columns={
                "carbon_g_per_kwh": site.carbon_g_per_kwh,
                "renewable_w": site.renewable_w,
            },
        ),
    )


def starts_h(trace):
    """Start of each stretch in hours, by job."""
    rows = zip(trace.schedule.job.tolist(), (trace.schedule.start_s / HOUR).tolist(), strict=True)
    return sorted(rows)


def replayed(problem, **changes):
    """What our policy makes of a problem whose future is known."""
    inputs = replace(known(problem), **changes)
    trace = run(inputs, prices.make(setup_of(inputs)))
    assert wrong(inputs, trace) is None
    assert trace.refused == {}
    return trace


def test_a_job_waits_for_the_clean_hours():
    """Three clean hours, and a job of three hours that may wait for them."""
    trace = replayed(make([ONE], [(0, 3.0, 0, 24, False)], DIRTY_THEN_CLEAN))

    assert starts_h(trace) == [(0, 6.0)]


@pytest.mark.parametrize(("fall", "start_h"), [(0.0002, 0.0), (0.002, 12.0)])
def test_a_job_does_not_wait_for_next_to_nothing(fall, start_h):
    """Plans for later turn out dearer than they look: 0.02 % an hour is not enough."""
    carbon = [500.0 * (1 - fall * hour) for hour in range(24)]
    trace = replayed(make([ONE], [(0, 3.0, 0, 15.5, False)], carbon))

    assert starts_h(trace)[0][1] == pytest.approx(start_h, abs=0.5)


@pytest.mark.parametrize("swing", [5.0, 100.0])
def test_a_job_waits_by_how_intensities_differ_not_how_high_they_are(swing):
    """Twelve hours for 2 % less: the best start is the same, whatever constant is added."""
    carbon = [500.0 + swing * math.cos(hour / 12 * math.pi) for hour in range(48)]
    trace = replayed(make([ONE], [(0, 3.0, 0, 24, False)], carbon))

    assert starts_h(trace)[0][1] == pytest.approx(10.5, abs=1.0)


@pytest.mark.parametrize(
    ("fall", "pauses", "start_h"),
    [(3.0, False, 12.0), (1.5, False, 0.0), (1.5, True, 12.0), (0.7, True, 0.0)],
)
def test_an_hour_costs_a_part_of_the_spread(fall, pauses, start_h):
    """It falls by so many % of its spread an hour; most of that lies after the deadline."""
    carbon = [1000.0 - 5 * fall * hour for hour in range(16)] + [2000.0] * 12
    trace = replayed(make([ONE], [(0, 3.0, 0, 15.5, pauses)], carbon))

    assert starts_h(trace)[0][1] == pytest.approx(start_h, abs=0.5)


@pytest.mark.parametrize("days", [7, 30])
def test_slots_that_are_longer_than_the_days_ahead(days):
    """A signal by the week or the month: one slot is ahead, and nothing to wait for in it."""
    jobs = [(0, 5.0, 0, 40 * 24, False), (0, 95.0, 24, 41 * 24, True)]
    trace = replayed(make([ONE], jobs, [500.0, 300.0, 400.0] * 4, step_s=days * 24 * HOUR))

    assert max(start for _, start in starts_h(trace)) < 40 * 24


def test_a_job_that_cannot_wait_starts_at_once():
    """Its deadline comes before the clean hours."""
    trace = replayed(make([ONE], [(0, 3.0, 0, 3.2, False)], DIRTY_THEN_CLEAN))

    assert starts_h(trace)[0][1] < 0.2


def test_what_draws_more_gets_the_clean_hours():
    """One GPU, two jobs that both fit the clean hours: most of them are the heavy one's."""
    light, heavy = ((1, 1.0, 200.0),), ((1, 1.0, 2000.0),)
    jobs = [(0, 3.0, 0, 24, False), (1, 3.0, 0, 24, False)]
    trace = replayed(make([light, heavy], jobs, DIRTY_THEN_CLEAN, gpus=1))

    assert 5.0 <= dict(starts_h(trace))[1] <= 7.0


def test_a_job_without_room_in_time_goes_first():
    """Whoever is too late already runs before those that can wait."""
    jobs = [(0, 3.0, 0, 2.0, False), (0, 3.0, 0, 24, False)]
    trace = replayed(make([ONE], jobs, DIRTY_THEN_CLEAN, gpus=1))

    assert dict(starts_h(trace)) == {0: 0.0, 1: 6.0}


def test_a_job_that_may_pause_runs_in_the_clean_hours_only():
    """Two clean stretches of two hours for four hours of work."""
    carbon = [500.0] * 4 + [50.0] * 2 + [500.0] * 4 + [50.0] * 2 + [500.0] * 12
    trace = replayed(make([ONE], [(0, 4.0, 0, 24, True)], carbon))

    assert starts_h(trace) == [(0, 4.0), (0, 10.0)]
    assert trace.pauses == 1


def test_jobs_that_may_pause_share_the_sites_own_supply():
    """Enough for two of four jobs at a time, four hours long: two and two, none from the grid."""
    problem = make(
        [ONE],
        [(0, 2.0, 0, 12, True)] * 4,
        [500.0] * 12,
        renewable_w=[2000.0] * 4 + [0.0] * 8,
    )
    inputs = known(problem)
    schedule = run(inputs, prices.make(setup_of(inputs))).schedule
    moments_s = np.arange(0.5, 12) * HOUR
    busy = (schedule.start_s <= moments_s[:, None]) & (moments_s[:, None] < schedule.end_s)

    assert busy.sum(axis=1).tolist() == [2] * 4 + [0] * 8


def test_a_moldable_job_takes_the_shape_that_costs_least():
    """The narrow shape needs less energy; where time is short the wide one is in time."""
    flat = [100.0] * 24
    slow = replayed(make([ELASTIC], [(0, 4.0, 0, 24, False)], flat))
    quick = replayed(make([ELASTIC], [(0, 4.0, 0, 3, False)], flat))

    assert slow.schedule.shape.tolist() == [0]
    assert quick.schedule.shape.tolist() == [1]


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 600.0]))
@example(8320, 1.0, 0.0)  # a start waits for GPUs that another job gives back
def test_what_it_does_is_allowed_and_the_same_again(seed, flexible, pause_cost_s):
    """Early ends, failures, pauses and bad forecasts: nothing is refused, nothing is chance."""
    inputs = drawn(seed, jobs=15, days=2, flexible=flexible, pause_cost_s=pause_cost_s)
    trace = run(inputs, prices.make(setup_of(inputs)))
    again = run(inputs, prices.make(setup_of(inputs)))

    assert wrong(inputs, trace) is None
    assert trace.refused == {}
    assert np.array_equal(trace.schedule.start_s, again.schedule.start_s)
    assert np.array_equal(trace.schedule.job, again.schedule.job)


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6))
@example(2)
@example(193)
def test_who_once_had_a_place_in_time_is_in_time(seed):
    """As much work as the site can do, and who came first is not let down for who comes later."""
    random = np.random.default_rng(seed)
    classes = (((1, 1.0, 400.0),), ((3, 1.0, 1200.0),), ((1, 1.0, 250.0), (2, 1.8, 600.0)))
    index = random.integers(0, 3, 40)
    work = random.uniform(0.2, 1.0, len(index))
    work *= 4 * 36 / (work @ np.array([1, 3, 1])[index])
    submit, slack = np.sort(random.uniform(0, 36, len(index))), random.uniform(0, 10, len(index))
    rows = [
        (int(one), float(amount), float(begin), float(begin + amount + more), False)
        for one, amount, begin, more in zip(index, work, submit, slack, strict=True)
    ]
    problem = make(classes, rows, 300 + 150 * np.sin(np.arange(72) / 24 * 2 * np.pi), gpus=4)
    inputs = prepared(problem, forecasts=forecasts_of(problem.site, random))
    policy, promised = prices.make(setup_of(inputs)), set()
    deadline_s = dict(zip(problem.jobs.ids, problem.jobs.deadline_s.tolist(), strict=True))

    class Watched:
        def decide(self, view):
            decision = policy.decide(view)
            promised.update(
                name for name, place in policy.plan.items() if place.end_s <= deadline_s[name]
            )
            return decision

    done_s = dict(zip(deadline_s, run(inputs, Watched()).done_s.tolist(), strict=True))

    assert promised
    assert [name for name in promised if not done_s[name] <= deadline_s[name] + 2] == []


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6))
def test_a_cap_is_kept(seed):
    """A job only starts where its power is below the cap."""
    inputs = drawn(seed, jobs=10, days=2, flexible=0.5, power_cap_w=2500.0)
    trace = run(inputs, prices.make(setup_of(inputs)))

    assert wrong(inputs, trace) is None
    assert trace.refused == {}


@pytest.mark.slow
def test_it_saves_carbon_and_is_no_later_than_fifo():
    """A week of arrivals on a sine of carbon, with a forecast that is off by a tenth."""
    random = np.random.default_rng(3)
    slots = 24 * 8
    submit = np.sort(random.uniform(0, 24 * 7, 150))
    work = random.uniform(0.3, 5.0, len(submit))
    rows = [
        (0, float(amount), float(begin), float(min(begin + amount + 20, slots)), False)
        for begin, amount in zip(submit, work, strict=True)
    ]
    carbon = 300 + 150 * np.sin(np.arange(slots) / 24 * 2 * np.pi)
    problem = make([ONE], rows, carbon, gpus=4)
    inputs = prepared(problem, forecasts=forecasts_of(problem.site, random))
    ours = run(inputs, prices.make(setup_of(inputs)))
    plain = run(inputs, fifo.make(setup_of(inputs)))

    def grams(trace):
        schedule = trace.schedule
        area = np.append(0.0, np.cumsum(carbon))
        ends = [np.interp(x / HOUR, np.arange(slots + 1), area)
                for x in (schedule.start_s, schedule.end_s)]  # fmt: skip
        return float((ends[1] - ends[0]).sum())

    late = int((ours.done_s > problem.jobs.deadline_s + 1e-3).sum())
    assert late == 0
    assert not np.isnan(ours.done_s).any()
    assert grams(ours) < 0.87 * grams(plain)
