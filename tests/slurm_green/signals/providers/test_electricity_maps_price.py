# SPDX-License-Identifier: Apache-2.0
"""Electricity Maps' day-ahead prices against a local server that answers in recorded shapes."""

import copy
import threading
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError
from slurm_green.signals.providers.electricity_maps_price import ElectricityMapsPrice

NOW = datetime(2026, 8, 22, 17, 34, 24, tzinfo=UTC)
HOUR = datetime(2026, 8, 22, 17, tzinfo=UTC)
KEY = "kEy-0123456789abcdef"


def prices(start, values, key="data", step_m=60, **changes):
    """As recorded in August 2026: `combined` has 25 hours from the current one on."""
    rows = [
        {"zone": "DK-DK2", "datetime": f"{start + i * timedelta(minutes=step_m):%Y-%m-%dT%H:%MZ}",
         "createdAt": "2026-08-21T11:30:34.327Z", "updatedAt": "2026-08-21T11:30:34.327Z",
         "value": value, "unit": "EUR/MWh", "source": "nordpool.com"}
        for i, value in enumerate(values)
    ]  # fmt: skip
    return {"zone": "DK-DK2", key: rows, "temporalGranularity": "hourly"} | changes


def maps(client, url, **options):
    given = {"key": KEY, "zone": "DK-DK2", "currency": "eur", "base_url": url} | options
    return ElectricityMapsPrice(client, **given)


def failure(call, kind=SignalError):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("electricity-maps-price: ")
    assert "\n" not in text
    assert KEY not in text
    return text


def test_prices_per_kwh(api, client):
    """Per MWh becomes per kWh; prices may be below zero, and a settled one is not old."""
    url, script = api
    script.answer(prices(HOUR, [141.73, -50, *range(23)]))
    got = maps(client, url).fetch(NOW)
    assert script.paths == [
        "/v4/price-day-ahead/combined?zone=DK-DK2&temporalGranularity=hourly"
        "&disableCallerLookup=true"
    ]
    assert script.asked[0]["auth-token"] == KEY
    np.testing.assert_allclose(got.values[:3], [0.14173, -0.05, 0.0])
    assert (got.quantity, got.region, got.issued_utc) == ("price_per_kwh", "DK-DK2", NOW)
    assert (got.start_utc, got.step_s, len(got.values)) == (HOUR, 3600.0, 25)


def test_a_null_at_the_end_makes_it_shorter(api, client):
    """The last hour is not known yet: the others are."""
    url, script = api
    script.answer(prices(HOUR, [*range(24), None]))
    np.testing.assert_allclose(maps(client, url).fetch(NOW).values, np.arange(24) / 1000)


def test_quarter_hours(api, client):
    """Markets settle quarter hours; they come as such where they are asked for."""
    url, script = api
    script.answer(prices(HOUR, range(100), step_m=15, temporalGranularity="15_minutes"))
    got = maps(client, url, granularity="15_minutes").fetch(NOW)
    assert (got.step_s, got.end_utc) == (900.0, HOUR + timedelta(hours=25))


@pytest.mark.parametrize(
    "options", [{"currency": ""}, {"currency": "EURO"}, {"currency": "E/M"}, {"zone": ""},
                {"key": "a\tb"}, {"granularity": "daily"}]
)  # fmt: skip
def test_what_the_api_does_not_offer_is_refused_before_asking(client, options):
    """There is no default currency either."""
    failure(lambda: maps(client, "http://127.0.0.1:9", **options))


def _set(**changes):
    return lambda raw: raw["data"][3].update(changes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_set(unit="DKK/MWh"), "asked for EUR/MWh, row 3 is in 'DKK/MWh'"),
        (_set(unit=None), "row 3 is in 'None'"),
        (_set(value=None), "row 3 (2026-08-22T20:00Z) has no value"),
        (_set(value="12"), "is no number"),
        (_set(value=True), "is no number"),
        (_set(value=200_000_000), "out of range"),
        (_set(zone="FR"), "asked for zone DK-DK2, row 3 is for 'FR'"),
        (lambda raw: raw["data"][3].pop("value"), "lacks value; did the API change?"),
        (lambda raw: raw["data"].pop(3), "leaves a gap"),
        (lambda raw: raw.pop("data"), "did the API change?"),
        (lambda raw: raw.update(zone="SE-SE4"), "the answer is for 'SE-SE4'"),
        (lambda raw: raw["data"].__delitem__(slice(8, None)), "the forecast reaches from"),
    ],
)
def test_spoilt_prices(api, client, spoil, words):
    """One bad row spoils the answer, another currency does too."""
    url, script = api
    raw = copy.deepcopy(prices(HOUR, range(25)))
    spoil(raw)
    script.answer(raw)
    assert words in failure(lambda: maps(client, url).fetch(NOW))


def test_refusals(api, client):
    """Key, limit, outage and silence are told apart."""
    url, script = api
    script.answer({"error": "Request unauthorized"}, status=401)
    assert "app.electricitymaps.com" in failure(lambda: maps(client, url).fetch(NOW))
    script.on("/v4/price-day-ahead/latest", {"zone": "DK-DK2", "value": 141.73})
    text = failure(lambda: maps(client, url).fetch(NOW), KeyRefusedError)
    assert "the key is good, but its plan does not include combined for DK-DK2" in text
    script.answer({}, status=429, Retry_After="60")
    with pytest.raises(RateLimitedError) as caught:
        maps(client, url).fetch(NOW)
    assert caught.value.retry_after_s == 60.0
    script.answer({}, status=500)
    assert "answered 500" in failure(lambda: maps(client, url).fetch(NOW))
    script.hang = threading.Event()
    client.timeout = httpx.Timeout(0.2)
    assert "no answer in time" in failure(lambda: maps(client, url).fetch(NOW))


@pytest.mark.parametrize("free", [False, True])
def test_past_prices(api, client, free):
    """By range, or the last day where the plan has no range; gaps stay gaps."""
    url, script = api
    start = HOUR - timedelta(hours=3)
    if free:
        script.on("/v4/price-day-ahead/past-range", {}, 401)
    key = "history" if free else "data"
    script.answer(prices(start, [100, None, -20, 141.73], key))
    got = maps(client, url).history(NOW - timedelta(days=1), NOW)
    assert (got.quantity, got.step_s, got.region) == ("price_per_kwh", 3600.0, "DK-DK2")
    np.testing.assert_allclose(got.values, [0.1, np.nan, -0.02])
