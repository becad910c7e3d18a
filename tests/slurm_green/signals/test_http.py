# SPDX-License-Identifier: Apache-2.0
"""Questions over HTTP: bounded in time and size, and one sentence for all that goes wrong."""

import gzip
import itertools
import json
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from api_server import serving
from hypothesis import example, given
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEY = "s3cr3t"


@pytest.fixture
def http(client):
    return Http(client, name="p", key_hint="see p.example for a new one")


def mock(answer, **fields):
    """Over a transport that answers, or raises, without a network."""
    client = httpx.Client(transport=httpx.MockTransport(answer))
    return Http(client, name="p", **fields)


def raising(error):
    """A transport on which every request ends like this."""

    def answer(_):
        raise error

    return mock(answer)


def test_an_answer_is_parsed(api, http):
    """What was asked, with which headers, and what came."""
    url, script = api
    script.answer({"data": [1, None, 2.5]})

    got = http.json(f"{url}/v1", NOW, params={"zone": "DE"}, headers={"auth-token": KEY})

    assert got == {"data": [1, None, 2.5]}
    assert script.paths == ["/v1?zone=DE"]
    assert (script.asked[0]["accept"], script.asked[0]["auth-token"]) == ("application/json", KEY)


def test_a_name_and_a_password_go_into_a_header(api, http):
    """Not into the address, which ends up in logs."""
    url, script = api
    script.answer({})
    http.json(url, NOW, auth=("ada", KEY))
    assert script.asked[0]["authorization"].startswith("Basic ")
    assert KEY not in script.paths[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1',
        b"<html>maintenance</html>",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
def test_what_is_no_json_is_one_sentence(api, http, body):
    """Cut, a page for people, NaN, nested without end."""
    url, script = api
    script.answer(body)
    with pytest.raises(SignalError) as caught:
        http.json(url, NOW)
    assert str(caught.value) == "p: the answer is not JSON, or cut"


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_is_told_from_an_outage(api, http, status):
    """With where to get a new one."""
    url, script = api
    script.answer({"error": f"bad token {KEY}"}, status=status)
    with pytest.raises(KeyRefusedError) as caught:
        http.json(url, NOW, headers={"auth-token": KEY})
    assert str(caught.value) == (
        f"p: answered {status}, the key is expired, wrong, or not for this; "
        "see p.example for a new one"
    )


@pytest.mark.parametrize("status", [204, 302, 400, 404, 418, 500, 502, 503, 504])
def test_other_answers_are_said_by_their_number(api, http, status):
    """A redirect is one of them: it would carry the key elsewhere."""
    url, script = api
    script.on("/asked", b"", status=status, Location=f"{url}/elsewhere")
    with pytest.raises(SignalError, match=f"^p: answered {status} ") as caught:
        http.json(f"{url}/asked", NOW)
    assert type(caught.value) is SignalError
    assert script.paths == ["/asked"]


DATE = "Tue, 24 Nov 2026 12:10:00 GMT"
LIMITS = [
    (429, "120", 120.0, "after 120 s"),
    (503, "120", 120.0, "after 120 s"),
    (429, " 0 ", 0.0, "after 0 s"),
    (429, DATE, 600.0, "after 600 s"),
    (429, "Tue, 24 Nov 2026 11:00:00 GMT", 0.0, "after 0 s"),
    (429, "Tue, 24 Nov 2026 13:10:00 +0100", 600.0, "after 600 s"),
    (429, "soon", None, "later"),
    (429, "-5", None, "later"),
    (429, "1.5", None, "later"),
    (429, "9999999999999", None, "later"),
]


@pytest.mark.parametrize(("status", "header", "wait_s", "words"), LIMITS)
def test_a_request_to_wait_is_understood(api, http, status, header, wait_s, words):
    """Seconds or a date; what is neither is `later`."""
    url, script = api
    script.answer({}, status=status, Retry_After=header)
    with pytest.raises(RateLimitedError) as caught:
        http.json(url, NOW)
    assert caught.value.retry_after_s == wait_s
    assert str(caught.value) == f"p: answered {status} and asks to come back {words}"


def test_too_many_requests_without_a_time(api, http):
    """429 alone is a limit; 503 alone is an outage."""
    url, script = api
    script.answer({}, status=429)
    with pytest.raises(RateLimitedError) as caught:
        http.json(url, NOW)
    assert caught.value.retry_after_s is None


@given(st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=40))
@example(f"Mon, 01 Jan 2024 00:00:00 +{10**16}")
def test_any_retry_after_is_a_limit(text):
    """Whatever a server writes there is never a crash."""
    http = mock(lambda _: httpx.Response(429, headers=[(b"retry-after", text.encode("latin-1"))]))
    with pytest.raises(RateLimitedError) as caught:
        http.body("http://p/", NOW)
    assert caught.value.retry_after_s is None or caught.value.retry_after_s >= 0


def test_a_server_that_says_nothing(api):
    """The client's time-out becomes one sentence."""
    url, script = api
    script.hang = threading.Event()
    with (
        httpx.Client(timeout=httpx.Timeout(0.05), trust_env=False) as client,
        pytest.raises(SignalError, match=r"^p: no answer in time \(ReadTimeout\)$"),
    ):
        Http(client, name="p").json(url, NOW)


def test_a_server_that_drips_is_given_up_after_the_total_time(api, client):
    """The trap: each read is in time, the whole is not."""
    url, script = api
    script.answer(b" " * 300_000)
    clock = itertools.count(step=16.0)
    http = Http(client, name="p", total_timeout_s=30.0, clock=lambda: next(clock))
    with pytest.raises(SignalError, match=r"^p: no whole answer within 30 s$"):
        http.body(url, NOW)


def test_nobody_there():
    """The cable is out, or nothing listens."""
    with serving() as (url, _):
        pass
    with (
        httpx.Client(trust_env=False) as client,
        pytest.raises(SignalError, match=r"^p: cannot be reached: .*refused"),
    ):
        Http(client, name="p").json(url, NOW)


@pytest.mark.parametrize("url", ["http://[::1", "ftp://p/x", "/x", "http://p:99999/"])
def test_an_address_that_is_none(client, url):
    """A slip in the configuration is a sentence."""
    with pytest.raises(SignalError, match=r"^p: cannot be reached: "):
        Http(client, name="p").json(url, NOW)


def test_an_answer_cut_by_the_server(api, http):
    """Fewer bytes than it promised."""
    url, script = api
    script.answer({"data": 1})
    script.declared_length = 5000
    with pytest.raises(SignalError, match=r"^p: cannot be reached: "):
        http.json(url, NOW)


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_that_is_too_large_is_refused(api, client, packed):
    """Before it is in memory, unpacked too."""
    url, script = api
    body = json.dumps("x" * (3 * 2**20)).encode()
    script.answer(gzip.compress(body) if packed else body)
    if packed:
        script.headers = {"Content-Encoding": "gzip"}
    http = Http(client, name="p", max_bytes=2 * 2**20)
    with pytest.raises(SignalError, match=r"^p: the answer is larger than 2 MiB, refused$"):
        http.json(url, NOW)


def test_an_error_without_words_is_said_by_its_type():
    """`cannot be reached: ` and nothing after it helps nobody."""
    with pytest.raises(SignalError) as caught:
        raising(httpx.ReadError("")).json("http://p/", NOW)
    assert str(caught.value) == "p: cannot be reached: ReadError"


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("no route"), httpx.ReadError("reset"), httpx.ProxyError("407")]
)
def test_errors_of_the_network_are_signal_errors(error):
    """In the library's own words."""
    with pytest.raises(SignalError, match=f"^p: cannot be reached: {error}$"):
        raising(error).json("http://p/", NOW)


def test_the_key_is_in_no_message(api):
    """Neither of a refusal nor of a network that fails."""
    url, script = api
    script.answer({}, status=403)
    for http in (mock(lambda _: httpx.Response(401)), raising(httpx.ConnectError("down"))):
        with pytest.raises(SignalError) as caught:
            http.json(url, NOW, headers={"auth-token": KEY}, auth=("ada", KEY))
        assert KEY not in str(caught.value)


def test_time_passes_for_the_date_in_retry_after():
    """It counts from now as the caller has it, not from the clock of this machine."""
    http = mock(lambda _: httpx.Response(429, headers={"retry-after": DATE}))
    with pytest.raises(RateLimitedError) as caught:
        http.json("http://p/", NOW + timedelta(minutes=4))
    assert caught.value.retry_after_s == 360.0


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\x00", f"{KEY}\N{EURO SIGN}"])
def test_a_key_that_no_header_can_carry_is_not_shown(api, client, key):
    """The library's own words about it quote the header."""
    url, _ = api
    with pytest.raises(SignalError) as caught:
        Http(client, name="p").json(url, NOW, headers={"auth-token": key})
    assert KEY not in str(caught.value)
    assert "check the key's file" in str(caught.value)
