# SPDX-License-Identifier: Apache-2.0
"""From errors to bands, on cases that can be reckoned by hand."""

import numpy as np
import pytest

from slurm_green.signals.forecast.calibration import Calibration, recalibrated

DAYS = np.arange(20 * 24)  # origins, all hours of day alike


def signs(shape):
    """Of an error, one after the other."""
    return np.where(np.arange(np.prod(shape)).reshape(shape) % 2, 1.0, -1.0)


def of(size, ahead=12, origins=DAYS):
    """From errors of a size, (origins, ahead) or what broadcasts to it."""
    errors = size * signs((len(origins), ahead))
    return Calibration.of(errors, hours_of_day=origins % 24)


def test_errors_of_one_size_have_that_spread_whatever_is_missing():
    found = of(np.where(DAYS % 7 == 3, np.nan, 5.0)[:, None])
    assert found.spread == pytest.approx(np.full((12, 24), 5.0))
    assert found.shape[[0, 2]] == pytest.approx(np.outer([-1, 1], np.ones(12)))


def test_hours_of_day_have_their_own_spread_by_four_fifths():
    """10 by night, 30 by day: 500 on average, of squares 100 and 900."""
    target = (DAYS[:, None] + np.arange(12)) % 24
    spread = of(np.where(target < 12, 10.0, 30.0)).spread
    assert spread[:, 2:10] ** 2 == pytest.approx(np.full((12, 8), 500 * (0.8 * 0.2 + 0.2)))
    assert spread[:, 14:22] ** 2 == pytest.approx(np.full((12, 8), 500 * (0.8 * 1.8 + 0.2)))
    # A quarter of each neighbour.
    assert spread[:, 11] ** 2 == pytest.approx(np.full(12, 500 * (0.8 * (0.6 + 1.8) / 4 + 0.2)))
    assert spread[:, 12] ** 2 == pytest.approx(np.full(12, 500 * (0.8 * (0.2 + 5.4) / 4 + 0.2)))


def test_an_hour_of_day_that_was_never_seen_has_the_spread_of_all():
    spread = of(4.0, origins=DAYS[DAYS % 24 < 6]).spread
    assert spread == pytest.approx(np.full((12, 24), 4.0))


def test_the_spread_ahead_is_smoothed_over_three_hours_on_either_side():
    """First that of all hours, then how each hour of day is beside it; the ends are held."""

    def smooth(row):
        held = np.concatenate([[row[0]] * 3, row, [row[-1]] * 3])
        weights = (1, 2, 3, 4, 3, 2, 1)
        return np.array([np.average(held[at : at + 7], weights=weights) for at in range(len(row))])

    squares = 100.0 + 10 * np.arange(12)
    squares[6] += 160
    spread = of(np.sqrt(squares)).spread
    overall = smooth(squares)
    wanted = overall * (0.8 * smooth(squares / overall) + 0.2)
    assert spread**2 == pytest.approx(np.repeat(wanted[:, None], 24, axis=1))


def test_the_shape_counts_blocks_of_six_hours_and_three_beside_them():
    """Fifty errors do, fewer are taken for a normal distribution's."""
    errors = signs((6, 9))
    errors[0, :4] = np.nan
    enough = Calibration.of(errors, hours_of_day=DAYS[:6])
    assert enough.shape[2, 0] == pytest.approx(1)
    errors[0, 4] = np.nan
    few = Calibration.of(errors, hours_of_day=DAYS[:6])
    assert few.shape[:, 0] == pytest.approx([-1.2816, 0, 1.2816])
    # From hour 12 on nothing is below; of the three hours before one in two is, too few to count.
    above = signs((480, 24))
    above[:, 12:] = 1.0
    low = Calibration.of(above, hours_of_day=DAYS % 24).shape[0]
    assert low == pytest.approx([-1.0] * 9 + [(2 * at - 7) / 7 for at in range(1, 7)] + [1.0] * 9)


def test_bands_are_the_shape_times_the_spread_of_the_hour():
    spread = np.tile(np.arange(1.0, 25), (4, 1))
    one = Calibration(spread=spread, shape=np.outer([-1.0, 0.4, 2.0], np.ones(4)))
    found = one.bands(np.full((1, 4), 100.0), hours_of_day=np.array([22]), least=0.0)
    size = np.array([[23.0, 24, 1, 2]])
    assert found.mean == pytest.approx(np.full((1, 4), 100.0))
    assert found.p10 == pytest.approx(100 - size)
    assert found.p50 == pytest.approx(100 + 0.2 * size)
    assert found.p90 == pytest.approx(100 + 2 * size)
    low = one.bands(np.full((1, 4), 10.0), hours_of_day=np.array([22]), least=12.0)
    assert low.mean == pytest.approx(np.full((1, 4), 12.0))
    assert low.p10 == pytest.approx(np.full((1, 4), 12.0))
    assert low.p90 == pytest.approx(12 + 2 * size)


@pytest.mark.parametrize(
    ("shape", "bands"), [((0.5, 1, 2), (0, 5, 20)), ((-2, -1.5, -0.5), (-20, -7.5, 0))]
)
def test_a_band_holds_its_mean(shape, bands):
    one = Calibration(spread=np.full((1, 24), 10.0), shape=np.array(shape)[:, None])
    found = one.bands(np.zeros((1, 1)), hours_of_day=np.array([0]), least=-np.inf)
    assert (found.p10[0, 0], found.p50[0, 0], found.p90[0, 0]) == pytest.approx(bands)


@pytest.mark.parametrize("clock", [0, 5])
def test_every_day_of_origins_learns_from_the_ten_weeks_before_it(clock):
    """From what had come by then, and nothing after; origins of one day share it."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=100 * 24) * (1 + np.arange(100 * 24) % 24) + np.arange(100 * 24) / 50
    means = np.zeros((len(values) + 1, 8))
    first = 80 * 24 + 7
    origins = np.array([first, first + 23, first + 24, first + 80])
    found = recalibrated(means, values, origins, clock=clock, least=-1.0)
    for at, (origin, day) in enumerate(
        zip(origins, (first, first, first + 24, first + 72), strict=True)
    ):
        rows = np.arange(day - 70 * 24, day)
        target = rows[:, None] + np.arange(8)
        errors = np.where(target < day, values[target], np.nan)
        one = Calibration.of(errors, hours_of_day=(rows + clock) % 24)
        wanted = one.bands(
            means[[origin]], hours_of_day=np.array([origin + clock]) % 24, least=-np.inf
        )
        for name in ("mean", "p10", "p50", "p90"):
            assert getattr(found, name)[at] == pytest.approx(getattr(wanted, name)[0])


def test_only_a_bound_of_nothing_or_more_is_one():
    values, origins = signs(50 * 24) * 5, np.array([50 * 24])
    means = np.ones((50 * 24 + 1, 4))
    assert recalibrated(means, values, origins, clock=0, least=0.0).p10.min() == 0
    assert recalibrated(means, values, origins, clock=0, least=-0.1).p10.min() < -3
