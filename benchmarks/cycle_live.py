# SPDX-License-Identifier: Apache-2.0
"""A whole cycle against a real slurmctld with many pending jobs: queries, decision, changes, books.

    python benchmarks/cycle_live.py [--jobs 1000] [--cycles 1000]

CPU seconds are those of this process and of every Slurm command it started; slurmctld's own are
printed apart. The bar: one batch of queries and at most 1 s of CPU a cycle, memory flat.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.config.load import loads
from slurm_green.controller.build import build_runner
from slurm_green.hook.record import Record

CONFIG = """
[general]
mode = "enforce"
slurm_backend = "commands"
[paths]
ledger = "{directory}/ledger.sqlite"
off = "{directory}/off"
[policy]
default_delay = "12h"
[signal]
read = ["csv"]
[signal.csv]
path = "{directory}/day.csv"
anchor_utc = "{anchor}"
repeat = true
"""


def main() -> int:
    """Bring up, fill the queue, run cycles, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--cycles", type=int, default=1000)
    options = parser.parse_args()
    spec = ClusterSpec(name="bench-cycle", nodes=16, gpus=8, extra_conf=("MaxJobCount=20000",))
    cluster = Cluster.up(spec)
    try:
        with tempfile.TemporaryDirectory() as directory:
            return run(cluster, Path(directory), options.jobs, options.cycles)
    finally:
        cluster.down()


def run(cluster: Cluster, directory: Path, jobs: int, cycles: int) -> int:
    """Half of the jobs are deferred, half wait for a node that is taken."""
    now = datetime.now(UTC).replace(microsecond=0)
    # Clean in five hours: whoever is deferred stays so for the whole run.
    rows = "".join(f"{h * 3600},{100 if h in (5, 6, 7, 8) else 400}\n" for h in range(24))
    (directory / "day.csv").write_text("start_s,carbon_g_per_kwh\n" + rows)
    os.environ.update(cluster.env)
    fill(cluster, jobs, now)
    text = CONFIG.format(directory=directory, anchor=f"{now:%Y-%m-%dT%H:%M:%SZ}")
    runner = build_runner(loads(text))
    cpu: list[float] = []
    wall: list[float] = []
    memory: list[int] = []
    for number in range(cycles):
        cpu0, wall0 = spent(), time.perf_counter()
        report = runner.step()
        assert report is not None, "Slurm did not answer"
        cpu.append(spent() - cpu0)
        wall.append(time.perf_counter() - wall0)
        if number % max(cycles // 10, 1) == 0 or number == cycles - 1:
            memory.append(resident_kib())
    print(f"{jobs} pending jobs, {report.status.deferred} deferred, {cycles} cycles")
    print(
        f"CPU a cycle: p50 {statistics.median(cpu):.3f} s, max {max(cpu):.3f} s "
        f"(first {cpu[0]:.3f} s); wall p50 {statistics.median(wall):.3f} s"
    )
    print(f"resident memory, KiB, ten times over the run: {memory}")
    return 0 if statistics.median(cpu) <= 1.0 else 1


def fill(cluster: Cluster, jobs: int, now: datetime) -> None:
    """Real pending jobs: deferred ones as the hook and a confirmation leave them."""
    latest = now + timedelta(hours=11)
    for number in range(jobs):
        words = ["--parsable", "-t", "60", "--gres=gpu:1", "-o", "/dev/null", "--wrap", "true"]
        if number % 2:
            words += [f"--begin={latest:%Y-%m-%dT%H:%M:%S}"]
        else:
            words += ["--nodelist=bench-cycle-n1", "--exclusive", "--nice=1000"]
        done = cluster.run("sbatch", *words, env={"TZ": "UTC"})
        if number % 2:
            record = Record(
                token=f"{number:x}",
                decided_utc=now,
                start_utc=now + timedelta(hours=5),
                latest_utc=latest,
                policy="lowest-window",
            )
            job_id = done.stdout.strip()
            cluster.run("scontrol", "update", f"JobId={job_id}", f"AdminComment={record}")


def spent() -> float:
    """CPU seconds of this process and its children so far."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def resident_kib() -> int:
    """Resident memory now (ru_maxrss only knows the peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
