# SPDX-License-Identifier: Apache-2.0
"""Best responses: runs against a dense search over starts, splits against a linear program."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import HOUR, make, prices
from scipy.optimize import linprog

from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Weights
from slurm_green.plan.problem import JOULES_PER_KWH, Problem
from slurm_green.plan.split import split_response

SLOTS = 4

a_shape = st.tuples(
    st.integers(1, 4), st.sampled_from([0.7, 1.0, 2.0, 3.3]), st.integers(0, 9).map(float)
)
hour = st.integers(0, 40 * SLOTS).map(lambda tenth: tenth / 40)
price = st.lists(st.integers(0, 9).map(float), min_size=SLOTS, max_size=SLOTS)


@st.composite
def drawn(draw: st.DrawFn, preemptible: bool) -> Problem:
    """Jobs of three shapes or fewer; windows anywhere, also too short ones."""
    classes = draw(st.lists(st.lists(a_shape, min_size=1, max_size=3), min_size=1, max_size=2))
    jobs = []
    for _ in range(draw(st.integers(1, 4))):
        early, late = sorted([draw(hour), draw(hour)])
        work = draw(st.sampled_from([0.3, 1.0, 2.0, 2.5]))
        jobs.append((draw(st.integers(0, len(classes) - 1)), work, early, late, preemptible))
    return make(classes, jobs, [9.0] * SLOTS, gpus=3)


def at(mu, lam, nu):
    """Small whole numbers become grams: 1 kW for an hour, or a GPU for an hour."""
    return prices(SLOTS, mu=1000 * np.array(mu), lam=np.array(lam), nu=1000 * np.array(nu))


def cost_g(problem: Problem, given_, shape: int, start_s: float, end_s: float) -> float:
    """A run's price, added up slot by slot."""
    edges = problem.site.edges_s
    seconds = np.maximum(np.minimum(edges[1:], end_s) - np.maximum(edges[:-1], start_s), 0.0)
    energy = seconds @ (given_.mu + given_.nu) * problem.shapes.power_w[shape] / JOULES_PER_KWH
    return float(energy + seconds @ given_.lam * problem.shapes.gpus[shape] / HOUR)


@settings(max_examples=150, deadline=None)
@given(drawn(preemptible=False), price, price, price, st.sampled_from([0.0, 2.0, 50.0]))
def test_no_start_is_cheaper_than_the_response(problem, mu, lam, nu, worth_g):
    """It has its cost, lies in the window, and is no dearer than a hundred other starts."""
    given_ = at(mu, lam, nu)
    jobs = problem.jobs
    options = options_of(problem, np.arange(len(jobs)), jobs.deadline_s)
    found = options.respond(problem, given_, Weights(performance_g=worth_g))

    def whole_g(option: int, start_s: float) -> float:
        end_s = start_s + options.duration_s[option]
        job = options.job[option]
        cost = cost_g(problem, given_, int(options.shape[option]), start_s, end_s)
        return cost - worth_g * problem.fastest_s[job] / (end_s - jobs.earliest_s[job])

    for option in range(len(options)):
        start_s, early = found.start_s[option], options.earliest_s[option]
        assert early <= start_s <= options.latest_s[option]
        assert found.cost_g[option] == pytest.approx(whole_g(option, start_s), abs=1e-6)
        for other in np.linspace(early, options.latest_s[option], 100):
            assert found.cost_g[option] <= whole_g(option, float(other)) + 1e-6


@settings(max_examples=100, deadline=None)
@given(drawn(preemptible=False), st.data())
def test_options_are_the_shapes_that_keep_the_deadline(problem, data):
    """Of the jobs asked for, in order; `first` counts in these."""
    jobs, shapes = problem.jobs, problem.shapes
    chosen = np.array(sorted(data.draw(st.sets(st.sampled_from(range(len(jobs)))))), dtype=np.int64)
    options = options_of(problem, chosen, jobs.deadline_s[chosen])
    wanted = [
        (int(job), shape)
        for job in chosen
        for shape in shapes.of(int(jobs.class_index[job]))
        if shapes.gpus[shape] <= problem.site.gpus
        and jobs.earliest_s[job] + jobs.work[job] / shapes.rate[shape]
        <= jobs.deadline_s[job] + 1e-3
    ]
    assert list(zip(options.job.tolist(), options.shape.tolist(), strict=True)) == wanted
    counts = [sum(one == job for one, _ in wanted) for job in chosen]
    assert options.first.tolist() == np.cumsum([0, *counts]).tolist()
    cost = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(options),
                                       max_size=len(options))), dtype=float)  # fmt: skip
    least = options.least(cost)
    by_job = {
        job: min((cost[k], k) for k in range(len(options)) if options.job[k] == job)[1]
        for job in dict.fromkeys(options.job.tolist())
    }
    assert least.tolist() == list(by_job.values())


def test_many_jobs_of_all_lengths_are_answered_in_any_company():
    """Jobs are answered in chunks of about equal windows: each as if it were alone."""
    dice = np.random.default_rng(2)
    rows = []
    for _ in range(120):
        early = dice.uniform(0, 300)
        work = dice.uniform(0.01, 30)
        rows.append((0, work, early, min(336, early + work + dice.exponential(20)), False))
    problem = make([[(1, 1.0, 300.0), (2, 1.7, 500.0)]], rows, [1.0] * 336)
    given_ = prices(336, mu=dice.uniform(0, 500, 336), lam=dice.uniform(0, 50, 336))
    jobs = np.arange(120)
    together = options_of(problem, jobs, problem.jobs.deadline_s)
    all_g = together.respond(problem, given_, Weights()).cost_g
    for job in range(0, 120, 17):
        alone = options_of(problem, jobs[job : job + 1], problem.jobs.deadline_s[job : job + 1])
        own = slice(together.first[job], together.first[job + 1])
        assert all_g[own] == pytest.approx(alone.respond(problem, given_, Weights()).cost_g)


@pytest.mark.parametrize(
    ("mu", "start_h"),
    [
        ([5, 0, 9, 9], 0.5),  # ends where it gets dear
        ([9, 0, 5, 9], 1.0),  # starts where it gets cheap
        ([0, 9, 9, 9], 0.2),  # as early as it may
        ([9, 9, 9, 0], 2.3),  # as late as it may
    ],
)
def test_a_run_begins_or_ends_at_a_border(mu, start_h):
    problem = make([[(1, 1.0, 1000.0)]], [(0, 1.5, 0.2, 3.8, False)], [9.0] * SLOTS)
    options = options_of(problem, np.array([0]), problem.jobs.deadline_s)
    found = options.respond(problem, prices(SLOTS, mu=mu), Weights())
    assert found.start_s[0] == pytest.approx(start_h * HOUR)


# Splits.


def linear_program_g(problem: Problem, given_, job: int) -> float:
    """Seconds in each slot and shape, all shapes of a slot together within what is open."""
    jobs, shapes, edges = problem.jobs, problem.shapes, problem.site.edges_s
    own = [one for one in shapes.of(int(jobs.class_index[job])) if shapes.gpus[one] <= 3]
    if not own:
        return math.inf
    begin, end = jobs.earliest_s[job], jobs.deadline_s[job]
    open_s = np.maximum(np.minimum(end, edges[1:]) - np.maximum(begin, edges[:-1]), 0.0)
    per_s = np.outer((given_.mu + given_.nu) / JOULES_PER_KWH, shapes.power_w[own])
    per_s += np.outer(given_.lam / HOUR, shapes.gpus[own])
    done = linprog(
        per_s.ravel() * HOUR,
        A_ub=np.kron(np.eye(SLOTS), np.ones(len(own))),
        b_ub=open_s / HOUR,
        A_eq=np.tile(shapes.rate[own] * HOUR, SLOTS)[None, :],
        b_eq=jobs.work[job : job + 1],
    )
    return float(done.fun) if done.status == 0 else math.inf


@settings(max_examples=100, deadline=None)
@given(drawn(preemptible=True), price, price, price)
def test_a_split_costs_what_a_linear_program_says(problem, mu, lam, nu):
    """And what it uses has that price."""
    given_ = at(mu, lam, nu)
    jobs = np.arange(len(problem.jobs))
    found = split_response(problem, given_, jobs, problem.jobs.deadline_s)
    wanted = [linear_program_g(problem, given_, job) for job in jobs]
    assert found.cost_g == pytest.approx(wanted, abs=1e-5)
    gpu_h, energy_kwh = found.gpu_h.matrix(), found.energy_kwh.matrix()
    paid = energy_kwh @ (given_.mu + given_.nu) + gpu_h @ given_.lam
    fits = np.isfinite(found.cost_g)
    assert paid[fits] == pytest.approx(found.cost_g[fits], abs=1e-5)
    assert gpu_h.shape == energy_kwh.shape == (len(jobs), SLOTS)


def test_a_split_may_end_with_a_slower_shape():
    """Slow work costs less per unit, but there is too little time for that alone."""
    shapes = [(1, 1.0, 100.0), (2, 2.0, 400.0)]
    problem = make([shapes], [(0, 3.0, 0.0, 2.0, True)], [10.0] * 2)
    found = split_response(problem, prices(2, mu=[1000, 1000]), np.array([0]), np.array([2 * HOUR]))
    assert found.cost_g[0] == pytest.approx(0.1 * 1000 + 0.4 * 1000)
    assert found.gpu_h.by_slot().sum() == pytest.approx(3.0)
