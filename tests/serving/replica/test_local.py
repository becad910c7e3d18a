# SPDX-License-Identifier: Apache-2.0
"""`sgreen serve --local` as a process, over a server that is scripted."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serving.replica.local import _signals
from serving.replica.machine import Event
from serving.replica.probe import flight

FAKE = Path(__file__).with_name("fake_vllm.py")
ROOT = Path(__file__).parents[3]
SGREEN = "from slurm_green.cli.root import main; main()"


class Serve:
    """One `sgreen serve`."""

    def __init__(self, home: Path) -> None:
        self.home, self.fake, self.state = home, home / "fake", home / "state"
        self.fake.mkdir()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str, env: dict[str, str] | None = None) -> "Serve":
        argv = [
            sys.executable, "-c", SGREEN, "serve", "tiny", "--slo-ttft-ms", "500",
            "--slo-tpot-ms", "50", "--local", "--state", str(self.state), "--drain-s", "20",
            "--vllm", f"{sys.executable} {FAKE}", *more,
        ]  # fmt: skip
        own = {name: one for name, one in os.environ.items() if not name.startswith("SLURM_")}
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, env={**own, "FAKE": str(self.fake), **(env or {})}, stdout=log, stderr=log,
                cwd=ROOT,
            )  # fmt: skip
        return self

    @property
    def words(self) -> str:
        return (self.home / "log").read_text()

    @property
    def shown(self) -> list[dict[str, Any]]:
        """What routers see."""
        found = []
        for path in sorted((self.state / "replicas").glob("*.json")):
            try:
                found.append(json.loads(path.read_text()))
            except FileNotFoundError:
                continue
        return found

    @property
    def starts(self) -> list[dict[str, Any]]:
        path = self.fake / "starts"
        return list(map(json.loads, path.read_text().splitlines())) if path.exists() else []

    def ready(self, count: int = 1) -> list[dict[str, Any]]:
        self.until(lambda: [one["state"] for one in self.shown] == ["ready"] * count)
        return self.shown

    def until(self, met: Callable[[], bool], seconds: float = 120.0) -> None:
        deadline_s = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline_s, self.words
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, seconds: float = 120.0) -> int:
        assert self.process is not None
        return self.process.wait(seconds)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    one = Serve(tmp_path)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()
    for start in one.starts:
        try:
            os.kill(start["pid"], signal.SIGKILL)
        except ProcessLookupError:
            pass


def asked(shown: dict[str, Any], count: int) -> tuple[int, bytes]:
    """A whole answer that takes `count` tenths of a second; 0 where nobody answers."""
    peer = http.client.HTTPConnection(shown["url"].removeprefix("http://"), timeout=30)
    body = json.dumps({"model": "tiny", "prompt": "go", "max_tokens": count})
    headers = {"Authorization": f"Bearer {shown['key']}", "Content-Type": "application/json"}
    with closing(peer):
        try:
            peer.request("POST", "/v1/completions", body, headers)
        except ConnectionRefusedError:
            return 0, b""
        with peer.getresponse() as answer:
            return answer.status, answer.read()


def in_flight(shown: dict[str, Any]) -> int:
    peer = http.client.HTTPConnection(shown["url"].removeprefix("http://"), timeout=60)
    with closing(peer):
        peer.request("GET", "/metrics")
        with peer.getresponse() as answer:
            found = flight(answer.read())
    assert found is not None
    return found.requests


@pytest.mark.slow
def test_two_replicas_come_up_and_a_stream_ends_whole_in_the_drain(serve: Serve) -> None:
    first, second = serve.start("--replicas", "2").ready(2)
    assert first["key"] != second["key"]
    assert first["url"] != second["url"]
    assert "nothing is governed, clocks stay at their maximum: no --profile" in serve.words
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(asked, first, 30)
        serve.until(lambda: in_flight(first) == 1)
        serve.signal(signal.SIGTERM)
        serve.until(lambda: "draining" in {one["state"] for one in serve.shown})
        assert serve.end() == 0
    assert whole.result() == (200, b"".join(b"%d " % number for number in range(30)))
    assert serve.shown == []


def test_keys_are_for_nobody_to_read(serve: Serve) -> None:
    (shown,) = serve.start().ready()
    assert shown["key"] not in json.dumps(serve.starts) + serve.words
    (path,) = (serve.state / "replicas").iterdir()
    assert path.stat().st_mode & 0o077 == 0


def test_an_address_of_all_is_the_machines_name_and_the_end_of_the_terminal_drains(
    serve: Serve,
) -> None:
    (shown,) = serve.start("--host", "0.0.0.0").ready()
    assert shown["url"].startswith(f"http://{socket.gethostname()}:")
    serve.signal(signal.SIGHUP)  # its terminal was closed
    assert serve.end() == 0
    assert "draining: asked to end" in serve.words
    assert serve.shown == []


def test_who_hears_twice_of_the_end_of_a_terminal_is_not_hurried() -> None:
    before, told = signal.getsignal(signal.SIGHUP), list[Event]()
    with _signals(told.append):
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert told == [Event.END, Event.NEAR_END, Event.END]
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.slow
def test_killed_it_comes_back_and_sick_it_is_taken_down(serve: Serve) -> None:
    (before,) = serve.start().ready()
    os.kill(serve.starts[0]["pid"], signal.SIGKILL)
    serve.until(lambda: len(serve.starts) == 2)
    (after,) = serve.ready()
    assert after["key"] != before["key"]
    (serve.fake / "dead").touch()
    serve.until(lambda: not serve.shown)
    (serve.fake / "dead").unlink()
    serve.until(lambda: len(serve.starts) == 3)
    serve.ready()
    serve.signal(signal.SIGINT)
    assert serve.end() == 0


@pytest.mark.slow
def test_killed_itself_its_server_ends_too(serve: Serve) -> None:
    serve.start().ready()
    serve.signal(signal.SIGKILL)
    serve.until(lambda: not Path(f"/proc/{serve.starts[0]['pid']}").exists())


@pytest.mark.slow
def test_a_server_that_ends_at_once_is_started_again_until_nobody_wants_it(serve: Serve) -> None:
    (serve.fake / "crash").touch()
    serve.start()
    serve.until(lambda: len(serve.starts) >= 2)
    serve.signal(signal.SIGTERM)
    assert serve.end() == 0
    assert "ended with status 3" in serve.words


def test_without_vllm_it_says_so(serve: Serve) -> None:
    serve.start("--vllm", "/no/such/vllm serve")
    assert serve.end() == 2
    assert "is vLLM installed here?" in serve.words


@pytest.mark.slow
def test_before_the_time_limit_a_replacement_is_warm_first(serve: Serve) -> None:
    bin_ = serve.home / "bin"
    bin_.mkdir()
    for name, text in (("sbatch", f'echo "$@" > {serve.home}/asked; echo 4711'), ("squeue", "")):
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    env = {"PATH": f"{bin_}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    serve.start("--replace-with", "again.sh", "--host", "127.0.0.1", env=env).ready()
    serve.signal(signal.SIGUSR1)
    serve.until((serve.home / "asked").exists)
    serve.until(lambda: "job 4711 is to replace" in serve.words)
    assert (serve.home / "asked").read_text().split()[:2] == ["--parsable", "again.sh"]
    assert [one["state"] for one in serve.shown] == ["ready"]
    other = serve.state / "replicas" / "again-job4711-0.json"
    other.write_text(json.dumps({**serve.shown[0], "state": "ready"}))
    assert serve.end() == 0
    assert [one.name for one in other.parent.iterdir()] == [other.name]


@pytest.mark.slow
def test_a_router_finds_it_and_sends_nobody_there_while_it_drains(serve: Serve) -> None:
    registrations = serve.state / "replicas"
    registrations.mkdir(parents=True)
    with socket.socket() as free, socket.socket() as other:
        for one in (free, other):
            one.bind(("127.0.0.1", 0))
        port, admin_port = free.getsockname()[1], other.getsockname()[1]
    config = serve.home / "route.toml"
    config.write_text(
        f'[listen]\nhost = "127.0.0.1"\nport = {port}\nadmin_port = {admin_port}\n'
        f'[registrations]\ndir = "{registrations}"\n[[site]]\nname = "local"\n'
        '[[model]]\nname = "tiny"\n'
    )
    argv = [sys.executable, "-c", SGREEN, "route", "--config", str(config)]
    with (serve.home / "route.log").open("wb") as log:
        router = subprocess.Popen(argv, stdout=log, stderr=log, cwd=ROOT)
    door = {"url": f"http://127.0.0.1:{port}", "key": "none"}
    try:
        (shown,) = serve.start().ready()
        serve.until(lambda: asked(door, 1)[0] == 200)
        with ThreadPoolExecutor(1) as pool:
            whole = pool.submit(asked, door, 40)
            serve.until(lambda: in_flight(shown) == 1)
            serve.signal(signal.SIGTERM)
            serve.until(lambda: asked(door, 1)[0] == 503)
            assert serve.end() == 0
        assert whole.result() == (200, b"".join(b"%d " % number for number in range(40)))
    finally:
        router.terminate()
        router.wait(60)
