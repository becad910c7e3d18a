# SPDX-License-Identifier: Apache-2.0
"""A node's way to sgreend: what it believes, and how long it waits."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_munge import FakeMunge

from slurm_green.config.node import NodeSection
from slurm_green.controller.nodes.api import NodeApi, Reply
from slurm_green.controller.nodes.desk import Desk
from slurm_green.controller.nodes.server import serve_nodes
from slurm_green.controller.nodes.site import NodeOrders
from slurm_green.controller.nodes.wire import MOST_BYTES, answer_digest
from slurm_green.errors import BadInputError, SlurmError
from slurm_green.node import http
from slurm_green.node.http import HttpSgreend, sgreend_of
from slurm_green.node.sgreend import FileSgreend, NoSgreend
from slurm_green.node.state import Cap, Orders, Plan

SLURM = 64030


class Site:
    """sgreend's API and one node that asks it."""

    def __init__(self) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.now_s = 1000.0
        self.desk = Desk()
        self.desk.publish(
            NodeOrders(jobs={7: {"clock_mhz": 1095, "floor_mhz": 900}}, cap={"power_limit_w": 400})
        )
        self.munge = FakeMunge(0)
        self.sgreend = HttpSgreend(
            f"http://127.0.0.1:{self.port}",
            node="n1",
            credentials=self.munge,
            uids={0, SLURM},
            clock=lambda: self.now_s,
        )
        self._stop: Callable[[], None] = lambda: None

    def serve(self, uid: int = SLURM, api: NodeApi | None = None) -> "Site":
        made = api or NodeApi(self.desk, self.munge.as_user(uid), {0})
        self._stop = serve_nodes(f"127.0.0.1:{self.port}", made)
        return self

    def close(self) -> None:
        self._stop()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # A second is much for sgreend and little for a thread of a test.
    monkeypatch.setattr(http, "_TOTAL_S", 60.0)
    one = Site()
    yield one
    one.close()


def test_orders_are_sgreends(site: Site) -> None:
    site.serve()
    assert site.sgreend.orders([7, 8]) == Orders(
        {7: Plan(clock_mhz=1095, floor_mhz=900), 8: None}, Cap(power_limit_w=400)
    )


def test_energies_are_named_once_taken(site: Site) -> None:
    site.serve()
    values = {
        "job_id": 7, "begin_utc": "2026-11-28T10:00:00+00:00",
        "end_utc": "2026-11-28T10:01:00+00:00", "gpus": ["G"], "energy_j": None,
        "source": "emulated", "why": "it shared a GPU",
    }  # fmt: skip
    assert list(site.sgreend.report({"a.json": values})) == []
    site.desk.settle(site.desk.waiting())
    assert list(site.sgreend.report({"a.json": values})) == ["a.json"]


def test_orders_of_somebody_else_are_not_taken(site: Site) -> None:
    site.serve(uid=1000)
    with pytest.raises(SlurmError, match=r"not sgreend's \(uid 1000"):
        site.sgreend.orders([7])


def test_an_answer_to_something_else_is_not_taken(site: Site) -> None:
    class Replays(NodeApi):
        first: Reply | None = None

        def answer(self, path: str, body: bytes, credential: str) -> Reply:
            self.first = self.first or super().answer(path, body, credential)
            fresh = site.munge.as_user(SLURM).encode(b"something else")
            return Reply(self.first.status, self.first.body, fresh)

    site.serve(api=Replays(site.desk, site.munge.as_user(SLURM), {0}))
    with pytest.raises(SlurmError, match="not sgreend's"):
        site.sgreend.orders([7])


def answering(site: Site, text: bytes) -> NodeApi:
    """sgreend, whatever it is asked."""

    class Answers(NodeApi):
        def answer(self, path: str, body: bytes, credential: str) -> Reply:
            digest = answer_digest(credential, text)
            return Reply(HTTPStatus.OK, text, site.munge.as_user(SLURM).encode(digest))

    return Answers(site.desk, site.munge, {0})


def test_only_what_was_handed_in_can_be_taken(site: Site) -> None:
    """The node removes the file of that name."""
    site.serve(api=answering(site, b'{"taken": ["../jobs/7.json", "a.json"]}'))
    assert list(site.sgreend.report({"a.json": {}})) == ["a.json"]


@pytest.mark.parametrize("said", [b"[]", b"{}", b'{"taken": null}'])
def test_an_answer_that_names_nothing_takes_nothing(site: Site, said: bytes) -> None:
    site.serve(api=answering(site, said))
    assert list(site.sgreend.report({"a.json": {}})) == []


def test_an_answer_without_an_end_is_cut_off(site: Site) -> None:
    site.serve(api=answering(site, b" " * (2 * MOST_BYTES) + b"{}"))
    with pytest.raises(SlurmError, match="its answer is too long"):
        site.sgreend.orders([7])


def test_an_answer_that_comes_too_late_is_none(site: Site) -> None:
    class Slow(NodeApi):
        def answer(self, path: str, body: bytes, credential: str) -> Reply:
            site.now_s += 61
            return super().answer(path, body, credential)

    site.serve(api=Slow(site.desk, site.munge.as_user(SLURM), {0}))
    with pytest.raises(SlurmError, match="no answer within 60 s"):
        site.sgreend.orders([7])


def test_down_is_said_and_not_asked_again_for_a_while(site: Site) -> None:
    with pytest.raises(SlurmError, match=r"sgreend at 127.0.0.1:\d+: Connection refused"):
        site.sgreend.orders([7])
    site.serve()
    site.now_s += 1.9
    with pytest.raises(SlurmError, match="Connection refused"):
        site.sgreend.orders([7])
    site.now_s += 0.2
    assert site.sgreend.orders([7]).plans[7] is not None


def test_it_waits_longer_after_each_failure_and_forgets_with_a_success(site: Site) -> None:
    pauses = []
    for _ in range(5):
        with pytest.raises(SlurmError):
            site.sgreend.orders([7])
        pauses.append(site.sgreend._again_s - site.now_s)
        site.now_s = site.sgreend._again_s
    assert pauses == [2.0, 5.0, 15.0, 60.0, 60.0]
    site.serve()
    site.sgreend.orders([7])
    assert site.sgreend._failures == 0


def test_a_refusal_is_told_in_one_line(site: Site) -> None:
    site.serve(api=NodeApi(site.desk, site.munge.as_user(SLURM), {1}))
    told = rf"^sgreend at 127.0.0.1:{site.port}: it answers 403: uid 0 may not ask"
    with pytest.raises(SlurmError, match=told):
        site.sgreend.orders([7])
    assert site.sgreend._again_s > site.now_s, "and not asked again for a while"


def test_a_question_that_was_wrong_does_not_stop_the_next(site: Site) -> None:
    site.serve()
    with pytest.raises(BadInputError, match="answers 400: jobs: wanted"):
        site.sgreend.orders([0])
    assert site.sgreend.orders([7]).plans[7] is not None


CUT = "its answer is cut, or is not HTTP"


def refusal(body: bytes) -> bytes:
    return b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", CUT),
        (b"garbage\r\n\r\n", CUT),
        (b"garbage\r\nContent-Length: 2\r\n\r\n{}", CUT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", CUT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", CUT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "sgreend at"),
        (refusal(b"[[["), "it answers 500: no reason given$"),
        (refusal(b"{}"), "it answers 500: no reason given$"),
        (refusal(b"[]"), "it answers 500: no reason given$"),
        (refusal(b"[" * 5000), "it answers 500: no reason given$"),
        (refusal(b'{"error": "a\\u001b[31m\\nb"}'), r"it answers 500: a\[31mb$"),
        (b"x" * 400_000, "too long"),
    ],
)
def test_an_answer_that_is_none(site: Site, said: bytes, words: str) -> None:
    with _talker(site.port, said), pytest.raises(SlurmError, match=words):
        site.sgreend.orders([7])


def test_one_that_drips_is_left_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_TOTAL_S", 0.8)
    site.sgreend._clock = time.monotonic
    site.sgreend._again_s = 0.0
    # It would take 85 s to the end; a second is what it gets.
    with _talker(site.port, b"HTTP/1.1 200 OK\r\n" * 100, pause_s=0.05):
        begin_s = time.monotonic()
        with pytest.raises((SlurmError, OSError)):
            site.sgreend.orders([7])
        assert time.monotonic() - begin_s < 20


def test_which_way_the_settings_mean(tmp_path: Path) -> None:
    assert isinstance(sgreend_of(NodeSection(), "n1"), NoSgreend)
    assert isinstance(sgreend_of(NodeSection(orders=tmp_path / "o"), "n1"), FileSgreend)
    with pytest.raises(BadInputError, match="leave one out"):
        sgreend_of(NodeSection(orders=tmp_path / "o", sgreend="http://a:1"), "n1")
    with pytest.raises(BadInputError, match="is not http"):
        HttpSgreend("ftp://a:1", node="n", credentials=FakeMunge(), uids={0})


@pytest.mark.parametrize(("user", "uids"), [("daemon", {0, 1}), ("no-such-user", {0})])
def test_whose_orders_are_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, user: str, uids: set[int]
) -> None:
    """A node may not know SlurmUser yet when it boots."""
    monkeypatch.setattr(http, "Munge", lambda _: FakeMunge())
    monkeypatch.setattr(
        http.pwd, "getpwnam", lambda name: {"daemon": SimpleNamespace(pw_uid=1)}[name]
    )
    made = sgreend_of(NodeSection(sgreend="http://a:1", sgreend_user=user), "n1")
    assert isinstance(made, HttpSgreend)
    assert made._uids == uids
    assert ("only root's orders are taken" in caplog.text) == (uids == {0})


class _talker:  # noqa: N801 - a context
    """Says something to whoever comes, whatever they ask; slowly where it pauses."""

    def __init__(self, port: int, said: bytes, pause_s: float = 0.0) -> None:
        self._said, self._pause_s = said, pause_s
        self._listening = socket.create_server(("127.0.0.1", port))

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        self._thread.join(timeout=5)

    def _talk(self) -> None:
        try:
            peer, _ = self._listening.accept()
            with peer:
                peer.recv(65536)
                step = 1 if self._pause_s else len(self._said) or 1
                for at in range(0, len(self._said), step):
                    peer.sendall(self._said[at : at + step])
                    if self._pause_s:
                        time.sleep(self._pause_s)
        except OSError:
            pass
