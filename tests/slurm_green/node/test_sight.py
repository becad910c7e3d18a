# SPDX-License-Identifier: Apache-2.0
"""What /proc says of jobs, and what a hostile user makes it say."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm_green.node.sight import Sight
from slurm_green.node.state import Job

JOB = Job(job_id=12, uid=1000, gpus=("GPU-0",), seen_s=0.0)


def _process(
    proc: Path, pid: int, *, comm: str = "python", cmdline: str = "", cgroup: str = "0::/\n"
) -> None:
    path = proc / str(pid)
    path.mkdir()
    (path / "comm").write_text(f"{comm}\n")
    (path / "cmdline").write_text(cmdline)
    (path / "cgroup").write_text(cgroup)


@pytest.mark.parametrize(
    ("cgroup", "job"),
    [
        ("0::/system.slice/slurmstepd.scope/job_12/step_0/user/task_0\n", 12),
        ("0::/system.slice/node1_slurmstepd.scope/job_12/step_batch/user\n", 12),
        ("0::/slurmstepd.scope/job_12/step_0\n", 12),
        ("9:name=systemd:/\n5:devices:/slurm/uid_1000/job_12/step_0/task_0\n", 12),
        ("5:freezer:/slurm_node1/uid_1000/job_12\n", 12),
        ("0::/\n", None),
        ("0::/user.slice/user-1000.slice/session-1.scope\n", None),
        # What a user can make below their own.
        ("0::/user.slice/user-1000.slice/slurmstepd.scope/job_99\n", None),
        ("0::/system.slice/slurmstepd.scope/job_12/x/slurmstepd.scope/job_99\n", 12),
        ("0::/system.slice/slurmstepd.scope/job_12x/step_0\n", None),
    ],
)
def test_the_job_of_a_process(tmp_path: Path, cgroup: str, job: int | None) -> None:
    _process(tmp_path, 7, cgroup=cgroup)

    assert Sight(tmp_path).job_of(7) == job


def test_live_jobs_are_those_with_a_slurmstepd(tmp_path: Path) -> None:
    for pid, (comm, cmdline) in enumerate(
        [
            ("slurmstepd", "slurmstepd: [12.batch]"),
            ("slurmstepd", "slurmstepd: [13.extern]"),
            ("slurmstepd", "slurmstepd: [14+0.batch]"),
            ("bash", "slurmstepd: [15.batch]"),
            ("slurmstepd", "/usr/sbin/slurmstepd infinity"),
        ],
        start=100,
    ):
        _process(tmp_path, pid, comm=comm, cmdline=cmdline, cgroup="0::/\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "200").mkdir()  # it vanished while we looked

    expected = {12, 13, 14} if os.geteuid() == 0 else set()
    assert Sight(tmp_path).live_jobs() == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's slurmstepds count")
def test_of_several_slurms_on_a_machine_only_the_named_ones_jobs_live(tmp_path: Path) -> None:
    environments = {
        12: b"SLURM_CONF=/etc/a/slurm.conf\0",
        13: b"\0\0HOME=/\0SLURM_CONF=/etc/b/slurm.conf\0",
        14: b"\0\0\0",  # its title took the place of all of it
        15: b"MY_SLURM_CONF=/etc/b/slurm.conf\0SLURM_CONF=/etc/a/slurm.conf\0",
    }
    for job, environment in environments.items():
        _process(tmp_path, job, comm="slurmstepd", cmdline=f"slurmstepd: [{job}.batch]")
        (tmp_path / str(job) / "environ").write_bytes(environment)

    assert Sight(tmp_path, slurm_conf=Path("/etc/a/slurm.conf")).live_jobs() == {12, 14, 15}
    assert Sight(tmp_path).live_jobs() == {12, 13, 14, 15}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's process")
def test_another_users_slurmstepd_is_none() -> None:
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b'slurmstepd'); input()"
    with subprocess.Popen(
        ["slurmstepd: [99.batch]", "-IS", "-c", program],
        executable="/usr/bin/python3",
        user=65534,
        stdin=subprocess.PIPE,
        cwd="/",
    ) as fake:
        try:
            named = Path(f"/proc/{fake.pid}/comm")
            ends_s = time.monotonic() + 60
            while named.read_text() != "slurmstepd\n":
                assert time.monotonic() < ends_s
                time.sleep(0.01)
            assert 99 not in Sight().live_jobs()
        finally:
            fake.kill()


def test_a_process_is_the_jobs_by_cgroup_or_else_by_user(tmp_path: Path) -> None:
    _process(tmp_path, 1, cgroup="0::/system.slice/slurmstepd.scope/job_12/step_0\n")
    _process(tmp_path, 2, cgroup="0::/system.slice/slurmstepd.scope/job_13/step_0\n")
    _process(tmp_path, 3, cgroup="0::/\n")
    ours = Sight(tmp_path).ours(JOB)

    assert [ours(pid) for pid in (1, 2)] == [True, False]
    assert ours(3) == (os.geteuid() in (0, JOB.uid))
    assert ours(4)  # it is gone


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's process")
def test_outside_jobs_another_users_process_is_not_the_jobs(tmp_path: Path) -> None:
    for pid, uid in ((1, 1000), (2, 1001), (3, 0)):
        _process(tmp_path, pid, cgroup="0::/\n")
        os.chown(tmp_path / str(pid), uid, uid)
    ours = Sight(tmp_path).ours(JOB)

    assert [ours(pid) for pid in (1, 2, 3)] == [True, False, True]


def test_this_machines_proc_can_be_read() -> None:
    assert isinstance(Sight().live_jobs(), frozenset)
    assert Sight().job_of(os.getpid()) is None
    assert sys.platform == "linux"
