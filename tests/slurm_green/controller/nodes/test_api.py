# SPDX-License-Identifier: Apache-2.0
"""The node API over real sockets: only those whom munge believes, and never for long."""

import contextlib
import errno
import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from fake_munge import FakeMunge
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.controller.nodes.api import NodeApi
from slurm_green.controller.nodes.desk import Desk
from slurm_green.controller.nodes.server import Limits, serve_nodes
from slurm_green.controller.nodes.site import NodeOrders
from slurm_green.controller.nodes.wire import (
    ANSWER_HEADER,
    ENERGY,
    MOST_BYTES,
    ORDERS,
    REQUEST_HEADER,
    answer_digest,
    request_digest,
)

NODE_ORDERS = NodeOrders(
    jobs={1: {"clock_mhz": 1095, "floor_mhz": 900}, 2: {"own": True}},
    cap={"clock_mhz": 1500},
    known=frozenset({1, 2}),
)
ENERGY_ROW = {
    "job_id": 1, "node": "n1", "begin_utc": "2026-11-28T10:00:00+00:00",
    "end_utc": "2026-11-28T11:00:00+00:00", "gpus": ["GPU-1"], "energy_j": 5.5,
    "source": "nvml-counter", "why": "",
}  # fmt: skip


class Live:
    """A served API and a client of it."""

    def __init__(self, **limits: Any) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.desk = Desk()
        self.desk.publish(NODE_ORDERS)
        self.node = FakeMunge(0)
        self.sgreend = self.node.as_user(64030)
        api = NodeApi(self.desk, self.sgreend, {0})
        self.stop = serve_nodes(f"127.0.0.1:{self.port}", api, Limits(**limits))

    def post(
        self, path: str, values: object, *, munge: FakeMunge | None = None, **more: Any
    ) -> tuple[int, Any]:
        """Status and answer; `credential` and `body` where they are to be wrong."""
        body = more.get("body", json.dumps(values).encode())
        by = munge or self.node
        credential = more.get("credential") or by.encode(request_digest(path, body))
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as peer:
            peer.request("POST", path, body, {REQUEST_HEADER: credential})
            answer = peer.getresponse()
            data = answer.read()
        if signed := answer.headers[ANSWER_HEADER]:
            said = self.node.decode(signed)
            assert (said.uid, said.payload) == (64030, answer_digest(credential, data))
        elif answer.status == 200:
            raise AssertionError("an answer without a credential")
        return answer.status, json.loads(data)

    def raw(self, data: bytes, *, end: bool = True) -> bytes:
        """What comes back for these bytes, until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as peer:
            try:
                peer.sendall(data)
                if end:
                    peer.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: peer.recv(65536), b""))
            except OSError as error:
                # Cut off before we were done: a reset, or by then no connection at all.
                if isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN:
                    return b""
                raise


@pytest.fixture
def live() -> Iterator[Live]:
    one = Live()
    yield one
    one.stop()


def test_orders(live: Live) -> None:
    status, answer = live.post(ORDERS, {"node": "n1", "jobs": [1, 3]})
    assert status == 200
    assert answer == {
        "jobs": {"1": {"clock_mhz": 1095, "floor_mhz": 900}}, "cap": {"clock_mhz": 1500},
    }  # fmt: skip


def test_before_the_first_cycle_there_are_none(live: Live) -> None:
    live.desk._orders = None
    assert live.post(ORDERS, {"node": "n1", "jobs": [1]}) == (
        503,
        {"error": "no cycle has run yet"},
    )


def test_energies_are_taken_once_they_are_settled(live: Live) -> None:
    asked = {"node": "n1", "energies": {"a.json": ENERGY_ROW}}
    assert live.post(ENERGY, asked) == (200, {"taken": []})
    (energy,) = live.desk.waiting()
    assert (energy.node, energy.name, energy.energy_j, energy.gpus) == ("n1", "a.json", 5.5, 1)
    live.desk.settle([energy])
    assert live.post(ENERGY, asked) == (200, {"taken": ["a.json"]})


@pytest.mark.parametrize(
    "change",
    [
        {"job_id": 0},
        {"job_id": True},
        {"energy_j": -1},
        {"energy_j": "5"},
        {"energy_j": float("nan")},
        {"begin_utc": "yesterday"},
        {"end_utc": "2026-11-28T11:00:00"},
        {"gpus": 2},
        {"source": "Measured <b>"},
    ],
)
def test_an_energy_that_makes_no_sense_is_dropped_for_good(
    live: Live, change: dict[str, object]
) -> None:
    """Kept, the node would hand it in for ever."""
    asked = {"node": "n1", "energies": {"a.json": {**ENERGY_ROW, **change}, "b.json": ENERGY_ROW}}
    assert live.post(ENERGY, asked) == (200, {"taken": ["a.json"]})
    assert [one.name for one in live.desk.waiting()] == ["b.json"]


@pytest.mark.parametrize(
    ("path", "values", "status"),
    [
        ("/v1/else", {"node": "n1"}, 404),
        (ORDERS, {"jobs": [1]}, 400),
        (ORDERS, {"node": "../n", "jobs": [1]}, 400),
        (ORDERS, {"node": "n1", "jobs": ["1"]}, 400),
        (ORDERS, {"node": "n1", "jobs": [-1]}, 400),
        (ORDERS, {"node": "n1", "jobs": list(range(1, 1002))}, 400),
        (ORDERS, [1], 400),
        (ENERGY, {"node": "n1", "energies": []}, 400),
    ],
)
def test_wrong_questions(live: Live, path: str, values: object, status: int) -> None:
    assert live.post(path, values)[0] == status


def test_only_the_nodes_user_is_heard(live: Live) -> None:
    status, answer = live.post(ORDERS, {"node": "n1", "jobs": [1]}, munge=live.node.as_user(1000))
    assert (status, answer) == (403, {"error": "uid 1000 may not ask; nodes.user may"})


def test_a_credential_is_for_one_request(live: Live) -> None:
    other = live.node.encode(request_digest(ORDERS, b'{"node": "n1", "jobs": [2]}'))
    assert live.post(ORDERS, {"node": "n1", "jobs": [1]}, credential=other)[0] == 401
    # Not for another path with the same body, and not twice.
    body = json.dumps({"node": "n1", "jobs": [1]}).encode()
    credential = live.node.encode(request_digest(ORDERS, body))
    assert live.post(ENERGY, None, body=body, credential=credential)[0] == 401
    again = live.node.encode(request_digest(ORDERS, body))
    assert live.post(ORDERS, None, body=body, credential=again)[0] == 200
    assert live.post(ORDERS, None, body=body, credential=again)[0] == 401


def test_what_never_reaches_munge(live: Live) -> None:
    for data, status in (
        (b"GET /v1/orders HTTP/1.1\r\n\r\n", b"405"),
        (b"POST /v1/orders HTTP/1.1\r\n\r\n", b"401"),
        (b"POST /v1/orders SPDY\r\n\r\n", b"400"),
        (f"POST / HTTP/1.1\r\n{REQUEST_HEADER}: MUNGE:a:\r\n\r\n".encode(), b"411"),
        (
            f"POST / HTTP/1.1\r\n{REQUEST_HEADER}: MUNGE:a:\r\n"
            f"Content-Length: {MOST_BYTES + 1}\r\n\r\n".encode(),
            b"413",
        ),
    ):
        assert live.raw(data).split(b" ")[1] == status
    for silent in (b"", b"\xff" * 20_000, b"POST /v1/orders HT"):
        assert live.raw(silent) == b""
    assert live.sgreend.decoded == 0
    assert live.post(ORDERS, {"node": "n1", "jobs": [1]})[0] == 200


def test_a_slow_client_is_cut_off_and_delays_nobody() -> None:
    for request_s in (120.0, 0.5):
        live = Live(request_s=request_s)
        with socket.create_connection(("127.0.0.1", live.port)) as slow:
            slow.settimeout(60)
            slow.sendall(b"POST /v1/orders HTTP/1.1\r\n")
            if request_s < 1:
                try:
                    assert slow.recv(100) == b""
                except ConnectionError:
                    pass
            else:
                begin_s = time.monotonic()
                assert live.post(ORDERS, {"node": "n1", "jobs": [1]})[0] == 200
                assert time.monotonic() - begin_s < 60
        live.stop()


def test_stopped_it_cuts_off_who_is_there_and_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """asyncio of Python 3.11 logs a traceback for each connection whose task was cancelled."""
    live = Live()
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as slow:
        slow.sendall(b"POST ")
        assert live.post(ORDERS, {"node": "n1", "jobs": [1]})[0] == 200, "taken up after it"
        live.stop()
        with contextlib.suppress(ConnectionError):
            assert slow.recv(1) == b""
    assert [one.getMessage() for one in caplog.records] == []


def test_one_address_has_so_many_connections() -> None:
    live = Live(per_address=2, request_s=30.0)
    held = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(2)]
    for one in held:
        one.sendall(b"POST")
    deadline = time.monotonic() + 60
    while live.raw(b"GET / HTTP/1.1\r\n\r\n") != b"" and time.monotonic() < deadline:
        pass
    assert live.raw(b"GET / HTTP/1.1\r\n\r\n") == b""
    for one in held:
        one.close()
    while live.raw(b"GET / HTTP/1.1\r\n\r\n") == b"" and time.monotonic() < deadline:
        pass
    assert live.post(ORDERS, {"node": "n1", "jobs": [1]})[0] == 200
    live.stop()


def test_who_is_refused_often_is_cut_off_before_munge() -> None:
    live = Live(refusals=3, pause_s=60.0)
    stranger = live.node.as_user(1000)
    for _ in range(3):
        assert live.post(ORDERS, {"node": "n1", "jobs": [1]}, munge=stranger)[0] == 403
    asked = live.sgreend.decoded
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        live.post(ORDERS, {"node": "n1", "jobs": [1]}, munge=stranger)
    assert live.sgreend.decoded == asked
    live.stop()


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["node", "jobs", "energies", "a.json", "job_id", "gpus"]), inner
            )
        ),
        max_leaves=6,
    ),
    st.sampled_from([ORDERS, ENERGY, "/"]),
)
def test_whatever_root_sends_is_answered(values: object, path: str) -> None:
    munge = FakeMunge()
    api = NodeApi(Desk(), munge, {0})
    body = json.dumps(values).encode()
    reply = api.answer(path, body, munge.encode(request_digest(path, body)))
    assert reply.status in {200, 400, 404, 503}
    assert isinstance(json.loads(reply.body), dict)
    assert munge.decode(reply.credential).uid == 0
