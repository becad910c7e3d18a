# SPDX-License-Identifier: Apache-2.0
"""Rows of an answer to a forecast: uniform, whole and far enough ahead, or one sentence."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.slots import amount, must_reach, series_from_slots

NOW = datetime(2026, 3, 29, tzinfo=UTC)
HALF = timedelta(minutes=30)


def made(rows, **fields):
    """A series from rows (half hours after NOW, value)."""
    pairs = [(NOW + n * HALF, value) for n, value in rows]
    return series_from_slots(pairs, provider="p", issued_utc=NOW, **fields)


def test_rows_become_a_series():
    """With the step that the rows have, and whose they are."""
    got = made([(0, 5.0), (1, 6.0)], region="GB", scope="direct", quantiles={0.1: [4.0, 5.0]})
    assert (got.start_utc, got.step_s, list(got.values)) == (NOW, 1800.0, [5.0, 6.0])
    assert (got.provider, got.issued_utc, got.region, got.scope) == ("p", NOW, "GB", "direct")
    assert got.quantile_at(0.1, NOW) == 4.0


@pytest.mark.parametrize(
    ("rows", "fields", "words"),
    [
        ([], {}, "p: the answer holds no values"),
        ([(0, 1.0)], {}, "p: one value alone has no step"),
        ([(0, 1.0), (0, 1.0)], {}, "row 1 (2026-03-29T00:00Z) is not after row 0"),
        ([(1, 1.0), (0, 1.0)], {}, "row 1 (2026-03-29T00:00Z) is not after row 0"),
        ([(0, 1.0), (1, 1.0), (3, 1.0)], {}, "row 2 (2026-03-29T01:30Z) leaves a gap or overlaps"),
        ([(0, 1.0), (1, 1.0), (1, 1.0)], {}, "row 2 (2026-03-29T00:30Z) leaves a gap or overlaps"),
        ([(0, 1.0), (2, 1.0)], {"step_s": 1800.0}, "wanted steps of 0:30:00 in a row"),
        ([(0, 1.0), (1, -1.0)], {}, "value -1.0 at step 1"),
        ([(0, None), (1, None)], {}, "p: the answer holds no values"),
        ([(0, None), (1, 1.0)], {}, "row 0 (2026-03-29T00:00Z) has no value"),
        ([(0, 1.0), (1, 1.0)], {"quantiles": {0.1: [1.0]}}, "quantile 0.1 is malformed"),
    ],
)
def test_rows_that_make_no_series(rows, fields, words):
    """The message names the row."""
    with pytest.raises(SignalError) as caught:
        made(rows, **fields)
    assert words in str(caught.value)


def test_rows_without_a_value_at_the_end_are_a_shorter_forecast():
    """Their quantiles too; what is left must tell the step."""
    rows = [(0, 5.0), (1, 6.0), (2, None), (3, None)]
    got = made(rows, quantiles={0.1: [4.0, 5.0, 6.0, 7.0]})
    assert (list(got.values), got.end_utc) == ([5.0, 6.0], NOW + 2 * HALF)
    assert list(got.quantiles[0.1]) == [4.0, 5.0]
    with pytest.raises(SignalError, match="one value alone has no step"):
        made([(0, 5.0), (1, None)])


def test_one_row_of_known_length_is_a_series():
    """A meter that says what is now."""
    assert made([(0, 5.0)], step_s=300.0).end_utc == NOW + timedelta(minutes=5)


@given(st.integers(1, 5000), st.floats(1, 7200))
def test_small_errors_of_rounding_do_not_add_up_to_a_gap(count, step_s):
    """Thousands of odd steps, each rounded to microseconds."""
    rows = [(NOW + timedelta(seconds=n * step_s), 1.0) for n in range(count)]
    got = series_from_slots(rows, provider="p", issued_utc=NOW, step_s=step_s)
    assert len(got.values) == count


@pytest.mark.parametrize("bad", [None, "5", True, [], float("nan"), float("inf"), -1, 1e6])
def test_what_is_no_amount_says_where(bad):
    """Text, flags, NaN, less than nothing and another unit."""
    with pytest.raises(SignalError, match=r"^row 3: "):
        amount(bad, "row 3")


def test_a_whole_number_no_float_holds_is_no_amount():
    """JSON has them."""
    with pytest.raises(SignalError, match=r"^row 3: "):
        amount(10**400, "row 3")


def test_amounts():
    """Whole numbers too; prices below nothing, watts of a power station."""
    assert amount(5, "x") == 5.0
    assert (amount(0, "x"), amount(0.5, "x")) == (0.0, 0.5)
    assert amount(-0.1, "x", "price_per_kwh") == -0.1
    with pytest.raises(SignalError, match="out of range"):
        amount(-1e6, "x", "price_per_kwh")
    assert amount(1e9, "x", "renewable_w") == 1e9


@pytest.mark.parametrize("minutes", [-1, 61])
def test_a_forecast_must_reach_from_now_to_far_enough(minutes):
    """A horizon that was cut, and one that begins later."""
    one = made([(n, 1.0) for n in range(4)])
    with pytest.raises(SignalError, match="wanted from now to 1 h ahead"):
        must_reach(one, NOW + timedelta(minutes=minutes), 3600.0)


@pytest.mark.parametrize("minutes", [0, 30, 60])
def test_a_forecast_that_reaches_is_itself(minutes):
    """To the second."""
    one = made([(n, 1.0) for n in range(4)])
    assert must_reach(one, NOW + timedelta(minutes=minutes), 3600.0) is one
