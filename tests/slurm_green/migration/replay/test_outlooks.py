# SPDX-License-Identifier: Apache-2.0
"""What a site could expect: forecasts, what was usual, errors that fade and widths that grow."""

import numpy as np
import pytest

from slurm_green.migration.replay.inputs import Inputs, Issue, ReplaySite
from slurm_green.migration.replay.outlooks import expected

STEP = 3600.0
DAYS = 12
HOURS = 24 * DAYS


def outlooks(supply_w, issues=(), cycle_s=STEP):
    site = ReplaySite(
        name="a",
        gpus=8,
        supply_w=np.asarray(supply_w, dtype=float),
        carbon_g_per_kwh=np.full(HOURS, 300.0),
        base_w=np.zeros(HOURS),
        issues=issues,
    )
    given = Inputs(step_s=STEP, sites=(site,), links=(), jobs=(), cycle_s=cycle_s)
    return [some[0] for some in expected(given)]


def issue(hour, first, values):
    return Issue(
        issued_s=hour * STEP,
        middle_s=(first + np.arange(len(values)) + 0.5) * STEP,
        supply_w=np.array(values, dtype=float),
        carbon_g_per_kwh=np.full(len(values), np.nan),
    )


def test_what_is_usual_at_that_hour_is_expected_again():
    daily = 1000 * np.maximum(np.sin(2 * np.pi * np.arange(HOURS) / 24), 0)
    last = outlooks(daily)[24 * 8 + 5]
    assert last.supply_w == pytest.approx(daily[24 * 8 + 5 : 24 * 9 + 5], abs=1.0)
    assert len(last) == 24


@pytest.mark.parametrize("cycle_s", [STEP, 3 * STEP])
def test_a_forecast_that_keeps_its_word_is_trusted_more(cycle_s):
    supply = 500 + 300 * np.sin(np.arange(HOURS) / 9.0)
    made = [issue(24 * day, 24 * day, supply[24 * day : 24 * day + 48]) for day in range(DAYS)]
    found = outlooks(supply, made, cycle_s)
    early, late = found[0], found[len(found) // 2]
    first = round(len(found) // 2 * cycle_s / STEP)
    assert late.supply_w == pytest.approx(supply[first : first + 24], abs=1.0)
    assert late.supply_sd_w[-1] < 0.7 * early.supply_sd_w[-1]


def test_an_error_is_carried_on_and_fades():
    supply = np.full(HOURS, 1000.0)
    supply[100:] = 1200.0
    made = [issue(0, 0, np.full(HOURS, 1000.0))]
    found = outlooks(supply, made)[103]
    assert 1050 < found.supply_w[0] <= 1200
    assert (np.diff(found.supply_w) < 0).all()
    assert (np.diff(found.supply_sd_w) > 0).all()


def test_the_newest_forecast_counts_from_where_it_begins():
    made = [issue(0, 0, np.full(60, 400.0)), issue(30, 42, np.full(60, 800.0))]
    supply = np.full(HOURS, 400.0)
    found = outlooks(supply, made)[36].supply_w
    assert found[:6] == pytest.approx(400, abs=1.0)
    assert found[6:] == pytest.approx(800, abs=1.0)


def test_nothing_is_expected_before_anything_is_known():
    (first, *_) = outlooks(np.full(HOURS, 500.0))
    assert np.isfinite(first.supply_w).all()
    assert np.isfinite(first.supply_sd_w).all()
