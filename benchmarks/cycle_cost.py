# SPDX-License-Identifier: Apache-2.0
"""What one cycle and one decision cost, and whether memory stays flat over many cycles.

    python benchmarks/cycle_cost.py [--jobs 1000] [--cycles 1000]

The pure part only: Slurm's queries come on top. CPU seconds, this process alone.
"""

import argparse
import gc
import resource
import statistics
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from slurm_green.controller.cycle import cycle
from slurm_green.controller.observed import Memory, Observed
from slurm_green.controller.outcome import Outcome
from slurm_green.controller.rules import Rules
from slurm_green.controller.views import copy_view
from slurm_green.hook.decide import decide
from slurm_green.hook.policy import Policy
from slurm_green.hook.record import Record
from slurm_green.hook.request import request_of
from slurm_green.plan.history import History, RunSample, WaitSample
from slurm_green.signals.series import Series
from slurm_green.slurm.records import ClusterInfo, Job, Node, Partition

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
PARTITIONS = tuple(f"p{i}" for i in range(5))
POLICY = Policy(mode="enforce", default_delay_s=12 * 3600.0)


def signal(now: datetime) -> Series:
    """Four half-hourly days, clean at noon."""
    hours = np.arange(4 * 48) / 2 + 0.25
    values = 450 - 350 * np.exp(-(((hours % 24) - 12) ** 2) / 8)
    return Series(
        start_utc=NOW.replace(hour=0), step_s=1800.0, values=values, issued_utc=now, provider="b"
    )


def jobs(count: int) -> tuple[Job, ...]:
    """A hundred run; of the pending half are deferred, the rest queue."""
    running = [
        _job(i, state="RUNNING", start_utc=NOW, end_utc=NOW + timedelta(hours=2), node=i % 100)
        for i in range(100)
    ]
    deferred = [_deferred(1000 + i) for i in range(count // 2)]
    queued = [_job(100_000 + i) for i in range(count - count // 2)]
    return (*running, *deferred, *queued)


def _job(job_id: int, *, node: int | None = None, **fields: object) -> Job:
    given: dict[str, object] = {
        "job_id": job_id,
        "name": f"train{job_id % 50}",
        "user": f"u{job_id % 20}",
        "partition": PARTITIONS[job_id % 5],
        "submit_utc": NOW - timedelta(minutes=job_id % 60),
        "eligible_utc": NOW - timedelta(minutes=job_id % 60),
        "time_limit_s": 3600 * (1 + job_id % 4),
        "cpus": 8,
        "gpus": 1 + job_id % 2,
        "node_names": () if node is None else (f"n{node}",),
    }
    return Job(**(given | fields))  # type: ignore[arg-type]


def _deferred(job_id: int) -> Job:
    latest = NOW + timedelta(hours=6 + job_id % 6)
    record = Record(
        token=f"{job_id:012x}",
        decided_utc=NOW - timedelta(minutes=5),
        start_utc=NOW + timedelta(hours=5),
        latest_utc=latest,
        policy="lowest-window",
    )
    return _job(
        job_id,
        submit_utc=NOW - timedelta(minutes=5),
        eligible_utc=latest,
        admin_comment=str(record),
        gpus=1,
        time_limit_s=3600,
    )


def observed(waiting: tuple[Job, ...], now: datetime) -> Observed:
    """A hundred nodes of eight GPUs, twenty to a partition."""
    return Observed(
        now_utc=now,
        jobs=waiting,
        nodes=tuple(Node(name=f"n{i}", cpus=64, gpus=8) for i in range(100)),
        partitions=tuple(
            Partition(name=name, node_names=tuple(f"n{i}" for i in range(k * 20, k * 20 + 20)))
            for k, name in enumerate(PARTITIONS)
        ),
        info=ClusterInfo(
            name="b",
            version=(22, 5),
            priority_type="priority/multifactor",
            priority_weight_age=1000,
        ),
        signal=signal(now),
    )


def full_history() -> History:
    """As many samples as are kept."""
    waits = [
        WaitSample(partition=PARTITIONS[i % 5], qos="", gpus=i % 8, wait_s=float(i % 600))
        for i in range(2000)
    ]
    runs = [
        RunSample(
            partition=PARTITIONS[i % 5], user=f"u{i % 20}", name=f"train{i % 50}", fraction=0.5
        )
        for i in range(2000)
    ]
    return History().with_samples(waits=waits, runs=runs)


def cost_of_cycle(count: int, rules: Rules, repeats: int = 5) -> tuple[float, Outcome]:
    """Median CPU seconds of one cycle, and its outcome."""
    seen = observed(jobs(count), NOW)
    memory = Memory(history=full_history(), last_utc=NOW - timedelta(seconds=30))
    spent = []
    for _ in range(repeats):
        began = time.process_time()
        outcome = cycle(seen, memory, rules)
        spent.append(time.process_time() - began)
    return statistics.median(spent), outcome


def cost_of_decisions(outcome: Outcome, count: int = 2000) -> list[float]:
    """CPU milliseconds of each of many decisions on rooms that fill up, as in a burst."""
    view = copy_view(outcome.view)
    spent = []
    for i in range(count):
        asked = request_of(_job(i, submit_utc=NOW, eligible_utc=NOW), begin_set=False)
        assert asked is not None
        if i % 100 == 0:
            view = copy_view(outcome.view)
        began = time.thread_time()
        decision = decide(asked, POLICY, view, NOW)
        spent.append(1000 * (time.thread_time() - began))
        partition = view.partition(decision.partition)
        if decision.defer and partition and decision.extent and decision.start_utc:
            assert decision.latest_utc is not None
            view.book(
                partition,
                decision.extent,
                power_w=decision.power_w or 0.0,
                start_s=decision.start_utc.timestamp(),
                latest_s=decision.latest_utc.timestamp(),
            )
    return sorted(spent)


def growth(count: int, cycles: int, rules: Rules) -> tuple[int, int]:
    """Bytes of Python memory and of resident memory gained over the last nine tenths of cycles."""
    waiting = list(jobs(count))
    memory, now = Memory(), NOW
    tracemalloc.start()
    first = first_kib = 0
    for number in range(cycles):
        # Every cycle one job leaves the queue and a new one comes.
        waiting.pop()
        waiting.insert(100, _job(1_000_000 + number, submit_utc=now, eligible_utc=now))
        memory = cycle(observed(tuple(waiting), now), memory, rules).memory
        now += timedelta(seconds=1)
        if number == cycles // 10:
            gc.collect()
            first = tracemalloc.get_traced_memory()[0]
            first_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - first
    tracemalloc.stop()
    return grown, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first_kib)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--cycles", type=int, default=1000)
    given = parser.parse_args()
    rules = Rules(policy_for=lambda _partition, _qos: POLICY)
    for shadow in (False, True):
        site = rules
        if shadow:
            policy = replace(POLICY, mode="shadow")
            site = Rules(policy_for=lambda _partition, _qos: policy)  # noqa: B023
        cpu_s, outcome = cost_of_cycle(given.jobs, site)
        name = "shadow" if shadow else "enforce"
        print(
            f"cycle, {name}, {given.jobs} pending: {cpu_s:.3f} s CPU "
            f"({outcome.deferred} kept, {len(outcome.changes)} changes)"
        )
    _, outcome = cost_of_cycle(given.jobs, rules, repeats=1)
    idle = cycle(observed((), NOW), Memory(history=full_history(), last_utc=NOW), rules)
    for name, start in (("busy", outcome), ("idle", idle)):
        busy = cost_of_decisions(start)
        print(
            f"decide, {name} cluster: p50 {busy[len(busy) // 2]:.3f} ms, "
            f"p99 {busy[len(busy) * 99 // 100]:.3f} ms"
        )
    if given.cycles:
        python, resident = growth(min(given.jobs, 200), given.cycles, rules)
        print(
            f"memory over {given.cycles} cycles: {python / 1024:+.0f} KiB Python, "
            f"{resident / 1024:+.0f} KiB resident at most"
        )


if __name__ == "__main__":
    main()
