# SPDX-License-Identifier: Apache-2.0
"""The series type: coverage, means, parts, finer steps, what follows it, and what it refuses."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.series import Series, Stretch

START = datetime(2026, 3, 29, tzinfo=UTC)
AMOUNTS = st.floats(0, 1000)


def series(values, step_s=1800.0, start=START, **fields):
    return Series(
        start_utc=start,
        step_s=step_s,
        values=np.array(values, dtype=np.float64),
        **({"issued_utc": START, "provider": "t"} | fields),
    )


@st.composite
def known(draw, start=START, step_s=1800.0, shares=(0.1, 0.5, 0.9), provider="t"):
    """A series with quantiles at some shares, some of them unknown, and one or two origins."""
    values = draw(st.lists(AMOUNTS, min_size=1, max_size=12))
    given = draw(st.lists(st.sampled_from(shares), unique=True)) if shares else []
    bands = [sorted(draw(st.tuples(*[AMOUNTS] * len(given)))) for _ in values]
    quantiles = {
        share: np.array([band[n] for band in bands]) for n, share in enumerate(sorted(given))
    }
    first = draw(st.integers(0, len(values) - 1))
    provenance = ()
    if first:
        provenance = tuple(
            Stretch(steps=steps, provider=f"{provider}{n}", issued_utc=START)
            for n, steps in enumerate((first, len(values) - first))
        )
    return series(
        values, step_s, start, quantiles=quantiles, provenance=provenance, provider=provider
    )


def whole(one):
    """What must hold of every series, wherever it came from."""
    assert sum(stretch.steps for stretch in one.stretches) == len(one.values)
    assert all(stretch.steps > 0 for stretch in one.stretches)
    high = np.full(len(one.values), -np.inf)
    for amounts in one.quantiles.values():
        assert amounts.shape == one.values.shape
        assert not (amounts < high - 1e-9).any()
        high = np.fmax(high, amounts)


def test_mean_weighs_parts_of_steps():
    """Half of the first step and a whole second one."""
    got = series([100.0, 400.0]).mean(START + timedelta(minutes=15), START + timedelta(hours=1))
    assert got == pytest.approx((100 * 900 + 400 * 1800) / 2700)


def test_mean_of_an_instant_is_its_value():
    """No division by zero for an empty interval."""
    assert series([100.0, 400.0]).mean(START, START) == 100.0


@pytest.mark.parametrize("minutes", [(-1, 10), (10, 61), (70, 80)])
def test_outside_is_refused(minutes):
    """Nothing is extrapolated at either end."""
    begin, end = (START + timedelta(minutes=m) for m in minutes)
    with pytest.raises(SignalError, match="covers"):
        series([100.0, 400.0]).mean(begin, end)


@pytest.mark.parametrize("bad", [[], [float("nan")], [-1.0], [1.0, float("inf")], [100_001.0]])
def test_bad_values_are_refused(bad):
    """Empty, NaN, negative, infinite and absurd are no signal."""
    with pytest.raises(SignalError):
        series(bad)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"values": np.ones((2, 2))}, "is empty"),
        ({"step_s": 0.0}, "step 0.0 s is not positive"),
        ({"step_s": math.inf}, "is not positive"),
        ({"start_utc": datetime(2026, 3, 29)}, "must carry a time zone"),  # noqa: DTZ001
        ({"issued_utc": datetime(2026, 3, 29)}, "must carry a time zone"),  # noqa: DTZ001
        ({"quantity": "carbon"}, "'carbon' is no quantity; there are carbon_g_per_kwh"),
        ({"quantiles": {0.0: np.ones(2)}}, "is no quantile's share"),
        ({"quantiles": {1.0: np.ones(2)}}, "is no quantile's share"),
        ({"quantiles": {0.1: np.ones(3)}}, "quantile 0.1 is malformed"),
        ({"quantiles": {0.1: np.array([1, np.inf])}}, "quantile 0.1 is malformed"),
        ({"quantiles": {0.9: np.ones(2), 0.1: np.full(2, 2.0)}}, "quantiles cross at 0.9"),
        (
            {"provenance": (Stretch(steps=3, provider="t", issued_utc=START),)},
            "its provenance covers 3 of 2 steps",
        ),
        (
            {"provenance": (Stretch(steps=2, provider="t", issued_utc=datetime(2026, 3, 29)),)},  # noqa: DTZ001
            "must carry a time zone",
        ),
    ],
)
def test_what_cannot_be_a_signal_is_refused(fields, words):
    """One sentence that begins with whose it is."""
    with pytest.raises(SignalError) as caught:
        replace(series([1.0, 2.0]), **fields)
    assert words in str(caught.value)


def test_prices_may_be_negative():
    """A windy night; but not below what any market has seen."""
    assert series([-0.05], quantity="price_per_kwh").at(START) == -0.05
    with pytest.raises(SignalError, match="from -100000 to 100000"):
        series([-100_001.0], quantity="price_per_kwh")


@pytest.mark.parametrize("paid", [185.0, 1_450.0, 3_266.0, 24_000.0])
def test_prices_may_be_in_a_currency_of_small_units(paid):
    """Won, rupiah, dong and Lebanese pounds."""
    assert series([paid], quantity="price_per_kwh").at(START) == paid


def test_quantiles_cross_beside_an_unknown_one_too():
    """p10 above p90 where p50 is not known."""
    crossing = {0.1: np.array([9.0]), 0.5: np.array([np.nan]), 0.9: np.array([1.0])}
    with pytest.raises(SignalError, match="cross"):
        series([5.0], quantiles=crossing)


@pytest.mark.parametrize("amount", [-1.0, 1e9])
def test_quantiles_are_amounts_too(amount):
    """No grid emits less than nothing, in its p10 either."""
    with pytest.raises(SignalError):
        series([5.0], quantiles={0.1: np.array([amount])})


@given(st.lists(AMOUNTS, min_size=2, max_size=20), st.floats(0, 1))
def test_means_add_up(values, cut):
    """The mean over a whole is the weighted mean of its two parts, wherever it is cut."""
    one = series(values)
    middle = START + (one.end_utc - START) * cut
    left = one.mean(START, middle) * (middle - START).total_seconds()
    right = one.mean(middle, one.end_utc) * (one.end_utc - middle).total_seconds()
    assert left + right == pytest.approx(one.cumulative[-1], abs=1e-3)


def test_a_quantile_nobody_knows_is_none():
    """Not 0 and not the value: a share that is missing, and a step that is."""
    one = series([1.0, 2.0], quantiles={0.9: np.array([3.0, np.nan])})
    assert one.quantile_at(0.9, START) == 3.0
    assert one.quantile_at(0.9, START + timedelta(minutes=30)) is None
    assert one.quantile_at(0.1, START) is None


def test_ages():
    """Age is since its issue; stale is since somebody last stood behind it."""
    one = series([1.0])
    later = START + timedelta(hours=3)
    assert (one.age_s(later), one.stale_s(later)) == (10_800, 10_800)
    vouched = replace(one, vouched_utc=START + timedelta(hours=2))
    assert (vouched.age_s(later), vouched.stale_s(later)) == (10_800, 3600)
    assert vouched.stretches[0].age_s(later) == 10_800
    assert vouched.stretches[0].age_s(vouched.issued_utc - timedelta(seconds=0.7)) == 0


def test_the_origin_of_a_value():
    """Each step's own, and beyond either end the nearest."""
    origins = (
        Stretch(steps=1, provider="a", issued_utc=START),
        Stretch(steps=2, provider="b", issued_utc=START, kind="climatology"),
    )
    one = series([1.0, 2.0, 3.0], provenance=origins)
    for minutes, name in ((-99, "a"), (0, "a"), (29, "a"), (30, "b"), (89, "b"), (999, "b")):
        assert one.origin_at(START + timedelta(minutes=minutes)).provider == name
    assert one.origin_at(START).kind == "forecast"


def test_another_name_for_the_same_signal():
    """A cache says that it is one, in the steps that were the provider's and no others."""
    origins = (
        Stretch(steps=1, provider="t", issued_utc=START),
        Stretch(steps=1, provider="built-in", issued_utc=START),
    )
    got = series([1.0, 2.0], provenance=origins).relabelled("cache(t)")
    assert [got.provider, *(one.provider for one in got.stretches)] == [
        "cache(t)",
        "cache(t)",
        "built-in",
    ]
    assert series([1.0]).relabelled("x").stretches[0].provider == "x"


@given(known(), st.floats(-2, 14), st.floats(0.01, 14))
def test_a_part_has_the_whole_steps_that_touch_the_span(one, begin, length):
    """Values, quantiles and origins of those steps, at the same instants."""
    start = START + timedelta(minutes=30 * begin)
    end = start + timedelta(minutes=30 * length)
    if end <= one.start_utc or start >= one.end_utc:
        with pytest.raises(SignalError, match="no step in the span"):
            one.part(start, end)
        return
    got = one.part(start, end)
    whole(got)
    assert one.start_utc <= got.start_utc
    assert got.end_utc <= one.end_utc
    assert got.start_utc <= max(start, one.start_utc) < got.start_utc + timedelta(minutes=30)
    assert got.end_utc - timedelta(minutes=30) < min(end, one.end_utc) <= got.end_utc
    for at in (got.start_utc, got.end_utc - timedelta(seconds=1)):
        assert got.at(at) == one.at(at)
        assert got.origin_at(at).provider == one.origin_at(at).provider
        for share in one.quantiles:
            assert got.quantile_at(share, at) == one.quantile_at(share, at)


@given(known(), st.integers(1, 60))
def test_finer_steps_say_the_same(one, ratio):
    """Every instant keeps its value, quantiles and origin."""
    got = one.in_steps_of(1800.0 / ratio)
    whole(got)
    assert (got.start_utc, got.end_utc) == (one.start_utc, one.end_utc)
    assert list(got.values[::ratio]) == list(one.values)
    assert [stretch.steps for stretch in got.stretches] == [
        stretch.steps * ratio for stretch in one.stretches
    ]


@pytest.mark.parametrize("step_s", [3600.0, 1000.0, 1799.0])
def test_steps_that_do_not_divide_are_refused(step_s):
    """Values are never averaged in silence."""
    with pytest.raises(SignalError, match="do not divide"):
        series([1.0]).in_steps_of(step_s)


@given(
    known(provider="head", step_s=3600.0) | known(provider="head"),
    st.data(),
    st.sampled_from([900.0, 1800.0, 3600.0]),
    st.integers(-12, 0),
    st.sampled_from([0.0, 0.25, 0.5]),
)
def test_what_follows_a_series_leaves_it_as_it_is(head, data, step_s, early, shift):
    """The head's values, quantiles and issue stay; then the other's, to the later end."""
    start = head.end_utc + timedelta(seconds=step_s * (early + shift * (early < 0)))
    tail = data.draw(known(start=start, step_s=step_s, provider="tail"))
    got = head.followed_by(tail)
    whole(got)
    assert (got.start_utc, got.issued_utc, got.provider) == (START, START, "head")
    fine = min(head.step_s, step_s)
    count = round((head.end_utc - START).total_seconds() / got.step_s)
    assert got.step_s in (head.step_s, fine)
    assert list(got.values[:count]) == list(head.in_steps_of(got.step_s).values)
    if tail.end_utc <= head.end_utc:
        assert got is head
    else:
        # Shifted grids may lose what is less than a step at the very end.
        assert timedelta(0) <= tail.end_utc - got.end_utc < timedelta(seconds=fine)
    for n in range(len(got.values)):
        middle = got.start_utc + timedelta(seconds=(n + 0.5) * got.step_s)
        of = head if middle < head.end_utc else tail
        assert got.at(middle) == of.at(middle)
        assert got.origin_at(middle).provider == of.origin_at(middle).provider
        for share in (0.1, 0.5, 0.9):
            assert got.quantile_at(share, middle) == of.quantile_at(share, middle)


def test_nothing_may_be_missing_between_the_two():
    """A gap is not filled with the last value."""
    one = series([1.0])
    with pytest.raises(SignalError, match="late begins after t ends"):
        one.followed_by(series([2.0], start=one.end_utc + timedelta(minutes=1), provider="late"))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"basis": "marginal"}, "basis"),
        ({"scope": "direct"}, "scope"),
        ({"quantity": "price_per_kwh"}, "quantity"),
        ({"time_scale": 2.0}, "time_scale"),
    ],
)
def test_what_is_of_another_kind_does_not_follow(fields, name):
    """Average and marginal, direct and life-cycle, carbon and price: never one series."""
    later = series([0.5, 0.6], start=START + timedelta(minutes=30), provider="other", **fields)
    with pytest.raises(SignalError, match=f"other cannot go on where t ends: {name} is"):
        series([1.0]).followed_by(later)


def test_times_of_other_zones_are_the_same_instants():
    """A start in local time with its offset is as good as in UTC."""
    summer = timezone(timedelta(hours=2))
    one = series([1.0, 2.0], start=START.astimezone(summer))
    assert one.at(START + timedelta(minutes=31)) == 2.0
    assert one.part(START, START + timedelta(minutes=1)).start_utc == START
