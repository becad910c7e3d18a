# SPDX-License-Identifier: Apache-2.0
"""Which processes are a cluster's own, and how they end; with stand-ins for Slurm's programs."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm_green.cluster import processes
from slurm_green.cluster.daemons import wait_until

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `sleep` (or a shell) under the name of one of Slurm's programs."""
    started: list[subprocess.Popen[bytes]] = []

    def run(
        name: str, *arguments: str, shell: bool = False, **environment: str
    ) -> subprocess.Popen[bytes]:
        # A directory each: a program that runs cannot be overwritten.
        program = tmp_path / f"bin{len(started)}" / name
        program.parent.mkdir()
        shutil.copyfile("/bin/sh" if shell else "/bin/sleep", program)
        program.chmod(0o755)
        process = subprocess.Popen(
            [str(program), *arguments], env=environment, stderr=subprocess.DEVNULL
        )
        started.append(process)
        words = Path(f"/proc/{process.pid}/cmdline")

        def there() -> bool:
            # Between fork and exec it has our name, and for a moment of that nothing to read.
            return words.read_bytes().startswith(os.fsencode(program) + b"\0")

        wait_until(there, timeout_s=60, what="exec")
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def pids(directory: Path) -> set[int]:
    return {process.pid for process in processes.find(directory)}


def test_only_a_cluster_program_that_names_the_directory_is_ours(
    tmp_path: Path, start: Start
) -> None:
    """Neither the neighbour's slurmctld, nor an editor with our file open."""
    conf = f"SLURM_CONF={tmp_path}/alpha/etc/slurm.conf"
    ours = start("slurmctld", "60", SLURM_CONF=conf.partition("=")[2])
    neighbour = start("slurmctld", "60", SLURM_CONF=f"{tmp_path}/alpha2/etc/slurm.conf")
    shell = start("editor", "60", SLURM_CONF=conf.partition("=")[2])

    found = pids(tmp_path / "alpha")

    assert ours.pid in found
    assert not {neighbour.pid, shell.pid} & found


def test_a_noded_is_known_by_its_module_and_by_the_node_whose_file_it_reads(
    tmp_path: Path, start: Start
) -> None:
    """Its program is Python, as that of many others."""
    wait = ["-c", "kill -STOP $$", "-m"]
    config = tmp_path / "alpha" / "nodes" / "alpha-n2" / "slurm-green.toml"
    words = ["slurm_green.node.daemon", "--config", str(config)]
    noded = start("python3", *wait, *words, shell=True)
    other = start("python3", *wait, "http.server", *words[1:], shell=True)

    found = {one.pid: one for one in processes.find(tmp_path / "alpha")}
    assert (found[noded.pid].kind, found[noded.pid].node) == (processes.NODED, "alpha-n2")
    assert other.pid not in found


def test_a_job_process_is_ours_and_a_shell_with_the_environment_is_not(
    tmp_path: Path, start: Start
) -> None:
    """`. env.sh` in a person's shell does not make it a job."""
    conf = f"{tmp_path}/alpha/etc/slurm.conf"
    job = start("python-job", "60", SLURM_CONF=conf, SLURMD_NODENAME="alpha-n1")
    shell = start("shell", "60", SLURM_CONF=conf)

    assert job.pid in pids(tmp_path / "alpha")
    assert shell.pid not in pids(tmp_path / "alpha")


def test_stop_ends_all_in_parallel_and_names_those_it_had_to_kill(
    tmp_path: Path, start: Start
) -> None:
    """One that ignores SIGTERM is killed after the grace."""
    conf = f"{tmp_path}/alpha/etc/slurm.conf"
    script = "trap '' TERM; touch $READY; while :; do read x < $FIFO; done"
    ready, fifo = tmp_path / "ready", tmp_path / "fifo"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    deaf = start(
        "slurmd",
        "-c",
        script,
        shell=True,
        SLURM_CONF=conf,
        READY=str(ready),
        FIFO=str(fifo),
        PATH="/bin:/usr/bin",
    )
    polite = [start("slurmctld", "60", SLURM_CONF=conf) for _ in range(3)]
    wait_until(ready.exists, timeout_s=60, what="the trap")

    killed = processes.stop(processes.find(tmp_path / "alpha"), grace_s=10)

    assert [process.pid for process in killed] == [deaf.pid]
    assert [process.wait(60) for process in polite] == [-15, -15, -15]
    assert deaf.wait(60) == -9


def test_a_pid_that_came_again_is_not_signalled(tmp_path: Path, start: Start) -> None:
    """What we saw has ended, and a stranger has its number."""
    conf = f"{tmp_path}/alpha/etc/slurm.conf"
    process = start("slurmctld", "60", SLURM_CONF=conf)
    (seen,) = processes.find(tmp_path / "alpha")
    stranger = processes.Process(
        pid=seen.pid,
        parent=seen.parent,
        kind=seen.kind,
        argv=seen.argv,
        started_ticks=seen.started_ticks - 1,
    )

    processes.kill_all([stranger])

    assert process.poll() is None


def test_descendants_of_a_step_are_found_whatever_they_are_called(
    tmp_path: Path, start: Start
) -> None:
    """A job's processes may have a clean environment."""
    conf = f"{tmp_path}/alpha/etc/slurm.conf"
    step = start("slurmstepd", "-c", "/bin/sleep 60 & wait", shell=True, SLURM_CONF=conf)
    children = Path(f"/proc/{step.pid}/task/{step.pid}/children")
    wait_until(lambda: bool(children.read_text().split()), timeout_s=60, what="the child")
    child = int(children.read_text().split()[0])

    found = processes.with_descendants(processes.find(tmp_path / "alpha"))

    assert {step.pid, child} <= {process.pid for process in found}
    processes.kill_all(found)
    assert processes.start_ticks(child) is None


def test_a_daemon_that_forks_while_we_look_is_not_missed(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first pid is gone when we come to it, its second was in no listing yet."""
    daemon = start("slurmctld", "60", SLURM_CONF=f"{tmp_path}/alpha/etc/slurm.conf")
    listings = iter([[2**22 + 1], [2**22 + 1, daemon.pid], [daemon.pid]])
    monkeypatch.setattr(processes, "_pids", lambda: next(listings))

    assert pids(tmp_path / "alpha") == {daemon.pid}
