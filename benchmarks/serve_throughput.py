# SPDX-License-Identifier: Apache-2.0
"""Tokens a second of the real vLLM on a CPU with the governor, against without.

    "$(.ci/vllm)/bin/python" benchmarks/serve_throughput.py [--pairs 12]

A model of 91 million parameters. Both servers are up all the time and take turns, in an order that
is drawn for each pair: 48 requests of 48 tokens, 32 answered, eight at once. The governed one has
a profile of this machine and sets clocks of an emulated A100, which slow nothing down here, so
that what differs is what deciding costs. Printed are the ratios of each pair, with over without:
tokens a second, and CPU seconds of the server a token. 5 to 10 minutes.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import serve_live as live

from profiling.device.emulated.bench import Bench
from profiling.files import write_profile

REQUESTS, AT_ONCE, PROMPT, ANSWER = 48, 8, 48, 32
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(port: int) -> float:
    """CPU seconds so far of the server at that port, its children included."""
    told = subprocess.run(
        ["pgrep", "-f", "--", f"--port {port} "], capture_output=True, text=True, check=True
    ).stdout.split()
    session = os.getsid(int(told[0]))
    total = 0.0
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = one.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session:
            total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


def turn(port: int, seed: int) -> tuple[float, float]:
    """Tokens a second, and CPU seconds a token."""
    dice = random.Random(seed)
    words = [" ".join(str(dice.randrange(1000)) for _ in range(PROMPT)) for _ in range(REQUESTS)]
    before_s, begin_s = cpu_s(port), time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tokens = sum(one.tokens for one in pool.map(lambda one: live.ask(port, one, ANSWER), words))
    lasted_s = time.monotonic() - begin_s
    return tokens / lasted_s, (cpu_s(port) - before_s) / tokens


@click.command()
@click.option("--pairs", default=12, help="Turns of each server.")
def main(pairs: int) -> None:
    """Print a line for each pair and the medians."""
    with (
        tempfile.TemporaryDirectory() as name,
        Bench.create(Path(name) / "gpus", [live.A100]) as bench,
    ):
        home = Path(name)
        model = home / "model"
        making = [sys.executable, "-m", "profiling.workload.tiny_model", str(model)]
        subprocess.run(
            [*making, "--size", "small"], check=True, cwd=live.ROOT, stderr=subprocess.DEVNULL
        )
        with live.server(model, bench, home, {}, governed=False, throttled=False) as plain:
            times = live.timed(plain)
            write_profile(home / "profile", live.profile(times))
            settings = {
                "profile": str(home / "profile"), "clocks": "nvml",
                "slo_ttft_ms": f"{6e3 * times[3]}", "slo_tpot_ms": f"{2.5e3 * times[1]}",
            }  # fmt: skip
            with live.server(model, bench, home, settings, throttled=False) as governed:
                found = []
                for number in range(pairs):
                    ports = [plain, governed]
                    random.Random(number).shuffle(ports)
                    of = {port: turn(port, number) for port in ports}
                    speed, cpu = (of[governed][k] / of[plain][k] for k in (0, 1))
                    found.append((speed, cpu))
                    click.echo(
                        f"{of[plain][0]:.0f} tokens/s without, {of[governed][0]:.0f} with: "
                        f"ratio {speed:.3f}; CPU a token {cpu:.3f}"
                    )
        for what, ratios in zip(("tokens/s", "CPU a token"), zip(*found, strict=True), strict=True):
            click.echo(
                f"{what}, with over without: median {statistics.median(ratios):.3f}, "
                f"{min(ratios):.3f} to {max(ratios):.3f}"
            )


if __name__ == "__main__":
    main()
