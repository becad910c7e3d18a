# SPDX-License-Identifier: Apache-2.0
"""Bounds and checks against brute force: every start of tiny instances, seconds one by one."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from slurm_green.plan.certificate import (
    carbon_g,
    check,
    lagrangian_g,
    lower_bound_g,
    peak_w,
    performance_at_most,
    ppc_at_most,
    slot_energy_j,
)
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.problem import Jobs, Problem, Service, Shapes, Site
from slurm_green.plan.schedule import Schedule

pytestmark = pytest.mark.slow

# A shape is (GPUs, rate, power_w); a job (class, work, earliest_s, deadline_s, preemptible).
Shape = tuple[int, float, float]
Job = tuple[int, float, float, float, bool]
Run = tuple[int, int, float, float]  # job, shape, start, end

STEP_S = 4.0
# Watts that make grams of seconds: 1 W for 1 s is 1 g at an intensity of 1.
KW = 3.6e6


def make(
    classes: Sequence[Sequence[Shape]],
    jobs: Sequence[Job],
    carbon: Sequence[float],
    *,
    gpus: int = 4,
    step_s: float = STEP_S,
    renewable_w: Sequence[float] | None = None,
    base_w: Sequence[float] | None = None,
    services: tuple[Service, ...] = (),
    **limits: float,
) -> Problem:
    shapes = [shape for one in classes for shape in one]
    slots = len(carbon)
    zeros = np.zeros(slots)
    return Problem(
        site=Site(
            gpus=gpus,
            start_s=0.0,
            step_s=step_s,
            carbon_g_per_kwh=np.array(carbon, dtype=float),
            renewable_w=zeros if renewable_w is None else np.array(renewable_w, dtype=float),
            base_power_w=zeros if base_w is None else np.array(base_w, dtype=float),
            **limits,
        ),
        shapes=Shapes(
            class_names=tuple(f"c{at}" for at in range(len(classes))),
            first=np.cumsum([0, *map(len, classes)]),
            workers=np.array([shape[0] for shape in shapes], dtype=np.int64),
            clock_mhz=np.arange(len(shapes)),
            gpus=np.array([shape[0] for shape in shapes], dtype=np.int64),
            rate=np.array([shape[1] for shape in shapes], dtype=float),
            power_w=np.array([shape[2] for shape in shapes], dtype=float),
        ),
        jobs=Jobs(
            ids=tuple(f"j{at}" for at in range(len(jobs))),
            class_index=np.array([job[0] for job in jobs], dtype=np.int64),
            work=np.array([job[1] for job in jobs], dtype=float),
            earliest_s=np.array([job[2] for job in jobs], dtype=float),
            deadline_s=np.array([min(job[3], slots * step_s) for job in jobs], dtype=float),
            preemptible=np.array([job[4] for job in jobs], dtype=bool),
        ),
        services=services,
    )


def plan(runs: Sequence[Run]) -> Schedule:
    return Schedule(
        job=np.array([run[0] for run in runs], dtype=np.int64),
        shape=np.array([run[1] for run in runs], dtype=np.int64),
        start_s=np.array([run[2] for run in runs], dtype=float),
        end_s=np.array([run[3] for run in runs], dtype=float),
    )


def prices(slots: int, **given_: Any) -> Prices:
    arrays = {"mu": 0.0, "lam": 0.0, "nu": 0.0, **given_}
    return Prices(
        **{name: np.array(np.broadcast_to(one, slots), float) for name, one in arrays.items()}
    )


def none(problem: Problem) -> np.ndarray:
    return np.zeros(len(problem.jobs), dtype=bool)


def bound(problem: Problem, at: Prices, weights: Weights | None = None) -> float:
    both = none(problem)
    return lagrangian_g(problem, at, weights or Weights(), late=both, unplaced=both)


# A second implementation, second by second; times are whole seconds.


def drawn_w(problem: Problem, runs: Sequence[Run]) -> np.ndarray:
    """Average power of each slot, base included."""
    site = problem.site
    energy = np.zeros(site.slots)
    for _, shape, start, end in runs:
        for second in range(int(start), int(end)):
            energy[int(second // site.step_s)] += problem.shapes.power_w[shape]
    return site.base_power_w + energy / site.step_s


def emitted_g(problem: Problem, runs: Sequence[Run]) -> float:
    net_w = np.maximum(drawn_w(problem, runs) - problem.site.renewable_w, 0)
    return float((net_w * problem.site.carbon_g_per_kwh).sum() * problem.site.step_s / KW)


def allowed(problem: Problem, runs: Sequence[Run]) -> bool:
    site = problem.site
    used = np.zeros(int(site.horizon_s))
    for _, shape, start, end in runs:
        used[int(start) : int(end)] += problem.shapes.gpus[shape]
    power = drawn_w(problem, runs)
    return bool(
        (used <= site.gpus).all()
        and (power <= site.power_cap_w).all()
        and (np.diff(power) <= site.ramp_w_per_slot).all()
    )


def performance(problem: Problem, runs: Sequence[Run]) -> float:
    ends: dict[int, float] = {}
    for job, _, _, end in runs:
        ends[job] = max(end, ends.get(job, 0))
    return sum(problem.fastest_s[j] / (e - problem.jobs.earliest_s[j]) for j, e in ends.items())


def ways(problem: Problem, job: int) -> list[list[Run]]:
    """All ways to run a job in whole seconds before its deadline, on however many GPUs."""
    jobs, shapes = problem.jobs, problem.shapes
    begin, end = int(jobs.earliest_s[job]), int(jobs.deadline_s[job])
    own = shapes.of(int(jobs.class_index[job]))
    found = []
    if not jobs.preemptible[job]:
        for shape in own:
            length = int(jobs.work[job] / shapes.rate[shape])
            found += [[(job, shape, s, s + length)] for s in range(begin, end - length + 1)]
        return found
    # In every second it rests (-1) or runs in one of the shapes.
    for choice in itertools.product([-1, *own], repeat=end - begin):
        on = [(shape, begin + at) for at, shape in enumerate(choice) if shape >= 0]
        if sum(shapes.rate[shape] for shape, _ in on) == jobs.work[job]:
            found.append([(job, shape, at, at + 1) for shape, at in on])
    return found


def plans(problem: Problem) -> Iterator[list[Run]]:
    """All plans in whole seconds that are allowed."""
    for choice in itertools.product(*(ways(problem, job) for job in range(len(problem.jobs)))):
        runs = [run for one in choice for run in one]
        if allowed(problem, runs):
            yield runs


small = st.integers(0, 6).map(float)
shape = st.tuples(st.integers(1, 2), st.sampled_from([1.0, 2.0, 3.0]), st.integers(0, 9).map(float))
a_class = st.lists(shape, min_size=1, max_size=3)


@st.composite
def tiny(draw: st.DrawFn, preemptible: bool, most_jobs: int = 2, slots: int = 3) -> Problem:
    """Works are multiples of all rates, so that every duration is in whole seconds."""
    classes = draw(st.lists(a_class, min_size=1, max_size=2))
    horizon = 2 * slots if preemptible else int(STEP_S) * slots
    jobs = []
    for _ in range(draw(st.integers(1, most_jobs))):
        begin = draw(st.integers(0, horizon - 4))
        end = draw(st.integers(begin + 3, horizon))
        work = float(draw(st.integers(1, 12))) if preemptible else 6.0 * draw(st.integers(1, 2))
        jobs.append((draw(st.integers(0, len(classes) - 1)), work, begin, end, preemptible))
    each = st.lists(small, min_size=slots, max_size=slots)
    limits = {}
    base = draw(each)
    if draw(st.booleans()):
        limits["power_cap_w"] = max(base) + draw(st.integers(0, 9))
    if draw(st.booleans()):
        limits["ramp_w_per_slot"] = draw(st.integers(0, 9))
    return make(
        classes,
        jobs,
        [KW * one for one in draw(each)],
        gpus=draw(st.integers(1, 3)),
        step_s=2.0 if preemptible else STEP_S,
        renewable_w=draw(each),
        base_w=base,
        **limits,
    )


@st.composite
def any_prices(draw: st.DrawFn, slots: int = 3) -> Prices:
    """Also outside their domain."""
    each = st.lists(st.floats(-2, 8), min_size=slots, max_size=slots)
    mu, lam, nu = (np.array(draw(each)) for _ in range(3))
    return Prices(mu=KW * mu, lam=3600 * lam, nu=KW * nu)


both_kinds = st.one_of(tiny(preemptible=False), tiny(preemptible=True, slots=2))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_plan_beats_any_of_the_bounds(data: st.DataObject) -> None:
    problem = data.draw(both_kinds)
    at = data.draw(any_prices(problem.site.slots))
    weights = data.draw(
        st.builds(Weights, carbon=st.floats(0, 2), performance_g=st.floats(0.1, 50))
    )
    found = list(plans(problem))
    if not found:
        return
    carbon = np.array([emitted_g(problem, runs) for runs in found])
    worth = np.array([performance(problem, runs) for runs in found])
    budget = float(np.median(carbon))
    least = lower_bound_g(problem, at, late=none(problem), unplaced=none(problem))
    assert least <= carbon.min() + 1e-6
    value = bound(problem, at, weights)
    assert value <= (weights.carbon * carbon - weights.performance_g * worth).min() + 1e-6
    assert performance_at_most(value, weights, budget) >= worth[carbon <= budget].max() - 1e-6
    ppc = worth / np.maximum(carbon / 1000, 1e-9)
    assert ppc_at_most(value, weights, least) >= ppc.max() * (1 - 1e-6) - 1e-6


@settings(max_examples=100, deadline=None)
@given(tiny(preemptible=False, most_jobs=1), any_prices(), st.sampled_from([0.0, 1.0, 30.0]))
def test_one_job_in_one_piece_costs_exactly_the_cheapest_start(
    problem: Problem, at: Prices, reward: float
) -> None:
    site = problem.site
    nothing = lagrangian_g(problem, at, Weights(), late=none(problem), unplaced=~none(problem))
    mu = np.clip(at.mu, 0, site.carbon_g_per_kwh)
    nu = np.maximum(at.nu, 0) * math.isfinite(site.power_cap_w)
    lam = np.maximum(at.lam, 0) / 3600
    found = []
    for (run,) in ways(problem, 0) or ways(any_time(problem), 0):
        slots = [int(second // STEP_S) for second in range(int(run[2]), int(run[3]))]
        watts, gpus = problem.shapes.power_w[run[1]], problem.shapes.gpus[run[1]]
        cost = sum((mu + nu)[slot] / KW * watts + lam[slot] * gpus for slot in slots)
        found.append(cost - reward * performance(problem, [run]))
    value = bound(problem, at, Weights(performance_g=reward)) - nothing
    assert value == pytest.approx(min(found, default=0.0), abs=1e-6)


def any_time(problem: Problem) -> Problem:
    jobs = [
        (int(c), w, e, problem.site.horizon_s, bool(p))
        for c, w, e, p in zip(
            problem.jobs.class_index,
            problem.jobs.work,
            problem.jobs.earliest_s,
            problem.jobs.preemptible,
            strict=True,
        )
    ]
    shapes = problem.shapes
    rows = list(zip(shapes.gpus, shapes.rate, shapes.power_w, strict=True))
    classes = [[rows[s] for s in shapes.of(c)] for c in range(len(shapes.class_names))]
    site = problem.site
    return make(classes, jobs, site.carbon_g_per_kwh, gpus=site.gpus, step_s=site.step_s)


def linear_program_g(problem: Problem, energy: np.ndarray, gpu: np.ndarray, end_s: float) -> float:
    """One preemptible job: seconds in each slot and shape, at most what the slot is open."""
    jobs, shapes, edges = problem.jobs, problem.shapes, problem.site.edges_s
    own = list(shapes.of(int(jobs.class_index[0])))
    open_s = np.minimum(end_s, edges[1:]) - np.maximum(jobs.earliest_s[0], edges[:-1])
    slots = problem.site.slots
    cost = energy[:, None] / KW * shapes.power_w[own] + gpu[:, None] / 3600 * shapes.gpus[own]
    done = linprog(
        cost.ravel(),
        A_ub=np.kron(np.eye(slots), np.ones(len(own))),
        b_ub=np.maximum(open_s, 0),
        A_eq=np.tile(shapes.rate[own], slots)[None, :],
        b_eq=jobs.work[:1] * (1 - 1e-6),
    )
    return float(done.fun) if done.status == 0 else math.inf


@settings(max_examples=150, deadline=None)
@given(
    tiny(preemptible=True, most_jobs=1),
    any_prices(),
    st.just(0.0) | st.sampled_from([0.5, 3.0, 30.0, 300.0]),
)
def test_a_preemptible_job_costs_what_a_linear_program_says(
    problem: Problem, at: Prices, reward: float
) -> None:
    site, jobs = problem.site, problem.jobs
    nothing = lagrangian_g(problem, at, Weights(), late=none(problem), unplaced=~none(problem))
    energy = np.clip(at.mu, 0, site.carbon_g_per_kwh)
    energy = energy + np.maximum(at.nu, 0) * math.isfinite(site.power_cap_w)
    gpu = np.maximum(at.lam, 0)
    deadline = jobs.deadline_s[0]
    if math.isinf(linear_program_g(problem, energy, gpu, deadline)):
        deadline = site.horizon_s
    least = linear_program_g(problem, energy, gpu, deadline)
    value = bound(problem, at, Weights(performance_g=reward)) - nothing
    if math.isinf(least):
        assert value == pytest.approx(0, abs=1e-6)
        return
    if reward == 0:
        assert value == pytest.approx(least, abs=1e-5)
        return
    soonest = jobs.earliest_s[0] + problem.fastest_s[0]
    exact = min(
        linear_program_g(problem, energy, gpu, end)
        - reward * problem.fastest_s[0] / (end - jobs.earliest_s[0])
        for end in np.linspace(soonest, max(soonest, deadline), 41)
    )
    # Never above; below by what the end changes between two of those looked at.
    assert value <= exact + 1e-5
    assert value >= exact - 0.1 * (least + reward)


def test_a_bound_at_full_prices_is_the_optimum_where_nothing_is_scarce() -> None:
    jobs: list[Job] = [(0, 12.0, 0.0, 12.0, False), (0, 4.0, 1.0, 11.0, False)]
    problem = make([[(1, 1.0, 3.0), (2, 2.0, 5.0)]], jobs, [3 * KW, 1 * KW, 2 * KW], gpus=99)
    best = min(emitted_g(problem, runs) for runs in plans(problem))
    at = prices(3, mu=problem.site.carbon_g_per_kwh)
    assert bound(problem, at) == pytest.approx(best)


def test_prices_of_scarce_gpus_prove_the_optimum() -> None:
    # Two jobs want the clean slot, one GPU: the other pays what the clean slot is worth.
    jobs: list[Job] = [(0, 4.0, 0.0, 12.0, False)] * 2
    problem = make([[(1, 1.0, 1.0)]], jobs, [9 * KW, 1 * KW, 5 * KW], gpus=1)
    at = prices(3, mu=problem.site.carbon_g_per_kwh, lam=[0, 4 * 3600, 0])
    best = min(emitted_g(problem, runs) for runs in plans(problem))
    assert best == bound(problem, at) == pytest.approx(24.0)


def test_late_and_unplaced_jobs_in_the_bound() -> None:
    jobs: list[Job] = [(0, 4.0, 0.0, 4.0, False), (0, 4.0, 0.0, 4.0, True)]
    problem = make([[(1, 1.0, 1.0)]], jobs, [9 * KW, 1 * KW, 5 * KW])
    at = prices(3, mu=problem.site.carbon_g_per_kwh)

    def value(late: Sequence[bool], unplaced: Sequence[bool]) -> float:
        return lower_bound_g(problem, at, late=np.array(late), unplaced=np.array(unplaced))

    assert value([False, False], [False, False]) == pytest.approx(72, rel=1e-5)
    assert value([True, False], [False, False]) == pytest.approx(40, rel=1e-5)
    assert value([False, True], [False, False]) == pytest.approx(40, rel=1e-5)
    assert value([False, False], [True, False]) == pytest.approx(36, rel=1e-5)
    assert value([True, False], [False, True]) == pytest.approx(4, rel=1e-5)


@pytest.mark.parametrize("preemptible", [False, True])
@pytest.mark.parametrize(
    ("work", "deadline", "grams"), [(5.0, 4.0, 9.0), (12.0, 4.0, 60.0), (13.0, 12.0, 0.0)]
)
def test_what_no_shape_can_keep_is_asked_of_the_horizon_or_of_nobody(
    preemptible: bool, work: float, deadline: float, grams: float
) -> None:
    problem = make(
        [[(1, 1.0, 1.0)]], [(0, work, 0.0, deadline, preemptible)], [9 * KW, 1 * KW, 5 * KW]
    )
    at = prices(3, mu=problem.site.carbon_g_per_kwh)
    assert bound(problem, at) == pytest.approx(grams, rel=1e-5)


@pytest.mark.parametrize("preemptible", [False, True])
def test_the_bound_is_over_all_shapes_as_is_told_who_rechecks_it(preemptible: bool) -> None:
    # The one that is wider than the site needs a quarter of the energy.
    classes = [[(1, 1.0, 4.0), (4, 4.0, 4.0)]]
    jobs: list[Job] = [(0, 4.0, 0.0, 8.0, preemptible)]
    problem = make(classes, jobs, [1 * KW, 1 * KW, 2 * KW], gpus=1)
    at = prices(3, mu=problem.site.carbon_g_per_kwh)
    assert bound(problem, at) == pytest.approx(4.0, rel=1e-5)


def test_more_jobs_than_fit_in_one_block_are_all_counted() -> None:
    jobs: list[Job] = [(at % 3, 4.0, 0.0, 4e4, at % 2 == 0) for at in range(300)]
    classes = [[(1, 1.0, float(at + 1))] * (at + 1) for at in range(3)]
    problem = make(classes, jobs, [KW] * 10000)
    assert bound(problem, prices(10000, mu=KW)) == pytest.approx(4.0 * 600, rel=1e-5)


def test_prices_of_other_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="lam has the shape"):
        problem = make([], [], [1.0, 2.0])
        lower_bound_g(
            problem,
            Prices(mu=np.zeros(2), lam=np.zeros(3), nu=np.zeros(2)),
            late=none(problem),
            unplaced=none(problem),
        )


def test_upper_bounds_by_hand() -> None:
    weights = Weights(carbon=2.0, performance_g=4.0)
    assert performance_at_most(-8.0, weights, budget_g=10.0) == 7.0
    assert performance_at_most(-8.0, Weights(performance_g=0.5), budget_g=10.0) == 36.0
    assert ppc_at_most(-8.0, weights, least_carbon_g=16.0) == 625.0
    assert ppc_at_most(8.0, weights, least_carbon_g=16.0) == 500.0
    assert ppc_at_most(-8.0, weights, least_carbon_g=-1.0) == pytest.approx(2e9, rel=1e-6)
    assert performance_at_most(0.0, Weights(), 1.0) == math.inf
    assert ppc_at_most(0.0, Weights(), 1.0) == math.inf


# Sums and the check.


@settings(max_examples=100, deadline=None)
@given(both_kinds, st.data())
def test_sums_agree_with_seconds_added_one_by_one(problem: Problem, data: st.DataObject) -> None:
    jobs = range(len(problem.jobs))
    options = [ways(problem, job) for job in jobs]
    runs = [
        run
        for one in options
        if one and data.draw(st.booleans())
        for run in data.draw(st.sampled_from(one))
    ]
    schedule = plan(runs)
    power = drawn_w(problem, runs)
    planned = (power - problem.site.base_power_w) * problem.site.step_s
    assert slot_energy_j(problem, schedule) == pytest.approx(planned)
    assert carbon_g(problem, schedule) == pytest.approx(emitted_g(problem, runs))
    assert peak_w(problem, schedule) == pytest.approx(power.max())
    assert (check(problem, schedule) is None) == allowed(problem, runs)


@given(st.floats(0, 12), st.floats(0, 12))
def test_energy_of_any_stretch_is_in_the_slots_it_touches(one_s: float, other_s: float) -> None:
    start, end = sorted((one_s, other_s))
    problem = make([[(1, 1.0, 7.0)]], [(0, 1.0, 0.0, 12.0, False)], [1.0] * 3)
    inside = [max(0.0, min(end, edge + 4) - max(start, edge)) for edge in (0, 4, 8)]
    energy = slot_energy_j(problem, plan([(0, 0, start, end)]))
    assert energy == pytest.approx([7 * one for one in inside], abs=1e-9)


PAIR = make(
    [[(1, 1.0, 100.0), (3, 2.0, 150.0)], [(2, 1.0, 10.0)]],
    [(0, 4.0, 1.0, 12.0, False), (1, 6.0, 0.0, 12.0, True)],
    [1.0, 1.0, 1.0],
    base_w=[50.0, 60.0, 40.0],
    power_cap_w=160.0,
    ramp_w_per_slot=80.0,
)
FINE: list[Run] = [(0, 0, 1.0, 5.0), (1, 2, 0.0, 2.0), (1, 2, 7.0, 11.0)]


@pytest.mark.parametrize(
    ("runs", "wrong"),
    [
        (FINE, None),
        ([], None),
        (FINE[:1], None),
        ([(0, 0, 0.9995, 4.999), *FINE[1:]], None),
        ([(0, 0, 8.0, 12.0005), FINE[1], (1, 2, 2.0, 6.0)], None),
        ([FINE[0], (1, 2, 0.0, 2.0), (1, 2, 1.9995, 6.0)], None),
        ([(2, 0, 1.0, 5.0)], "there is no job 2"),
        ([(-1, 0, 1.0, 5.0)], "there is no job -1"),
        ([(0, 2, 1.0, 5.0)], "job j0 runs in shape 2, not one of its class c0"),
        ([(1, 1, 1.0, 5.0)], "job j1 runs in shape 1, not one of its class c1"),
        ([(0, 0, 0.5, 4.5)], "job j0 starts before its earliest start"),
        ([(0, 0, math.nan, 5.0)], "job j0 ends before it starts"),
        ([(0, 0, 5.0, 1.0)], "job j0 ends before it starts"),
        ([(0, 0, 8.1, 12.1)], "job j0 runs past the horizon"),
        ([(0, 0, 1.0, 4.9)], "job j0 does 3.9 of 4 work"),
        ([(1, 2, 0.0, 2.0), (1, 2, 3.0, 6.9)], "job j1 does 5.9 of 6 work"),
        ([(0, 0, 1.0, 3.0), (0, 0, 4.0, 6.0)], "job j0 is split into 2 though not preemptible"),
        ([(1, 2, 0.0, 2.0), (1, 2, 1.5, 5.5)], "job j1 overlaps itself at 1.500 s"),
        ([(1, 2, 0.0, 6.0), (1, 2, 2.0, 3.0)], "job j1 overlaps itself at 2.000 s"),
        ([FINE[0], *((1, 2, at, at + 2) for at in (7.0, 0.0, 6.5))], "job j1 overlaps itself at 7"),
        ([(0, 1, 1.0, 3.0), *FINE[1:]], "5 GPUs are used at 1.000 s, the site has 4"),
        ([(0, 1, 9.0, 11.0), *FINE[1:]], "5 GPUs are used at 9.000 s, the site has 4"),
        ([(0, 0, 4.0, 8.0), (1, 2, 0.0, 6.0)], "165 W are drawn in slot 1"),
        ([(0, 0, 8.0, 12.0)], None),
        ([(0, 0, 8.0, 12.0), (1, 2, 6.0, 12.0)], "power rises by 85 W to slot 2, the ramp"),
    ],
)
def test_what_is_wrong_is_said(runs: list[Run], wrong: str | None) -> None:
    said = check(PAIR, plan(runs))
    assert (said is None) == (wrong is None), said
    assert (said or "").startswith(wrong or ""), said
    if wrong and len(runs) == 1:  # it is found behind what is right, too
        right = FINE[1:] if runs[0][0] == 0 else FINE[:1]
        assert (check(PAIR, plan([*right, *runs])) or "").startswith(wrong)


def test_of_long_work_a_millionth_may_be_missing() -> None:
    problem = make([[(1, 1.0, 1.0)]], [(0, 4e4, 0.0, 5e4, False)], [1.0], step_s=5e4)
    assert check(problem, plan([(0, 0, 0.0, 4e4 * (1 - 9e-7))])) is None
    assert check(problem, plan([(0, 0, 0.0, 4e4 * (1 - 2e-6))])) is not None


def test_who_ends_makes_room_for_who_begins() -> None:
    jobs: list[Job] = [(0, 4.0, 0.0, 12.0, False)] * 2
    problem = make([[(3, 1.0, 1.0)]], jobs, [1.0] * 3)
    assert check(problem, plan([(0, 0, 0.0, 4.0), (1, 0, 4.0, 8.0)])) is None
    assert check(problem, plan([(0, 0, 4.0, 8.0), (1, 0, 3.9998, 7.9998)])) is not None
    assert check(problem, plan([(0, 0, 0.0, 4.0002), (1, 0, 4.0, 8.0)])) is None
    assert check(problem, plan([(0, 0, 0.0, 4.002), (1, 0, 4.0, 8.0)])) is not None


# Services.


def service(**changed: Any) -> Service:
    fields: dict[str, Any] = {
        "name": "chat",
        "load_per_s": np.array([5.0, 0.0, 40.0]),
        "clock_mhz": np.array([900, 1400, 1700]),
        "max_rate": np.array([10.0, 20.0, 30.0]),
        "power_w": np.array([300.0, 600.0, 900.0]),
        "idle_power_w": np.array([100.0, 600.0, 100.0]),
        "latency_s": np.array([0.4, 0.2, 0.1]),
        **changed,
    }
    return Service(**fields)


def with_services(*services: Service) -> Problem:
    return make([], [], [2 * KW, 1 * KW, 3 * KW], services=services, base_w=[7.0, 0.0, 0.0])


def test_a_service_draws_by_its_load() -> None:
    problem = with_services(service(), service())
    none_planned = plan([])
    clocks = [np.array([0, 0, 2]), np.array([2, 1, 2])]
    watts = np.array([200 + 700 / 3, 100 + 600, 900 + 900])
    watts[0] = 200.0 + 100 + 800 * 5 / 30
    assert slot_energy_j(problem, none_planned, clocks) == pytest.approx(watts * STEP_S)
    assert peak_w(problem, none_planned, clocks) == pytest.approx(1800)
    expected = STEP_S * ((watts[0] + 7) * 2 + watts[1] + watts[2] * 3)
    assert carbon_g(problem, none_planned, clocks) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changed", "clock", "wrong"),
    [
        ({}, [0, 0, 2], None),
        ({}, [2, 1, 2], None),
        ({}, [0, 0, 1], "service chat may not run at 1400 MHz in slot 2"),
        ({"latency_slo_s": 0.2}, [1, 1, 2], None),
        ({"latency_slo_s": 0.2}, [1, 0, 2], "service chat may not run at 900 MHz in slot 1"),
        ({"latency_slo_s": 0.01}, [2, 2, 2], None),
        ({"latency_slo_s": 0.01}, [0, 2, 2], "service chat may not run at 900 MHz in slot 0"),
        ({}, [0, 3, 2], "service chat has no clock 3"),
        ({}, [0, -1, 2], "service chat has no clock -1"),
        ({}, [0, 0], "service chat has clocks for 2 slots"),
        ({}, None, "there are clocks for 0 of 1 services"),
    ],
)
def test_a_service_keeps_to_its_clocks(
    changed: dict[str, Any], clock: list[int] | None, wrong: str | None
) -> None:
    clocks = [] if clock is None else [np.array(clock)]
    said = check(with_services(service(**changed)), plan([]), clocks)
    assert (said is None) == (wrong is None), said
    assert (said or "").startswith(wrong or ""), said


@pytest.mark.parametrize("slo_s", [math.inf, 0.2, 0.01])
@pytest.mark.parametrize("reward", [0.0, 100.0, 3000.0])
def test_the_bound_of_a_service_is_its_best_clock(slo_s: float, reward: float) -> None:
    own = service(latency_slo_s=slo_s, weight=2.0)
    problem = with_services(own)
    weights = Weights(performance_g=reward)
    values = []
    for clock in itertools.product(range(3), repeat=3):
        clocks = [np.array(clock)]
        if check(problem, plan([]), clocks) is None:
            share = own.load_per_s / own.load_per_s.sum()
            speed = 2.0 * float((share * 0.1 / own.latency_s[list(clock)]).sum())
            values.append(carbon_g(problem, plan([]), clocks) - reward * speed)
    at = prices(3, mu=problem.site.carbon_g_per_kwh)
    assert bound(problem, at, weights) == pytest.approx(min(values))


def test_a_cap_and_its_price_by_hand() -> None:
    """What the cap leaves beside the base is sold, and the service buys at its cheapest clocks."""
    problem = make(
        [], [], [KW] * 3, services=(service(),), base_w=[7.0, 0.0, 0.0], power_cap_w=1000.0
    )
    sold = STEP_S * ((1000 - 7) * 1 + 1000 * 2)
    bought = STEP_S * (200 * 1 + 900 * 2)
    assert bound(problem, prices(3, nu=[1 * KW, 0, 2 * KW])) == pytest.approx(bought - sold)


def test_a_service_without_load_earns_nothing() -> None:
    problem = with_services(service(load_per_s=np.zeros(3)))
    at = prices(3, mu=problem.site.carbon_g_per_kwh)
    assert bound(problem, at, Weights(performance_g=9.0)) == pytest.approx(bound(problem, at))
