# SPDX-License-Identifier: Apache-2.0
"""Objectives over a whole trace on the made-up replica."""

from dataclasses import replace

import numpy as np
import pytest

from serving.governor.ceiling import Ceiling
from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.replay.compare import Aim, compare
from serving.replay.requests import Request
from slurm_green.plan.outcome import Objective
from slurm_green.plan.problem import Site
from tests.serving.made import CLOCKS, profile

ENGINE = EngineModel(profile())
SLO = Slo(0.5, 0.02)
SPAN_S = 60
REQUESTS = [Request(i / 2, 300 + 37 * i % 900, 20 + 13 * i % 80) for i in range(2 * SPAN_S)]
SITE = Site(
    gpus=1, start_s=0.0, step_s=10.0,
    carbon_g_per_kwh=np.array([100.0, 300.0, 500.0] * 2),
    renewable_w=np.zeros(6), base_power_w=np.zeros(6),
)  # fmt: skip


def ran(aim: Aim, *names: str, site: Site = SITE):  # type: ignore[no-untyped-def]
    return compare(REQUESTS, ENGINE, SLO, names or ("governor",), site=site, aim=aim)


def test_performance_per_carbon_is_that_of_the_best_clock_and_more() -> None:
    fixed = ran(Aim(), *(f"static:{mhz:g}" for mhz in CLOCKS))
    best = max(one.ppc for one in fixed.values() if one.attainment == 1.0)
    assert ran(Aim(objective=Objective.PPC))["governor"].ppc >= 0.99 * best


def test_more_budget_buys_speed_and_is_kept() -> None:
    least = ran(Aim())["governor"]
    found = []
    for share in (1.1, 1.2, 1.4):
        budget_g = share * least.carbon_g
        one = ran(Aim(objective=Objective.CARBON_CONSTRAINED, budget_g=budget_g))["governor"]
        assert one.carbon_g <= budget_g
        assert one.attainment == 1.0
        found.append(one.performance)
    assert least.performance < found[0] < found[1] <= found[2] + 1e-3


@pytest.mark.parametrize("objective", [Objective.PERFORMANCE_CONSTRAINED, Objective.PPC])
def test_with_surplus_it_runs_as_fast_as_max_and_emits_nothing(objective: Objective) -> None:
    green = replace(SITE, renewable_w=np.full(6, 5000.0))
    found = ran(Aim(objective=objective), "max", "governor", site=green)
    assert found["governor"].carbon_g == 0.0
    assert found["governor"].performance == pytest.approx(found["max"].performance, rel=0.02)


def test_nobody_runs_above_the_ceiling() -> None:
    free, capped = (
        ran(Aim(objective=Objective.PPC, ceiling=one), "max", "governor")
        for one in (Ceiling(), Ceiling(power_w=300.0))
    )
    assert capped["max"].performance < free["max"].performance
    for name in ("max", "governor"):
        assert capped[name].energy_j < free[name].energy_j
