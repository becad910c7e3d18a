# SPDX-License-Identifier: Apache-2.0
"""`sgreen serve --replicas 2` with the real vLLM on the CPU: one is lost, the other goes on.

No profile and no GPU: this is about replicas. One service for both tests, in this order.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from served import QUIET, ROOT, until

SGREEN = "from slurm_green.cli.root import main; main()"
UP_S = 420.0  # two servers at once on two cores


@dataclass
class Service:
    process: subprocess.Popen[bytes]
    home: Path

    @property
    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    @property
    def shown(self) -> dict[str, dict[str, Any]]:
        """Registrations by the names of replicas."""
        found = {}
        for path in (self.home / "state" / "replicas").glob("*.json"):
            try:
                found[path.stem] = json.loads(path.read_text())
            except FileNotFoundError:  # taken back meanwhile
                continue
        return found

    def ready(self) -> dict[str, dict[str, Any]]:
        """When both are."""
        until(lambda: self._states() == ["ready"] * 2, UP_S, self._words)
        return self.shown

    def engine(self, shown: dict[str, Any]) -> int:
        """The process of vLLM's engine core behind that replica."""
        rows = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        split = [row.split(None, 2) for row in rows]
        (server,) = (
            pid for pid, parent, args in split
            if int(parent) == self.process.pid and f"--port {_port(shown)}" in args
        )  # fmt: skip
        (found,) = (pid for pid, parent, args in split if parent == server and "EngineCore" in args)
        return int(found)

    def _states(self) -> list[str]:
        assert self.process.poll() is None, self._words()
        return [one["state"] for one in self.shown.values()]

    def _words(self) -> str:
        logs = (self.home / "state" / "logs").glob("*.log")
        return self.log[-2000:] + "".join(one.read_text()[-2000:] for one in logs)


def _port(shown: dict[str, Any]) -> int:
    return int(shown["url"].rpartition(":")[2])


def _ask(shown: dict[str, Any], tokens: int, begun: threading.Event | None = None) -> bytes:
    """A stream, whole where its replica is not lost; `begun` when it has."""
    peer = http.client.HTTPConnection("127.0.0.1", _port(shown), timeout=120)
    asked = {"model": "tiny", "prompt": "7", "max_tokens": tokens, "ignore_eos": True}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {shown['key']}"}
    peer.request("POST", "/v1/completions", json.dumps({**asked, "stream": True}), headers)
    with closing(peer), peer.getresponse() as answer:
        if begun is not None:
            begun.set()
        try:
            return answer.read()
        except (http.client.IncompleteRead, ConnectionError):
            return b""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("replicas")
    argv = [
        sys.executable, "-c", SGREEN, "serve", str(tiny), "--local", "--replicas", "2",
        "--slo-ttft-ms", "1000", "--slo-tpot-ms", "60", "--clocks", "none",
        "--state", str(home / "state"), "--drain-s", "60", "--host", "127.0.0.1",
        "--vllm", f"{sys.executable} -m vllm.entrypoints.openai.api_server --model",
        "--", "--served-model-name", "tiny", "--max-model-len", "4096", "--enforce-eager",
        "--kv-cache-memory-bytes", "67108864", "--dtype", "float32", "--max-num-seqs", "64",
        "--disable-uvicorn-access-log",
    ]  # fmt: skip
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, env={**os.environ, **QUIET}, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        yield Service(process, home)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def test_one_is_killed_and_the_other_goes_on(service: Service) -> None:
    before = service.ready()
    assert len({one["key"] for one in before.values()}) == 2
    lost, other = sorted(before)
    os.kill(service.engine(before[lost]), signal.SIGKILL)
    until(lambda: lost not in service.shown, 60, lambda: service.log)
    assert b"[DONE]" in _ask(before[other], 16)
    after = service.ready()
    assert after[other]["key"] == before[other]["key"]
    assert after[lost]["key"] != before[lost]["key"]
    assert b"[DONE]" in _ask(after[lost], 16)


def test_one_is_lost_while_both_drain_and_the_other_ends_its_stream(service: Service) -> None:
    shown = service.ready()
    lost, other = sorted(shown)
    engine = service.engine(shown[lost])
    whole: list[bytes] = []
    begun = {name: threading.Event() for name in (lost, other)}
    # What has a request in flight has not ended before it is lost.
    readers = [
        threading.Thread(target=_ask, args=(shown[lost], 3000, begun[lost])),
        threading.Thread(target=lambda: whole.append(_ask(shown[other], 2000, begun[other]))),
    ]
    for reader in readers:
        reader.start()
    assert all(one.wait(60) for one in begun.values())
    service.process.terminate()
    until(
        lambda: all(one["state"] == "draining" for one in service.shown.values()),
        60, lambda: service.log,
    )  # fmt: skip
    os.kill(engine, signal.SIGKILL)
    service.process.wait(180)
    for reader in readers:
        reader.join(60)
    assert whole and b"[DONE]" in whole[0]
    assert len(re.findall(rb'"text":', whole[0])) > 1000
    assert service.shown == {}
