# SPDX-License-Identifier: Apache-2.0
"""The Electricity Maps client against a local server that answers in recorded shapes."""

import copy
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError
from slurm_green.signals.providers.electricity_maps import ElectricityMaps

NOW = datetime(2026, 8, 22, 17, 34, 24, tzinfo=UTC)
HOUR = datetime(2026, 8, 22, 17, tzinfo=UTC)
KEY = "kEy-0123456789abcdef"
CARBON = "carbon-intensity"
UNAUTHORIZED = {"error": "Request unauthorized for zoneKey=DK-DK2,requestType=past."}


def stamp(when):
    return f"{when:%Y-%m-%dT%H:%M}:00.000Z"


def forecast(hours=73, step_m=60, **changes):
    """As recorded in August 2026: bare rows, the current hour first, both ends included."""
    rows = [
        {"carbonIntensity": 77 + i, "datetime": stamp(HOUR + i * timedelta(minutes=step_m))}
        for i in range(hours)
    ]
    return {"zone": "DK-DK2", "forecast": rows, "updatedAt": "2026-08-22T17:04:24.392Z",
            "temporalGranularity": "hourly"} | changes  # fmt: skip


def past(start, values, key="data", **changes):
    """Rows of `past-range` (data) and `history` (history); v3 leaves flowTraced out."""
    rows = [
        {"zone": "DK-DK2", "carbonIntensity": value, "datetime": stamp(start + timedelta(hours=i)),
         "updatedAt": "2026-08-22T14:04:43.351Z", "createdAt": "2026-08-20T22:34:38.311Z",
         "emissionFactorType": "lifecycle", "flowTraced": True, "isEstimated": False,
         "estimationMethod": None} | changes
        for i, value in enumerate(values)
    ]  # fmt: skip
    return {"zone": "DK-DK2", key: rows, "temporalGranularity": "hourly"}


def maps(client, url, **options):
    return ElectricityMaps(client, **{"key": KEY, "zone": "DK-DK2", "base_url": url} | options)


def asked(path):
    parts = urlsplit(path)
    return parts.path, dict(parse_qsl(parts.query))


def failure(call, kind=SignalError):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("electricity-maps: ")
    assert "\n" not in text
    assert KEY not in text + repr(caught.value)
    return text


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_forecast(api, client, version):
    """What is asked with which header, the hours, and what is said about them."""
    url, script = api
    script.answer(forecast())
    one = maps(client, url + "/", version=version)
    got = one.fetch(NOW)
    assert asked(script.paths[0]) == (
        f"/{version}/carbon-intensity/forecast",
        {"zone": "DK-DK2", "temporalGranularity": "hourly", "disableCallerLookup": "true",
         "horizonHours": "72"},
    )  # fmt: skip
    assert script.asked[0]["auth-token"] == KEY
    assert KEY not in script.paths[0] + repr(one)
    assert (got.start_utc, got.step_s) == (HOUR, 3600.0)
    assert [77.0 + i for i in range(73)] == list(got.values)
    assert (got.region, got.basis, got.scope) == ("DK-DK2", "average", "life-cycle")
    assert (got.provider, got.unit) == ("electricity-maps", "gCO2e/kWh")
    assert datetime(2026, 8, 22, 17, 4, 24, 392000, tzinfo=UTC) == got.issued_utc
    for updated in ("2026-08-22T17:40:00Z", None):  # never in the future, and now if not said
        script.answer(forecast(updatedAt=updated))
        assert one.fetch(NOW).issued_utc == NOW


def test_a_null_at_the_end_makes_it_shorter(api, client):
    """The last hour is not known yet: the others are."""
    url, script = api
    raw = forecast()
    raw["forecast"][-1]["carbonIntensity"] = None
    script.answer(raw)
    assert list(maps(client, url).fetch(NOW).values) == [77.0 + i for i in range(72)]


def test_quarter_hours(api, client):
    """The finer grid is asked for by its name and comes in its steps."""
    url, script = api
    script.answer(forecast(97, 15, temporalGranularity="15_minutes"))
    one = maps(client, url, granularity="15_minutes", horizon_hours=24, min_horizon_s=0)
    got = one.fetch(NOW)
    assert asked(script.paths[0])[1]["temporalGranularity"] == "15_minutes"
    assert (got.step_s, len(got.values)) == (900.0, 97)
    script.answer(forecast(97, 60, temporalGranularity=None))
    assert "wanted steps of 0:15:00" in failure(lambda: one.fetch(NOW))


@pytest.mark.parametrize(
    "options",
    [{"zone": " "}, {"key": ""}, {"key": "a\nb"}, {"key": "schlüssel"}, {"version": "v5"},
     {"emission_factor_type": "life-cycle"}, {"granularity": "daily"}, {"horizon_hours": 25},
     {"horizon_hours": 6}, {"horizon_hours": 24, "min_horizon_s": 90_000.0}],
)  # fmt: skip
def test_what_the_api_does_not_offer_is_refused_before_asking(client, options):
    """Also a key that would end up in the HTTP library's message."""
    failure(lambda: maps(client, "http://127.0.0.1:9", **options))


def _set(number, **changes):
    return lambda raw: raw["forecast"][number].update(changes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda raw: raw.update(zone="FR"), "asked for zone DK-DK2, the answer is for 'FR'"),
        (lambda raw: raw.pop("zone"), "names no zone; did the API change?"),
        (lambda raw: raw.pop("forecast"), "no list `forecast`; did the API change?"),
        (lambda raw: raw.update(forecast=[]), "holds no values"),
        (lambda raw: raw.update(temporalGranularity="daily"), "asked for hourly, the answer is"),
        (lambda raw: raw.update(emissionFactorType="direct"), "asked for lifecycle emissions"),
        (lambda raw: raw.update(updatedAt="yesterday"), "updatedAt: 'yesterday' is not a time"),
        (_set(3, carbonIntensity=None), "row 3 (2026-08-22T20:00Z) has no value"),
        (_set(3, carbonIntensity="80"), "is no number"),
        (_set(3, carbonIntensity=-1), "out of range"),
        (_set(3, zone="FR"), "row 3 is for 'FR'"),
        (_set(3, datetime="2026-08-22T20:00"), "is not a time"),
        (_set(3, datetime="2026-08-22T20:30:00Z"), "leaves a gap or overlaps"),
        (lambda raw: raw["forecast"].pop(3), "leaves a gap or overlaps"),
        (lambda raw: raw["forecast"].insert(3, raw["forecast"][3]), "leaves a gap or overlaps"),
        (lambda raw: raw["forecast"][3].pop("datetime"), "lacks datetime; did the API change?"),
        (lambda raw: raw["forecast"][3].pop("carbonIntensity"), "did the API change?"),
        (lambda raw: raw["forecast"].__delitem__(slice(24, None)), "the forecast reaches from"),
        (lambda raw: raw["forecast"].pop(0), "the forecast reaches from"),
    ],
)
def test_spoilt_forecasts(api, client, spoil, words):
    """One bad row spoils the answer: a plan must not lean on half of it."""
    url, script = api
    raw = copy.deepcopy(forecast())
    spoil(raw)
    script.answer(raw)
    assert words in failure(lambda: maps(client, url).fetch(NOW))


def test_direct_emissions_have_no_silent_forecast(api, client):
    """An answer that does not say which emissions it counts is no answer about direct ones."""
    url, script = api
    script.answer(forecast())
    one = maps(client, url, emission_factor_type="direct")
    assert "does not say that it is of direct" in failure(lambda: one.fetch(NOW))
    script.answer(forecast(emissionFactorType="direct"))
    assert one.fetch(NOW).scope == "direct"
    assert asked(script.paths[0])[1]["emissionFactorType"] == "direct"


@pytest.mark.parametrize("status", [401, 403])
def test_a_plan_without_forecasts_is_told_from_a_bad_key(api, client, status):
    """Both get the same status, so the latest value is asked for."""
    url, script = api
    script.on(f"/v4/{CARBON}/forecast", UNAUTHORIZED, status)
    script.on(f"/v4/{CARBON}/latest", UNAUTHORIZED, status)
    text = failure(lambda: maps(client, url).fetch(NOW), KeyRefusedError)
    assert f"answered {status}, the key is expired, wrong, or not for this" in text
    script.on(f"/v4/{CARBON}/latest", {"zone": "DK-DK2", "carbonIntensity": 75})
    text = failure(lambda: maps(client, url).fetch(NOW), KeyRefusedError)
    assert "the key is good, but its plan does not include forecast of 72 h for DK-DK2" in text


def test_too_many_requests(api, client):
    """Retry-After in both forms is handed on."""
    url, script = api
    for after, wait_s in (("120", 120.0), ("Sat, 22 Aug 2026 17:44:24 GMT", 600.0)):
        script.answer({}, status=429, Retry_After=after)
        with pytest.raises(RateLimitedError, match="429") as caught:
            maps(client, url).fetch(NOW)
        assert wait_s == caught.value.retry_after_s


def test_no_answer_and_a_broken_one(api, client):
    """Whatever comes back, it is one sentence; an outage is named, and bounded in time."""
    url, script = api
    for rubbish in (b"", b"<html>", b'{"zone": "DK-DK2", ', [], 7, None, {}):
        script.answer(rubbish)
        failure(lambda: maps(client, url).fetch(NOW))
    script.answer({"error": "x"}, status=500)
    assert "answered 500" in failure(lambda: maps(client, url).fetch(NOW))
    script.hang = threading.Event()
    client.timeout = httpx.Timeout(0.2)
    assert "no answer in time" in failure(lambda: maps(client, url).fetch(NOW))


def test_history_by_range(api, client):
    """Ten days at a time, gaps where nothing is known, and no hour that is not over."""
    url, script = api
    start = HOUR - timedelta(days=12)
    script.answer(past(HOUR - timedelta(hours=3), [80, None, 83, 75]))
    got = maps(client, url).history(start, NOW)
    spans = [asked(path)[1] for path in script.paths]
    assert [(one["start"], one["end"]) for one in spans] == [
        ("2026-08-10T17:00:00Z", "2026-08-20T17:00:00Z"),
        ("2026-08-20T17:00:00Z", "2026-08-22T17:34:24Z"),
    ]
    assert {one["emissionFactorType"] for one in spans} == {"lifecycle"}
    assert asked(script.paths[0])[0] == "/v4/carbon-intensity/past-range"
    assert (got.step_s, got.region, got.scope) == (3600.0, "DK-DK2", "life-cycle")
    assert got.start_utc == HOUR - timedelta(hours=3)
    np.testing.assert_array_equal([80.0, np.nan, 83.0], got.values)


def test_history_of_a_free_plan(api, client):
    """The last day where the plan has no range; a sentence where that is not what was asked."""
    url, script = api
    script.on(f"/v4/{CARBON}/past-range", UNAUTHORIZED, 401)
    script.on(f"/v4/{CARBON}/history", past(HOUR - timedelta(hours=23), range(24), "history"))
    for hours, known in ((60 * 24, 23), (3, 2)):
        got = maps(client, url).history(NOW - timedelta(hours=hours), NOW)
        assert (got.known, got.end_utc) == (known, HOUR)
    old = NOW - timedelta(days=60), NOW - timedelta(days=30)
    assert "has the last 24 h only" in failure(lambda: maps(client, url).history(*old))


def test_estimated_values_are_gaps_where_they_are_refused(api, client):
    """A past that is all estimated is then no past."""
    url, script = api
    raw = past(HOUR - timedelta(hours=3), [80, 81, 82])
    raw["data"][1]["isEstimated"] = True
    del raw["data"][2]["isEstimated"]
    script.answer(raw)
    span = NOW - timedelta(days=1), NOW
    assert maps(client, url).history(*span).known == 3
    assert list(maps(client, url, refuse_estimated=True).history(*span).values) == [80.0]


def test_a_past_of_other_emissions_is_refused(api, client):
    """Life-cycle values never pass for direct ones, nor do such that do not say what they are."""
    url, script = api
    one = maps(client, url, emission_factor_type="direct")
    for stated, words in (("lifecycle", "the past is of 'lifecycle'"), (None, "does not say")):
        script.answer(past(HOUR - timedelta(hours=2), [80, 81], emissionFactorType=stated))
        assert words in failure(lambda: one.history(NOW - timedelta(days=1), NOW))
    script.answer(past(HOUR - timedelta(hours=2), [20, 21], emissionFactorType="direct"))
    assert one.history(NOW - timedelta(days=1), NOW).scope == "direct"
