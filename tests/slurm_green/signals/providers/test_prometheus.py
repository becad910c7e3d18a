# SPDX-License-Identifier: Apache-2.0
"""The Prometheus client against a local server that answers in the documented shapes."""

import math
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError
from slurm_green.signals.providers.prometheus import Prometheus

NOW = datetime(2026, 11, 24, 12, 2, tzinfo=UTC)
STEP_S = 300
FIRST = int(NOW.timestamp()) // STEP_S  # the step that holds now
PAST = (NOW - timedelta(minutes=22), NOW)  # holds the four whole steps FIRST - 4 to FIRST - 1
SECRET = "sesame-open"


def answer(*values, first=FIRST - 4, **more):
    """A matrix of one series, its samples stamped where the steps end; None leaves one out."""
    ends = ((first + n + 1) * STEP_S for n in range(len(values)))
    samples = [[end, value] for end, value in zip(ends, values, strict=True) if value is not None]
    result = [{"metric": {"site": "roof"}, "values": samples}] if samples else []
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}


def provider(client, url, **options):
    return Prometheus(client, url=url, region="roof", **({"query": "pv_w"} | options))


def failure(act, *, kind=SignalError):
    with pytest.raises(kind) as caught:
        act()
    text = str(caught.value)
    assert text.startswith("prometheus: ")
    assert "\n" not in text
    assert SECRET not in text
    return text


def asked(script):
    """The parameters of each request."""
    return [dict(parse_qsl(urlsplit(path).query)) for path in script.paths]


def test_past(api, client):
    """Means are asked for at the ends of whole steps, and belong to the steps before."""
    url, script = api
    script.answer(answer("1.5", "2", None, "4e3"))
    got = provider(client, url + "/prom/", factor=2).history(*PAST)
    assert urlsplit(script.paths[0]).path == "/prom/api/v1/query_range"
    params = asked(script)[0]
    assert params["query"] == "avg_over_time((pv_w\n)[299999ms:60s])"
    ends = (params["start"], params["end"], params["step"])
    assert (str((FIRST - 3) * STEP_S), str(FIRST * STEP_S), "300") == ends
    assert datetime(2026, 11, 24, 11, 40, tzinfo=UTC) == got.start_utc
    np.testing.assert_array_equal([3.0, 4.0, np.nan, 8000.0], got.values)
    about = (got.quantity, got.step_s, got.region, got.basis, got.scope, got.provider)
    assert about == ("renewable_w", 300.0, "roof", "average", "unknown", "prometheus")
    provider(client, url, mean=False, query="rate(j[5m])").history(*PAST)
    assert asked(script)[1]["query"] == "rate(j[5m])"  # one that says itself what it means


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
def test_what_is_no_number_is_a_gap(api, client, value):
    """Prometheus has samples that are no amounts."""
    url, script = api
    script.answer(answer("1", value, "3"))
    np.testing.assert_array_equal([1.0, np.nan, 3.0], provider(client, url).history(*PAST).values)


def test_long_pasts_are_asked_in_parts(api, client):
    """No more than 11,000 points at once, and no step is asked twice or left out."""
    url, script = api
    script.answer(answer())
    failure(lambda: provider(client, url).history(NOW - timedelta(days=80), NOW))
    spans = [(int(p["start"]) // STEP_S, int(p["end"]) // STEP_S) for p in asked(script)]
    assert [end - start + 1 for start, end in spans] == [11_000, 11_000, 1039]
    assert [one[0] for one in spans[1:]] == [one[1] + 1 for one in spans[:-1]]


def test_forecast(api, client):
    """Values at instants to come, from the step that holds now; the end may be unknown."""
    url, script = api
    script.answer(answer(*["7"] * 150, first=FIRST))
    got = provider(client, url, forecast_query="pv_w offset 1d").fetch(NOW)
    assert "(pv_w offset 1d\n)" in asked(script)[0]["query"]
    assert str((FIRST + 1) * STEP_S) == asked(script)[0]["start"]
    assert datetime(2026, 11, 24, 12, 0, tzinfo=UTC) == got.start_utc
    assert (len(got.values), got.values[0], got.issued_utc) == (150, 7.0, NOW)


@pytest.mark.parametrize(
    ("values", "words"),
    [(["7"] * 100, "the forecast reaches from"), ([], "holds no values"),
     ([None] + ["7"] * 200, "has no value at 2026-11-24T12:00Z"),
     (["7"] * 90 + [None] + ["7"] * 90, "has no value at 2026-11-24T19:30Z")],
)  # fmt: skip
def test_forecasts_that_cannot_be_used(api, client, values, words):
    """Gaps inside and short horizons are refused; without a forecast_query nothing is asked."""
    url, script = api
    assert "stores no future" in failure(lambda: provider(client, url).fetch(NOW))
    assert script.paths == []
    script.answer(answer(*values, first=FIRST))
    assert words in failure(lambda: provider(client, url, forecast_query="f").fetch(NOW))


def test_negative_values(api, client):
    """A meter's noise is refused, or 0 where the site says so; prices may be negative."""
    url, script = api
    script.answer(answer("-0.4", "3"))
    assert "clamp" in failure(lambda: provider(client, url).history(*PAST))
    assert list(provider(client, url, clamp=True).history(*PAST).values) == [0.0, 3.0]
    price = provider(client, url, quantity="price_per_kwh")
    assert list(price.history(*PAST).values) == [-0.4, 3.0]
    huge = provider(client, url, clamp=True, factor=1e12)
    assert "out of range" in failure(lambda: huge.history(*PAST))
    assert "clamp" in failure(lambda: provider(client, url, quantity="price_per_kwh", clamp=True))


def test_several_series_are_refused(api, client):
    """In one answer, or one part after the other: half the roof is no supply."""
    url, script = api
    two, other = answer("1"), answer("2")
    other["data"]["result"][0]["metric"] = {"site": "hall"}
    two["data"]["result"] += other["data"]["result"]
    script.answer(two)
    assert "hall" in failure(lambda: provider(client, url).history(*PAST))
    long = NOW - timedelta(days=60), NOW
    script.answer(answer())
    failure(lambda: provider(client, url).history(*long))
    early, late = script.paths[-2:]
    begin = math.ceil(long[0].timestamp() / STEP_S)
    script.on(early, answer("1", first=begin))
    script.on(late, answer("1", first=begin + 11_000))
    assert provider(client, url).history(*long).known == 2
    script.on(late, other | {"data": {"resultType": "matrix", "result": [
        {"metric": {"site": "hall"}, "values": [[FIRST * STEP_S, "2"]]}]}})  # fmt: skip
    assert "sum(...)" in failure(lambda: provider(client, url).history(*long))


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [(400, "bad_data", 'invalid parameter "query": 1:9: parse error:\n unclosed left paren'),
     (422, "execution", "found duplicate series for the match group"),
     (503, "timeout", "query timed out in expression evaluation"),
     (200, "internal", "disk on fire")],
)  # fmt: skip
def test_prometheus_own_words(api, client, status, kind, error):
    """A refused query is explained by who refused it, on one line."""
    url, script = api
    script.answer({"status": "error", "errorType": kind, "error": error}, status=status)
    text = failure(lambda: provider(client, url).history(*PAST))
    assert f"{kind}: {' '.join(error.split())}" in text


@pytest.mark.parametrize("status", [302, 404, 422, 500, 503])
def test_other_refusals(api, client, status):
    """A status without Prometheus' words, such as a proxy's, is still named."""
    url, script = api
    script.answer(b"<html>" * 9999, status=status)
    assert f"answered {status}" in failure(lambda: provider(client, url).history(*PAST))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after", ["60", "Tue, 24 Nov 2026 12:03:00 GMT"])
def test_come_back_later(api, client, status, after):
    """Retry-After in both forms is handed on."""
    url, script = api
    script.answer({"error": "busy"}, status=status, Retry_After=after)
    with pytest.raises(RateLimitedError, match="after 60 s"):
        provider(client, url).history(*PAST)


@pytest.mark.parametrize(
    ("options", "header"),
    [({"token": SECRET}, f"Bearer {SECRET}"),
     ({"user": "green", "password": SECRET}, "Basic Z3JlZW46c2VzYW1lLW9wZW4=")],
)  # fmt: skip
@pytest.mark.parametrize("status", [401, 403])
def test_keys(api, client, options, header, status):
    """They go into one header, and into no message."""
    url, script = api
    script.answer({}, status=status)
    one = provider(client, url, **options)
    failure(lambda: one.history(*PAST), kind=KeyRefusedError)
    assert script.asked[0]["authorization"] == header
    assert SECRET not in repr(one) + script.paths[0]


@pytest.mark.parametrize("ending", ["\n", "é"])
def test_keys_that_no_header_carries(api, client, ending):
    """The library that refuses them would quote them."""
    one = provider(client, api[0], token=SECRET + ending)
    assert "check the key" in failure(lambda: one.history(*PAST))


def test_time_out(api, client):
    """A server that accepts and never answers."""
    url, script = api
    script.hang = threading.Event()
    client.timeout = httpx.Timeout(0.2)
    assert "no answer in time" in failure(lambda: provider(client, url).history(*PAST))


def _spoilt(change):
    raw = answer("1", "2")
    change(raw, raw["data"]["result"][0]["values"])
    return raw


@pytest.mark.parametrize(
    "raw",
    [[], {}, {"status": "success"},
     _spoilt(lambda raw, _: raw["data"].update(resultType="vector")),
     _spoilt(lambda raw, _: raw["data"]["result"][0].pop("values")),  # native histograms
     _spoilt(lambda raw, _: raw["data"].update(result={"values": []})),
     _spoilt(lambda _, values: values.append([FIRST * STEP_S, 3])),
     _spoilt(lambda _, values: values.append([FIRST * STEP_S, "three"])),
     _spoilt(lambda _, values: values.append([FIRST * STEP_S + 7, "3"])),
     _spoilt(lambda _, values: values.append([(FIRST + 1) * STEP_S, "3"])),
     _spoilt(lambda _, values: values.append([str(FIRST * STEP_S), "3"])),
     _spoilt(lambda _, values: values.append(None))],
)  # fmt: skip
def test_changed_schema(api, client, raw):
    """Whatever is not the documented matrix at the instants asked for is refused."""
    url, script = api
    script.answer(raw)
    assert "did the API change?" in failure(lambda: provider(client, url).history(*PAST))


def test_warnings(api, client):
    """A partial answer's sum is too low; remarks about the PromQL itself are not about that."""
    url, script = api
    script.answer(answer("1", warnings=["store 10.0.0.7 did not answer"]))
    assert "10.0.0.7" in failure(lambda: provider(client, url).history(*PAST))
    script.answer(answer("1", warnings=["PromQL info: metric might not be a counter"]))
    assert provider(client, url).history(*PAST).known == 1


@pytest.mark.parametrize(
    "options",
    [{"step_s": 0.5}, {"step_s": 100}, {"sample_s": 0}, {"step_s": math.inf}, {"factor": 0},
     {"factor": math.nan}, {"user": "green"}, {"password": SECRET}, {"token": SECRET, "user": "x"}],
)  # fmt: skip
def test_settings_that_can_never_work(client, options):
    """They are refused before anything is asked."""
    failure(lambda: provider(client, "http://127.0.0.1:9", **options))
