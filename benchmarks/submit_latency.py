# SPDX-License-Identifier: Apache-2.0
"""What the submit hook adds to `sbatch`, on real clusters side by side, in one run.

    python benchmarks/submit_latency.py [--jobs 500] [--json]

One cluster per way of submitting, blocks of jobs in random order, so that the machine's noise
falls on all alike. Every job has the same later fate: it waits an hour for its begin time (the
user's own where no hook sets one), and no node would take it. What is compared is `sbatch` from
start to exit. Needs root or a user's own Slurm, as `sgreen cluster up` does.
"""

import asyncio
import json
import multiprocessing
import os
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import click

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.green import await_sgreend, green_paths, start_sgreend, toml_text
from slurm_green.cluster.hook import shim_path
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.controller.answer import AnswerServer
from slurm_green.hook.published import Published, Row, write_published
from slurm_green.hook.record import Record, new_token
from slurm_green.hook.wire import Ask, Defer

HOLD_S = 3600
BLOCK = 10
MESSAGE = "waits for cleaner power: becomes eligible by 2026-11-23 06:00:00 UTC, about 30% less CO2"
# The hook's time limit; a submission this much slower than the usual one met a time-out.
TIMEOUT_S = 0.05

NO_OP = """\
function slurm_job_submit(job_desc, part_list, submit_uid) return slurm.SUCCESS end
function slurm_job_modify(job_desc, job_rec, part_list, modify_uid) return slurm.SUCCESS end
return slurm.SUCCESS
"""
HOOK = """\
local green = dofile("{shim}")
green.configure{{socket="{socket}", published="{published}", mode="{mode}", max_hold_s=7200}}
function slurm_job_submit(d, p, u) green.submit(d, p, u) return slurm.SUCCESS end
function slurm_job_modify(d, r, p, u) return green.modify(d, r, p, u) end
return slurm.SUCCESS
"""


@dataclass(slots=True)
class Arm:
    """One way of submitting: a cluster of its own, and the daemon behind its hook if any."""

    name: str
    cluster: Cluster
    daemon: "BaseProcess | subprocess.Popen[bytes] | None"
    took_ms: list[float]

    def submit(self, script: Path) -> float:
        """One sbatch, in milliseconds."""
        begin = [f"--begin=now+{HOLD_S}"] if self.name in ("none", "no-op") else []
        env = {**os.environ, **self.cluster.env}
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
        started = time.perf_counter()
        pid = os.posix_spawnp(
            "sbatch", ["sbatch", "-o", os.devnull, *begin, str(script)], env, file_actions=null
        )
        _, status = os.waitpid(pid, 0)
        took_ms = 1e3 * (time.perf_counter() - started)
        if status != 0:
            raise click.ClickException(f"sbatch failed on the '{self.name}' cluster")
        return took_ms


def serve(path: Path) -> None:
    """A daemon that defers everything; the decision itself is measured elsewhere."""

    def handle(ask: Ask) -> Defer:
        now = datetime.now(UTC).replace(microsecond=0)
        latest = now + timedelta(hours=3)
        record = Record(
            token=new_token(),
            decided_utc=now,
            start_utc=now + timedelta(hours=2),
            latest_utc=latest,
            policy="bench",
        )
        begin = now + timedelta(seconds=HOLD_S)
        return Defer(begin_utc=begin, latest_utc=latest, record=str(record), message=MESSAGE)

    async def main() -> None:
        server = AnswerServer(path, handle, allowed_uids={os.geteuid()}, clock=time.monotonic)
        await server.start()
        await asyncio.Event().wait()

    asyncio.run(main())


def start_daemon(cluster: Cluster) -> "subprocess.Popen[bytes]":
    """The whole daemon, deciding, confirming and booking while it answers.

    Clean power comes in five hours: what is deferred stays so.
    """
    layout = cluster.layout
    rows = "".join(f"{h * 3600},{100 if h in (5, 6, 7, 8) else 400}\n" for h in range(24))
    (layout.work / "day.csv").write_text("start_s,carbon_g_per_kwh\n" + rows)
    paths = green_paths(layout)
    tables: dict[str, dict[str, object]] = {
        "general": {"mode": "enforce"},
        "paths": dict(paths),
        "policy": {"default_delay": "12h"},
        "controller": {"metrics": ""},
        "signal": {
            "read": ["csv"],
            "csv": {
                "path": layout.work / "day.csv",
                "anchor_utc": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                "repeat": True,
            },
        },
    }
    layout.green_conf.write_text(toml_text(tables))
    log = layout.log / "sgreend.log"
    daemon = start_sgreend(cluster, log=log)
    await_sgreend(daemon, paths, log=log, cycles=1)
    return daemon


def publish(path: Path) -> None:
    """Rows as a site with a few partitions has them; the job's own comes last."""
    now = datetime.now(UTC)
    rows = tuple(
        Row(
            partition=partition,
            max_gpus=64,
            max_length_s=86400,
            hold_s=HOLD_S,
            latest_in_s=10800,
            start_utc=now + timedelta(hours=2),
            message=MESSAGE,
        )
        for partition in ("a", "b", "c", "d", "e", "main")
    )
    until = now + timedelta(days=1)
    write_published(
        path, Published(published_utc=now, valid_until_utc=until, slurm_uid=0, rows=rows)
    )


def raise_arm(name: str, base: Path) -> Arm:
    """A cluster with that hook; where jobs would start beside the clock its nodes are drained."""
    spec = ClusterSpec(name=f"bench-{name}", nodes=8, gpus=64, cpus=64, hook=name != "none")
    cluster = Cluster.up(spec, base=base)
    layout = cluster.layout
    daemon: BaseProcess | subprocess.Popen[bytes] | None = None
    if name != "none":
        text = NO_OP
        if name != "no-op":
            mode = "published" if name == "published" else "socket"
            text = HOOK.format(
                shim=shim_path(),
                socket=layout.hook_socket,
                published=layout.hook_published,
                mode=mode,
            )
        layout.job_submit.write_text(text, encoding="utf-8")
        # Slurm notices a new file by its mtime in whole seconds.
        later = time.time() + 5
        os.utime(layout.job_submit, (later, later))
    if name == "published":
        publish(layout.hook_published)
    if name in ("socket", "hung"):
        daemon = multiprocessing.get_context("spawn").Process(
            target=serve, args=(layout.hook_socket,)
        )
        daemon.start()
        deadline = time.monotonic() + 20
        while not layout.hook_socket.exists():
            if time.monotonic() > deadline:
                raise click.ClickException("the stub daemon did not start")
            time.sleep(0.05)
    if name == "sgreend":
        daemon = start_daemon(cluster)
    if name in ("hung", "dead"):
        cluster.run("scontrol", "update", "nodename=ALL", "state=drain", "reason=benchmark")
    return Arm(name=name, cluster=cluster, daemon=daemon, took_ms=[])


def percentile(values: list[float], share: float) -> float:
    """The value that share of all does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def summary(arm: Arm, base: Arm) -> dict[str, float | int | str]:
    """One row of the table."""
    p50, p99 = percentile(arm.took_ms, 0.5), percentile(arm.took_ms, 0.99)
    base_p50, base_p99 = percentile(base.took_ms, 0.5), percentile(base.took_ms, 0.99)
    eligible = arm.cluster.run("squeue", "-h", "-O", "eligibletime:30").stdout.split()
    now = datetime.now().isoformat()  # noqa: DTZ005 - Slurm's own times are local too
    limit_ms = p50 + 0.9 * TIMEOUT_S * 1e3
    return {
        "way": arm.name,
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
        "max_ms": round(max(arm.took_ms), 1),
        "added_p50_ms": round(p50 - base_p50, 2),
        "added_p99_ms": round(p99 - base_p99, 2),
        "ratio_p50": round(p50 / base_p50, 3),
        "ratio_p99": round(p99 / base_p99, 3),
        "as_slow_as_a_time_out": sum(took > limit_ms for took in arm.took_ms),
        "deferred": sum(when > now for when in eligible if when[0].isdigit()),
    }


@click.command()
@click.option("--jobs", default=500, show_default=True, help="Submissions per way.")
@click.option(
    "--ways",
    default="none,no-op,socket,sgreend,published,hung,dead",
    show_default=True,
    help="Which.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def main(jobs: int, ways: str, as_json: bool) -> None:
    """Measure the submit hook on real clusters, side by side."""
    order = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="sgb") as directory:
        base = Path(directory)
        base.chmod(0o755)
        script = base / "job.sh"
        script.write_text("#!/bin/bash\n#SBATCH -t 30\n#SBATCH --gpus=1\nsleep 1\n")
        script.chmod(0o755)
        arms: list[Arm] = []
        try:
            arms.extend(raise_arm(name, base) for name in ways.split(","))
            for arm in arms:
                for _ in range(5):
                    arm.submit(script)
                if arm.name == "hung" and arm.daemon is not None and arm.daemon.pid is not None:
                    os.kill(arm.daemon.pid, signal.SIGSTOP)
            for _ in range(-(-jobs // BLOCK)):
                for arm in order.sample(arms, len(arms)):
                    arm.took_ms.extend(arm.submit(script) for _ in range(BLOCK))
            rows = [summary(arm, arms[0]) for arm in arms]
        finally:
            for arm in arms:
                if arm.daemon is not None:
                    arm.daemon.kill()  # a stopped process dies of SIGKILL alone
                    if isinstance(arm.daemon, subprocess.Popen):
                        arm.daemon.wait()
                    else:
                        arm.daemon.join()
                arm.cluster.down()
    if as_json:
        click.echo(json.dumps({"jobs": jobs, "ways": rows}))
        return
    columns = list(rows[0])
    click.echo("  ".join(f"{column:>{max(10, len(column))}}" for column in columns))
    for row in rows:
        click.echo("  ".join(f"{row[c]:>{max(10, len(c))}}" for c in columns))


if __name__ == "__main__":
    main()
