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
from slurm_green.plan.policy.protocol import Job, Outlook, Setup, View
from slurm_green.replay.forecasts import Forecasts
from slurm_green.replay.inputs import prepared

ONE = ((1, 1.0, 1000.0),)
ELASTIC = ((1, 1.0, 400.0), (2, 2.0, 900.0))
OUTLOOK = Outlook(
    site=make([ONE], [], [500.0] * 9 + [50.0] * 8 + [500.0] * 40, gpus=10).site, issued_s=0.0
)
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
    ("fall", "shapes", "pauses", "start_h"),
    [
        (3.0, ONE, False, 12.0),
        (1.5, ONE, False, 0.0),
        (1.5, ONE, True, 12.0),
        (0.7, ONE, True, 0.0),
        (3.0, (*ONE, (2, 0.5, 9000.0)), False, 12.0),
        (1.5, (*ONE, (2, 0.5, 9000.0)), False, 0.0),
    ],
)
def test_an_hour_costs_a_part_of_the_spread(fall, shapes, pauses, start_h):
    """It falls by so many % of its spread an hour; most of that lies after the deadline."""
    carbon = [1000.0 - 5 * fall * hour for hour in range(16)] + [2000.0] * 12
    trace = replayed(make([shapes], [(0, 3.0, 0, 15.5, pauses)], carbon))

    assert starts_h(trace)[0][1] == pytest.approx(start_h, abs=0.5)


@pytest.mark.parametrize(
    ("fall", "shapes", "start_h"),
    [
        (1.8, ONE, 12.0),
        (0.8, ONE, 0.0),
        (3.0, (*ONE, (2, 0.5, 9000.0)), 12.0),
        (1.8, (*ONE, (2, 0.5, 9000.0)), 0.0),
    ],
)
def test_waiting_costs_less_once_a_day_was_seen_but_for_elastic_jobs(fall, shapes, start_h):
    """Two days that vary by 100, then it falls by so many % of that an hour."""
    past = [1000.0 + 100 * math.sqrt(2) * math.sin(hour / 12 * math.pi) for hour in range(48)]
    carbon = past + [1000.0 - fall * hour for hour in range(16)] + [2000.0] * 24
    jobs = [(0, 0.01, 0, 1, False), (1, 3.0, 48, 63.5, False)]
    trace = replayed(make([ONE, shapes], jobs, carbon))

    assert starts_h(trace)[1][1] - 48 == pytest.approx(start_h, abs=1.0)


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


def test_who_comes_with_little_time_finds_room_though_all_wait_for_the_same_hours():
    """Three come every two hours, and twelve others of 8 h wait for 17 clean ones on 8 GPUs."""
    long = [(0, 8.0, 24, 68, False)] * 12
    short = [(0, 1.0, hour + 0.3, hour + 3.3, False) for hour in range(1, 84, 2) for _ in range(3)]
    problem = make([ONE], [*long, *short], [500.0] * 51 + [50.0] * 60, gpus=8)
    trace = replayed(problem)

    assert (trace.done_s > problem.jobs.deadline_s + 1e-3).sum() < 8


def waits(name, hours, now_h, due_h, kind=0):
    """A job that comes now."""
    return Job(
        job_id=name,
        class_index=kind,
        work=hours,
        submit_s=now_h * HOUR,
        earliest_s=now_h * HOUR,
        deadline_s=due_h * HOUR,
    )


def clean_starts(policy, now_s, waiting, news, outlook=OUTLOOK):
    """Jobs that are planned for the middle of the clean hours: 10 GPUs, from the tenth hour on."""
    decision = policy.decide(
        View(
            now_s=now_s,
            outlook=outlook,
            waiting=waiting,
            work_left={job.job_id: job.work for job in waiting},
            running=[],
            free_gpus=10,
            arrived=news,
        )
    )
    assert decision.wake_s > now_s
    assert policy.plan.keys() == {job.job_id for job in waiting}
    places = [place for name, place in policy.plan.items() if name.isdigit()]
    return sum(place.start_s <= 13 * HOUR < place.end_s for place in places)


def policy_after(days):
    """It saw three jobs with little time come with each hour."""
    setup = Setup(shapes=make([ONE, ELASTIC], [], [1.0]).shapes, gpus=10, step_s=HOUR)
    policy = prices.PricesPolicy(setup, fills=True)
    came = [waits("", 1.0, hour / 3 - 24, hour / 3 - 20) for hour in range(72)]
    policy.learn(came[: 72 * days], -24 * HOUR * days)
    return policy


@pytest.mark.parametrize(("days", "elastic_h", "most"), [(1, 0.0, 7), (1, 0.05, 7), (0, 0.0, 10)])
def test_gpus_are_left_to_who_usually_comes_with_little_time(days, elastic_h, most):
    """All want eight hours of 26, also two that come between lists."""
    policy = policy_after(days)
    waiting = [waits(str(number), 8.0, 0, 26) for number in range(17)]
    if elastic_h:
        waiting.append(waits("elastic", elastic_h, 0, 26, kind=1))
    assert most - 1 <= clean_starts(policy, 0.0, waiting, waiting) <= most
    news = [waits(str(number), 8.0, 0, 26) for number in (17, 18)]
    assert most - 1 <= clean_starts(policy, 300.0, waiting + news, news) <= most


def test_no_gpus_are_left_to_others_for_a_day_after_somebody_found_no_room():
    policy = policy_after(1)
    waiting = [waits(str(number), 8.0, 0, 26) for number in range(17)]
    hopeless = waits("hopeless", 8.0, 0, 7)
    assert clean_starts(policy, 0.0, [*waiting, hopeless], [*waiting, hopeless]) <= 7
    news = [waits("17", 8.0, 0.2, 26)]
    assert clean_starts(policy, 700.0, waiting + news, news) > 7


@pytest.mark.parametrize(("jobs", "due_h", "sure"), [(8, 26, False), (17, 26, True), (1, 7, True)])
def test_own_supply_is_unsure_but_where_there_is_no_room_to_choose(jobs, due_h, sure):
    """Eight hours each, on ten GPUs; whoever has seven cannot be in time."""
    site = replace(OUTLOOK.site, renewable_w=np.full(OUTLOOK.site.slots, 2000.0))
    policy = policy_after(1)
    waiting = [waits(str(number), 8.0, 0, due_h) for number in range(jobs)]
    clean_starts(policy, 0.0, waiting, waiting, Outlook(site=site, issued_s=0.0))
    later = replace(site, start_s=HOUR)
    clean_starts(policy, HOUR, waiting, [], Outlook(site=later, issued_s=0.0))

    assert policy.ahead.unsure_w.any() != sure


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
