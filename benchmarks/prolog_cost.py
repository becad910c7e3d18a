# SPDX-License-Identifier: Apache-2.0
"""What prolog and epilog add to a job's start, on real clusters side by side, in one run.

    python benchmarks/prolog_cost.py [--jobs 60] [--json]

One cluster of one node for each way, blocks of jobs in random order. slurmd times its hooks: a
script before them and one after them write down the time. For its prolog a job waits itself, for
an epilog the next job on a full node. `srun true` on an idle node, from start to exit, is beside
it: srun looks for its prolog's end in steps, so that it shows less. As root, on emulated GPUs; on
a busy machine `chrt --rr 1` before it helps.
"""

import json
import random
import statistics
import subprocess
import time
from collections import defaultdict

import click

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.daemons import wait_until
from slurm_green.cluster.gpus import write_hook
from slurm_green.cluster.spec import ClusterSpec

BLOCK = 10
GPUS = 8
BAR_MS = 150.0
WAYS = {
    "without": "no prolog, no epilog",
    "with": "both, every job gets a clock",
    "no noded": "both, and nobody answers",
}
KINDS = ("prolog", "epilog")
# slurmd runs them in reverse alphabetical order.
STAMPS = {"90-begin.sh": ">", "10-end.sh": ">>"}
YARDSTICK = ("/usr/bin/python3", "-IS", "-c", "import json, signal, socket, syslog")


@click.command()
@click.option("--jobs", default=60, show_default=True, help="Jobs a way, in blocks of ten.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(jobs: int, as_json: bool) -> None:
    """Print the times of each way, and what the hooks add."""
    samples_ms: dict[tuple[str, str], list[float]] = defaultdict(list)
    python_ms: list[float] = []
    clusters = {}
    try:
        for number, way in enumerate(WAYS):
            clusters[way] = _cluster(f"pc{number}", way)
        blocks = [way for way in WAYS for _ in range(max(jobs // BLOCK, 1))]
        random.shuffle(blocks)
        for way in blocks:
            python_ms.append(_python_ms())
            for _ in range(BLOCK):
                for what, taken_ms in _job_ms(clusters[way]).items():
                    samples_ms[way, what].append(taken_ms)
    finally:
        for cluster in clusters.values():
            cluster.down()
    median_ms = {
        way: {what: statistics.median(samples_ms[way, what]) for what in ("srun", *KINDS)}
        for way in WAYS
    }
    added_ms = sum(median_ms["with"][kind] - median_ms["without"][kind] for kind in KINDS)
    python = statistics.median(python_ms)
    if as_json:
        values = {"median_ms": median_ms, "added_ms": added_ms, "python_ms": python}
        click.echo(json.dumps({"jobs": jobs, **values, "bar_ms": BAR_MS}))
        return
    for way, words in WAYS.items():
        times = ", ".join(f"{what} {taken:5.1f}" for what, taken in median_ms[way].items())
        click.echo(f"{way:9} {times} ms (medians): {words}")
    click.echo(f"prolog and epilog add {added_ms:.0f} ms (bar: {BAR_MS:.0f} ms)")
    click.echo(f"a Python alone took {python:.0f} ms; on an idle machine it is about 20")


def _cluster(name: str, way: str) -> Cluster:
    cluster = Cluster.up(ClusterSpec(name=name, nodes=1, gpus=GPUS, gpu_model="h100-sxm"))
    layout, (node,) = cluster.layout, cluster.spec.node_names
    for kind in KINDS:
        for path in layout.hooks(kind).glob("*.sh"):
            # What loads the emulated GPUs is no part of a site's hooks.
            if way == "without" or path.name.endswith("-load.sh"):
                path.unlink()
        for file, into in STAMPS.items():
            stamp = f"#!/bin/sh\n/bin/date +%s%N {into}{layout.work}/{kind}\n"
            write_hook(layout, kind, file, stamp)
    with cluster.bench(node) as bench:
        for gpu in range(GPUS):
            bench.load(gpu, 0.9, 0.5)
    cluster.order({job: {"clock_mhz": 1095} for job in range(1, 2000)})
    if way != "with":
        cluster.stop_noded(node)
    return cluster


def _job_ms(cluster: Cluster) -> dict[str, float]:
    """One job on all GPUs of the idle node, until it is idle again."""
    begin_s = time.monotonic()
    cluster.run("srun", f"--gres=gpu:{GPUS}", "true")
    taken = {"srun": (time.monotonic() - begin_s) * 1000}

    def idle() -> bool:
        return cluster.run("sinfo", "-h", "-o", "%t").stdout.strip() == "idle"

    wait_until(idle, timeout_s=30, what="the epilog")
    for kind in KINDS:
        begin_ns, end_ns = map(int, (cluster.layout.work / kind).read_text().split())
        taken[kind] = (end_ns - begin_ns) / 1e6
    return taken


def _python_ms() -> float:
    """The start of a Python with what the hooks import: how busy the machine is."""
    begin_s = time.monotonic()
    subprocess.run(YARDSTICK, check=True)
    return (time.monotonic() - begin_s) * 1000


if __name__ == "__main__":
    main()
