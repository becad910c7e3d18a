# SPDX-License-Identifier: Apache-2.0
"""GridStatus.io against a local server that answers in the shapes of its API v1."""

import threading
import tracemalloc
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.provider import Historian, KeyRefusedError, RateLimitedError
from slurm_green.signals.providers.gridstatus import GridStatus

KEY = "gs-secret-1"
START = datetime(2026, 11, 1, 6, tzinfo=UTC)  # the night on which America leaves summer time
END = START + timedelta(hours=3)


def page(columns, *, minutes=5, dataset="ercot_fuel_mix", more=False, cursor=None, **fields):
    """A page in arrays: the names first, then the rows."""
    count = max((len(one) for one in columns.values()), default=0)
    rows = [
        [
            f"{START + timedelta(minutes=minutes * i):%Y-%m-%dT%H:%M:%S}+00:00",
            f"{START + timedelta(minutes=minutes * (i + 1)):%Y-%m-%dT%H:%M:%S}+00:00",
            *(one[i] for one in columns.values()),
        ]
        for i in range(count)
    ]
    return {
        "status_code": 200,
        "data": [["interval_start_utc", "interval_end_utc", *columns], *rows],
        "meta": {"page": 1, "pageSize": 10000, "hasNextPage": more, "cursor": cursor},
        "dataset_metadata": {"id": dataset, "name": "ERCOT Fuel Mix"},
        **fields,
    }


def grid(client, url, **options):
    return GridStatus(client, **{"key": KEY, "operator": "ercot", "base_url": url, **options})


def failure(client, url, kind=SignalError, **options):
    with pytest.raises(kind) as caught:
        grid(client, url, **options).history(START, END)
    text = str(caught.value)
    assert text.startswith("gridstatus: ")
    assert "\n" not in text
    assert KEY not in text
    return text


def test_a_stray_row_of_another_century_takes_no_memory(api, client):
    """A time that was never set lies far outside of what was asked (year 1: gigabytes of hours)."""
    url, script = api
    types = [f"{name}{end}" for name in ("wind", "coal", "gas") for end in ("", "_self", "_market")]
    answer = page(dict.fromkeys(types, [50.0] * 36))
    answer["data"].append(["1970-01-01T00:00:00+00:00"] * 2 + [50.0] * len(types))
    script.answer(answer)
    tracemalloc.start()
    got = grid(client, url).history(START, END)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got.known == 3
    assert most < 20 * 2**20


def test_the_past(api, client):
    """Five minutes to hours by the table, without batteries and imports; the key in a header."""
    url, script = api
    script.answer(
        page(
            {
                "wind": [50.0] * 36,
                "coal_and_lignite": [50.0] * 12 + [None] * 12 + [10.0] * 12,
                "power_storage": [-900.0] * 36,
                "imports": [900.0] * 36,
                "solar": [-3.0] * 36,
            }
        )
    )
    past = grid(client, url + "/")
    got = past.history(START, END)
    assert script.paths == [
        "/datasets/ercot_fuel_mix/query?start_time=2026-10-31T06%3A00%3A00Z"
        "&end_time=2026-11-01T09%3A00%3A00Z&json_schema=array-of-arrays&cursor="
    ]
    assert script.asked[0]["x-api-key"] == KEY
    np.testing.assert_allclose(got.values, [415.5, np.nan, (50 * 11 + 10 * 820) / 60])
    assert (got.start_utc, got.step_s, got.region) == (START, 3600, "ERCOT")
    assert (got.basis, got.scope) == ("average", "life-cycle")
    assert isinstance(past, Historian)
    assert not hasattr(past, "fetch")


@pytest.mark.parametrize(
    ("operator", "columns", "wanted"),
    [
        ("caiso", {"large_hydro": 10, "small_hydro": 10, "batteries": 99, "natural_gas": 20}, 257),
        ("nyiso", {"dual_fuel": 10, "other_fossil_fuels": 10, "other_renewables": 20}, 339.75),
        ("isone", {"landfill_gas": 10, "refuse": 10, "wood": 10, "oil": 10}, 478.25),
        ("pjm", {"multiple_fuels": 10, "gas": 10, "storage": 10, "nuclear": 20}, 251),
        ("spp", {"coal_market": 10, "coal_self": 10, "diesel_fuel_oil": 20}, 806.5),
        ("ieso", {"biofuel": 10, "hydro": 10, "gas": 10, "nuclear": 10}, 189),
    ],
)
def test_operators_columns(api, client, operator, columns, wanted):
    """Each one's names for the same fuels, by the same table."""
    url, script = api
    data = page({name: [mw] * 12 for name, mw in columns.items()}, dataset=f"{operator}_fuel_mix")
    script.answer(data)
    got = grid(client, url, operator=operator).history(START, END)
    np.testing.assert_allclose(got.values, [wanted])


def test_a_time_column_of_another_name(api, client):
    """Some operators have instants, not intervals."""
    url, script = api
    data = page({"wind": [50.0] * 12})
    data["data"][0][0] = "time_utc"
    script.answer(data)
    assert list(grid(client, url).history(START, END).values) == [11.0]


def test_pages_are_followed(api, client):
    """By the cursor that each page gives, until there are no more."""
    url, script = api
    query = (
        "/datasets/ercot_fuel_mix/query?start_time=2026-10-31T06%3A00%3A00Z&end_time=2026-11-01T"
    )
    query += "09%3A00%3A00Z&json_schema=array-of-arrays&cursor="
    script.on(query, page({"wind": [50.0] * 12}, more=True, cursor="b2"))
    rest = page({"wind": [50.0] * 36})
    rest["data"][1:] = rest["data"][13:]
    script.on(query + "b2", rest)
    assert grid(client, url).history(START, END).known == 3
    assert script.paths == [query, query + "b2"]


def test_pages_without_end(api, client):
    """A server that always has more is given up."""
    url, script = api
    script.answer(page({"wind": [50.0] * 2}, more=True, cursor="again"))
    assert "more than 100 pages" in failure(client, url)


def test_a_long_past_is_asked_in_parts(api, client):
    """A fortnight at once, and a day more before for the types."""
    url, script = api
    script.answer(page({"wind": [50.0] * 12}))
    grid(client, url).history(START - timedelta(days=20), END)
    assert len(script.paths) == 2


@pytest.mark.parametrize("options", [{"operator": "ERCOT"}, {"operator": "x/../y"}, {"scope": ""}])
def test_bad_arguments(client, options):
    """No path is built from what is no operator."""
    with pytest.raises(SignalError, match="gridstatus: "):
        grid(client, "http://127.0.0.1:9", **options)


def test_http_trouble(api, client):
    """Refused keys, broken servers and silence, each in one sentence without the key."""
    url, script = api
    for status in (401, 403):
        script.answer({"detail": "Invalid API key"}, status=status)
        assert "settings/api" in failure(client, url, KeyRefusedError)
    for status in (404, 422, 500):
        script.answer({}, status=status)
        assert f"answered {status}" in failure(client, url)
    script.hang = threading.Event()
    client.timeout = httpx.Timeout(0.2)
    assert "no answer in time" in failure(client, url)
    assert KEY not in repr(grid(client, url))


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [({"Retry_After": "2"}, 2.0), ({"Retry_After": "Sun, 01 Nov 2026 09:01:00 GMT"}, 60.0),
     ({}, None)],
)  # fmt: skip
def test_too_many_questions(api, client, headers, wait_s):
    """Retry-After in both forms is handed on."""
    url, script = api
    script.answer({}, status=429, **headers)
    with pytest.raises(RateLimitedError, match="429") as caught:
        grid(client, url).history(START, END)
    assert caught.value.retry_after_s == wait_s


GOOD = {"wind": [50.0] * 36}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (page(GOOD, dataset="pjm_fuel_mix"), "asked for ercot_fuel_mix, the answer is for 'pjm"),
        (page({**GOOD, "fusion": [1.0] * 36}), "a type 'fusion' without a factor"),
        (page({"wind": ["50"] * 36}), "row 0: '50' is no number"),
        (page({"wind": [9e9] * 36}), "out of range"),
        (page({"wind": [None] * 36}), "no generation"),
        (page({}), "no generation"),
        (page(GOOD, data=[]), "no generation"),
        (page(GOOD, data=None), "no generation"),
        (page(GOOD, data=7), "did the API change?"),
        (page(GOOD, data=[["wind"], [1.0]]), "no column interval_start_utc"),
        (page(GOOD, data=[["time_utc", "wind"], [1.0]]), "row 0 is no row of 2 columns"),
        (page(GOOD, data=[["time_utc", "wind"], ["2026-11-01T06:00", 1.0]]), "is not a time"),
        (page(GOOD, data=[{"interval_start_utc": "x"}, {}]), "row 0 is no row"),
        (page(GOOD, meta={}), "did the API change?"),
        (page(GOOD, meta={"hasNextPage": True}), "no cursor"),
        (page(GOOD, dataset_metadata=None), "did the API change?"),
        ([], "did the API change?"),
        (b"<html>", "not JSON"),
    ],
)
def test_spoilt_answers(api, client, raw, words):
    """Other operators, unknown types and other shapes are refused by name."""
    url, script = api
    script.answer(raw)
    assert words in failure(client, url)
