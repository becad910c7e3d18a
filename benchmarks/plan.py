# SPDX-License-Identifier: Apache-2.0
"""`sgreen plan` against its bars: gap, time and memory of whole processes, several seeds and zones.

`python benchmarks/plan.py --documented` prints the tables of docs/planner.md; others with `--only
rigid-1k`, `--quick` (one seed, the small ones) or `--seeds`. $SLURM_GREEN_PLAN_CHECK names a
checker that knows only the file formats (`--jobs --classes --signal --gpus --plan --summary
[--power-cap-w]`, exit 0 where the plan holds): then its gap counts and its word is printed, else
the figures are the planner's own.

This process stays small and makes the instances in others: what Linux reports as the peak memory
of a child includes what its parent held when it started it.
"""

import argparse
import csv
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["CASES", "DOCUMENTED", "Case", "Run", "plan"]

CHECK = os.environ.get("SLURM_GREEN_PLAN_CHECK")
ZONES = ("DE", "US-CAL-CISO", "FR", "PL", "AU-SA")
_LINEAR = 1.3
_REPLAN = 0.2


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the bars: the instances, and at most which gap (%), time and memory."""

    name: str
    kind: str
    jobs: int
    loads: tuple[float, ...] = (0.75, 0.9, 0.6)
    options: tuple[str, ...] = ()
    gap_percent: float | None = None
    wall_s: float | None = None
    memory_gib: float | None = None
    quick: bool = False
    replan: bool = False
    zone: str | None = None  # one zone for all seeds


CASES = (
    Case(name="rigid-1k", kind="rigid", jobs=1000, gap_percent=0.8, wall_s=4, quick=True),
    Case(
        name="rigid-10k",
        kind="rigid",
        jobs=10_000,
        gap_percent=0.3,
        wall_s=15,
        memory_gib=1,
        replan=True,
    ),
    Case(name="rigid-100k", kind="rigid", jobs=100_000, gap_percent=0.2, wall_s=150, memory_gib=4),
    Case(
        name="moldable-5k",
        kind="moldable",
        jobs=5000,
        loads=(0.75, 0.6, 0.85),
        gap_percent=0.7,
        wall_s=60,
        memory_gib=3,
        replan=True,
    ),
    Case(
        name="preemptible-1k",
        kind="preemptible",
        jobs=1000,
        gap_percent=0.5,
        wall_s=60,
        quick=True,
        replan=True,
    ),
    Case(
        name="rigid-10k-full",
        kind="rigid",
        jobs=10_000,
        loads=(0.9,),
        gap_percent=0.3,
        wall_s=15,
        memory_gib=1,
        replan=True,
        zone="DE",
    ),
    # Without bars of their own.
    Case(name="mixed-2k", kind="mixed", jobs=2000, options=("--posix",)),
    Case(name="tight-1k", kind="tight", jobs=1000, loads=(0.95,), quick=True),
    Case(
        name="quarter-hours-1k",
        kind="rigid",
        jobs=1000,
        options=("--step-s", "900", "--posix", "--lengths", "gaia"),
    ),
    Case(name="rigid-100", kind="rigid", jobs=100, options=("--days", "5"), quick=True),
)

# The instances and seeds of docs/planner.md: some six minutes on a quiet machine.
DOCUMENTED = {
    "rigid-1k": range(3),
    "rigid-10k": range(3),
    "rigid-10k-full": range(4, 5),
    "rigid-100k": range(1),
    "moldable-5k": range(1),
    "preemptible-1k": range(1),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One process: its time, its peak memory, what it said, and what the checker said of it."""

    wall_s: float
    cpu_s: float
    memory_gib: float
    said: dict[str, Any]
    check: str | None
    holds: bool

    @property
    def gap_percent(self) -> float:
        """The checker's gap where there is one, else the planner's own."""
        found = re.search(r"gap (-?[\d.]+|nan|inf) %", self.check or "")
        return float(found[1]) if found else 100 * float(self.said["gap"])


def plan(command: Sequence[str], folder: Path, options: Sequence[str], name: str = "plan") -> Run:
    """Runs `sgreen plan` on an instance and has the result checked."""
    out, summary = folder / f"{name}.csv", folder / f"{name}.json"
    words = [*command, "plan", *options, "--out", str(out), "--json"]
    with summary.open("w", encoding="utf-8") as file:
        began = time.perf_counter()
        child = subprocess.Popen(words, stdout=file)
        _, status, used = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(words)}: ended with {child.returncode}")
    text, holds = checked(options, out, summary)
    return Run(
        wall_s=wall_s,
        cpu_s=used.ru_utime + used.ru_stime,
        memory_gib=used.ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30),
        said=json.loads(summary.read_text(encoding="utf-8")),
        check=text,
        holds=holds,
    )


def checked(options: Sequence[str], out: Path, summary: Path) -> tuple[str | None, bool]:
    """What the checker prints, and whether the plan holds; without one nothing, and yes."""
    if not CHECK:
        return None, True
    known = ("--jobs", "--classes", "--signal", "--gpus", "--power-cap-w")
    words = [sys.executable, CHECK, "--plan", str(out), "--summary", str(summary)]
    # What is late or unplaced is judged here, in a column of its own.
    words += ["--allow-late", str(10**9)]
    for name, value in pairwise(options):
        words += [name, value] if name in known else []
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return (lines or ["said nothing"])[-1], done.returncode == 0


def instance(case: Case, number: int, folder: Path) -> dict[str, Any]:
    """Makes the instance of a seed, in another process."""
    words = [sys.executable, str(Path(__file__).with_name("plan_instances.py")), case.kind]
    words += [str(folder), "--jobs", str(case.jobs), "--seed", str(number)]
    words += ["--load", str(case.loads[number % len(case.loads)])]
    words += ["--zone", case.zone or ZONES[number % len(ZONES)], *case.options]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def met(case: Case, run: Run) -> list[str]:
    """The bars that are missed."""
    bars = (
        ("gap", run.gap_percent, case.gap_percent),
        ("time", run.wall_s, case.wall_s),
        ("memory", run.memory_gib, case.memory_gib),
        ("late", float(run.said["late_jobs"]), 0.0),
        ("unplaced", float(run.said["unplaced_jobs"]), 0.0),
    )
    missed = [name for name, value, most in bars if most is not None and not value <= most]
    return missed if run.holds else [f"CHECK: {run.check}", *missed]


def table(cases: Sequence[tuple[Case, range]], command: Sequence[str], extra: list[str]) -> None:
    """A row per instance, then the growth with the number of jobs, then the re-plans."""
    checker = "checked from outside" if CHECK else "the planner's own figures"
    print(f"{len(os.sched_getaffinity(0))} cores; {checker}\n")
    print(
        "| instance | seed | zone | load | gap (at most) | time (at most) | CPU | memory (at most) "
        "| less than FIFO | late | unplaced | bars |"
    )
    print("|---|" + "---:|" * 10 + "---|")
    times: dict[str, list[float]] = {}
    replans: list[str] = []
    with tempfile.TemporaryDirectory(prefix="plan-") as name:
        for case, seeds in cases:
            for number in seeds:
                folder = Path(name) / f"{case.name}-{number}"
                made = instance(case, number, folder)
                prices = ["--prices-out", str(folder / "prices.json")] if case.replan else []
                run = plan(command, folder, [*made["options"], *prices, *extra])
                times.setdefault(case.name, []).append(run.wall_s)
                row(case, made, run)
                if case.replan:
                    replans.append(replan(case, number, folder, made, run, command, extra))
    growth(times)
    if replans:
        print("\nRe-plan from the prices and rows of a plan that knew 1 % fewer jobs:\n")
        print(
            "| instance | seed | first | again | ratio of processes | ratio of CPU "
            "| gap from scratch | gap again | bar |\n|---|" + "---:|" * 7 + "---|"
        )
        print("\n".join(replans))


def row(case: Case, made: dict[str, Any], run: Run) -> None:
    """One line of the table."""

    def bar(value: float, most: float | None, digits: int, unit: str) -> str:
        text = f"{value:.{digits}f}"
        return f"{text} {unit}" if most is None else f"{text} ({most:g}) {unit}"

    missed = met(case, run)
    saved = 1 - run.said["carbon_g"] / max(made["witness_carbon_g"], 1e-9)
    print(
        f"| {case.name} | {made['seed']} | {made['zone']} | {made['load']:.2f} "
        f"| {bar(run.gap_percent, case.gap_percent, 3, '%')} "
        f"| {bar(run.wall_s, case.wall_s, 2, 's')} | {run.cpu_s:.1f} s "
        f"| {bar(run.memory_gib, case.memory_gib, 2, 'GiB')} | {100 * saved:.1f} % "
        f"| {run.said['late_jobs']} | {run.said['unplaced_jobs']} "
        f"| {'met' if not missed else 'MISSED: ' + ', '.join(missed)} |",
        flush=True,
    )


def growth(times: dict[str, list[float]]) -> None:
    """How time grows from 1,000 to 100,000 jobs, whole processes, medians of the seeds."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    sizes = [
        (case.jobs, medians[case.name])
        for case in CASES
        if case.name.startswith("rigid-")
        and case.jobs >= 1000
        and case.name in medians
        and case.zone is None
    ]
    if len(sizes) < 2:
        return
    print("\nGrowth of the time with the jobs, medians:\n")
    pairs = [*pairwise(sizes), *([(sizes[0], sizes[-1])] if len(sizes) > 2 else [])]
    for (few, short_s), (many, long_s) in pairs:
        over = (long_s / short_s) / (many / few)
        verdict = ""
        if (few, many) == (1000, 100_000):
            verdict = f" ({'met' if over <= _LINEAR else 'MISSED'}: at most {_LINEAR})"
        print(
            f"- {few:,} to {many:,} jobs: {long_s / short_s:.1f} times the time, exponent "
            f"{math.log(long_s / short_s) / math.log(many / few):.2f}, {over:.2f} x linear{verdict}"
        )


def replan(
    case: Case,
    number: int,
    folder: Path,
    made: dict[str, Any],
    scratch: Run,
    command: Sequence[str],
    extra: list[str],
) -> str:
    """A plan without 1 % of the jobs, then one with all from its prices and its rows."""
    fewer = folder / "jobs_before.csv"
    with (folder / "jobs.csv").open(encoding="utf-8", newline="") as file:
        header, *jobs = list(csv.reader(file))
    new = set(random.Random(number).sample(range(len(jobs)), max(1, len(jobs) // 100)))
    with fewer.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [header, *(one for index, one in enumerate(jobs) if index not in new)]
        )
    prices = str(folder / "prices_before.json")
    options: list[str] = made["options"]
    before = [str(fewer) if one == str(folder / "jobs.csv") else one for one in options]
    first = plan(command, folder, [*before, "--prices-out", prices, *extra], "before")
    warm = ["--warm-start", prices, "--warm-plan", str(folder / "before.csv")]
    again = plan(command, folder, [*options, *warm, *extra], "again")
    ratio = again.wall_s / first.wall_s
    same = again.gap_percent <= max(scratch.gap_percent, case.gap_percent or 0.0)
    late = again.said["late_jobs"] + again.said["unplaced_jobs"]
    fine = ratio <= _REPLAN and same and not late and again.holds
    return (
        f"| {case.name} | {number} | {first.wall_s:.2f} s | {again.wall_s:.2f} s | {ratio:.2f} "
        f"({_REPLAN}) | {again.cpu_s / first.cpu_s:.2f} "
        f"| {scratch.gap_percent:.3f} % | {again.gap_percent:.3f} % "
        f"| {'met' if fine else 'MISSED'}{f', {late} late' if late else ''}"
        f"{'' if again.holds else f', CHECK: {again.check}'} |"
    )


def main() -> None:
    """The tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [case.name for case in CASES]
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="one seed, the small instances")
    parser.add_argument(
        "--documented", action="store_true", help="the instances and seeds of docs/planner.md"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--sgreen", help="another command than the one beside this Python")
    parser.add_argument("rest", nargs="*", help="further options of sgreen plan, after --")
    options = parser.parse_args()
    command = (options.sgreen or str(Path(sys.executable).with_name("sgreen"))).split()
    cases = [
        case
        for case in CASES
        if (case.name in options.only if options.only else case.quick or not options.quick)
    ]
    seeds = range(options.first_seed, options.first_seed + (1 if options.quick else options.seeds))
    chosen = [(case, seeds) for case in cases]
    if options.documented:
        chosen = [(case, DOCUMENTED[case.name]) for case in CASES if case.name in DOCUMENTED]
    table(chosen, command, options.rest)


if __name__ == "__main__":
    main()
