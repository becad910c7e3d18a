# SPDX-License-Identifier: Apache-2.0
"""AIPerf as client of a governed vLLM, and as an outside check of our joules (root).

    "$(.ci/vllm)/bin/python" benchmarks/serve_aiperf.py --aiperf PATH [--pairs 6] [--requests 30]

Two servers of the same model side by side, one at the highest clock and one governed, each with an
emulated A100 and an `sgreen-noded` of its own; a worker's share of a core is its GPU's clock over
the highest, as in serve_live.py. AIPerf sends the same requests to one and the other in turns, at
first to the one, at first to the other; it reads the node helper as if it were dcgm-exporter, and
the replica's own joules beside. What it counts is compared with the GPU's true joules in the same
time. Latencies are of this machine, joules are emulated.

AIPerf counts from its last reading before the first request. One is asked for right then; where it
comes some milliseconds late, the one before counts, made ten idle seconds earlier.

AIPerf wants an environment of its own: `python3 -m venv V && V/bin/pip install aiperf==0.13.0`.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
from serve_live import (  # type: ignore[import-not-found, unused-ignore]
    A100,
    CGROUPS,
    ROOT,
    free_port,
    profile,
    server,
    timed,
)

from profiling.device.emulated.bench import Bench
from profiling.files import write_profile
from tests.slurm_green.node.live_node import LiveNode

POLICIES = ("max", "governor")
INTERVAL_S = 0.5  # how old what noded shows may be; 5 s by default
JOB = 60_000_071  # and the next one; no job of a Slurm
LOOK_NS = 333_000_000  # AIPerf reads metrics so often
LEFT_OUT = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # with them AIPerf takes no local tokenizer


@dataclass
class Side:
    """A server, its GPU and its node."""

    policy: str
    bench: Bench
    node_port: int
    replica_port: int
    port: int = 0
    true: list[tuple[int, float]] = field(default_factory=list)  # ns since 1970, J


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One run of AIPerf; milliseconds of each request, joules of all.

    `off` is by what share AIPerf's joules are more than the GPU's in AIPerf's time, the replica's
    more than the GPU's between two of its readings, the requests' work more than the replica's.
    """

    ttft_ms: np.ndarray
    tpot_ms: np.ndarray
    tokens: int
    asked: int
    aiperf_j: float
    true_j: float
    off: tuple[float, float, float]

    def attained(self, ttft_ms: float, tpot_ms: float) -> float:
        """Of all that were sent."""
        return float(((self.ttft_ms <= ttft_ms) & (self.tpot_ms <= tpot_ms)).sum() / self.asked)


@contextmanager
def node(home: Path, number: int, policy: str) -> Iterator[tuple[Side, dict[str, str]]]:
    """A GPU with its sgreen-noded and a job; and what a replica is told of them."""
    home.mkdir()
    with Bench.create(home / "gpus", [A100]) as bench:
        side = Side(policy, bench, free_port(), free_port())
        helper = LiveNode(
            home, bench, metrics=f"127.0.0.1:{side.node_port}", interval=INTERVAL_S
        ).start()
        # What noded takes for the job's slurmstepd.
        shutil.copy("/bin/sleep", home / "slurmstepd")
        job = JOB + number
        step = subprocess.Popen(
            [f"slurmstepd: [{job}.batch]", "86400"], executable=home / "slurmstepd"
        )
        try:
            begun = helper.ask(op="begin", job=job, uid=0, gpus="0", at_s=time.monotonic())
            assert begun["ok"], begun
            yield side, {
                "clocks": "noded", "job": str(job), "socket": str(helper.user_socket),
                "policy": policy, "metrics": f"127.0.0.1:{side.replica_port}",
            }  # fmt: skip
        finally:
            step.kill()
            step.wait()
            helper.stop()


@contextmanager
def watched(side: Side) -> Iterator[None]:
    """The GPU's true joules, twenty times a second."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            side.true.append((time.time_ns(), side.bench.read(0).energy_j))

    side.true.clear()
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def run(
    tool: str, side: Side, model: Path, out: Path, requests: int, rate: float, seed: int
) -> Seen:
    """AIPerf once."""
    argv = [
        tool, "profile", "-m", "m", "--url", f"http://127.0.0.1:{side.port}", "--streaming",
        "--endpoint-type", "completions", "--tokenizer", str(model), "--use-server-token-count",
        "--request-rate", f"{rate}", "--arrival-pattern", "poisson", "--random-seed", f"{seed}",
        "--request-count", f"{requests}", "--workers-max", "1",
        "--synthetic-input-tokens-mean", "40", "--synthetic-input-tokens-stddev", "16",
        "--output-tokens-mean", "32", "--output-tokens-stddev", "8",
        "--extra-inputs", "ignore_eos:true", "--ui", "none", "--artifact-dir", str(out),
        "--gpu-telemetry", f"http://127.0.0.1:{side.node_port}/metrics",
        "--server-metrics", f"http://127.0.0.1:{side.replica_port}/metrics",
        "--server-metrics-formats", "json", "jsonl",
    ]  # fmt: skip
    env = {key: value for key, value in os.environ.items() if key not in LEFT_OUT}
    # It looks at ports 9400 and 9401 besides, and would add what somebody else's GPUs draw.
    env["AIPERF_GPU_DEFAULT_DCGM_ENDPOINTS"] = f"http://127.0.0.1:{side.node_port}/metrics"
    with watched(side):
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"aiperf ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return read(side, out, requests)


def read(side: Side, out: Path, requests: int) -> Seen:
    """What it wrote, and what we know of the same time."""
    lines = (out / "profile_export.jsonl").read_text().splitlines()
    records = [one for one in map(json.loads, lines) if not one.get("error")]
    total = json.loads((out / "profile_export_aiperf.json").read_text())
    if "nvidia_total_gpu_energy" not in total:
        raise click.ClickException(f"AIPerf read no joules from sgreen-noded; see {out}/logs")
    told = json.loads((out / "server_metrics_export.json").read_text())
    phase = told["summary"]["phase_time_ranges"]["profiling"]
    aiperf_j = total["nvidia_total_gpu_energy"]["avg"]
    true_j = _true_j(side, phase["start_ns"], phase["end_ns"])
    begin_ns, end_ns, replica_j, work_j = _replica(side, out)
    requests_j = sum(_cost_j(side, one["metadata"]["x_request_id"]) for one in records)
    return Seen(
        ttft_ms=_each(records, "time_to_first_token"),
        tpot_ms=_each(records, "inter_token_latency"),
        tokens=int(_each(records, "output_sequence_length").sum()),
        asked=requests,
        aiperf_j=aiperf_j,
        true_j=true_j,
        off=(
            aiperf_j / true_j - 1,
            replica_j / _true_j(side, begin_ns, end_ns) - 1,
            requests_j / work_j - 1,
        ),
    )


def _true_j(side: Side, begin_ns: float, end_ns: float) -> float:
    """What the GPU drew."""
    at_ns, joules = zip(*side.true, strict=True)
    begin_j, end_j = np.interp([begin_ns, end_ns], at_ns, joules)
    return float(end_j - begin_j)


def _replica(side: Side, out: Path) -> tuple[float, float, float, float]:
    """Begin and end of a stretch, the replica's joules in it, and its joules of work in the run.

    It counts once a second: between a reading in which it has not yet and the next in which it has.
    """
    seen = []
    for line in (out / "server_metrics_export.jsonl").read_text().splitlines():
        told = json.loads(line)
        if str(side.replica_port) in told["endpoint_url"]:
            joules = {
                one["labels"]["kind"]: one["value"]
                for one in told["metrics"]["slurm_green_serving_energy_joules"]
            }
            seen.append((told["timestamp_ns"], sum(joules.values()), joules["work"]))
    begin_ns = seen[0][0] + 2 * LOOK_NS  # before, it was read once, long before
    settled = [
        (at_ns - LOOK_NS / 2, joules)
        for (_, before_j, _), (at_ns, joules, _) in pairwise(seen)
        if joules != before_j and at_ns > begin_ns
    ]
    (begin_ns, begin_j), (end_ns, end_j) = settled[1], settled[-1]
    return begin_ns, end_ns, end_j - begin_j, seen[-1][2] - seen[0][2]


def _each(records: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([one["metrics"][name]["value"] for one in records])


def _cost_j(side: Side, name: str) -> float:
    """Of one request's work, as the replica tells it by the client's own id."""
    url = f"http://127.0.0.1:{side.replica_port}/requests/cmpl-{name}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return float(json.load(answer)["work_j"])


@click.command()
@click.option("--aiperf", "tool", default="aiperf", show_default=True, help="Its command.")
@click.option("--pairs", default=6, show_default=True, help="Runs of each policy.")
@click.option("--requests", default=30, show_default=True, help="Of each run.")
@click.option("--out", type=click.Path(path_type=Path), help="Where AIPerf's files stay.")
def main(tool: str, pairs: int, requests: int, out: Path | None) -> None:
    """Print how far the joules are apart in each run, and what each policy attained and drew."""
    if shutil.which(tool) is None:
        raise click.ClickException(
            f"{tool} is not there: python3 -m venv V && V/bin/pip install aiperf==0.13.0, then"
            " --aiperf V/bin/aiperf"
        )
    if os.geteuid() != 0 or not (CGROUPS / "cpu.shares").exists():
        raise click.ClickException(f"wanted: root, and {CGROUPS} of cgroup version 1")
    with ExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        model = home / "model"
        making = [sys.executable, "-m", "profiling.workload.tiny_model", str(model)]
        subprocess.run(
            [*making, "--size", "small"], check=True, cwd=ROOT, stderr=subprocess.DEVNULL
        )
        sides, told = [], []
        for number, policy in enumerate(POLICIES):
            side, settings = opened.enter_context(node(home / policy, number, policy))
            sides.append(side)
            told.append(settings)
        with server(model, sides[0].bench, home, {}) as port:
            times = timed(port)
        write_profile(home / "profile", profile(times))
        slo_ms = (6e3 * times[3], 2.5e3 * times[1])
        rate = 0.3 * 8 / (32 * times[1])
        click.echo(f"SLO {slo_ms[0]:.0f} and {slo_ms[1]:.0f} ms, {rate:.2f} requests/s")
        for side, settings in zip(sides, told, strict=True):
            settings |= {
                "profile": str(home / "profile"),
                "slo_ttft_ms": f"{slo_ms[0]}", "slo_tpot_ms": f"{slo_ms[1]}",
            }  # fmt: skip
            side.port = opened.enter_context(
                server(model, side.bench, home, settings, "--enable-request-id-headers")
            )
        seen: dict[str, list[Seen]] = {policy: [] for policy in POLICIES}
        for seed in range(pairs):
            for side in sides if seed % 2 else sides[::-1]:
                files = (out or home / "out").absolute() / f"{side.policy}-{seed}"
                one = run(tool, side, model, files, requests, rate, seed)
                seen[side.policy].append(one)
                _print_joules(side.policy, one)
        for policy in POLICIES:
            _print_policy(policy, seen[policy], *slo_ms)
        _print_pairs(seen)


def _print_joules(policy: str, one: Seen) -> None:
    aiperf, replica, requests = (f"{share:+.1%}" for share in one.off)
    click.echo(
        f"{policy}: AIPerf counted {one.aiperf_j:.0f} J, {aiperf} against the GPU; the replica"
        f" {replica} against the GPU; requests' work {requests} against the replica's"
    )


def _print_policy(policy: str, runs: Sequence[Seen], ttft_ms: float, tpot_ms: float) -> None:
    met = sum(one.attained(ttft_ms, tpot_ms) * one.asked for one in runs)
    ttft, tpot = (
        "{:.0f} and {:.0f} ms".format(*np.quantile(np.concatenate(each), (0.5, 0.95)))
        for each in ([one.ttft_ms for one in runs], [one.tpot_ms for one in runs])
    )
    count = sum(one.asked for one in runs)
    click.echo(
        f"{policy}: {met / count:.1%} of {count} attained; p50 and p95 of TTFT {ttft}, of TPOT"
        f" {tpot}; {sum(one.true_j for one in runs) / count:.0f} J a request"
    )


def _print_pairs(seen: dict[str, list[Seen]]) -> None:
    base, ours = (seen[policy] for policy in POLICIES)
    ratios = sorted(
        (b.true_j / b.tokens) / (a.true_j / a.tokens) - 1 for a, b in zip(base, ours, strict=True)
    )
    click.echo(
        f"emulated joules per token, {POLICIES[1]} against {POLICIES[0]}, {len(ratios)} pairs:"
        f" {statistics.median(ratios):+.1%} ({ratios[0]:+.1%} to {ratios[-1]:+.1%})"
    )


if __name__ == "__main__":
    main()
