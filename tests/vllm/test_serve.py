# SPDX-License-Identifier: Apache-2.0
"""`sgreen serve` with the real vLLM on the CPU: up, lost and back, drained with a stream in flight.

A real sgreen-noded with an emulated A100 lowers clocks beside it. One server for all tests, in
this order; the last one ends it.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import QUIET, ROOT, until

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from serving.vllm.settings import PREFIX
from slurm_green.plan.outcome import Objective, Prices
from slurm_green.plan.price_file import PriceFile, write_prices
from tests.slurm_green.node.live_node import LiveNode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks")

JOB = 60_000_047
SGREEN = "from slurm_green.cli.root import main; main()"


@dataclass
class Serving:
    process: subprocess.Popen[bytes]
    node: LiveNode
    home: Path

    @property
    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    @property
    def shown(self) -> dict[str, Any] | None:
        """The registration."""
        for path in (self.home / "state" / "replicas").glob("*.json"):
            with suppress(FileNotFoundError):  # taken back meanwhile
                told: dict[str, Any] = json.loads(path.read_text())
                return told
        return None

    def ready(self) -> dict[str, Any]:
        """When it is; a test fails with what vLLM said."""
        until(lambda: (self.shown or {}).get("state") == "ready", 420, self._words)
        assert self.shown is not None
        return self.shown

    def _words(self) -> str:
        logs = (self.home / "state" / "logs").glob("*.log")
        return self.log[-2000:] + "".join(one.read_text()[-3000:] for one in logs)

    def engines(self) -> list[int]:
        """Processes of vLLM's engine core."""
        told = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self._server())],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [int(line.split()[0]) for line in told.stdout.splitlines() if "EngineCore" in line]

    def _server(self) -> int:
        told = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(told.stdout.split()[0])


def _prices(home: Path) -> Path:
    """A day at 300 g/kWh from now on."""
    now = datetime.now(UTC)
    flat, none = np.full(24, 300.0), np.zeros(24)
    file = PriceFile(
        start_s=now.timestamp() - 60, step_s=3600.0, gpus=1, objective=Objective.PPC,
        prices=Prices(mu=flat, lam=none, nu=none), made_utc=now,
    )  # fmt: skip
    write_prices(home / "prices.json", file)
    return home / "prices.json"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Serving]:
    home = tmp_path_factory.mktemp("serve")
    with Bench.create(home / "gpus", [load_model("a100-sxm4-80gb")]) as bench:
        node = LiveNode(home, bench).start()
        # What noded takes for the job's slurmstepd.
        shutil.copy("/bin/sleep", home / "slurmstepd")
        step = subprocess.Popen(
            [f"slurmstepd: [{JOB}.batch]", "900"], executable=home / "slurmstepd"
        )
        begun = node.ask(op="begin", job=JOB, uid=0, gpus="0", at_s=time.monotonic())
        assert begun["ok"], begun
        argv = [
            sys.executable, "-c", SGREEN, "serve", str(tiny), "--local",
            "--profile", "a100-sxm-8b", "--slo-ttft-ms", "1000", "--slo-tpot-ms", "60",
            "--clocks", "noded", "--prices", str(_prices(home)), "--state", str(home / "state"),
            "--drain-s", "60", "--host", "127.0.0.1", "--site", "here",
            "--vllm", f"{sys.executable} -m vllm.entrypoints.openai.api_server --model",
            "--", "--served-model-name", "tiny", "--max-model-len", "4096", "--enforce-eager",
            "--kv-cache-memory-bytes", "67108864", "--dtype", "float32", "--max-num-seqs", "64",
            "--disable-uvicorn-access-log",
        ]  # fmt: skip
        env = {
            STATE_VARIABLE: str(bench.path),
            **QUIET,
            "SLURM_JOB_ID": str(JOB),
            f"{PREFIX}SOCKET": str(node.user_socket),
            f"{PREFIX}GPUS": "0",
            f"{PREFIX}NVML_LIBRARY": str(bench.library),
        }
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                argv, env={**os.environ, **env}, cwd=ROOT, stdout=log, stderr=log
            )
        try:
            yield Serving(process, node, home)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(10)
            step.kill()
            step.wait()
            if node.up:
                node.kill()


@contextmanager
def stream(
    shown: dict[str, Any], tokens: int, **more: object
) -> Iterator[http.client.HTTPResponse]:
    """A stream that has begun."""
    peer = http.client.HTTPConnection(shown["url"].removeprefix("http://"), timeout=60)
    asked = {"model": "tiny", "prompt": "7", "max_tokens": tokens, "ignore_eos": True, **more}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {shown['key']}"}
    peer.request("POST", "/v1/completions", json.dumps({**asked, "stream": True}), headers)
    with closing(peer), peer.getresponse() as answer:
        yield answer


def served(shown: dict[str, Any]) -> bool:
    """Whether it answers whole."""
    with stream(shown, 4) as answer:
        return b"[DONE]" in answer.read()


def test_it_comes_up_registers_and_wants_its_key(serving: Serving) -> None:
    shown = serving.ready()
    assert (shown["model"], shown["site"]) == ("tiny", "here")
    with stream({**shown, "key": "another"}, 4) as refused:
        assert refused.status == 401
    assert served(shown)
    assert f"job{JOB}-0: ready" in serving.log
    # The governor is in it: without work it parks the GPU.
    serving.node.wait(lambda: serving.node.lock_mhz(0) is not None, "a lowered clock")


def test_a_stream_tells_what_it_cost_in_its_usage(serving: Serving) -> None:
    shown = serving.ready()
    usage: dict[str, Any] = {}

    def told() -> bool:
        # An answer waits a tenth of a second for its figure, and goes without.
        with stream(shown, 64, stream_options={"include_usage": True}) as answer:
            chunks = answer.read().split(b"\n\n")
        usage.update(json.loads(chunks[-3].removeprefix(b"data: "))["usage"])
        return "x-sgreen-energy-j" in usage

    until(told, 60)
    assert usage["completion_tokens"] == 64
    energy_j, carbon_mg = usage["x-sgreen-energy-j"], usage["x-sgreen-carbon-mg"]
    assert energy_j > 0
    assert carbon_mg == pytest.approx(energy_j / 3.6e6 * 300e3, rel=1e-3, abs=2e-3)
    assert usage["x-sgreen-energy-source"] == "emulated"


def test_its_engine_killed_it_is_hidden_clocks_come_back_and_it_is_started_again(
    serving: Serving,
) -> None:
    before = serving.ready()
    (engine,) = serving.engines()
    os.kill(engine, signal.SIGKILL)
    until(lambda: serving.shown is None, 60, lambda: serving.log)
    serving.node.wait(lambda: serving.node.lock_mhz(0) is None, "the end of the lease")
    after = serving.ready()
    assert after["key"] != before["key"]
    assert served(after)


def test_asked_to_end_it_drains_and_the_stream_ends_whole(serving: Serving) -> None:
    shown = serving.ready()
    with stream(shown, 2000) as answer:
        whole: list[bytes] = []
        reader = threading.Thread(target=lambda: whole.append(answer.read()))
        reader.start()
        serving.process.terminate()
        until(lambda: (serving.shown or {}).get("state") == "draining", 60, lambda: serving.log)
        assert serving.process.wait(120) == 0
        reader.join(60)
    assert whole and b"[DONE]" in whole[0]
    assert len(re.findall(rb'"text":', whole[0])) > 1000
    assert serving.shown is None
    serving.node.wait(lambda: serving.node.lock_mhz(0) is None, "clocks given back")
    # The next one goes on with what the governor has learned.
    [kept] = (serving.home / "state" / "learned").iterdir()
    assert json.loads(kept.read_text())["heard"] > 0
