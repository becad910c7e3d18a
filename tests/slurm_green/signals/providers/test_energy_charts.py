# SPDX-License-Identifier: Apache-2.0
"""Energy-Charts against a local server that answers in the shapes of its API v2."""

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError
from slurm_green.signals.providers.energy_charts import EnergyCharts
from slurm_green.signals.providers.energy_charts_price import EnergyChartsPrices

NOW = datetime(2026, 10, 24, 11, 20, tzinfo=UTC)  # tomorrow has 25 hours in Germany
HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHT = datetime(2026, 10, 23, 22, tzinfo=UTC)
END = datetime(2026, 10, 25, 23, tzinfo=UTC)


def answer(columns, start, *, minutes=15, **fields):
    """Rows of local times with their offset, as the API writes them."""
    count = max(len(one) for one in columns.values())
    rows = [
        {
            "timestamp": (start + timedelta(minutes=minutes * i)).astimezone(BERLIN).isoformat(),
            "values": {name: one[i] for name, one in columns.items() if i < len(one)},
        }
        for i in range(count)
    ]
    return {
        "schema_version": "2.0", "country": "de", "bidding_zone": None, "unit": "MW",
        "timezone": "Europe/Berlin", "resolution": f"PT{minutes}M", "interval_minutes": minutes,
        "license": "CC BY 4.0 (creativecommons.org/licenses/by/4.0)", "deprecated": False,
        "attributes": {}, "series": [{"id": name, "name": name} for name in columns],
        "data": rows, **fields,
    }  # fmt: skip


def mix(days=16, **spoilt):
    """A past in hours whose intensity is an exact line of the renewable share."""
    hours = int((NOW - (END - timedelta(days=days))) / HOUR)
    share = 50 + 40 * np.sin(np.arange(hours) / 9)
    columns = {
        "wind_onshore": list(600 * share),
        "fossil_hard_coal": list(600 * (100 - share)),
        "hydro_pumped_storage": [900.0] * hours,
        "hydro_pumped_storage_consumption": [-900.0] * hours,
        "cross_border_electricity_trading": [-5000.0] * hours,
        "load": [60_000.0] * hours,
        "renewable_share_of_load": list(share),
        "nuclear": [None] * hours,
    }
    return answer(
        columns, END - timedelta(days=days), minutes=60, endpoint="public_power", **spoilt
    )


def signal(values=None, **fields):
    values = list(np.linspace(20, 70, 196)) if values is None else values
    fields = {"endpoint": "signal", "unit": "%", "attributes": {"substitute": "False"}, **fields}
    return answer({"share": values, "signal": [1] * len(values)}, MIDNIGHT, **fields)


def prices(values, start=MIDNIGHT, **fields):
    fields = {"country": None, "bidding_zone": "DE-LU", "unit": "EUR / MWh", **fields}
    return answer({"day_ahead_price": values}, start, **fields)


def charts(client, url, **options):
    return EnergyCharts(client, **{"country": "de", "base_url": url, **options})


def auction(client, url, **options):
    return EnergyChartsPrices(client, **{"bidding_zone": "DE-LU", "base_url": url, **options})


def failure(client, url, make=charts, kind=SignalError, **options):
    with pytest.raises(kind) as caught:
        make(client, url, **options).fetch(NOW)
    text = str(caught.value)
    assert text.startswith(make(client, url).name + ": ")
    assert "\n" not in text
    return text


def test_the_derived_forecast(api, client):
    """Two questions; intensity by the foreseen share, in hours, labelled as derived."""
    url, script = api
    script.on("/v2/public_power?", mix())
    script.on("/v2/signal?", signal())
    got = charts(client, url + "/", refuse_substitute=True).fetch(NOW)
    assert script.paths == [
        "/v2/public_power?country=de&start=2026-10-09T11%3A00Z&end=2026-10-24T12%3A00Z",
        "/v2/signal?country=de",
    ]
    assert (got.start_utc, got.step_s, got.end_utc) == (NOW.replace(minute=0), 3600, END)
    share = np.linspace(20, 70, 196).reshape(-1, 4).mean(axis=1)[13:]
    np.testing.assert_allclose(got.values, (share * 11 + (100 - share) * 820) / 100)
    assert (got.region, got.basis, got.scope) == ("DE", "average", "life-cycle")
    origin = got.stretches[0]
    assert (origin.provider, origin.kind) == ("energy-charts-derived", "forecast")


def test_a_substitute_is_climatology(api, client):
    """A guess from the usual is labelled as one, and refused where the site wants that."""
    url, script = api
    script.on("/v2/public_power?", mix())
    script.on("/v2/signal?", signal(attributes={"substitute": "True"}))
    assert charts(client, url).fetch(NOW).stretches[0].kind == "climatology"
    assert "a guess from the usual" in failure(client, url, refuse_substitute=True)


def test_the_past(api, client):
    """Quarters to hours by the scope; a quarter without the big type makes no clean hour."""
    url, script = api
    start = NOW.replace(minute=0) - 3 * HOUR
    gas = [50.0] * 4 + [None] * 4 + [30.0] * 4
    script.answer(answer({"fossil_gas": gas, "solar": [50.0] * 12}, start))
    got = charts(client, url, scope="direct").history(start, NOW)
    np.testing.assert_allclose(got.values, [185.0, np.nan, 30 / 80 * 370])
    assert (got.start_utc, got.step_s, got.scope, got.region) == (start, 3600, "direct", "DE")


def test_a_long_past_is_asked_in_parts(api, client):
    """Forty days at once, and a day more before for the types."""
    url, script = api
    script.answer(mix())
    charts(client, url).history(NOW - timedelta(days=60), NOW)
    assert [path[34:] for path in script.paths] == [
        "2026-08-24T11%3A00Z&end=2026-10-03T11%3A00Z",
        "2026-10-03T11%3A00Z&end=2026-10-24T12%3A00Z",
    ]  # fmt: skip


def test_prices(api, client):
    """EUR/MWh to EUR/kWh, negative ones too; tomorrow's nulls end the series."""
    url, script = api
    values = [*np.arange(104.0) - 60, *[None] * 92]
    script.answer(prices(values))
    got = auction(client, url).fetch(NOW)
    assert script.paths == ["/v2/price?bzn=DE-LU&start=2026-10-24T11%3A00Z&end=2026-10-26T11%3A00Z"]
    assert (got.start_utc, got.step_s) == (NOW.replace(minute=15), 900)
    np.testing.assert_allclose(got.values, (np.arange(53.0, 104) - 60) / 1000)
    assert got.values.min() < 0
    assert (got.quantity, got.region) == ("price_per_kwh", "DE-LU")


def test_the_past_of_prices_ends_where_it_was_asked_to(api, client):
    """The API answers in whole hours, and tomorrow's prices are known today."""
    url, script = api
    script.answer(prices([float(n) for n in range(96)]))
    quarter = HOUR / 4
    got = auction(client, url).history(MIDNIGHT + 5 * quarter, MIDNIGHT + 9 * quarter)
    assert got.start_utc == MIDNIGHT + 5 * quarter
    np.testing.assert_allclose([0.005, 0.006, 0.007, 0.008], got.values)


def test_past_prices_across_the_change_to_quarters(api, client):
    """A span of hours and quarters says no step; nulls are gaps."""
    url, script = api
    change = datetime(2025, 9, 30, 22, tzinfo=UTC)
    raw = prices([50.0, 60.0], change - 2 * HOUR, minutes=60, interval_minutes=None)
    raw["data"] += prices([1.0, None, 3.0, 4.0], change)["data"]
    script.answer(raw)
    got = auction(client, url).history(change - 2 * HOUR, change + HOUR)
    assert got.step_s == 900
    np.testing.assert_allclose(got.values * 1000, [50] * 4 + [60] * 4 + [1, np.nan, 3, 4])


@pytest.mark.parametrize(
    "make",
    [
        lambda client: EnergyCharts(client, country="DE"),
        lambda client: EnergyCharts(client, country="de&x=1"),
        lambda client: EnergyCharts(client, country="de", scope="marginal"),
        lambda client: EnergyCharts(client, country="de", learn_days=1),
        lambda client: EnergyChartsPrices(client, bidding_zone="de-lu"),
        lambda client: EnergyChartsPrices(client, bidding_zone="DE-LU/../x"),
    ],
)
def test_bad_arguments(client, make):
    """Nothing is asked about what cannot be a place."""
    with pytest.raises(SignalError, match="energy-charts"):
        make(client)


@pytest.mark.parametrize("make", [charts, auction])
def test_http_trouble(api, client, make):
    """Each kind of refusal, and silence, in one sentence."""
    url, script = api
    for status in (400, 404, 422, 500, 503):
        script.answer({"detail": "x"}, status=status)
        assert f"answered {status}" in failure(client, url, make)
    script.answer({}, status=403)
    failure(client, url, make, KeyRefusedError)
    assert "cannot be reached" in failure(client, "http://127.0.0.1:9", make)
    script.hang = threading.Event()
    client.timeout = httpx.Timeout(0.2)
    assert "no answer in time" in failure(client, url, make)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [({"Retry_After": "6"}, 6.0), ({"Retry_After": "Sat, 24 Oct 2026 11:21:00 GMT"}, 60.0),
     ({}, None)],
)  # fmt: skip
def test_too_many_questions(api, client, headers, wait_s):
    """The limit this API is known for."""
    url, script = api
    script.answer({}, status=429, **headers)
    with pytest.raises(RateLimitedError, match="429") as caught:
        auction(client, url).fetch(NOW)
    assert caught.value.retry_after_s == wait_s


def without(raw, key):
    return {name: value for name, value in raw.items() if name != key}


GOOD = [50.0] * 196


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (prices(GOOD, bidding_zone="FR"), "asked for bidding_zone DE-LU, the answer is for 'FR'"),
        (without(prices(GOOD), "bidding_zone"), "the answer is for 'None'"),
        (prices(GOOD, unit="EUR / kWh"), "wanted EUR/MWh, got 'EUR / kWh'"),
        (prices(GOOD, interval_minutes=7), "steps of 7 minutes"),
        (prices([*GOOD[:90], None, *GOOD[91:]]), "has no value"),
        (prices([*GOOD[:90], "1", *GOOD[91:]]), "row 90: '1' is no number"),
        (prices([*GOOD[:90], 9e9, *GOOD[91:]]), "out of range"),
        (prices(GOOD[:56]), "the forecast reaches from"),
        (prices(GOOD[:40]), "no values"),
        (prices([]), "no values"),
        (
            answer({"x": GOOD}, MIDNIGHT, bidding_zone="DE-LU", unit="EUR / MWh"),
            "no row has values",
        ),
        (prices(GOOD, data=prices(GOOD)["data"][:80] + prices(GOOD)["data"][90:]), "leaves a gap"),
        (prices(GOOD, data=prices(GOOD)["data"][:80] * 2), "overlaps the row before"),
        (prices(GOOD, data=[{"timestamp": "2026-10-24T11:15", "values": {}}]), "is not a time"),
        (prices(GOOD, data=[{"time": "2026-10-24T11:15Z"}]), "did the API change?"),
        (prices(GOOD, data=[None]), "did the API change?"),
        ({"unix_seconds": [1], "price": [1]}, "did the API change?"),
        ([], "did the API change?"),
        (b"<html>", "not JSON"),
    ],
)
def test_spoilt_prices(api, client, raw, words):
    """Other zones, units, steps and shapes, holes and nulls are refused by name."""
    url, script = api
    script.answer(raw)
    assert words in failure(client, url, auction)


@pytest.mark.parametrize(
    ("path", "raw", "words"),
    [
        ("public_power", mix(country="fr"), "asked for country de, the answer is for 'fr'"),
        ("public_power", mix(unit="GW"), "wanted MW, got 'GW'"),
        ("public_power", mix(series=[{"name": "Solar"}]), "no ids in `series`"),
        ("public_power", mix(series=[{"id": "fusion"}]), "a type 'fusion' without a factor"),
        ("public_power", mix(days=3), "hours of history to learn from"),
        ("public_power", mix(data=[]), "no generation"),
        ("signal", signal(country="at"), "the answer is for 'at'"),
        ("signal", signal([-1.0] * 196), "-1 % is out of range"),
        ("signal", signal([50.0] * 40), "does not cover now"),
        ("signal", signal([50.0] * 56), "the forecast reaches from"),
        ("signal", answer({"ren": [50.0] * 196}, MIDNIGHT), "no row has values of share"),
    ],
)
def test_spoilt_forecasts(api, client, path, raw, words):
    """One answer of the two that is unusable spoils the estimate."""
    url, script = api
    script.on("/v2/public_power?", mix())
    script.on("/v2/signal?", signal())
    script.on(f"/v2/{path}?", raw)
    assert words in failure(client, url)
