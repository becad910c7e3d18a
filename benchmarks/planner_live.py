# SPDX-License-Identifier: Apache-2.0
"""The planner on a real Slurm: many real jobs, days that pass in minutes, every promise checked.

    python benchmarks/planner_live.py [--jobs 200] [--without-plan] [--json FILE]

A cluster comes up with the submit hook and sgreend, whose carbon signal is a sunny grid's day,
time-scaled. Some jobs bring a deadline, some opt out, the others may wait half a day by the
partition's default. Promises are judged by the ledger; grams are the site's figure against FIFO
with backfill of the same jobs (modelled watts, idle GPUs included).
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.green import (
    await_sgreend,
    green_paths,
    start_sgreend,
    stop_sgreend,
    toml_text,
)
from slurm_green.cluster.record import Owner
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.config.load import load
from slurm_green.demo.day import csv_text
from slurm_green.ledger.entries import Query
from slurm_green.ledger.fifo import Capacity
from slurm_green.ledger.report import build_report
from slurm_green.ledger.store import Store
from slurm_green.slurm.commands import CommandClient
from slurm_green.slurm.records import Job

LIMIT_S = 60
SIZES, SHARES = (1, 2, 4, 8), (40, 30, 20, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One job; `deadline_s` counts from its submission, None for none."""

    submit_s: float
    gpus: int
    run_s: int
    deadline_s: int | None
    out: bool


def jobs_of(count: int, *, gpus: int, load: float, seed: int) -> list[Planned]:
    """Random jobs at this load: of six one brings a deadline, and one of twelve opts out."""
    dice = random.Random(seed)
    mean_gpu_s = 35.0 * sum(s * w for s, w in zip(SIZES, SHARES, strict=True)) / sum(SHARES)
    at_s, found = 0.0, []
    for _ in range(count):
        at_s += dice.expovariate(load * gpus / mean_gpu_s)
        kind = dice.random()
        found.append(
            Planned(
                submit_s=at_s,
                gpus=dice.choices(SIZES, SHARES)[0],
                run_s=dice.randint(15, 55),
                deadline_s=LIMIT_S + dice.choice((60, 100, 140)) if kind < 1 / 6 else None,
                out=kind > 11 / 12,
            )
        )
    return found


def write_site(cluster: Cluster, *, scale: float, planned: bool, interval_s: float) -> None:
    """Its configuration: a site's times divided by the scale."""
    trace = cluster.layout.work / "carbon.csv"
    trace.write_text(csv_text())
    now = datetime.now(UTC).replace(microsecond=0)
    day_s = 86_400 / scale
    tables: dict[str, dict[str, object]] = {
        "general": {"mode": "enforce", "slurm_backend": "commands"},
        "paths": dict(green_paths(cluster.layout)),
        "hook": {"hold": "4s"},
        "policy": {
            "default_delay": f"{day_s / 2:.0f}s",
            "max_delay": f"{day_s * 0.8:.0f}s",
            "min_length": "10s",
            "margin_floor": "10s",
        },
        "controller": {"interval": "2s", "min_interval": "1s", "metrics": ""},
        "plan": {"enabled": planned, "interval": f"{interval_s:g}s", "time_limit": "20s"},
        "signal": {
            "read": ["csv"],
            "csv": {
                "path": trace,
                "time_scale": scale,
                "repeat": True,
                # It is six in the morning.
                "anchor_utc": f"{now - timedelta(seconds=day_s / 4):%Y-%m-%dT%H:%M:%SZ}",
            },
        },
    }
    cluster.layout.green_conf.write_text(toml_text(tables))


def submit(cluster: Cluster, job: Planned) -> int:
    """sbatch; the job id."""
    words = ["--parsable", "-t", "1", f"--gres=gpu:{job.gpus}", "-c", "1", "-o", "/dev/null"]
    if job.deadline_s is not None:
        due = datetime.now(UTC) + timedelta(seconds=job.deadline_s)
        words.append(f"--deadline={due:%Y-%m-%dT%H:%M:%S}")
    if job.out:
        words.append("--comment=green:off")
    done = cluster.run("sbatch", *words, "--wrap", f"exec sleep {job.run_s}", env={"TZ": "UTC"})
    return int(done.stdout.split(";")[0])


def played(
    cluster: Cluster, jobs: list[Planned], status: Path, client: CommandClient
) -> tuple[dict[int, Planned], dict[int, Job], dict[str, list[float]]]:
    """Submit all of them in time and wait for the last to end; what sgreend said meanwhile."""
    began_s = time.monotonic()
    ids: dict[int, Planned] = {}
    seen: dict[str, list[float]] = {"plans": [], "solve_s": [], "failures": [], "jobs": []}

    def look() -> None:
        try:
            plan = json.loads(status.read_text())["plan"]
        except (OSError, ValueError, KeyError):
            return
        if plan and (not seen["plans"] or plan["plans"] != seen["plans"][-1]):
            for key, values in seen.items():
                values.append(float(plan[key] or 0.0))

    for job in jobs:
        while (left_s := began_s + job.submit_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.5))
            look()
        ids[submit(cluster, job)] = job
    print(f"  all submitted after {time.monotonic() - began_s:.0f} s", flush=True)
    until_s = time.monotonic() + 600
    while time.monotonic() < until_s:
        look()
        shown = {job.job_id: job for job in client.jobs()}
        if not any(job.pending or job.active for job in shown.values()):
            break
        time.sleep(1)
    return ids, shown, seen


def await_receipts(cluster: Cluster, ids: Collection[int]) -> None:
    """Until all jobs have one, at most a minute: sgreend writes them after the jobs have ended."""
    until_s = time.monotonic() + 60
    lacking = set(ids)
    while lacking and time.monotonic() < until_s:
        time.sleep(0.2)
        with Store(green_paths(cluster.layout)["ledger"], readonly=True) as store:
            facts = store.jobs(Query())
        lacking = set(ids) - {one.job_id for one in facts if one.energy_j is not None}
    if lacking:
        print(f"  without a receipt: {sorted(lacking)}", flush=True)


def judged(
    cluster: Cluster,
    ids: dict[int, Planned],
    shown: dict[int, Job],
    seen: dict[str, list[float]],
    spec: ClusterSpec,
) -> dict[str, Any]:
    """Figures from the ledger and from Slurm."""
    config = load(cluster.layout.green_conf)
    with Store(green_paths(cluster.layout)["ledger"], readonly=True) as store:
        facts, events = store.jobs(Query()), store.events(Query())
        decisions = store.decisions(Query())
        report = build_report(
            facts,
            decisions,
            signal=store.signal,
            power=config.power_model(),
            capacity=Capacity(gpus=spec.nodes * spec.gpus, cpus=spec.nodes * spec.cpus),
        )
    states = Counter(shown[i].state if i in shown else "FORGOTTEN" for i in ids)
    touched = [i for i, job in ids.items() if job.out and i in shown and shown[i].admin_comment]
    kinds = Counter(event.kind for event in events)
    return {
        "jobs": len(ids),
        "deferred": report.deferred,
        "states": dict(states),
        "promises": {
            "made": report.promises.made,
            "kept": report.promises.kept,
            "broken": report.promises.broken,
            "deadlines": report.promises.deadlines,
            "deadlines_missed": report.promises.deadlines_missed,
        },
        "reasons": dict(Counter(one.reason for one in decisions)),
        "opted_out_and_touched": len(touched),
        "events": dict(kinds),
        "site_g": report.site.actual_g,
        "fifo_g": report.site.fifo_g,
        "saved_percent": report.site.saved_percent,
        "receipts_saved_g": report.receipts_saved_g,
        "wait_p50_s": report.delays_deferred.p50_s,
        "plans": max(seen["plans"], default=0.0),
        "plan_failures": max(seen["failures"], default=0.0),
        "plan_mean_s": sum(seen["solve_s"]) / max(len(seen["solve_s"]), 1),
        "plan_max_s": max(seen["solve_s"], default=0.0),
        "plan_most_jobs": max(seen["jobs"], default=0.0),
    }


def main() -> int:
    """Run it; exit status 1 when a promise was broken or a job did not end well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--load", type=float, default=0.5)
    parser.add_argument("--scale", type=float, default=360.0, help="seconds of signal per second")
    parser.add_argument("--interval-s", type=float, default=10.0, help="between two plans")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-plan", action="store_true", help="each job decided on alone")
    parser.add_argument("--log", type=Path, help="keep sgreend's log there")
    parser.add_argument("--json", type=Path, help="write the results there")
    options = parser.parse_args()
    spec = ClusterSpec(
        name="plan-live", nodes=options.nodes, gpus=8, cpus=64, hook=True,
        extra_conf=("MinJobAge=7200",),
    )  # fmt: skip
    jobs = jobs_of(options.jobs, gpus=spec.nodes * spec.gpus, load=options.load, seed=options.seed)
    span_h = jobs[-1].submit_s * options.scale / 3600
    print(f"{len(jobs)} jobs over {jobs[-1].submit_s:.0f} s ({span_h:.0f} h of the signal)")
    cluster = Cluster.up(spec, owner=Owner.this_process())
    daemon: subprocess.Popen[bytes] | None = None
    try:
        write_site(
            cluster,
            scale=options.scale,
            planned=not options.without_plan,
            interval_s=options.interval_s,
        )
        log, paths = cluster.layout.log / "sgreend.log", green_paths(cluster.layout)
        daemon = start_sgreend(cluster, log=log)
        await_sgreend(daemon, paths, log=log)
        client = CommandClient(env=cluster.env)
        ids, shown, seen = played(cluster, jobs, paths["status"], client)
        await_receipts(cluster, ids)
        result = judged(cluster, ids, shown, seen, spec)
        if options.log is not None:
            options.log.write_bytes(log.read_bytes())
    finally:
        if daemon is not None:
            stop_sgreend(daemon)
        cluster.down()
    print(json.dumps(result, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    fine = result["states"] == {"COMPLETED": len(ids)} and not result["opted_out_and_touched"]
    return 0 if fine and not result["promises"]["broken"] else 1


if __name__ == "__main__":
    sys.exit(main())
