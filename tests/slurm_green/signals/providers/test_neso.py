# SPDX-License-Identifier: Apache-2.0
"""The NESO client against a local server that answers in the documented shapes."""

import copy
import threading
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from neso_shapes import national, regional, slots

from slurm_green.errors import SignalError
from slurm_green.signals.provider import RateLimitedError
from slurm_green.signals.providers.neso import Neso

NOW = datetime(2026, 10, 25, 0, 47, 12, tzinfo=UTC)  # the morning on which GB leaves summer time


def failure(client, url, **options):
    with pytest.raises(SignalError) as caught:
        Neso(client, base_url=url, **options).fetch(NOW)
    text = str(caught.value)
    assert text.startswith("neso: ")
    assert "\n" not in text
    return text


def test_national_forecast(api, client):
    """The path asked for, the half hours and what is said about them."""
    url, script = api
    script.answer(national(slots(NOW)))
    got = Neso(client, base_url=url + "/").fetch(NOW)
    assert script.paths == ["/intensity/2026-10-25T00:47Z/fw48h"]
    assert (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), 1800.0) == (got.start_utc, got.step_s)
    assert [100.0 + i for i in range(97)] == list(got.values)
    assert (got.region, got.basis, got.scope, got.provider) == ("GB", "average", "direct", "neso")
    assert got.issued_utc == NOW


@pytest.mark.parametrize("wrap", [False, True])
def test_region_by_id(api, client, wrap):
    """The region's object, and the same object in a list as other paths of the API give it."""
    url, script = api
    answer = regional(slots(NOW), regionid=12)
    script.answer({"data": [answer["data"]]} if wrap else answer)
    got = Neso(client, base_url=url, region_id=12).fetch(NOW)
    assert script.paths == ["/regional/intensity/2026-10-25T00:47Z/fw48h/regionid/12"]
    assert (got.region, len(got.values)) == ("GB-12", 97)


def test_region_by_postcode(api, client):
    """The outward code goes into the path in capitals."""
    url, script = api
    script.answer(regional(slots(NOW), regionid=12, postcode="RG10"))
    got = Neso(client, base_url=url, postcode=" rg10").fetch(NOW)
    assert script.paths == ["/regional/intensity/2026-10-25T00:47Z/fw48h/postcode/RG10"]
    assert got.region == "GB-RG10"


@pytest.mark.parametrize(
    "options",
    [{"region_id": 0}, {"region_id": 18}, {"postcode": "RG10/../x"}, {"postcode": "RG10 1AA"},
     {"region_id": 1, "postcode": "RG10"}],
)  # fmt: skip
def test_bad_regions_are_refused_before_asking(client, options):
    """No path is built from what is not a region."""
    with pytest.raises(SignalError, match="neso: "):
        Neso(client, **options)


@pytest.mark.parametrize(
    ("options", "identity"),
    [
        ({"region_id": 12}, {"regionid": 13}),
        ({"region_id": 12}, {}),
        ({"postcode": "RG10"}, {"postcode": "SW1"}),
    ],
)
def test_wrong_region_in_the_answer(api, client, options, identity):
    """An answer about another place is not used."""
    url, script = api
    script.answer(regional(slots(NOW), **identity))
    assert "asked for region" in failure(client, url, **options)


def test_time_out(api, client):
    """A server that accepts and never answers."""
    url, script = api
    script.hang = threading.Event()
    client.timeout = httpx.Timeout(0.2)
    assert "no answer in time" in failure(client, url)


def test_drip_is_bounded_as_a_whole(api, client):
    """A server that always sends something cannot hold us beyond the total."""
    url, script = api
    script.answer(national(slots(NOW)))
    ticks = iter(range(0, 10_000, 40))
    assert "no whole answer" in failure(client, url, clock=lambda: next(ticks))


def test_nobody_listens(client):
    """Connection refused."""
    assert "cannot be reached" in failure(client, "http://127.0.0.1:9")


@pytest.mark.parametrize("status", [301, 400, 404, 500, 502, 503])
def test_refusals(api, client, status):
    """Any status but 200 is named; redirects are not followed."""
    url, script = api
    script.answer({"error": {"code": "x"}}, status=status)
    assert f"answered {status}" in failure(client, url)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "120"}, 120.0),
        ({"Retry_After": "Sun, 25 Oct 2026 00:57:12 GMT"}, 600.0),
        ({"Retry_After": "soon"}, None),
        ({}, None),
    ],
)
def test_too_many_requests(api, client, headers, wait_s):
    """Retry-After in both forms is handed on."""
    url, script = api
    script.answer({}, status=429, **headers)
    with pytest.raises(RateLimitedError, match="429") as caught:
        Neso(client, base_url=url).fetch(NOW)
    assert wait_s == caught.value.retry_after_s


@pytest.mark.parametrize("count", [1, 20, 48])
def test_truncated_horizon(api, client, count):
    """The outage this API is known for."""
    url, script = api
    script.answer(national(slots(NOW, count)))
    assert "the forecast reaches from" in failure(client, url)


def test_forecast_that_begins_after_now(api, client):
    """A forecast must cover now, or start-now could not be priced."""
    url, script = api
    script.answer(national(slots(NOW + timedelta(hours=2))))
    assert "the forecast reaches from" in failure(client, url)


def test_last_slots_without_a_forecast_make_it_shorter(api, client):
    """And unusable only where what is left does not reach far enough."""
    url, script = api
    rows = slots(NOW)
    rows[-1]["intensity"]["forecast"] = None
    script.answer(national(rows))
    assert list(Neso(client, base_url=url).fetch(NOW).values) == [100.0 + i for i in range(96)]
    for row in rows[48:]:
        row["intensity"]["forecast"] = None
    script.answer(national(rows))
    assert "the forecast reaches from" in failure(client, url)


def _null(rows):
    rows[40]["intensity"]["forecast"] = None


def _text(rows):
    rows[3]["intensity"]["forecast"] = "105"


def _negative(rows):
    rows[3]["intensity"]["forecast"] = -1


def _renamed(rows):
    rows[3]["intensity"] = {"predicted": 3}


def _flat(rows):
    rows[3]["intensity"] = 100


def _gap(rows):
    del rows[10]


def _overlap(rows):
    rows.insert(10, rows[9])


def _hours(rows):
    rows[0]["to"] = rows[1]["to"]


def _zoneless(rows):
    rows[0]["from"] = "2026-10-25T00:30"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_null, "row 40 (2026-10-25T20:30Z) has no value"),
        (_text, "is no number"),
        (_negative, "out of range"),
        (_renamed, "did the API change?"),
        (_flat, "did the API change?"),
        (_gap, "leaves a gap"),
        (_overlap, "leaves a gap"),
        (_hours, "half hours"),
        (_zoneless, "did the API change?"),
    ],
)
def test_spoilt_slots(api, client, spoil, words):
    """One bad slot spoils the answer: a plan must not lean on half of it."""
    url, script = api
    rows = copy.deepcopy(slots(NOW))
    spoil(rows)
    script.answer(national(rows))
    assert words in failure(client, url)


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b'{"data": [', [], {}, {"data": []}, {"data": {}}, {"data": None},
               {"data": [None]}, b"[" * 100_000, b"\xff\xfe"]
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"region_id": 12}])
def test_rubbish(api, client, answer, options):
    """Whatever comes back, it is one sentence."""
    url, script = api
    script.answer(answer)
    failure(client, url, **options)


def test_answer_cut_on_the_wire(api, client):
    """Fewer bytes than announced."""
    url, script = api
    script.answer(national(slots(NOW)))
    script.declared_length = len(script.body) + 100
    assert "cannot be reached" in failure(client, url)


def test_huge_answer(api, client):
    """More than 4 MiB is not read."""
    url, script = api
    script.answer(b" " * (5 * 2**20))
    assert "larger than 4 MiB" in failure(client, url)


def test_the_nations_past_is_what_was_measured(api, client):
    """Slots without a measured value are gaps; long spans are asked in parts of a fortnight."""
    url, script = api
    rows = slots(NOW, count=4)
    for row, actual in zip(rows, (80, None, 90, 95), strict=True):
        row["intensity"]["actual"] = actual
    script.answer(national(rows))
    got = Neso(client, base_url=url).history(NOW - timedelta(days=20), NOW + timedelta(hours=2))
    assert script.paths == [
        "/intensity/2026-10-05T00:47Z/2026-10-19T00:47Z",
        "/intensity/2026-10-19T00:47Z/2026-10-25T02:47Z",
    ]
    assert (got.step_s, got.region, got.scope) == (1800.0, "GB", "direct")
    np.testing.assert_array_equal([80.0, np.nan, 90.0, 95.0], got.values)


def test_a_regions_past_is_what_was_forecast(api, client):
    """The API measures nations only."""
    url, script = api
    script.answer(regional(slots(NOW, count=3), regionid=3))
    past = Neso(client, base_url=url, region_id=3)
    got = past.history(NOW - timedelta(hours=1), NOW + timedelta(hours=2))
    assert list(got.values) == [100.0, 101.0, 102.0]
    # What is forecast for later is no past, whatever the API answers with.
    half_past = NOW.replace(hour=1, minute=30, second=0)
    assert list(past.history(NOW, half_past).values) == [101.0]


def test_a_past_without_a_value_is_refused(api, client):
    """Nothing measured is not a past of zeros."""
    url, script = api
    script.answer(national(slots(NOW, count=3)))
    with pytest.raises(SignalError, match="no measured value"):
        Neso(client, base_url=url).history(NOW - timedelta(hours=1), NOW + timedelta(hours=2))
