# SPDX-License-Identifier: Apache-2.0
"""The smooth dual of jobs that may be split: below the true one, and with its slope."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm_green.plan import smooth
from slurm_green.plan.kernel import library
from slurm_green.plan.outcome import Prices
from slurm_green.plan.prices import standing_g
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Problem
from slurm_green.plan.smooth import SmoothDual, unsure
from slurm_green.plan.split import split_response
from tests.slurm_green.plan.problems import make, prices, some_prices

FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
SLOTS = 12
INSIDE = (0.1, 0.9)  # of the box of prices


def problem(seed: int, **limits: float) -> Problem:
    """Two classes of which the second has a shape too wide for the site, and one without jobs."""
    rng = np.random.default_rng(seed)
    return make(
        [
            [(1, 1.0, 300.0), (2, 1.8, 650.0), (2, 1.5, 420.0)],
            [(1, 9.0, 9e3)],
            [(4, 4.0, 1300.0), (2, 2.2, 610.0), (9, 8.0, 2500.0)],
        ],
        [
            (
                2 * int(rng.integers(2)),
                float(rng.uniform(0.3, 1.5)),
                (early := float(rng.uniform(0, SLOTS - 4))),
                early + float(rng.uniform(2, 4)),
                True,
            )
            for _ in range(12)
        ],
        rng.uniform(50, 500, SLOTS).tolist(),
        gpus=8,
        renewable_w=rng.uniform(0, 2500, SLOTS).tolist(),
        base_w=200.0,
        **limits,
    )


def dual_of(one: Problem, at: Prices, kernel: bool) -> SmoothDual:
    splits = np.arange(len(one.jobs))
    with pytest.MonkeyPatch.context() as patch:
        if not kernel:
            patch.setattr(smooth, "library", lambda: None)
        elif library() is None:
            pytest.skip("no compiled kernel: no C compiler?")
        dual = SmoothDual(one, splits, one.jobs.deadline_s, at)
        dual.climb(0.01, 1)
        return dual


def true_g(one: Problem, at: Prices) -> float:
    splits = np.arange(len(one.jobs))
    found = split_response(one, at, splits, one.jobs.deadline_s)
    return standing_g(one, at) + float(found.cost_g.sum())


@FEW
@given(seed=st.integers(0, 10_000), kernel=st.booleans())
def test_it_is_a_little_below_the_true_dual(seed: int, kernel: bool) -> None:
    one = problem(seed)
    at = some_prices(one, seed, INSIDE)
    dual = dual_of(one, at, kernel)
    value_g, _ = dual._ask(dual._box.point(at))
    true = true_g(one, at)
    jobs_g = true - standing_g(one, at)
    assert -0.05 * jobs_g <= value_g - true <= 1e-6 * abs(true)


@FEW
@given(seed=st.integers(0, 10_000), kernel=st.booleans(), capped=st.booleans())
def test_its_slope_is_what_is_used_beyond_what_there_is(
    seed: int, kernel: bool, capped: bool
) -> None:
    one = problem(seed, **({"power_cap_w": 3000.0} if capped else {}))
    dual = dual_of(one, some_prices(one, seed, INSIDE), kernel)
    point = dual._box.point(dual.prices)
    _, slope = dual._ask(point)
    ahead = np.random.default_rng(seed).normal(size=len(point))
    width = 1e-5
    after, before = (dual._ask(point + side * width * ahead)[0] for side in (1, -1))
    assert (after - before) / (2 * width) == pytest.approx(float(slope @ ahead), rel=1e-3, abs=0.05)


@FEW
@given(seed=st.integers(0, 10_000))
def test_the_kernel_does_as_python_does(seed: int) -> None:
    one = problem(seed)
    at = some_prices(one, seed, INSIDE)
    fast, slow = (dual_of(one, at, kernel) for kernel in (True, False))
    used, wanted = fast._used, slow._used
    assert used is not None
    assert wanted is not None
    assert used.cost_g == pytest.approx(wanted.cost_g, rel=1e-6)
    assert fast._jobs.tolist() == slow._jobs.tolist()
    for row in range(len(one.jobs)):
        for table, other in ((used.gpu_h, wanted.gpu_h), (used.energy_kwh, wanted.energy_kwh)):
            own = table.rows(np.array([row])).by_slot()
            assert own == pytest.approx(other.rows(np.array([row])).by_slot(), rel=1e-5, abs=1e-7)


@FEW
@given(seed=st.integers(0, 10_000), kernel=st.booleans())
def test_a_climb_proves_more(seed: int, kernel: bool) -> None:
    one = problem(seed)
    at = some_prices(one, seed, INSIDE)
    dual = dual_of(one, at, kernel)
    dual.climb(0.01, 60)
    assert true_g(one, dual.prices) > true_g(one, at)
    assert (dual.prices.mu <= one.site.carbon_g_per_kwh * (1 + 1e-12)).all()
    assert (dual.prices.lam >= 0).all()


@pytest.mark.parametrize("kernel", [True, False])
def test_what_is_expected_is_what_does_the_work(kernel: bool) -> None:
    """One shape: each job's GPU-hours and joules follow from its work, spread over cheap hours."""
    one = make(
        [[(2, 1.0, 1000.0)]],
        [(0, 2.0, 0.0, 6.0, True), (0, 0.5, 0.0, 1.0, True)],
        [100.0, 400.0, 100.2, 100.4, 300.0, 50.0],
    )
    expected = dual_of(one, prices(6, mu=one.site.carbon_g_per_kwh), kernel).expected()
    gpu_h = expected.gpu_h.matrix().toarray()
    energy_kwh = expected.energy_j.matrix().toarray() / JOULES_PER_KWH
    assert gpu_h.sum(axis=1).tolist() == pytest.approx([4.0, 1.0])
    assert energy_kwh == pytest.approx(gpu_h / 2)
    # The last hour wholly; of three that cost nearly the same more of the cheaper.
    assert gpu_h[0, 5] == pytest.approx(2.0)
    assert 2.0 > gpu_h[0, 0] > gpu_h[0, 2] > gpu_h[0, 3] > 0
    assert gpu_h[0, 1] == gpu_h[0, 4] == 0
    assert gpu_h[1].tolist() == pytest.approx([1.0, 0, 0, 0, 0, 0])


@FEW
@given(
    work=st.lists(st.floats(0.1, 10), min_size=1, max_size=20),
    need=st.floats(0.01, 1.2),
    seed=st.integers(0, 1000),
)
def test_shares_do_the_work_as_far_as_edges_suffice(
    work: list[float], need: float, seed: int
) -> None:
    done = np.array(work)
    steep = np.sort(np.random.default_rng(seed).uniform(0, 1, len(work)))
    wanted = need * float(done.sum())
    share, unsure_g = unsure(np.array([0.05]))(0, done, steep, wanted)
    assert float(share @ done) == pytest.approx(min(wanted, float(done.sum())))
    assert (np.diff(share) <= 1e-12).all()
    assert unsure_g <= 0


def test_work_that_costs_nothing_and_no_window_at_all() -> None:
    """Free hours, and a job whose deadline is before it may start: no NaN, no endless search."""
    one = make(
        [[(1, 1.0, 1000.0)]],
        [(0, 1.0, 0.0, 3.0, True), (0, 1.0, 2.0, 1.0, True)],
        [0.0, 0.0, 0.0],
    )
    for kernel in (True, False):
        dual = dual_of(one, prices(3), kernel)
        dual.climb(0.01, 10)
        used = dual.expected().gpu_h.by_slot()
        assert used.sum() == pytest.approx(1.0)
        assert np.isfinite(dual.prices.lam).all()
        assert float(used.max()) <= 1.0 * SECONDS_PER_HOUR


def test_a_shape_that_draws_nothing_tells_no_usual_cost() -> None:
    """Else nothing would be smooth for its class; where all are such, nothing costs anything."""
    one = make([[(1, 1.0, 0.0), (2, 2.0, 600.0)], [(1, 1.0, 0.0)]], [], [100.0, 300.0])
    assert smooth._usual_g(one) == pytest.approx([0.3 * 200.0, 0.0])
