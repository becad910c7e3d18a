# SPDX-License-Identifier: Apache-2.0
"""ENTSO-E against a local server that answers in the platform's documented XML, written by hand."""

import logging
import sys
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.provider import Historian, KeyRefusedError, RateLimitedError
from slurm_green.signals.providers.entsoe import DayAheadPrices, Entsoe

pytestmark = pytest.mark.slow

KEY = "9d6c1b1e-secret"
DE_LU = "10Y1001A1001A82H"
NOW = datetime(2026, 10, 24, 11, 20, tzinfo=UTC)  # tomorrow has 25 hours in Luxembourg
HOUR = timedelta(hours=1)
MIDNIGHT = datetime(2026, 10, 23, 22, tzinfo=UTC)
END = datetime(2026, 10, 25, 23, tzinfo=UTC)
NOTHING = b"""<?xml version="1.0" encoding="utf-8"?><Acknowledgement_MarketDocument
 xmlns="urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:8:1"><Reason><code>999</code>
 <text>No matching data found for Data item X</text></Reason></Acknowledgement_MarketDocument>"""


def stamp(when):
    return f"{when:%Y-%m-%dT%H:%MZ}"


def series(values, start, *, minutes=60, psr="", extra="", domain="inBiddingZone", area=DE_LU,
           curve="A01", value="quantity", unit="MAW"):  # fmt: skip
    """A TimeSeries of one period; None leaves a point out."""
    points = "".join(
        f"<Point><position>{i + 1}</position><{value}>{one}</{value}></Point>"
        for i, one in enumerate(values)
        if one is not None
    )
    domains = [domain] if domain else ["in", "out"]
    named = "".join(f'<{one}_Domain.mRID codingScheme="A01">{area}</{one}_Domain.mRID>\n'
                    for one in domains)  # fmt: skip
    unit = f"<quantity_Measure_Unit.name>{unit}</quantity_Measure_Unit.name>" if unit else ""
    psr = f"<MktPSRType><psrType>{psr}</psrType></MktPSRType>" if psr else ""
    end = start + timedelta(minutes=minutes * len(values))
    return f"""<TimeSeries><mRID>1</mRID><businessType>A01</businessType>{named}{unit}{extra}
<curveType>{curve}</curveType>{psr}<Period><timeInterval><start>{stamp(start)}</start>
<end>{stamp(end)}</end></timeInterval><resolution>PT{minutes}M</resolution>{points}</Period>
</TimeSeries>"""


def document(*found, kind="GL_MarketDocument"):
    """GL_MarketDocument for power, Publication_MarketDocument for prices."""
    return f"""<?xml version="1.0" encoding="utf-8"?><{kind} xmlns="urn:iec62325.351:x:3:0">
<mRID>a</mRID><createdDateTime>2026-10-24T11:20:00Z</createdDateTime>{"".join(found)}</{kind}>
""".encode()


def prices(values, start=MIDNIGHT, *, minutes=15, currency="EUR", sequence=1, **options):
    """A TimeSeries of A44."""
    tag = "classificationSequence_AttributeInstanceComponent.position"
    extra = f"""<currency_Unit.name>{currency}</currency_Unit.name>
<price_Measure_Unit.name>MWH</price_Measure_Unit.name><{tag}>{sequence}</{tag}>"""
    options = {"domain": "", "unit": "", "value": "price.amount", **options}
    return series(values, start, minutes=minutes, extra=extra, **options)


def published(*found):
    return document(*found, kind="Publication_MarketDocument")


def answer(script, *, end=END, days=16, **replaced):
    """All that a forecast needs: intensity that follows the residual load, exactly."""
    start = END - timedelta(days=days)
    hours = int((end - start) / HOUR)
    load = 40_000 + 10_000 * np.sin(np.arange(hours) / 4)
    wind = 15_000 + 9_000 * np.sin(np.arange(hours) / 17)
    past = int((NOW - start) / HOUR)
    coal = (load - wind)[:past]
    found = {
        "A75": document(
            series(coal, start, psr="B05"),
            series(wind[:past], start, psr="B19"),
            series(np.full(past, 500.0), start, psr="B10"),
            series(np.full(past, 9_000.0), start, psr="B10", domain="outBiddingZone"),
        ),
        "A65": document(series(load, start, domain="outBiddingZone")),
        "A69": document(
            series(wind, start, psr="B19"), series([0] * hours, start, psr="B16", curve="A03")
        ),
        **replaced,
    }
    for kind, text in found.items():
        script.on(f"/api?documentType={kind}", text)
    return load, wind


def entsoe(client, url, **options):
    return Entsoe(client, **{"key": KEY, "area": "DE_LU", "base_url": url + "/api", **options})


def auction(client, url, **options):
    return DayAheadPrices(
        client, **{"key": KEY, "area": "DE_LU", "base_url": url + "/api", **options}
    )


def asked(script):
    return [
        {name: one[0] for name, one in parse_qs(urlsplit(path).query).items()}
        for path in script.paths
    ]


def test_the_questions(api, client):
    """Codes, area and key as documented; whole hours, in parts of a week, to tomorrow's end."""
    url, script = api
    answer(script)
    entsoe(client, url).fetch(NOW)
    first = asked(script)[0]
    assert first == {
        "documentType": "A75", "processType": "A16", "in_Domain": DE_LU, "securityToken": KEY,
        "periodStart": "202610091100", "periodEnd": "202610161100",
    }  # fmt: skip
    kinds = [(one["documentType"], one["processType"], one["periodEnd"]) for one in asked(script)]
    assert kinds == [
        ("A75", "A16", "202610161100"), ("A75", "A16", "202610231100"),
        ("A75", "A16", "202610241100"), ("A65", "A01", "202610171100"),
        ("A65", "A01", "202610241100"), ("A65", "A01", "202610252300"),
        ("A69", "A01", "202610171100"), ("A69", "A01", "202610241100"),
        ("A69", "A01", "202610252300"),
    ]  # fmt: skip


def test_the_derived_forecast(api, client):
    """Hours to the end of a day of 25, from the residual load, and labelled as derived."""
    url, script = api
    load, wind = answer(script)
    got = entsoe(client, url).fetch(NOW)
    assert (got.start_utc, got.step_s) == (NOW.replace(minute=0), 3600)
    assert got.end_utc == END
    count = len(got.values)
    wanted = (wind * 11 + (load - wind) * 820) / load
    seen = wanted[-count - 14 * 24 : -count]
    np.testing.assert_allclose(got.values, np.clip(wanted[-count:], seen.min(), seen.max()))
    assert (got.region, got.basis, got.scope) == ("DE_LU", "average", "life-cycle")
    assert (got.provider, got.stretches[0].provider) == ("entsoe", "entsoe-derived")
    assert (got.issued_utc, got.quantity) == (NOW, "carbon_g_per_kwh")


def test_the_horizon_ends_with_the_shortest_forecast(api, client):
    """Tomorrow's sun is not out yet: the forecast ends today, or is refused if that is too near."""
    url, script = api
    _, wind = answer(script)
    start = END - timedelta(days=16)
    today = int((MIDNIGHT + 24 * HOUR - start) / HOUR)
    sun = series([0] * today, start, psr="B16")
    answer(script, A69=document(series(wind, start, psr="B19"), sun))
    assert entsoe(client, url).fetch(NOW).end_utc == MIDNIGHT + 24 * HOUR
    with pytest.raises(SignalError, match=r"entsoe: the forecast reaches from .*T22:00Z; wanted"):
        entsoe(client, url, min_horizon_s=12 * 3600.0).fetch(NOW)


def test_the_past(api, client):
    """Quarters to hours, by the scope asked for; what plants consumed is not generation."""
    url, script = api
    start = NOW.replace(minute=0) - 3 * HOUR
    script.answer(
        document(
            series([40.0] * 12, start, psr="B04", minutes=15),
            series([60.0, 20.0], start, psr="B14"),
            series([20.0], start + 2 * HOUR, psr="B14"),
            series([500.0] * 3, start, psr="B10", domain="outBiddingZone"),
            series([7.0] * 3, start, psr="B14", domain="outBiddingZone"),
        )
    )
    past = entsoe(client, url, scope="direct")
    got = past.history(start, NOW)
    np.testing.assert_allclose(got.values, [0.4 * 370, 370 * 2 / 3, 370 * 2 / 3])
    assert (got.start_utc, got.step_s, got.scope) == (start, 3600, "direct")
    assert isinstance(past, Historian)


def test_left_out_points_repeat_or_are_gaps(api, client):
    """By curve A03 they repeat what was before, by A01 they are not known."""
    url, script = api
    start = NOW.replace(minute=0) - 3 * HOUR
    wind = series([50.0, None, None, 20.0], start, psr="B19", curve="A03")
    coal = series([50.0, 25.0, None, 20.0], start, psr="B05")
    script.answer(document(wind, coal))
    got = entsoe(client, url).history(start, start + 4 * HOUR)
    np.testing.assert_allclose(got.values, [415.5, (50 * 11 + 25 * 820) / 75, np.nan, 415.5])


def test_prices(api, client):
    """EUR/MWh to EUR/kWh in quarters from now on, negative ones too; A03 repeats."""
    url, script = api
    values = [*np.arange(196.0) - 100.0]
    values[80] = None
    script.answer(published(prices(values, curve="A03")))
    got = auction(client, url).fetch(NOW)
    first = NOW.replace(minute=15)
    assert (got.start_utc, got.step_s, got.end_utc) == (first, 900.0, END)
    values[80] = values[79]
    np.testing.assert_allclose(got.values, np.array(values[-len(got.values) :]) / 1000)
    assert got.values.min() < 0
    assert (got.quantity, got.region, got.provider) == ("price_per_kwh", "DE_LU", "entsoe-prices")
    question = asked(script)[0]
    assert (question["documentType"], question["periodStart"]) == ("A44", "202610241100")
    assert question["classificationSequence_AttributeInstanceComponent.position"] == "1"


def test_prices_across_the_change_to_quarters(api, client):
    """Hours until the end of September 2025, quarters after: one past, in quarters."""
    url, script = api
    change = datetime(2025, 9, 30, 22, tzinfo=UTC)
    hours = prices([50.0, 60.0], change - 2 * HOUR, minutes=60)
    script.answer(published(hours, prices([1.0, 2.0, 3.0, 4.0], change)))
    got = auction(client, url).history(change - 2 * HOUR, change + HOUR)
    assert got.step_s == 900
    np.testing.assert_allclose(got.values * 1000, [50] * 4 + [60] * 4 + [1, 2, 3, 4])


@pytest.mark.parametrize("area", ["DE-LU", "de_lu", "XX", "10Y1001A1001A82H", "", "A" * 99])
def test_areas_are_those_of_the_library(client, area):
    """Refused before anything is asked, with what may have been meant."""
    with pytest.raises(SignalError, match=r"entsoe: '.*' is no area of ENTSO-E") as caught:
        entsoe(client, "http://127.0.0.1:9", area=area)
    assert ("did you mean DE_LU" in str(caught.value)) == (area.upper()[:2] == "DE")


@pytest.mark.parametrize("options", [{"scope": "marginal"}, {"learn_days": 3}])
def test_other_arguments(client, options):
    """Scopes without factors, and a past too short to learn from."""
    with pytest.raises(SignalError, match="entsoe: "):
        entsoe(client, "http://127.0.0.1:9", **options)


def failure(client, url, make=entsoe, kind=SignalError, **options):
    with pytest.raises(kind) as caught:
        make(client, url, **options).fetch(NOW)
    text = str(caught.value)
    assert text.startswith("entsoe")
    assert "\n" not in text
    assert KEY not in text
    assert KEY not in repr(caught.value)
    return text


@pytest.mark.parametrize("make", [entsoe, auction])
def test_http_trouble(api, client, make):
    """Refused keys, broken servers and silence, each in one sentence without the key."""
    url, script = api
    for status in (401, 403):
        script.answer(b"<html/>", status=status)
        assert "My Account" in failure(client, url, make, KeyRefusedError)
    for status in (400, 409, 500, 503):
        script.answer(b"<html/>", status=status)
        assert f"answered {status}" in failure(client, url, make)
    assert "cannot be reached" in failure(client, "http://127.0.0.1:9", make)
    script.hang = threading.Event()
    client.timeout = httpx.Timeout(0.2)
    assert "no answer in time" in failure(client, url, make)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [({"Retry_After": "30"}, 30.0), ({"Retry_After": "Sat, 24 Oct 2026 11:25:00 GMT"}, 300.0),
     ({}, 600.0)],
)  # fmt: skip
def test_too_many_questions(api, client, headers, wait_s):
    """The platform's ban is ten minutes where it does not say another time."""
    url, script = api
    script.answer(b"", status=429, **headers)
    with pytest.raises(RateLimitedError, match="429") as caught:
        auction(client, url).fetch(NOW)
    assert caught.value.retry_after_s == wait_s


GOOD = [50.0] * 196


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NOTHING, "no data for DE_LU from 2026-10-24T11:15Z"),
        (NOTHING.replace(b"No matching data found", KEY.encode()), "refused: ... for Data item"),
        (published(prices(GOOD, area="10YFR-RTE------C")), "answer is for '10YFR-RTE------C'"),
        (published(prices(GOOD, currency="RON")), "wanted currency_Unit.name EUR"),
        (published(prices(GOOD)).replace(b">MWH<", b">KWH<"), "wanted price_Measure_Unit.name MWH"),
        (published(prices(GOOD)).replace(b"currency_Unit", b"money"), "did the API change?"),
        (published(prices(GOOD)).replace(b"price.amount", b"price"), "did the API change?"),
        (published(prices(GOOD)).replace(b"PT15M", b"PT13M"), "did the API change?"),
        (published(prices(["x"] * 196)), "did the API change?"),
        (published(prices(["inf"] * 196)), "did the API change?"),
        (published(prices([9e9] * 196)), "out of range"),
        (published(prices(GOOD), prices([1.0] * 196)), "two prices"),
        (published(prices(GOOD, sequence=2)), "holds auctions 2, wanted 1"),
        (published(prices(GOOD), prices(GOOD, sequence=2)), "holds auctions 1, 2, wanted 1"),
        (published(prices([*GOOD[:90], None, *GOOD[91:]])), "leaves a gap"),
        (published(prices(GOOD[:53])), "no data for DE_LU"),
        (published(prices(GOOD[:56])), "the forecast reaches from"),
        (published(), "did the API change?"),
        (b"", "did the API change?"),
        (b"<html>maintenance</html>", "did the API change?"),
        (b"\xff\xfe{", "did the API change?"),
    ],
)
def test_spoilt_prices(api, client, text, words):
    """Other zones, units, auctions, shapes and holes are refused by name."""
    url, script = api
    script.answer(text)
    assert words in failure(client, url, auction)


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ({"A75": NOTHING}, "no data for DE_LU"),
        ({"A75": document(series([1.0], NOW, psr="B99"))}, "did the API change?"),
        (
            {"A75": document(series([1.0] * 99, MIDNIGHT - 99 * HOUR, psr="B21"))},
            "without a factor",
        ),
        ({"A65": document(series([1.0], NOW, area="10YFR-RTE------C"))}, "the answer is for"),
        ({"A65": document(series([1.0], NOW, unit="KWT"))}, "wanted quantity_Measure_Unit.name"),
        ({"A69": NOTHING}, "wind_and_solar_forecast"),
        ({"days": 3}, "hours of history to learn from"),
        ({"end": NOW - HOUR}, "does not cover now"),
    ],
)
def test_spoilt_forecasts(api, client, spoilt, words):
    """One document of the three that is unusable spoils the estimate."""
    url, script = api
    answer(script, **spoilt)
    assert words in failure(client, url)


def test_the_key_stays_out_of_logs_and_reprs(api, client, caplog):
    """httpx writes every URL at INFO, the library its parameters at DEBUG."""
    url, script = api
    script.answer(published(prices(GOOD)))
    # The router quietens httpx in its process, which may be this one.
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="httpx"):
        one = auction(client, url)
        one.fetch(NOW)
    assert "securityToken=..." in caplog.text
    assert KEY not in caplog.text
    assert KEY not in repr(one)


@pytest.mark.parametrize("hidden", ["entsoe", "entsoe.parsers"])
def test_without_the_library(client, monkeypatch, hidden):
    """The extra is named, also where another package brings a module of that name."""
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(SignalError, match=r"pip install 'slurm-green\[entsoe\]'"):
        entsoe(client, "http://127.0.0.1:9")
