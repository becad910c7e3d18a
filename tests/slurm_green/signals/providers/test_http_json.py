# SPDX-License-Identifier: Apache-2.0
"""Any JSON API, against a local server that answers in shapes that such APIs have."""

import math
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.json_rows import JsonRows
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError
from slurm_green.signals.providers.http_json import HttpJson

NOW = datetime(2026, 10, 25, 0, 20, tzinfo=UTC)
HOUR = datetime(2026, 10, 25, tzinfo=UTC)
SECRET = "sesame-open"
ISO = "%Y-%m-%dT%H:%M:%SZ"
OBJECTS = JsonRows(time_field="at", value_field="v", p10_field="low", p90_field="high")


def hours(count=30, first=-2):
    return [HOUR + timedelta(hours=n) for n in range(first, first + count)]


def objects(**spoilt):
    """Thirty hours from two hours ago; `spoilt` replaces fields of the fifth."""
    rows = [
        {"at": f"{at:{ISO}}", "v": 100 + n, "low": 90 + n, "high": 110.5 + n}
        for n, at in enumerate(hours())
    ]
    rows[5] |= spoilt
    return {"zone": "DE", "made": "2026-10-24T22:15:00Z", "out": {"rows": rows}}


def provider(client, base, **options):
    wanted = {"url": f"{base}/f", "rows": OBJECTS, "path": "out.rows", "region": "DE"}
    return HttpJson(client, **(wanted | options))


def failure(act, *, kind=SignalError):
    with pytest.raises(kind) as caught:
        act()
    text = str(caught.value)
    assert text.startswith("http_json: ")
    assert "\n" not in text
    assert SECRET not in text
    return text


def test_forecast(api, client):
    """From the step that holds now, with quantiles, and as old as the API says it is."""
    url, script = api
    script.answer(objects(low=None))
    got = provider(client, url, issued_path="made", basis="marginal", scope="direct").fetch(NOW)
    assert (got.start_utc, got.step_s, len(got.values)) == (HOUR, 3600.0, 28)
    assert list(got.values[:2]) == [102.0, 103.0]
    np.testing.assert_array_equal([92, 93, 94, np.nan, 96], got.quantiles[0.1][:5])
    assert got.quantiles[0.9][0] == 112.5
    assert got.issued_utc == datetime(2026, 10, 24, 22, 15, tzinfo=UTC)
    about = (got.provider, got.region, got.quantity, got.basis, got.scope)
    assert about == ("http_json", "DE", "carbon_g_per_kwh", "marginal", "direct")


def test_nothing_is_issued_in_the_future(api, client):
    """A clock ahead of ours, or a local time told as UTC, would never grow old in the cache."""
    url, script = api
    script.answer(objects() | {"made": "2026-10-25T02:20:00Z"})
    assert provider(client, url, issued_path="made").fetch(NOW).issued_utc == NOW


def test_placeholders_units_and_key(api, client):
    """The URL gets times, the key goes into its header, and kilowatts become watts."""
    url, script = api
    script.answer([[at.timestamp(), 1.5] for at in hours()])
    one = provider(
        client, url, url=f"{url}/x?from={{start}}&to={{end_s}}&ms={{now_ms}}&n=1", path="@",
        rows=JsonRows(time_kind="posix", factor=1000, quantity="renewable_w"),
        key_header="X-Key", key=SECRET, ahead_s=86_400,
    )  # fmt: skip
    got = one.fetch(NOW)
    assert (got.quantity, got.values[0], got.unit) == ("renewable_w", 1500.0, "W")
    query = dict(parse_qsl(urlsplit(script.paths[0]).query))
    end = str(int(NOW.timestamp()) + 86_400)
    millis = f"{NOW.timestamp() * 1000:.0f}"
    assert query == {"from": "2026-10-25T00:00:00Z", "to": end, "ms": millis, "n": "1"}
    assert script.asked[0]["x-key"] == SECRET
    assert SECRET not in repr(one) + str(vars(one)["_rows"]) + script.paths[0]


def test_nulls_at_the_end_are_a_shorter_forecast(api, client):
    """What is not known yet is not invented; too short is refused."""
    url, script = api
    raw = objects()
    for row in raw["out"]["rows"][-3:]:
        row["v"] = None
    script.answer(raw)
    assert len(provider(client, url).fetch(NOW).values) == 25
    assert "the forecast reaches from" in failure(
        lambda: provider(client, url, min_horizon_s=30 * 3600).fetch(NOW)
    )


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [({"v": None}, "row 5 (2026-10-25T03:00Z) has no value"),
     ({"v": "105"}, "row 5: '105' is no number"), ({"v": True}, "row 5: 'True' is no number"),
     ({"v": -1}, "out of range"), ({"v": 10**400}, "out of range"), ({"v": 1e6}, "out of range"),
     ({"low": 120}, "row 5: its p10 120 is above its p90"),
     ({"at": "2026-10-25T03:00:00"}, "row 5: '2026-10-25T03:00:00' is not a time"),
     ({"at": 1}, "row 5: '1' is not a time"), ({"at": None}, "is not a time"),
     ({"at": "2026-10-25T03:30:00Z"}, "leaves a gap"),
     ({"at": "2026-10-25T02:00:00Z"}, "row 5 (2026-10-25T02:00Z) is not after")],
)  # fmt: skip
def test_spoilt_rows(api, client, spoilt, words):
    """One bad step spoils the forecast, and is named."""
    url, script = api
    script.answer(objects(**spoilt))
    assert words in failure(lambda: provider(client, url).fetch(NOW))


@pytest.mark.parametrize(
    ("answer", "options"),
    [({"out": {"lines": []}}, {}), ({"out": {"rows": {}}}, {}), ({"out": {"rows": [3]}}, {}),
     ({"out": {"rows": [{"at": "x", "low": 1, "high": 2}]}}, {}), ([], {}), ({"out": None}, {}),
     ({"out": {"rows": [["2026-10-25T00:00Z"]]}}, {"rows": JsonRows()}),
     ({"out": {"rows": [[1], [1, 2]]}}, {"rows": JsonRows(columns=True)}),
     ({"out": {"rows": [[1], "x"]}}, {"rows": JsonRows(columns=True)}),
     ({"n": "x"}, {"path": "sum(n)"}), ({"n": [1, "x"]}, {"path": "max_by(n, &abs(@))"}),
     (objects(), {"issued_path": "issued"}), (b"<html>", {}), (b'{"out": NaN}', {})],
)  # fmt: skip
def test_changed_schema(api, client, answer, options):
    """Renamed, retyped or gone: one sentence, and no forecast of what is left."""
    url, script = api
    script.answer(answer)
    text = failure(lambda: provider(client, url, **options).fetch(NOW))
    assert any(words in text for words in ("did the API change?", "not JSON", "is not a time"))


def test_empty_answer(api, client):
    """No rows are no forecast."""
    url, script = api
    script.answer({"out": {"rows": []}})
    assert "holds no values" in failure(lambda: provider(client, url).fetch(NOW))


def test_another_zone(api, client):
    """The answer says whom it is about, and that must be whom we asked for."""
    url, script = api
    script.answer(objects())
    assert provider(client, url, region_path="zone", region_expected="DE").fetch(NOW).region == "DE"
    wrong = provider(client, url, region_path="zone", region_expected="FR")
    assert "asked for FR, the answer is for 'DE'" in failure(lambda: wrong.fetch(NOW))
    gone = provider(client, url, region_path="country", region_expected="DE")
    assert "the answer is for 'None'" in failure(lambda: gone.fetch(NOW))


def test_past(api, client):
    """Asked in parts; nulls are gaps, what lies outside is left out, finer rows are averaged."""
    url, script = api
    raw = objects(v=None)
    script.answer({"past": raw["out"]["rows"]})
    one = provider(
        client, url, url="", history_url=f"{url}/h/{{start}}/{{end}}", history_path="past",
        history_span_s=4 * 3600,
    )  # fmt: skip
    got = one.history(HOUR, HOUR + timedelta(hours=6))
    assert script.paths == [
        "/h/2026-10-25T00:00:00Z/2026-10-25T04:00:00Z",
        "/h/2026-10-25T04:00:00Z/2026-10-25T06:00:00Z",
    ]
    assert (got.start_utc, got.step_s, got.region) == (HOUR, 3600.0, "DE")
    np.testing.assert_array_equal([102, 103, 104, np.nan, 106, 107], got.values)
    coarse = provider(client, url, url="", history_url=url, path="past", step_s=2 * 3600.0)
    assert list(coarse.history(HOUR, HOUR + timedelta(hours=6)).values) == [102.5, 104.0, 106.5]
    assert "has no url" in failure(lambda: one.fetch(NOW))
    assert "has no history_url" in failure(lambda: provider(client, url).history(HOUR, NOW))


def test_pasts_that_are_none(api, client):
    """Nothing known, no step, or rows that the grid would move."""
    url, script = api
    rows = [[at.timestamp() + 1800, 1] for at in hours()]
    pairs = JsonRows(time_kind="posix")
    one = provider(client, url, history_url=url, path="@", rows=pairs)
    for answer, words in (
        ([], "0 values in that past"), (rows[5:6], "1 values in that past"),
        (rows, "row 2 (2026-10-25T00:30:00Z) does not begin at a multiple of 3600 s"),
        ([[at, None] for at, _ in rows], "does not begin"),
        ([[at - 1800, None] for at, _ in rows], "no measured value"),
    ):  # fmt: skip
        script.answer(answer)
        assert words in failure(lambda: one.history(HOUR, HOUR + timedelta(hours=9)))


@pytest.mark.parametrize("status", [301, 404, 500])
def test_refusals(api, client, status):
    """Any status but 200 is named; redirects would carry the key elsewhere."""
    url, script = api
    script.answer({}, status=status)
    assert f"answered {status}" in failure(lambda: provider(client, url).fetch(NOW))


@pytest.mark.parametrize("after", ["60", "Sun, 25 Oct 2026 00:21:00 GMT"])
def test_come_back_later(api, client, after):
    """Retry-After in both forms is handed on."""
    url, script = api
    script.answer({}, status=429, Retry_After=after)
    with pytest.raises(RateLimitedError, match="after 60 s"):
        provider(client, url).fetch(NOW)


@pytest.mark.parametrize("status", [401, 403])
def test_expired_key(api, client, status):
    """The sentence says which key, not what it is."""
    url, script = api
    script.answer({"key": SECRET}, status=status)
    one = provider(client, url, key_header="Authorization", key=f"Bearer {SECRET}")
    assert "Authorization" in failure(lambda: one.fetch(NOW), kind=KeyRefusedError)


def test_time_out(api, client):
    """A server that accepts and never answers."""
    url, script = api
    script.hang = threading.Event()
    client.timeout = httpx.Timeout(0.2)
    assert "no answer in time" in failure(lambda: provider(client, url).fetch(NOW))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"path": "out.rows["}, "path: 'out.rows[' is no JMESPath: at character 10"),
     ({"path": ""}, "path: '' is no JMESPath"), ({"history_path": "a b"}, "history_path: 'a b'"),
     ({"issued_path": "]"}, "issued_path: "), ({"region_path": "zone"}, "region_expected"),
     ({"url": "http://x/{from}"}, "url: there is no {from}"), ({"url": ""}, "give url"),
     ({"history_url": "http://x/{Start}"}, "history_url: there is no {Start}"),
     ({"step_s": 0}, "step_s 0"), ({"history_span_s": math.nan}, "history_span_s nan"),
     ({"key": SECRET}, "key_header and key"), ({"key_header": "X:", "key": "k"}, "no name of a")],
)  # fmt: skip
def test_settings_that_can_never_work(client, options, words):
    """They are refused when constructed, and a bad expression says where it is bad."""
    assert words in failure(lambda: provider(client, "http://127.0.0.1:9", **options))
