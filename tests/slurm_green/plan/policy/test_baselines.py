# SPDX-License-Identifier: Apache-2.0
"""The baselines: each does what its authors say, and none of them sees the future."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import HOUR, make
from replay_cases import before, drawn, run, wrong

from slurm_green.errors import BadInputError
from slurm_green.plan.policy.protocol import Decision, Setup, Start, Truth
from slurm_green.plan.policy.registry import OWN, entries, entry
from slurm_green.plan.start_now import start_now
from slurm_green.replay.forecasts import Forecasts
from slurm_green.replay.inputs import prepared
from slurm_green.replay.result import result_of
from slurm_green.replay.run import replay

pytestmark = pytest.mark.slow

BASELINES = [name for name in OWN if name not in {"prices", "oracle"}]
OURS = [pytest.param(name, marks=pytest.mark.slow) for name in ("prices", "oracle")]
UNKNOWING = [*BASELINES, OURS[0]]
RIGID = ((1, 1.0, 1000.0),)


def replayed(name, inputs, **options):
    """The trace of a policy."""
    site = inputs.problem.site
    setup = Setup(
        shapes=inputs.problem.shapes,
        gpus=site.gpus,
        step_s=site.step_s,
        pause_cost_s=inputs.pause_cost_s,
        power_cap_w=site.power_cap_w,
        ramp_w_per_slot=site.ramp_w_per_slot,
        options=options,
    )
    truth = Truth(problem=inputs.problem, schedule=start_now(inputs.problem))
    return run(inputs, entry(name).made(setup, truth))


def known(carbon, jobs, classes=(RIGID,), **site):
    """Inputs whose forecast is the truth."""
    problem = make(classes, jobs, carbon, **site)
    whole = problem.site.carbon_g_per_kwh
    return prepared(
        problem,
        forecasts=Forecasts(
            issued_s=np.zeros(1),
            first=np.array([0, len(whole)]),
            start_s=np.arange(len(whole)) * HOUR,
            step_s=HOUR,
            columns={"carbon_g_per_kwh": whole, "renewable_w": problem.site.renewable_w},
        ),
    )


def rows(trace):
    """(job, shape, start, end) in hours, by job and start."""
    plan = trace.schedule
    return sorted(
        zip(
            plan.job.tolist(),
            plan.shape.tolist(),
            np.round(plan.start_s / HOUR, 6).tolist(),
            np.round(plan.end_s / HOUR, 6).tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize("name", UNKNOWING)
@pytest.mark.parametrize("seed", [5, 2])
def test_a_changed_future_changes_nothing_in_the_past(name, seed):
    """Signal, forecasts to come, and later jobs; the seed says whether there are limits too."""
    limits = {"power_cap_w": 2900.0, "ramp_w_per_slot": 1500.0} if seed == 2 else {}
    inputs = drawn(seed, jobs=60, pause_cost_s=300.0 * (seed % 3), **limits)
    until_s = 50 * HOUR
    site, jobs = inputs.problem.site, inputs.problem.jobs
    late = np.arange(site.slots) >= until_s / HOUR
    forecasts = inputs.forecasts
    unknown = np.repeat(forecasts.issued_s > until_s, np.diff(forecasts.first))
    others = inputs.known_s > until_s
    ours = replayed(name, inputs)
    # What has not ended by then takes longer; what is not known yet is another job.
    unfinished = ~(ours.done_s <= until_s)
    longer = np.minimum(1.5 * jobs.work, inputs.limit_work)
    other = replace(
        inputs,
        problem=replace(
            inputs.problem,
            site=replace(
                site,
                carbon_g_per_kwh=np.where(
                    late, 1000 - site.carbon_g_per_kwh, site.carbon_g_per_kwh
                ),
                renewable_w=np.where(late, 0.0, site.renewable_w),
            ),
            jobs=replace(
                jobs,
                work=np.where(others, jobs.work / 2, np.where(unfinished, longer, jobs.work)),
                deadline_s=np.where(others, jobs.deadline_s + HOUR, jobs.deadline_s),
            ),
        ),
        forecasts=replace(
            forecasts,
            columns={
                key: np.where(unknown, values * 3, values)
                for key, values in forecasts.columns.items()
            },
        ),
    )
    assert others.sum() > 5
    assert unknown.sum() > 50
    assert (unfinished & ~others).any()

    theirs = replayed(name, other)

    assert before(ours, until_s) == before(theirs, until_s)
    assert rows(ours) != rows(theirs)


@pytest.mark.parametrize("name", BASELINES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), pause_cost_s=st.sampled_from([0.0, 900.0]))
def test_every_policy_keeps_the_rules_and_finishes(name, seed, pause_cost_s):
    """Nothing is refused, everything ends, and it is the same again."""
    _keeps_the_rules(name, drawn(seed, jobs=14, days=3, pause_cost_s=pause_cost_s))


@pytest.mark.parametrize("name", OURS)
def test_ours_keeps_the_rules_and_finishes_too(name):
    """As every policy."""
    _keeps_the_rules(name, drawn(3, jobs=14, days=3, flexible=0.0))


def _keeps_the_rules(name, inputs):
    trace = replayed(name, inputs)

    assert wrong(inputs, trace) is None
    assert trace.refused == {}
    if not OWN[name].knows:
        assert not np.isnan(trace.done_s[inputs.possible]).any()
    assert rows(trace) == rows(replayed(name, inputs))


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("limits", [{"power_cap_w": 2600.0}, {"ramp_w_per_slot": 1700.0}])
def test_cap_and_ramp_hold_and_everything_still_ends(name, limits):
    """A ramp may refuse starts; they come a slot later."""
    for seed in range(3):
        inputs = drawn(seed, jobs=14, days=4, **limits)
        trace = replayed(name, inputs)
        average_w = result_of(name, inputs, trace, 0.0).slot_w

        assert wrong(inputs, trace) is None
        assert average_w.max() <= limits.get("power_cap_w", math.inf) * (1 + 1e-6)
        assert not np.isnan(trace.done_s).any()


@pytest.mark.parametrize("preemptible", [False, True])
def test_a_shape_that_the_cap_leaves_no_room_for_is_not_waited_for(preemptible):
    """Every policy takes a slower one; of a job that has none nothing is taken for granted."""
    classes = (((4, 1.0, 5600.0), (4, 0.9, 3000.0), (4, 0.6, 2400.0)), ((4, 1.0, 5600.0),))
    jobs = [(0, 2, 0, 20, preemptible), (0, 2, 3, 30, preemptible), (1, 2, 0, 40, preemptible)]
    problem = make(classes, jobs, [300, 200] * 24, base_w=500.0, power_cap_w=4000.0)

    found = replay(prepared(problem), list(OWN), bound=False)

    for name, one in found.results.items():
        assert (name, one.late.tolist()) == (name, [False, False, True])
        assert one.unplaced_jobs == 1
        assert one.slot_w.max() <= 4000.0 * (1 + 1e-6)


def test_one_hour_of_much_base_load_takes_no_shape_away():
    """Half of that day policies keep its watts free; afterwards the fast shape has room."""
    jobs = [(0, 4, 30 + 6 * at, 37 + 6 * at, False) for at in range(6)]
    base_w = [2000.0] + [200.0] * 95
    classes = (((4, 1.0, 3500.0), (4, 0.5, 1600.0)),)
    problem = make(classes, jobs, [300, 200] * 48, base_w=base_w, power_cap_w=4000.0)

    found = replay(prepared(problem), list(OWN), bound=False)

    assert {name: int(one.late.sum()) for name, one in found.results.items()} == dict.fromkeys(
        OWN, 0
    )


def test_power_cap_s_own_cap_is_of_the_shape_that_draws_most():
    """Also where the site's cap leaves that one no room: two of the narrow ones fit at once."""
    classes = (((8, 1.0, 5600.0), (4, 0.5, 1500.0)),)
    jobs = [(0, 2, 0, 5, False)] * 2
    problem = make(classes, jobs, [300] * 24, gpus=8, power_cap_w=4000.0)

    found = replay(prepared(problem), ["power-cap"], bound=False)

    assert found.results["power-cap"].late.tolist() == [False, False]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_fifo_is_the_planners_start_now_where_nothing_surprises(seed):
    """Two implementations, one by events, one by lists."""
    inputs = drawn(seed, jobs=40, days=4)
    problem = replace(inputs.problem, jobs=replace(inputs.problem.jobs, work=inputs.limit_work))
    fifo = replayed("fifo", prepared(problem)).schedule
    listed = start_now(problem)
    # start_now leaves out who cannot end in time; the drawn traces end a day before the last slot.
    assert len(fifo) == len(listed)
    for ours, theirs in ((fifo.start_s, listed.start_s), (fifo.shape, listed.shape)):
        assert ours[np.argsort(fifo.job)] == pytest.approx(theirs[np.argsort(listed.job)])


def test_fifo_fills_gaps_but_delays_nobody():
    """A short job goes before a wide one that waits; a long one does not."""
    classes = (((2, 1.0, 1.0),), ((3, 1.0, 1.0),), ((1, 1.0, 1.0),))
    jobs = [(0, 4, 0, 30, False), (1, 1, 0, 30, False), (2, 6, 0, 30, False), (2, 3, 0, 30, False)]
    trace = replayed("fifo", known([100] * 30, jobs, classes, gpus=3))

    assert [row[2] for row in rows(trace)] == [0, 4, 5, 0]


def test_max_and_min_differ_in_speed():
    """MAX is fastest, MIN as slow as its deadline allows."""
    shapes = ((1, 1.0, 250.0), (1, 1.2, 400.0), (2, 2.0, 500.0), (4, 4.0, 1600.0))
    jobs = [(0, 4, 0, 20, False), (0, 4, 10, 12, False), (0, 4, 13, 13.5, False)]
    inputs = known([100] * 24, jobs, (shapes,))

    assert [row[1] for row in rows(replayed("max", inputs))] == [3, 3, 3]
    assert [row[1] for row in rows(replayed("min", inputs))] == [0, 2, 3]


def test_power_cap_slows_gpus_to_their_share():
    """80 % of 4 x 400 W are 320 W for each GPU."""
    shapes = ((1, 1.0, 300.0), (1, 1.2, 400.0))
    inputs = known([100] * 24, [(0, 2, 0, 20, False)] * 4, (shapes,))
    capped = replayed("power-cap", inputs)
    tight = replayed("power-cap", inputs, **{"power-cap-w": 650.0})

    assert [row[1:3] for row in rows(capped)] == [(0, 0)] * 4
    assert sorted(row[2] for row in rows(tight)) == [0, 0, 2, 2]


def test_energy_cost_waits_for_the_low_price():
    """And takes the shape of least energy where there is no price."""
    shapes = ((1, 1.0, 300.0), (2, 1.9, 800.0))
    inputs = known([100] * 24, [(0, 2, 1, 20, False)], (shapes,))
    price = np.full(24, 50.0)
    price[9:11] = 20.0
    site = replace(inputs.problem.site, price_per_kwh=price)
    priced = replace(inputs, problem=replace(inputs.problem, site=site))

    assert rows(replayed("energy-cost", priced)) == [(0, 0, 9, 11)]
    assert rows(replayed("energy-cost", inputs)) == [(0, 0, 1, 3)]


def test_lowest_window_takes_the_average_length_of_its_class():
    """A window of four hours by the limit, of one once a job of the class took one."""
    carbon = [100.0] * 48
    carbon[10:14] = [60.0] * 4
    carbon[20] = 10.0
    jobs = [(0, 4, 0, 4, False), (0, 4, 5, 40, False), (0, 4, 5, 12, False)]
    inputs = known(carbon, jobs)
    short = prepared(
        replace(inputs.problem),
        actual_work=np.array([1.0, 4.0, 4.0]),
        forecasts=inputs.forecasts,
    )

    assert [row[2] for row in rows(replayed("lowest-window", inputs))] == [0, 10, 8]
    assert [row[2] for row in rows(replayed("lowest-window", short))] == [0, 20, 5]


def test_saving_per_time_prefers_a_smaller_saving_that_is_near():
    """(now - then) / (wait + length): 40 after two hours, or 50 after twenty."""
    carbon = [100.0] * 30
    carbon[2], carbon[20] = 60.0, 50.0
    trace = replayed("carbon-saving-per-time", known(carbon, [(0, 1, 0, 28, False)]))

    assert rows(trace) == [(0, 0, 2, 3)]
    assert rows(replayed("lowest-window", known(carbon, [(0, 1, 0, 28, False)])))[0][2] == 20


def test_wait_awhile_runs_in_the_cheapest_slots():
    """Three of them where it may pause, the best window where it may not."""
    carbon = [100.0, 100, 20, 100, 30, 100, 10, 50, 100, 100, 100, 100]
    may, may_not = [(0, 3, 0, 10, True)], [(0, 3, 0, 10, False)]

    assert [row[2:] for row in rows(replayed("wait-awhile", known(carbon, may)))] == [
        (2, 3),
        (4, 5),
        (6, 7),
    ]
    assert rows(replayed("wait-awhile", known(carbon, may_not))) == [(0, 0, 4, 7)]


def test_threshold_runs_while_it_is_low_or_time_is_up():
    """The 30th percentile of the day ahead; in the end the deadline decides."""
    carbon = [100.0] * 4 + [10.0] * 8 + [100.0] * 36
    jobs = [(0, 2, 0, 20, False), (0, 4, 0, 30, True), (0, 2, 0, 3, False)]
    trace = replayed("threshold", known(carbon, jobs))

    found = rows(trace)
    assert found[0] == (0, 0, 4, 6)
    assert found[1] == (1, 0, 4, 8)
    assert found[-1] == (2, 0, 1, 3)
    assert replayed("threshold", known(carbon, jobs), percentile=100.0).schedule.start_s.max() == 0


def test_carbon_scaler_buys_workers_where_they_are_cheap():
    """Two workers in the clean hour, one in the next best, by marginal work per gram."""
    shapes = ((1, 1.0, 100.0), (2, 1.8, 200.0))
    carbon = [100.0, 50, 300, 90, 300, 300, 300, 300]
    trace = replayed("carbon-scaler", known(carbon, [(0, 2.8, 0, 6, True)], (shapes,)))

    assert rows(trace) == [(0, 0, 3, 4), (0, 1, 1, 2)]


def test_carbon_scaler_plans_again_when_it_is_behind():
    """Somebody else has the GPUs in its hour: the work moves on to the next best ones."""
    carbon = [100.0, 50, 300, 90, 300, 300, 300, 300]
    classes = (((4, 1.0, 100.0),), ((1, 1.0, 100.0), (2, 1.8, 200.0)))
    jobs = [(0, 2, 0, 2.5, False), (1, 2.8, 0, 7, True)]
    inputs = known(carbon, jobs, classes)
    trace = replayed("carbon-scaler", inputs)

    assert trace.done_s[1] <= 7 * HOUR
    assert wrong(inputs, trace) is None


def test_coast_does_not_send_everybody_to_the_same_hour():
    """A clean hour costs more the more of them chose it."""
    carbon = [100.0] * 4 + [60.0, 62.0, 64.0, 66.0] + [100.0] * 16
    inputs = known(carbon, [(0, 1, 0, 20, False)] * 4)

    assert sorted(row[2] for row in rows(replayed("coast", inputs))) == [4, 5, 6, 7]
    assert {row[2] for row in rows(replayed("coast", inputs, congestion=0.0))} == {4}


def test_own_supply_makes_an_hour_clean():
    """Also for those who only knew a grid."""
    wind = np.zeros(24)
    wind[15:23] = 5000.0
    inputs = known([100.0] * 24, [(0, 2, 0, 20, False)], renewable_w=wind)

    for name in ("lowest-window", "wait-awhile", "carbon-scaler", "energy-cost", "threshold"):
        assert rows(replayed(name, inputs))[0][2] == 15, name


def test_an_unknown_policy_is_refused_with_the_names_there_are():
    """And the one that was probably meant."""
    with pytest.raises(
        BadInputError, match=r"no policy 'fifi': did you mean 'fifo'\? there are fi"
    ):
        entry("fifi")


class Greedy:
    """Everybody at once, in the first shape."""

    def __init__(self, setup):
        self.first = setup.shapes.first

    def decide(self, view):
        """As docs/replay.md shows it."""
        return Decision(
            starts=[Start(job.job_id, int(self.first[job.class_index])) for job in view.waiting]
        )


class Point:
    """An entry point of another package; nobody may take one of our names."""

    value = "elsewhere:Greedy"
    dist = None

    def __init__(self, name):
        self.name = name

    def load(self):
        """What it names."""
        return Greedy


def test_another_package_may_bring_a_policy(monkeypatch):
    """By entry point, after ours, and found by its name."""
    asked = []

    def points(*, group):
        asked.append(group)
        return [Point("greedy"), Point("fifo")]

    monkeypatch.setattr("importlib.metadata.entry_points", points)
    inputs = known([100] * 24, [(0, 2, 0, 20, False)] * 5)

    assert list(entries()) == [*OWN, "greedy"]
    assert set(asked) == {"slurm_green.policies"}
    trace = replayed("greedy", inputs)
    assert sorted(row[2] for row in rows(trace)) == [0, 0, 0, 0, 2]
    assert replayed("fifo", inputs).refused == {}
    assert trace.refused["not enough free GPUs"] >= 1
