# SPDX-License-Identifier: Apache-2.0
"""From generation by type to intensity, and from the past to an estimate."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.measured import Measured
from slurm_green.signals.providers.mix import (
    FACTORS,
    derived,
    fuel_of,
    hourly,
    in_quarters,
    mix_history,
)

START = datetime(2026, 10, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(*values, minutes=60, start=START):
    return [(start + timedelta(minutes=minutes * i), value) for i, value in enumerate(values)]


def history(types, hours=48, **options):
    options = {"provider": "p", "region": "R", "scope": "life-cycle", **options}
    return mix_history(types, start_utc=START, end_utc=START + hours * HOUR, **options)


def test_life_cycle_and_direct():
    """Half wind, half lignite, by both columns of the table."""
    types = {"Wind Onshore": at(50.0, 50.0), "Fossil Brown coal/Lignite": at(50.0, 150.0)}
    got = history(types)
    assert list(got.values) == [(11 + 1017) / 2, (11 + 3 * 1017) / 4]
    assert (got.step_s, got.basis, got.scope, got.region) == (3600, "average", "life-cycle", "R")
    got = history(types, scope="direct")
    assert (list(got.values), got.scope) == ([957 / 2, 957 * 3 / 4], "direct")


def test_the_table_is_one_of_emissions():
    """Direct never exceeds life-cycle, and what burns nothing has no direct emissions."""
    assert all(0 <= direct <= life for life, direct in FACTORS.values())
    clean = {"geothermal", "hydro", "marine", "nuclear", "solar", "wind", "wind offshore"}
    assert {0} == {FACTORS[fuel][1] for fuel in clean}


def test_storage_and_imports_are_left_out_and_standstill_is_no_generation():
    """Neither what storage gives, nor what comes from abroad, nor a negative output counts."""
    types = {"Nuclear": at(100.0), "Hydro Pumped Storage": at(900.0), "imports": at(900.0)}
    assert list(history({**types, "Solar": at(-5.0)}).values) == [12.0]


@pytest.mark.parametrize("name", ["Fusion", "", "load"])
def test_an_unknown_type_is_not_ignored(name):
    """A new type without a factor must not make the mix look like the rest."""
    with pytest.raises(SignalError, match="p: the mix has a type"):
        fuel_of(name, "p")


@pytest.mark.parametrize(
    ("minutes", "values", "wanted"),
    [
        (60, (1.0, 2.0), [1.0, 2.0]),
        (30, (1.0, 3.0, 5.0, 7.0), [2.0, 6.0]),
        (15, (1.0, 2.0, 3.0, 6.0), [3.0]),
        (5, (*range(12),), [5.5]),
        (15, (1.0, None, 2.0, 3.0), [2.0]),  # three quarters known
        (15, (1.0, None, None, 3.0), []),
        (15, (1.0, 2.0, 3.0, 6.0, 9.0, 9.0), [3.0]),  # the last hour is not over
    ],
)
def test_hourly_means(minutes, values, wanted):
    """Steps of 5 to 60 minutes; an hour of which too little is known is unknown."""
    assert wanted == list(hourly(at(*values, minutes=minutes)).values())


def test_hourly_means_across_a_change_of_steps():
    """Hours, then quarters: as on the day a market or an operator changed over."""
    points = at(4.0, 8.0) + at(1.0, 2.0, 3.0, 6.0, minutes=15, start=START + 2 * HOUR)
    assert list(hourly(points).values()) == [4.0, 8.0, 3.0]
    points = at(1.0, 2.0, 3.0, 6.0, minutes=15) + at(4.0, 8.0, 5.0, start=START + HOUR)
    assert list(hourly(points).values()) == [3.0, 4.0, 8.0, 5.0]


def test_a_missing_big_type_is_a_gap_for_as_long_as_it_is_missing():
    """Coal vanishes for two hours: those hours must not look clean."""
    types = {"Wind": at(*[70.0] * 5), "Fossil Hard coal": at(30.0, None, None, 30.0, 30.0)}
    mixed = 0.7 * 11 + 0.3 * 820
    np.testing.assert_allclose([mixed, np.nan, np.nan, mixed, mixed], history(types).values)


def test_a_big_type_that_comes_late_is_missed_before():
    """The first hours lack it just as much."""
    types = {"Wind": at(*[70.0] * 3), "coal": at(None, 30.0, 30.0)}
    assert history(types).start_utc == START + HOUR


def test_a_missing_small_type_is_no_gap():
    """4 % of the generation may be missing: some operators leave out the sun at night."""
    types = {"Wind": at(*[96.0] * 3), "Solar": at(None, 4.0, None)}
    np.testing.assert_allclose([11, 0.96 * 11 + 0.04 * 48, 11], history(types).values)


def test_a_type_that_was_closed_is_no_longer_expected():
    """A week after the last value of a plant's type the rest is the mix again."""
    types = {"Wind": at(*[50.0] * 200), "Nuclear": at(*[50.0] * 10)}
    got = history(types, hours=200)
    assert (got.known, float(got.values[-1])) == (10 + (200 - 10 - 168), 11.0)


def test_only_whole_hours_of_the_span():
    """Neither the hours before, given for their types, nor one that ends after the end."""
    early = at(*[50.0] * 6, start=START - 3 * HOUR)
    got = mix_history(
        {"Wind": early},
        provider="p",
        region="R",
        scope="direct",
        start_utc=START,
        end_utc=START + timedelta(hours=2, minutes=30),
    )
    assert (got.start_utc, len(got.values)) == (START, 2)


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ({}, "no generation"),
        ({"Wind": at(None)}, "no generation"),
        ({"Wind": at(0.0)}, "no measured value"),
        ({"Wind": at(9e9)}, "MW of 'Wind' at 2026-10-24T12:00Z is out of range"),
        ({"Wind": at(float("inf"))}, "out of range"),
    ],
)
def test_mixes_of_nothing(types, words):
    """Nothing generated is no clean hour."""
    with pytest.raises(SignalError, match=words):
        history(types)


def past(values):
    return Measured(start_utc=START, step_s=3600, values=values, provider="p", scope="direct")


def test_the_estimate_follows_what_was_learnt():
    """An exact line is found again, and the series says whose and what it is."""
    rng = np.random.default_rng(1)
    share = rng.random(148)
    values = 50 + 400 * share[:100]
    values[7] = np.nan
    hours = int(START.timestamp()) + 3600 * np.arange(148)
    rows = {int(hour): (1.0, one) for hour, one in zip(hours, share, strict=True)}
    now = START + timedelta(hours=110, minutes=20)
    got = derived(past(values), rows, now)
    wanted = np.clip(50 + 400 * share[110:], np.nanmin(values), np.nanmax(values))
    np.testing.assert_allclose(wanted, got.values)
    assert (got.start_utc, got.step_s) == (START + 110 * HOUR, 3600)
    assert (got.provider, got.basis, got.scope) == ("p", "average", "direct")
    assert [(one.provider, one.kind) for one in got.stretches] == [("p-derived", "forecast")]


def test_the_estimate_stays_within_what_was_seen():
    """A share never seen gives no intensity never seen, nor a negative one."""
    rows = {int(START.timestamp()) + 3600 * i: (1.0, i / 100) for i in range(100)}
    rows |= {int(START.timestamp()) + 3600 * i: (1.0, x) for i, x in ((100, 9.0), (101, -9.0))}
    got = derived(past(np.arange(100.0)), rows, START + 100 * HOUR)
    np.testing.assert_allclose([99.0, 0.0], got.values, atol=1e-9)


@pytest.mark.parametrize(
    ("hours", "now_h", "words"),
    [(71, 71, "71 hours of history to learn from"), (90, 90, "does not cover now")],
)
def test_estimates_from_too_little(hours, now_h, words):
    """Too short a past, or nothing about the hours to come."""
    rows = {int(START.timestamp()) + 3600 * i: (1.0, i) for i in range(hours)}
    with pytest.raises(SignalError, match=words):
        derived(past(np.arange(float(hours))), rows, START + now_h * HOUR)


def test_in_quarters():
    """Hours become quarters, by what is said of the step or else by the neighbours."""
    rows = at(4.0, None) + at(1.0, 2.0, 3.0, 6.0, minutes=15, start=START + 2 * HOUR)
    got = in_quarters(rows, None)
    assert [value for _, value in got] == [4.0] * 4 + [None] * 4 + [1.0, 2.0, 3.0, 6.0]
    assert [when for when, _ in got] == [START + timedelta(minutes=15 * i) for i in range(12)]
    rows = at(1.0, 2.0, 3.0, 6.0, minutes=15) + at(4.0, 8.0, None, start=START + HOUR)
    got = in_quarters(rows, None)
    assert [value for _, value in got] == [1.0, 2.0, 3.0, 6.0] + [4.0] * 4 + [8.0] * 4 + [None] * 4
    missing = [*at(1.0, 2.0, minutes=15), *at(4.0, 5.0, minutes=15, start=START + HOUR * 3 / 4)]
    assert len(in_quarters(missing, None)) == 4  # nor what a row would tell that is not there
    quarters = at(1.0, 2.0, minutes=15)
    outages = [*quarters, *at(3.0, 4.0, minutes=120, start=START + timedelta(minutes=135))]
    assert in_quarters(outages, None)[:3] == [*quarters, outages[2]]
    assert in_quarters(at(7.0), 30) == at(7.0, 7.0, minutes=15)
    assert in_quarters([], None) == []
    apart = at(7.0, 8.0, 9.0, minutes=300)
    assert len(in_quarters(apart, None)) == 12  # what lies between them is not known
