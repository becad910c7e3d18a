# SPDX-License-Identifier: Apache-2.0
"""The governor in the real vLLM on a CPU whose quota follows an emulated GPU's clock (root).

    "$(.ci/vllm)/bin/python" benchmarks/serve_live.py [--blocks 6] [--seconds 20]

A model of 91 million parameters; its worker's share of a core is the emulated A100's clock over
its highest, so that latency answers to the clock. Each objective has a server of its own, whose
blocks alternate: energy is free (the highest clock, which is `max`) and dirty, the same requests in
both. Joules are the emulated GPU's; the profile is timed first, at the full clock.
"""

import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from profiling.device.emulated.bench import STATE_VARIABLE, Bench  # noqa: E402
from profiling.device.emulated.models import load_model  # noqa: E402
from profiling.files import write_profile  # noqa: E402
from profiling.profile import Engine, Gpu, InferencePoint, Profile, Provenance  # noqa: E402
from serving.vllm.settings import PREFIX  # noqa: E402
from slurm_green.plan.outcome import Objective, Prices  # noqa: E402
from slurm_green.plan.price_file import PriceFile, write_prices  # noqa: E402

A100 = load_model("a100-sxm4-80gb")
HIGH_MHZ = 1410
CLOCKS = tuple(float(mhz) for mhz in range(480, HIGH_MHZ + 1, 30))
CGROUPS = Path("/sys/fs/cgroup/cpu")  # version 1; 2 has cpu.max instead
PERIOD_US = 10_000
DIRTY = 400.0


@dataclass
class Answer:
    """Seconds from the request to its first and last token."""

    first_s: float
    last_s: float
    tokens: int

    @property
    def tpot_s(self) -> float:
        return (self.last_s - self.first_s) / max(self.tokens - 1, 1)


class Throttle:
    """Gives the worker the share of a core that the clock is of the highest one."""

    def __init__(self, bench: Bench, worker: int) -> None:
        self._group = CGROUPS / f"sgreen-live-{worker}"
        self._group.mkdir(exist_ok=True)
        self._write("cpu.cfs_period_us", PERIOD_US)
        self._write("cpu.shares", 4096)
        self._write("cgroup.procs", worker)
        self._bench, self._worker = bench, worker
        self._going = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Once the worker is gone."""
        self._going = False
        self._thread.join()
        with suppress(OSError):
            self._group.rmdir()

    def _run(self) -> None:
        quota, ran, load = 0, 0, (-1.0, -1.0)
        while self._going:
            now = max(int(PERIOD_US * self._bench.read(0).clock_mhz / HIGH_MHZ), 1000)
            if now != quota:
                quota = now
                self._write("cpu.cfs_quota_us", quota)
            with suppress(OSError):
                spent = int(Path(f"/proc/{self._worker}/schedstat").read_text().split()[0])
                busy = spent - ran > 1_000_000
                ran = spent
                if (wanted := (0.6, 0.5) if busy else (0.0, 0.0)) != load:
                    load = wanted
                    self._bench.load(0, *load)
            time.sleep(0.02)

    def _write(self, name: str, value: int) -> None:
        (self._group / name).write_text(str(value))


def ask(port: int, prompt: str, tokens: int) -> Answer:
    """One stream."""
    began_s = time.monotonic()
    peer = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    asked = {"model": "m", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
    peer.request(
        "POST", "/v1/completions", json.dumps({**asked, "stream": True}),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    answer = peer.getresponse()
    seen = [time.monotonic() - began_s for line in answer if line.startswith(b"data: {")]
    peer.close()
    return Answer(seen[0], seen[-1], tokens)


def load(port: int, seconds: float, rate: float, seed: int) -> list[Answer]:
    """Poisson arrivals; returns when all are answered."""
    dice = random.Random(seed)
    with ThreadPoolExecutor(64) as pool:
        asked, begin_s, at_s = [], time.monotonic(), 0.0
        while (at_s := at_s + dice.expovariate(rate)) < seconds:
            time.sleep(max(begin_s + at_s - time.monotonic(), 0.0))
            words = " ".join(str(dice.randrange(1000)) for _ in range(dice.randrange(8, 32)))
            asked.append(pool.submit(ask, port, words, dice.randrange(16, 48)))
        return [one.result() for one in asked]


def free_port() -> int:
    """Of this machine."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def server(
    model: Path,
    bench: Bench,
    home: Path,
    settings: dict[str, str],
    *options: str,
    governed: bool = True,
    throttled: bool = True,
) -> Iterator[int]:
    """vLLM, with the governor, and its worker throttled; `options` are vLLM's."""
    port = free_port()
    argv = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
        "--served-model-name", "m", "--port", str(port), "--host", "127.0.0.1",
        "--enforce-eager", "--max-model-len", "1024", "--kv-cache-memory-bytes", "268435456",
        "--dtype", "float32", "--max-num-seqs", "32", "--disable-uvicorn-access-log",
        "--no-enable-prefix-caching",
        *options,
    ]  # fmt: skip
    if governed:
        argv += ["--scheduler-cls", "serving.vllm.scheduler.GovernedScheduler"]
    env = {
        **os.environ, STATE_VARIABLE: str(bench.path), "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind", f"{PREFIX}NVML_LIBRARY": str(bench.library),
        f"{PREFIX}GPUS": "0", f"{PREFIX}JOURNAL": str(home / "journal"),
        **{f"{PREFIX}{key.upper()}": value for key, value in settings.items()},
    }  # fmt: skip
    log = home / f"vllm-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)
    throttle = None
    try:
        deadline_s = time.monotonic() + 400
        while not _healthy(port):
            assert process.poll() is None and time.monotonic() < deadline_s, log.read_text()[-3000:]
            time.sleep(1.0)
        if throttled:
            throttle = Throttle(bench, _worker(process.pid))
        ask(port, "0", 4)
        yield port
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if throttle is not None:
            throttle.close()
        for line in log.read_text(errors="replace").splitlines():
            if "governed" in line or "governor off" in line or "policy governor" in line:
                click.echo(f"  vLLM: {line[-160:]}", err=True)


def _worker(session: int) -> int:
    """The process that computes: of the session, the one that has run longest."""
    told = subprocess.run(
        ["ps", "-o", "pid=,args=", "--sid", str(session)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    found = [line.split()[0] for line in told.stdout.splitlines() if "Worker" in line]
    assert len(found) == 1, told.stdout
    return int(found[0])


def _healthy(port: int) -> bool:
    peer = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        peer.request("GET", "/health")
        return peer.getresponse().status == 200
    except OSError:
        return False
    finally:
        peer.close()


def timed(port: int) -> tuple[float, float, float, float]:
    """Seconds at the full clock: a token alone, one of eight, a short and a long prompt."""
    alone = [ask(port, "7", 32) for _ in range(3)]
    with ThreadPoolExecutor(8) as pool:
        eight = list(pool.map(lambda _: ask(port, "7", 64), range(8)))
    short = min(one.first_s for one in alone)
    long = min(ask(port, " ".join("7" * 400), 2).first_s for _ in range(3))
    return (
        statistics.median(one.tpot_s for one in alone),
        statistics.median(one.tpot_s for one in eight),
        short,
        long,
    )


def profile(times: Sequence[float]) -> Profile:
    """Times over the share of the core, power as the emulated GPU draws it."""
    alone_s, eight_s, short_s, long_s = times
    each_s = max((eight_s - alone_s) / 7, 1e-4)
    points = []
    for mhz in CLOCKS:
        share = mhz / HIGH_MHZ
        power_w = 90 + 250 * share**2.4
        points += [
            InferencePoint(
                phase="decode", batch=batch, context_tokens=context, clock_mhz=mhz,
                latency_s=(alone_s + each_s * (batch - 1)) / share, power_w=power_w,
            )
            for batch in (1, 8, 32) for context in (16, 1024)
        ]  # fmt: skip
        points += [
            InferencePoint(
                phase="prefill", batch=1, context_tokens=tokens, clock_mhz=mhz,
                latency_s=(short_s + max(long_s - short_s, 1e-3) * tokens / 800) / share,
                power_w=power_w,
            )
            for tokens in (8, 800)
        ]  # fmt: skip
    return Profile(
        provenance=Provenance.SIMULATED,
        gpu_name="NVIDIA A100-SXM4-80GB",
        gpu=Gpu(idle_w=88, parked_w=60, switch_latency_s=0.05, clocks=CLOCKS),
        engine=Engine(kv_tokens=8192, max_batched_tokens=2048, max_num_seqs=32),
        inference=tuple(points),
    )


def say_price(path: Path, mu: float) -> None:
    """For the next day."""
    now = datetime.now(UTC)
    none = np.zeros(24)
    file = PriceFile(
        start_s=now.timestamp() - 60, step_s=3600.0, gpus=1, objective=Objective.PPC,
        prices=Prices(mu=np.full(24, mu), lam=none, nu=none), made_utc=now,
    )  # fmt: skip
    write_prices(path, file)


@dataclass
class Block:
    answers: list[Answer]
    energy_j: float
    seconds: float

    def per_token_j(self) -> float:
        return self.energy_j / sum(one.tokens for one in self.answers)


def block(
    port: int, bench: Bench, prices: Path, mu: float, seconds: float, rate: float, seed: int
) -> Block:
    """Requests at a price; it counts until the last one is answered."""
    say_price(prices, mu)
    time.sleep(2.0)
    begin_s, before_j = time.monotonic(), bench.read(0).energy_j
    answers = load(port, seconds, rate, seed)
    time.sleep(max(begin_s + seconds - time.monotonic(), 0.0))
    return Block(answers, bench.read(0).energy_j - before_j, time.monotonic() - begin_s)


def attained(blocks: Sequence[Block], ttft_s: float, tpot_s: float) -> float:
    met = [
        one.first_s <= ttft_s and one.tpot_s <= tpot_s for each in blocks for one in each.answers
    ]
    return sum(met) / len(met)


@click.command()
@click.option("--blocks", default=6, help="Of each price and objective.")
@click.option("--seconds", default=20.0, help="Of each block.")
def main(blocks: int, seconds: float) -> None:
    """Print a line for each objective."""
    with tempfile.TemporaryDirectory() as name, Bench.create(Path(name) / "gpus", [A100]) as bench:
        home = Path(name)
        model = home / "model"
        making = [sys.executable, "-m", "profiling.workload.tiny_model", str(model)]
        subprocess.run(
            [*making, "--size", "small"], check=True, cwd=ROOT, stderr=subprocess.DEVNULL
        )
        with server(model, bench, home, {}) as port:
            times = timed(port)
        write_profile(home / "profile", profile(times))
        ttft_s, tpot_s = 6 * times[3], 2.5 * times[1]
        rate = 0.3 * 8 / (32 * times[1])
        said = ", ".join(f"{one * 1e3:.0f}" for one in times)
        click.echo(f"token alone, of eight, short and long prompt: {said} ms")
        click.echo(f"SLO {ttft_s * 1e3:.0f} and {tpot_s * 1e3:.0f} ms, {rate:.2f} requests/s")
        prices, budget_g = home / "prices", 0.0
        for objective in Objective:
            say_price(prices, 0.0)
            settings = {
                "profile": str(home / "profile"), "clocks": "nvml", "objective": str(objective),
                "slo_ttft_ms": f"{ttft_s * 1e3}", "slo_tpot_ms": f"{tpot_s * 1e3}",
                "prices": str(prices),
            }  # fmt: skip
            if objective is Objective.CARBON_CONSTRAINED:
                settings["carbon_budget_g_per_hour"] = f"{budget_g}"
            with server(model, bench, home, settings) as port:
                pairs = [
                    [block(port, bench, prices, mu, seconds, rate, seed) for mu in (0.0, DIRTY)]
                    for seed in range(blocks)
                ]
            budget_g = budget_g or 1.1 * statistics.mean(
                dirty.energy_j / dirty.seconds * 3600 / 3.6e6 * DIRTY for _, dirty in pairs
            )
            _print(objective, pairs, ttft_s, tpot_s)


def _print(objective: str, pairs: Sequence[Any], ttft_s: float, tpot_s: float) -> None:
    free, dirty = zip(*pairs, strict=True)
    ratios = sorted(d.per_token_j() / f.per_token_j() for f, d in pairs)
    shown = []
    for blocks in (free, dirty):
        tpots = sorted(one.tpot_s * 1e3 for each in blocks for one in each.answers)
        met = attained(blocks, ttft_s, tpot_s)
        shown.append(f"{met:.1%} attained, TPOT p50 {tpots[len(tpots) // 2]:.0f} ms")
    click.echo(
        f"{objective}: J/token {statistics.median(ratios) - 1:+.1%} ({ratios[0] - 1:+.1%} to"
        f" {ratios[-1] - 1:+.1%}); free {shown[0]}; dirty {shown[1]}"
    )


if __name__ == "__main__":
    main()
