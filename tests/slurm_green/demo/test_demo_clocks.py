# SPDX-License-Identifier: Apache-2.0
"""The demo's clocks: what its jobs' profile says, how long their work takes, what is told of it."""

import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from profiling.files import read_profile
from slurm_green.cluster.clocks import GpuNow
from slurm_green.cluster.gpus import bench_of, make_gpus
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.load_hook import MEM_ACTIVITY, SM_ACTIVITY
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.controller.clocks import Price, choose_clock, points_for
from slurm_green.demo.batch import BATCH, Submitted
from slurm_green.demo.clocks import Seen, clock_lines, clock_problems, clock_summary
from slurm_green.demo.gpus import MODEL, PROFILE, full_clock_mhz, write_profiles, write_work
from slurm_green.demo.watch import Row
from slurm_green.ledger.entries import NodeEnergy
from slurm_green.slurm.records import Job

EXAMPLE = Path(__file__).parents[3] / "examples" / "demo"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LLM, SWEEP, OFF = BATCH[0], BATCH[1], next(one for one in BATCH if not one.deferred)
GPU = GpuNow(
    node="n1", gpu=0, clock_mhz=1560, lock_mhz=1560, limit_w=700, context=True, power_w=380,
    owed=True, job_id=7,
)  # fmt: skip


def test_the_profile_has_a_clock_that_saves_and_is_not_far_behind(tmp_path: Path) -> None:
    write_profiles(tmp_path)
    profile = read_profile(tmp_path / PROFILE)
    chosen = choose_clock(points_for(profile, 8), room=5.0, max_slowdown=1.25, price=Price())

    assert profile.provenance == "simulated"
    assert chosen is not None
    assert 1000 < chosen.clock_mhz < full_clock_mhz()
    assert chosen.energy < 0.9


def test_scripts_of_jobs_that_wait_name_the_profile_and_do_their_work() -> None:
    for wish in BATCH:
        text = (EXAMPLE / "jobs" / wish.script).read_text()
        assert (f"profile={PROFILE}" in text) == wish.clocked, wish.script
        assert text.splitlines()[-1] == f"./gpu-work {wish.work_s:g}"


def test_the_work_takes_longer_at_a_lower_clock(tmp_path: Path) -> None:
    """By as much as the profile says; the job itself can set nothing."""
    layout = Layout(directory=tmp_path / "alpha")
    for path in (layout.etc, layout.work):
        path.mkdir(parents=True)
    make_gpus(layout, ClusterSpec(name="alpha", nodes=1, gpus=1, gpu_model=MODEL))
    write_work(layout)
    environment = {"SLURMD_NODENAME": "alpha-n1", "SLURM_JOB_GPUS": "0"}
    taken_s = []
    with bench_of(layout, "alpha-n1") as bench:
        bench.load(0, SM_ACTIVITY, MEM_ACTIVITY)
        for mhz in (float("inf"), 990.0):
            bench.clamp(0, mhz)
            begin_s = time.monotonic()
            subprocess.run([layout.work / "gpu-work", "0.5"], env=environment, check=True)
            taken_s.append(time.monotonic() - begin_s)
    assert taken_s[0] >= 0.5
    assert taken_s[1] >= 0.9


def row(wish: object = LLM, job_id: int = 7, **values: object) -> Row:
    one = Submitted(wish=wish, job_id=job_id, at_utc=NOW, said="")  # type: ignore[arg-type]
    usual: dict[str, object] = {"state": "done", "submit_utc": NOW, "gpus": 16, "tasks": 1}
    return Row(submitted=one, **{**usual, **values})  # type: ignore[arg-type]


def energy(job_id: int = 7, node: str = "n1", **values: object) -> NodeEnergy:
    usual: dict[str, object] = {
        "node": node, "name": f"{job_id}.json", "job_id": job_id, "begin_utc": NOW,
        "end_utc": NOW + timedelta(seconds=15), "gpus": 8, "energy_j": 48_000.0,
        "source": "emulated",
    }  # fmt: skip
    return NodeEnergy(**{**usual, **values})  # type: ignore[arg-type]


def seen(*gpus: GpuNow, jobs: tuple[Job, ...] = ()) -> Seen:
    found = Seen()
    for gpu in gpus:
        found.look(jobs or (Job(job_id=7, state="RUNNING"),), [gpu])
    return found


def test_a_job_on_two_nodes_is_added_up() -> None:
    settling = replace(GPU, clock_mhz=1980.0, lock_mhz=None)
    idle = replace(GPU, clock_mhz=345.0, context=False)
    (line,) = clock_lines(
        [row()], seen(settling, GPU, GPU, idle), [energy(), energy(node="n2"), energy(job_id=8)]
    )

    assert (line.set_mhz, line.ran_mhz) == (1560, 1560)
    assert line.energy_j == 96_000
    assert line.joules == 96_000 / (16 * LLM.work_s)
    assert clock_problems([line], [], full_mhz=1980) == []


def test_an_arrays_tasks_are_one_line() -> None:
    jobs = tuple(
        Job(job_id=job_id, array_job_id=20, array_task=task, state="RUNNING")
        for task, job_id in enumerate((21, 22, 20))
    )
    looks = seen(replace(GPU, job_id=22), jobs=jobs)
    told = [energy(job_id) for job_id in (20, 21, 22)]
    rows = [row(SWEEP, 20, gpus=6, tasks=3)]

    assert clock_lines(rows, looks, told)[0].energy_j == 3 * 48_000
    assert clock_lines(rows, looks, told)[0].set_mhz == 1560
    # One task's joules are unknown: so are the array's.
    assert clock_lines(rows, looks, told[1:])[0].energy_j is None
    told[0] = energy(20, energy_j=None, why="lost")
    assert clock_lines(rows, looks, told)[0].joules is None


def test_what_did_not_happen_is_named() -> None:
    free = replace(GPU, lock_mhz=None, clock_mhz=1980.0)
    lines = clock_lines(
        [row(), row(OFF, 8)],
        seen(
            free,
            replace(GPU, job_id=8),
            jobs=(Job(job_id=7, state="RUNNING"), Job(job_id=8, state="RUNNING")),
        ),
        [energy(8, source="nvml-counter")],
    )
    found = clock_problems(lines, [GPU, replace(GPU, lock_mhz=None, owed=False)], full_mhz=1980)

    assert found == [
        "train-llm has a profile and ran at full clock",
        "the joules of train-llm are unknown",
        f"{lines[1].name} has no profile and was set to 1560 MHz",
        f"the joules of {lines[1].name} are nvml-counter",
        "n1 GPU 0 was not given back",
    ]
    assert clock_summary(lines)["joules_per_gpu_work_s"]["clocked"] is None
