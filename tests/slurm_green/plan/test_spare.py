# SPDX-License-Identifier: Apache-2.0
"""Lists that leave some GPUs spare: what is tried, and prices of a tighter site."""

import numpy as np

from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Weights
from slurm_green.plan.prices import PriceSearch
from slurm_green.plan.spare import _tries
from tests.slurm_green.plan.problems import make


def test_more_is_spared_until_all_have_a_place_and_it_costs_more() -> None:
    seen: dict[tuple[int, float], tuple[float, int]] = {}
    scores = {0.0: (9.0, 5), 0.01: (4.0, 2), 0.02: (2.0, 0), 0.04: (3.0, 0)}
    tried = []
    for kind, spare in _tries(seen):
        tried.append((kind, spare))
        score, absent = scores[spare]
        seen[kind, spare] = score - kind, absent
    assert tried == [(0, 0.0), (1, 0.0), (1, 0.01), (1, 0.02), (1, 0.04)]


def test_on_a_tighter_site_a_gpu_hour_costs_no_less() -> None:
    jobs = [(0, 2.0, 0.0, 8.0, False) for _ in range(12)]
    carbon = [300.0, 100.0, 120.0, 400.0, 90.0, 500.0, 200.0, 350.0]
    problem = make([[(1, 1.0, 300.0)]], jobs, carbon)
    deadline_s = problem.jobs.deadline_s
    options = options_of(problem, np.arange(12), deadline_s)
    nobody = np.zeros(0, dtype=np.int64)
    found = PriceSearch(problem, Weights(), options, nobody, deadline_s).search()
    assert found.tighter(0.2).lam.sum() >= found.prices.lam.sum() - 1e-9
    assert found.tighter(0.2).lam.max() > 0
