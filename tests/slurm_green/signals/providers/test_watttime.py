# SPDX-License-Identifier: Apache-2.0
"""The WattTime client against a local server that answers in the documented shapes."""

import base64
import copy
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError
from slurm_green.signals.providers.watttime import WattTime

NOW = datetime(2026, 11, 1, 8, 33, 20, tzinfo=UTC)  # the night on which California leaves DST
START = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
USER, PASSWORD, TOKEN = "freddo", "pAss-wOrd!9", "tok.0123456789abcdef"
POUND = 0.45359237


def answer(values, start=START, step_s=300, **changes):
    """`/v3/forecast`, or without generated_at `/v3/historical`."""
    meta = {
        "data_point_period_seconds": step_s, "region": "CAISO_NORTH", "warnings": [],
        "signal_type": "co2_moer", "model": {"date": "2026-03-01"}, "units": "lbs_co2_per_mwh",
        "generated_at_period_seconds": 300, "generated_at": "2026-11-01T01:30:00-07:00",
    } | changes  # fmt: skip
    rows = [
        {"point_time": (start + i * timedelta(seconds=step_s)).isoformat(), "value": value}
        for i, value in enumerate(values)
    ]
    return {"data": rows, "meta": {k: v for k, v in meta.items() if v is not None}}


def past(values, start):
    return answer(values, start, generated_at=None, generated_at_period_seconds=None)


@pytest.fixture
def logged(api):
    """A server that lets us log in and answers three days of forecast."""
    url, script = api
    script.on("/login", {"token": TOKEN})
    script.on("/v3/forecast", answer([1000 + i for i in range(864)]))
    return url, script


def watttime(client, url, **options):
    given = {"user": USER, "password": PASSWORD, "region": "CAISO_NORTH", "base_url": url}
    return WattTime(client, **given | options)


def failure(call, kind=SignalError):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("watttime: ")
    assert "\n" not in text
    for secret in (PASSWORD, TOKEN, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()):
        assert secret not in text + repr(caught.value)
    return text


def paths(script):
    return [urlsplit(path).path for path in script.paths]


def test_forecast(logged, client):
    """Log in, ask with the token, pounds per MWh to grams per kWh, marginal and direct."""
    url, script = logged
    one = watttime(client, url + "/")
    got = one.fetch(NOW)
    assert paths(script) == ["/login", "/v3/forecast"]
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert script.asked[0]["authorization"] == f"Basic {basic}"
    assert script.asked[1]["authorization"] == f"Bearer {TOKEN}"
    assert dict(parse_qsl(urlsplit(script.paths[1]).query)) == {
        "region": "CAISO_NORTH", "signal_type": "co2_moer", "horizon_hours": "72"
    }  # fmt: skip
    np.testing.assert_allclose(got.values, POUND * np.arange(1000, 1864))
    assert (got.start_utc, got.step_s, got.issued_utc) == (START, 300.0, START)
    assert (got.region, got.basis, got.scope) == ("CAISO_NORTH", "marginal", "direct")
    assert PASSWORD not in repr(one)
    for generated, old_s in (("2026-11-01T03:30:00+00:00", 18_200), ("2026-11-01T08:40Z", 0)):
        script.on("/v3/forecast", answer(range(864), generated_at=generated))
        assert one.fetch(NOW).age_s(NOW) == old_s  # an old one is seen, none is of the future


@pytest.mark.parametrize(
    "options", [{"region": " "}, {"user": ""}, {"password": ""}, {"horizon_hours": 0},
                {"horizon_hours": 73}, {"horizon_hours": 24}]
)  # fmt: skip
def test_what_the_api_does_not_offer_is_refused_before_asking(client, options):
    """There is no default region, and 24 hours never reach 24 hours ahead of now."""
    failure(lambda: watttime(client, "http://127.0.0.1:9", **options))


def test_a_token_is_used_until_it_is_old(logged, client):
    """One login serves 25 minutes; then there is another before anything is asked."""
    url, script = logged
    now = [0.0]
    one = watttime(client, url, clock=lambda: now[0])
    for at_s in (0.0, 1499.0, 1501.0):
        now[0] = at_s
        one.fetch(NOW)
    asked = ["/login", "/v3/forecast", "/v3/forecast", "/login", "/v3/forecast"]
    assert asked == paths(script)


def test_a_token_that_expired_is_renewed_once(logged, client, monkeypatch):
    """A young token may be refused too; with the next one the same question is asked again."""
    url, script = logged
    one = watttime(client, url)
    one.fetch(NOW)
    good = script.routes["/v3/forecast"]
    told = iter([(401, {}, b"{}"), good])
    plain = script.response
    monkeypatch.setattr(script, "response", lambda p: plain(p) if "login" in p else next(told))
    del script.paths[:]
    assert one.fetch(NOW).region == "CAISO_NORTH"
    assert paths(script) == ["/v3/forecast", "/login", "/v3/forecast"]


def test_an_account_without_the_region(logged, client):
    """A new token is not renewed again: the account may not read this."""
    url, script = logged
    script.on("/v3/forecast", {"error": "INVALID_SCOPE", "message": TOKEN}, 403)
    one = watttime(client, url)
    text = failure(lambda: one.fetch(NOW), KeyRefusedError)
    assert "user and password are good, but may not read the forecast of CAISO_NORTH" in text
    assert paths(script) == ["/login", "/v3/forecast"]
    failure(lambda: one.fetch(NOW), KeyRefusedError)
    assert paths(script)[2:] == ["/v3/forecast", "/login", "/v3/forecast"]


def test_a_wrong_password(api, client):
    """The sentence says where to look, and not what was tried."""
    url, script = api
    script.on("/login", {"error": "x"}, 401)
    text = failure(lambda: watttime(client, url).fetch(NOW), KeyRefusedError)
    assert "check user and password" in text


@pytest.mark.parametrize("login", [{}, [], {"token": ""}, {"token": 7}, {"token": "a\nb"}, b"no"])
def test_a_login_without_a_token(api, client, login):
    """What is no token is not sent anywhere."""
    url, script = api
    script.on("/login", login)
    text = failure(lambda: watttime(client, url).fetch(NOW))
    assert "gave no token" in text or "not JSON" in text


def _meta(**changes):
    return lambda raw: raw["meta"].update(changes)


def _row(**changes):
    return lambda raw: raw["data"][3].update(changes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_meta(region="FR"), "asked for region CAISO_NORTH, the answer is for 'FR'"),
        (_meta(signal_type="co2_aoer"), "asked for signal_type co2_moer"),
        (_meta(units="kg_co2_per_mwh"), "asked for units lbs_co2_per_mwh"),
        (lambda raw: raw["meta"].pop("units"), "the answer is for 'None'"),
        (_meta(data_point_period_seconds="300"), "is no step; did the API change?"),
        (_meta(data_point_period_seconds=3600), "leaves a gap or overlaps"),
        (_meta(generated_at=None), "lacks generated_at; did the API change?"),
        (_meta(generated_at="now"), "generated_at: 'now' is not a time"),
        (lambda raw: raw.pop("meta"), "lacks meta or data; did the API change?"),
        (lambda raw: raw.update(data=[]), "holds no values"),
        (_row(value=None), "row 3 (2026-11-01T08:45Z) has no value"),
        (_row(value="870"), "is no number"),
        (_row(value=-1), "out of range"),
        (_row(point_time="2026-11-01T01:45:00"), "is not a time"),
        (_row(point_time="2026-11-01T01:45:00-07:00", value=870), None),
        (lambda raw: raw["data"][3].pop("value"), "lacks point_time or value; did the API change?"),
        (lambda raw: raw["data"].pop(3), "leaves a gap or overlaps"),
        (lambda raw: raw["data"].__delitem__(slice(288, None)), "the forecast reaches from"),
        (lambda raw: raw["data"].pop(0), "the forecast reaches from"),
    ],
)
def test_spoilt_forecasts(logged, client, spoil, words):
    """One bad row spoils the answer; a time with another offset is the same time."""
    url, script = logged
    raw = copy.deepcopy(answer([1000] * 864))
    spoil(raw)
    script.on("/v3/forecast", raw)
    if words is None:
        assert len(watttime(client, url).fetch(NOW).values) == 864
    else:
        assert words in failure(lambda: watttime(client, url).fetch(NOW))


@pytest.mark.parametrize("path", ["/login", "/v3/forecast"])
def test_too_many_requests(logged, client, path):
    """The login has a limit of its own; Retry-After in both forms is handed on."""
    url, script = logged
    for after, wait_s in (("120", 120.0), ("Sun, 01 Nov 2026 08:43:20 GMT", 600.0)):
        script.on(path, {}, 429, Retry_After=after)
        with pytest.raises(RateLimitedError, match="429") as caught:
            watttime(client, url).fetch(NOW)
        assert wait_s == caught.value.retry_after_s


def test_no_answer_and_a_broken_one(logged, client):
    """An outage is named, and bounded in time."""
    url, script = logged
    script.on("/v3/forecast", {}, 500)
    assert "answered 500" in failure(lambda: watttime(client, url).fetch(NOW))
    script.hang = threading.Event()
    client.timeout = httpx.Timeout(0.2)
    assert "no answer in time" in failure(lambda: watttime(client, url).fetch(NOW))


def test_history(logged, client):
    """Thirty days at a time, whole steps only, nulls are gaps, the same basis as the forecast."""
    url, script = logged
    script.on("/v3/historical", past([900, None, 800, 700], START - timedelta(minutes=15)))
    got = watttime(client, url).history(NOW - timedelta(days=40), NOW)
    spans = [dict(parse_qsl(urlsplit(path).query)) for path in script.paths[1:]]
    assert [(one["start"], one["end"]) for one in spans] == [
        ("2026-09-22T08:33:20Z", "2026-10-22T08:33:20Z"),
        ("2026-10-22T08:33:20Z", "2026-11-01T08:33:20Z"),
    ]
    np.testing.assert_allclose(got.values, [900 * POUND, np.nan, 800 * POUND])
    assert (got.step_s, got.region, got.basis, got.scope) == (
        300.0, "CAISO_NORTH", "marginal", "direct"
    )  # fmt: skip


def test_a_past_in_changing_steps_is_refused(logged, client, monkeypatch):
    """Hours are not spread over five minutes without a word."""
    url, script = logged
    steps = iter([300, 3600])
    plain = script.response

    def response(path):
        if "historical" in path:
            script.on("/v3/historical", answer([1], step_s=next(steps)))
        return plain(path)

    monkeypatch.setattr(script, "response", response)
    span = NOW - timedelta(days=40), NOW + timedelta(days=1)
    assert "steps of [300.0, 3600.0] s" in failure(lambda: watttime(client, url).history(*span))
