# SPDX-License-Identifier: Apache-2.0
"""A random campaign of real jobs on two real clusters at once: one with slurm-green, one without.

Both get the same jobs at the same moments, at loads from 0.7 to 1.1, after a while at 0.7 without
slurm-green on either, as a site has a past that accounting remembers. Counted are jobs that ended
late or were cancelled by Slurm for their deadline; the rule is that slurm-green adds at most 0.1 %
of them, each explained.

    python benchmarks/campaign.py --jobs 2000 --json campaign.json
"""

import argparse
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.green import (
    await_sgreend,
    green_paths,
    start_sgreend,
    stop_sgreend,
    toml_text,
)
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.ledger.entries import Query
from slurm_green.ledger.store import Store
from slurm_green.slurm.commands import CommandClient
from slurm_green.slurm.records import Job

LIMIT_S = 60
LOADS = (0.7, 0.9, 1.1)
WARM_LOAD = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One job of the campaign; `deadline_s` counts from its submission, None for none."""

    number: int
    counted: bool
    submit_s: float
    gpus: int
    run_s: int
    deadline_s: int | None


def campaign(count: int, *, gpus: int, seed: int, warm_s: float) -> list[Planned]:
    """Random jobs: `warm_s` at WARM_LOAD, then `count` at each of LOADS for a third of them."""
    dice = random.Random(seed)
    sizes, weights = (1, 2, 4, 8), (40, 30, 20, 10)
    mean_size = sum(s * w for s, w in zip(sizes, weights, strict=True)) / sum(weights)
    jobs: list[Planned] = []
    at_s = 0.0
    counted = 0
    while counted < count:
        warm = at_s < warm_s
        load = WARM_LOAD if warm else LOADS[counted * len(LOADS) // count]
        # Slurm sees a minute's limit; jobs run 20 to 58 s of it.
        at_s += dice.expovariate(load * gpus / (mean_size * 39.0))
        slack_s = dice.choice((None, None, 20, 40, 80, 160, 240))
        jobs.append(
            Planned(
                number=len(jobs),
                counted=not warm,
                submit_s=at_s,
                gpus=dice.choices(sizes, weights)[0],
                run_s=dice.randint(20, 58),
                deadline_s=None if slack_s is None else LIMIT_S + slack_s,
            )
        )
        counted += not warm
    return jobs


def write_site(cluster: Cluster, *, delay_s: int, deviations: float) -> None:
    """Config and carbon trace: a valley every two minutes, so that there is reason to wait."""
    trace = cluster.layout.work / "carbon.csv"
    rows = [f"{i * 1800},{300 + 150 * math.cos(2 * math.pi * i / 48):.1f}" for i in range(48)]
    trace.write_text("start_s,carbon_g_per_kwh\n" + "\n".join(rows) + "\n")
    tables: dict[str, dict[str, object]] = {
        "general": {"mode": "enforce"},
        "paths": dict(green_paths(cluster.layout)),
        "hook": {"hold": 4},
        "policy": {
            "default_delay": delay_s,
            "max_delay": 2 * delay_s,
            "min_length": 30,
            "margin_floor": 10,
        },
        "budget": {"reserve_deviations": deviations},
        "controller": {"interval": 2, "min_interval": 1, "metrics": ""},
        "signal": {
            "read": ["csv"],
            "csv": {
                "path": trace,
                "time_scale": 720,
                "repeat": True,
                "anchor_utc": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            },
        },
    }
    cluster.layout.green_conf.write_text(toml_text(tables))


def submit(cluster: Cluster, job: Planned) -> int | None:
    """sbatch; the job id, or None when Slurm refused the job."""
    words = ["--parsable", "-t", "1", f"--gres=gpu:{job.gpus}", "-c", "1", "-o", "/dev/null"]
    words += ["--job-name", f"j{job.number}"]
    if job.deadline_s is not None:
        due = datetime.now(UTC) + timedelta(seconds=job.deadline_s)
        words.append(f"--deadline={due:%Y-%m-%dT%H:%M:%S}")
    done = cluster.run(
        "sbatch", *words, "--wrap", f"exec sleep {job.run_s}", check=False, env={"TZ": "UTC"}
    )
    return int(done.stdout.split(";")[0]) if done.returncode == 0 else None


def verdict(job: Job | None, planned: Planned) -> str:
    """`ok`, or what went wrong with its deadline."""
    if job is None:
        return "refused"
    if job.state == "DEADLINE":
        return "cancelled"
    if job.state != "COMPLETED":
        return job.state.lower()
    late = job.deadline_utc is not None and job.end_utc is not None
    # A second for the clock ticks between Slurm's own time stamps.
    if late and job.end_utc > job.deadline_utc + timedelta(seconds=1):  # type: ignore[operator]
        return "late"
    return "ok"


def main() -> int:
    """Run it; exit status 1 when the rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--gpus", type=int, default=64, help="emulated GPUs of each node")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--delay-s", type=int, default=120, help="default delay")
    parser.add_argument("--deviations", type=float, default=1.0, help="kept free for others")
    parser.add_argument("--log", type=Path, help="keep sgreend's log there")
    parser.add_argument("--json", type=Path, help="write the results there")
    options = parser.parse_args()
    jobs = campaign(
        options.jobs,
        gpus=options.nodes * options.gpus,
        seed=options.seed,
        warm_s=3.0 * options.delay_s,
    )
    print(f"{options.jobs} of {len(jobs)} jobs over {jobs[-1].submit_s:.0f} s, seed {options.seed}")
    shape = {
        "nodes": options.nodes,
        "gpus": options.gpus,
        "cpus": options.gpus,
        "accounting": True,
        "extra_conf": ("MinJobAge=7200", "MaxJobCount=20000"),
    }
    clusters: list[Cluster] = []
    daemon: subprocess.Popen[bytes] | None = None
    try:
        for name, hook in (("camp-with", True), ("camp-without", False)):
            clusters.append(Cluster.up(ClusterSpec(name=name, hook=hook, **shape)))
        green = clusters[0]
        ids: dict[str, dict[int, int | None]] = {cluster.name: {} for cluster in clusters}
        began = time.monotonic()
        _submit_all(clusters, [job for job in jobs if not job.counted], ids, began)
        write_site(green, delay_s=options.delay_s, deviations=options.deviations)
        log = green.layout.log / "sgreend.log"
        daemon = start_sgreend(green, log=log)
        await_sgreend(daemon, green_paths(green.layout), log=log)
        jobs = [job for job in jobs if job.counted]
        _submit_all(clusters, jobs, ids, began)
        results = [_results(cluster, ids[cluster.name]) for cluster in clusters]
        if options.log is not None:
            options.log.write_bytes(log.read_bytes())
        return _judge(green, jobs, ids, results, options.json)
    finally:
        if daemon is not None:
            stop_sgreend(daemon)
        for cluster in clusters:
            cluster.down()


def _submit_all(
    clusters: list[Cluster],
    jobs: list[Planned],
    ids: dict[str, dict[int, int | None]],
    began_s: float,
) -> None:
    for job in jobs:
        time.sleep(max(0.0, began_s + job.submit_s - time.monotonic()))
        for cluster in clusters:
            ids[cluster.name][job.number] = submit(cluster, job)
        if job.number % 200 == 199:
            lag = time.monotonic() - began_s - job.submit_s
            print(f"  {job.number + 1} submitted, {lag:.1f} s behind the plan", flush=True)


def _results(cluster: Cluster, ids: dict[int, int | None]) -> dict[int, Job]:
    client = CommandClient(env=cluster.env)
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        seen = {job.job_id: job for job in client.jobs()}
        if not any(job.pending or job.active for job in seen.values()):
            break
        time.sleep(2)
    return {number: seen[i] for number, i in ids.items() if i is not None and i in seen}


def _judge(
    green: Cluster,
    jobs: list[Planned],
    ids: dict[str, dict[int, int | None]],
    results: list[dict[int, Job]],
    out: Path | None,
) -> int:
    verdicts = [
        {job.number: verdict(found.get(job.number), job) for job in jobs} for found in results
    ]
    counts = [Counter(one.values()) for one in verdicts]
    with Store(green_paths(green.layout)["ledger"], readonly=True) as store:
        events = store.events(Query())
        facts = store.jobs(Query())
    kinds = Counter(event.kind for event in events)
    saved_g = sum(one.saved_g or 0.0 for one in facts if one.ours)
    total_g = sum(one.carbon_now_g or 0.0 for one in facts)
    waits = [
        [
            (job.start_utc - job.submit_utc).total_seconds()
            for job in found.values()
            if job.start_utc and job.submit_utc
        ]
        for found in results
    ]
    bad = {n for n, v in verdicts[0].items() if v != "ok"}
    bad_without = {n for n, v in verdicts[1].items() if v != "ok"}
    excess = len(bad) - len(bad_without)
    allowed = math.floor(0.001 * len(jobs))
    print(f"{'':12}{'with':>12}{'without':>12}")
    for name in sorted(set(counts[0]) | set(counts[1])):
        print(f"{name:12}{counts[0][name]:>12}{counts[1][name]:>12}")
    for name, pick in (("p50 wait s", 0.5), ("p95 wait s", 0.95)):
        both = [sorted(w)[int(pick * len(w))] if w else float("nan") for w in waits]
        print(f"{name:12}{both[0]:>12.1f}{both[1]:>12.1f}")
    print(f"events {dict(kinds)}")
    print(f"receipts: {saved_g:.0f} of {total_g:.0f} g saved (modelled, time-scaled)")
    only_with = sorted(bad - bad_without)
    print(f"excess {excess}, allowed {allowed}; bad with us and fine without: {len(only_with)}")
    planned = {job.number: job for job in jobs}
    by_id = {i: n for n, i in ids[green.name].items()}
    explained = []
    for number in only_with:
        told = [f"{e.kind} ({e.detail})" for e in events if by_id.get(e.job_id) == number]
        job = results[0].get(number)
        explained.append(
            {
                "planned": asdict(planned[number]),
                "verdict": verdicts[0][number],
                "events": told or ["never touched: the queue was in another order"],
                "record": "" if job is None else job.admin_comment,
            }
        )
        print(f"  job {number}: {verdicts[0][number]}; {'; '.join(explained[-1]['events'])}")
    if out is not None:
        summary = {
            "jobs": len(jobs),
            "with": counts[0],
            "without": counts[1],
            "events": kinds,
            "excess": excess,
            "allowed": allowed,
            "saved_g": saved_g,
            "explained": explained,
        }
        out.write_text(json.dumps(summary, indent=1) + "\n")
    return 0 if excess <= allowed else 1


if __name__ == "__main__":
    sys.exit(main())
