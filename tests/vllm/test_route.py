# SPDX-License-Identifier: Apache-2.0
"""The router before two real vLLM replicas, in its own process: they hang, drain and are killed.

The tests run in this order; each needs what the one before left.
"""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from served import MODEL, ROOT, Served, served, until

SGREEN = ROOT / ".venv" / "bin" / "sgreen"
TOKENS = 900
PROMPTS = [f"{at} is {at:b} or {at:x}" for at in range(6)]

pytestmark = [
    pytest.mark.skipif(not SGREEN.exists(), reason="the router runs in .venv: make setup"),
    pytest.mark.timeout(900),
]


@dataclass
class Stream:
    """What came of one stream, and when its first event did."""

    events: list[str] = field(default_factory=list)
    whole: bool = False

    @property
    def text(self) -> str:
        said = []
        for event in self.events:
            if event != "[DONE]":
                for one in json.loads(event).get("choices", ()):
                    said.append(one["text"] if "text" in one else one["delta"].get("content") or "")  # noqa: PERF401
        return "".join(said)

    @property
    def done(self) -> bool:
        return self.whole and self.events[-1:] == ["[DONE]"]


@dataclass
class Two:
    """Two replicas and the router in front."""

    home: Path
    tiny: Path
    stack: ExitStack
    ports: list[int]
    replicas: list[Served]
    port: int = 0
    admin: int = 0

    def start(self, at: int) -> Served:
        """A replica on its port; that it drains takes vLLM an option."""
        log = self.home / f"vllm{at}-{time.monotonic():.0f}.log"
        options = ("--shutdown-timeout", "20")
        return self.stack.enter_context(
            served(self.tiny, log, *options, port=self.ports[at], env={})
        )

    def stream(self, asked: dict[str, object], port: int = 0, into: Stream | None = None) -> Stream:
        """One stream, read to its end."""
        got = into or Stream()
        peer = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=120)
        path = "/v1/chat/completions" if "messages" in asked else "/v1/completions"
        body = {"model": MODEL, "temperature": 0.0, "stream": True, "ignore_eos": True, **asked}
        peer.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = peer.getresponse()
        assert answer.status == 200, answer.read()
        try:
            for line in answer:
                if line.startswith(b"data: "):
                    got.events.append(line[6:].decode().strip())
            got.whole = True
        except http.client.IncompleteRead:
            pass
        finally:
            peer.close()
        return got

    def plain(self) -> int:
        """The status of a plain request."""
        peer = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        body = {"model": MODEL, "prompt": "a", "max_tokens": 2}
        peer.request("POST", "/v1/completions", json.dumps(body))
        try:
            return peer.getresponse().status
        finally:
            peer.close()

    def rows(self) -> dict[int, dict[str, Any]]:
        """The replicas by their ports, as the router sees them."""
        peer = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        peer.request("GET", "/replicas")
        rows = json.loads(peer.getresponse().read())
        peer.close()
        return {int(row["url"].rpartition(":")[2]): row for row in rows}

    def busiest(self) -> Served | None:
        """The replica with most of the router's requests; None: nobody has any."""
        running = {port: int(row["running"]) for port, row in self.rows().items()}
        most = max(running, key=running.__getitem__)
        return next((one for one in self.replicas if one.port == most and running[most]), None)

    def both_ready(self) -> bool:
        return [row["state"] for row in self.rows().values()] == ["ready", "ready"]

    def metric(self, pattern: str) -> float:
        peer = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        peer.request("GET", "/metrics")
        text = peer.getresponse().read().decode()
        peer.close()
        return sum(map(float, re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE)))

    def under_way(self, asked: list[dict[str, object]], act: Callable[[], bool]) -> list[Stream]:
        """Streams that all have begun when something happens; `act` says whether it met any.

        On a busy machine one replica may be done with its streams before the other begins, and
        the router with streams that are not read here.
        """
        for _ in range(4):
            streams = [Stream() for _ in asked]
            with ThreadPoolExecutor(len(asked)) as pool:
                futures: list[Future[Stream]] = [
                    pool.submit(self.stream, one, into=got)
                    for one, got in zip(asked, streams, strict=True)
                ]
                until(lambda some=streams: all(len(one.events) > 5 for one in some), 60)  # type: ignore[misc]
                met = act()
                got = [one.result() for one in futures]
            if met:
                return got
        raise AssertionError("all streams ended before anything could happen to them, four times")


def _ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _worker(one: Served) -> int:
    """The process that computes."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            name = stat.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if fields[3] == str(one.process.pid) and b"Worker" in name:
            return int(stat.parent.name)
    raise AssertionError("no worker")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Two]:
    home = tmp_path_factory.mktemp("route")
    with ExitStack() as stack:
        made = Two(home, tiny, stack, _ports(2), [])
        with ThreadPoolExecutor(2) as pool:
            made.replicas = list(pool.map(made.start, (0, 1)))
        made.port, made.admin = _ports(2)
        rows = "".join(
            f'[[site]]\nname = "s{at}"\n[[replica]]\nurl = "http://127.0.0.1:{port}"\n'
            f'model = "{MODEL}"\nsite = "s{at}"\n'
            for at, port in enumerate(made.ports)
        )
        (home / "route.toml").write_text(
            f"[listen]\nport = {made.port}\nadmin_port = {made.admin}\n"
            "[timeouts]\nprogress_s = 8\nfirst_byte_s = 20\n[health]\nperiod_s = 0.5\n"
            f'[[model]]\nname = "{MODEL}"\nresume = true\n{rows}'
        )
        with (home / "route.log").open("wb") as log:
            router = subprocess.Popen(
                [SGREEN, "route", "--config", home / "route.toml"], stderr=log
            )
        try:
            until(lambda: _up(made), 60, (home / "route.log").read_text)
            yield made
        finally:
            router.terminate()
            assert router.wait(30) == 0


def _up(two: Two) -> bool:
    try:
        return two.both_ready()
    except OSError:
        return False


def _asked(tokens: int = TOKENS) -> list[dict[str, object]]:
    plain: list[dict[str, object]] = [{"prompt": one, "max_tokens": tokens} for one in PROMPTS]
    for at in (1, 4):
        words = [{"role": "user", "content": PROMPTS[at]}]
        plain[at] = {"messages": words, "max_tokens": tokens}
    return plain


@pytest.fixture(scope="module")
def wanted(two: Two) -> list[str]:
    """What one replica says to each, undisturbed."""
    return [two.stream(one, port=two.ports[1]).text for one in _asked()]


def test_a_stream_is_what_the_replica_sends(two: Two) -> None:
    for asked in _asked(30)[:2]:
        more = {**asked, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
        straight = two.stream(more, port=two.ports[0])
        through = two.stream(more)
        assert through.done
        assert through.text == straight.text
        assert _forms(through.events) == _forms(straight.events)
        usage = [json.loads(one.events[-2])["usage"] for one in (through, straight)]
        assert usage[0] == usage[1]


def _forms(events: list[str]) -> set[str]:
    """All but what differs from event to event.

    On a busy machine vLLM puts several tokens in one now and then, and none in another.
    """
    said = [one for one in events if '"delta":{},' not in one or '"finish_reason":null' not in one]
    return {re.sub(r'"(id|text|content)":"(?:[^"\\]|\\.)*"|(?<=:)\d+', "", one) for one in said}


def test_a_worker_that_hangs_with_good_health_loses_its_streams(
    two: Two, wanted: list[str]
) -> None:
    stopped: list[int] = []

    def stop() -> bool:
        one = two.busiest()
        if one is None:
            return False
        stopped.append(_worker(one))
        os.kill(stopped[0], signal.SIGSTOP)
        assert one.ask("GET", "/health")[0] == 200
        return True

    try:
        got = two.under_way(_asked(), stop)
    finally:
        for one in stopped:
            os.kill(one, signal.SIGCONT)
    assert [one.done for one in got] == [True] * len(got)
    assert [one.text for one in got] == wanted
    until(two.both_ready, 60)


def test_a_drain_ends_streams_where_they_are_and_new_requests_never_see_it(
    two: Two, wanted: list[str]
) -> None:
    leaving = two.replicas[0]
    statuses: list[int] = []

    def leave() -> bool:
        if not two.rows()[leaving.port]["running"]:
            return False
        leaving.process.terminate()
        deadline_s = time.monotonic() + 4
        while time.monotonic() < deadline_s:
            statuses.append(two.plain())
        return True

    got = two.under_way(_asked(), leave)
    assert statuses
    assert set(statuses) == {200}
    assert [one.done for one in got] == [True] * len(got)
    assert [one.text for one in got] == wanted
    until(lambda: leaving.process.poll() is not None, 60)


def test_streams_go_on_when_their_replica_is_killed(two: Two, wanted: list[str]) -> None:
    two.replicas[0] = two.start(0)
    until(two.both_ready, 60)
    before = two.metric(r"slurm_green_route_resumes_total\{.*whole.*\}")

    def kill() -> bool:
        one = two.busiest()
        if one is None:
            return False
        # Who is stopped sends nothing more, so what still runs there lacks its end.
        os.killpg(one.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, one.process.pid, os.WSTOPPED | os.WNOWAIT)
        if not two.rows()[one.port]["running"]:
            os.killpg(one.process.pid, signal.SIGCONT)
            return False
        one.kill()
        return True

    got = two.under_way(_asked(), kill)
    assert [one.done for one in got] == [True] * len(got)
    assert [one.text for one in got] == wanted
    assert two.metric(r"slurm_green_route_resumes_total\{.*whole.*\}") > before
    usage = {"stream_options": {"include_usage": True}}
    last = json.loads(two.stream({**_asked(20)[0], **usage}).events[-2])
    assert last["usage"]["completion_tokens"] == 20
