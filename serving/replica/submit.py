# SPDX-License-Identifier: Apache-2.0
"""Replicas as Slurm jobs: submitted, and waited for until they say that they are ready."""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from profiling.whole import whole_file
from serving.replica.process import last_lines
from serving.replica.registered import is_ready
from slurm_green.errors import SlurmError

__all__ = ["submit", "successor", "wait_ready"]

_ASK_S = 5.0
_ANSWER_S = 60.0


def submit(script: Path, text: str, count: int) -> list[int]:
    """Write the script, which replacements will use too, and submit it; raises SlurmError.

    That names the jobs which are known by then: an sbatch that failed may have been heard.
    """
    script.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with whole_file(script) as file:
        file.write(text)
    jobs: list[int] = []
    for _ in range(count):
        try:
            jobs.append(_job(_slurm("sbatch", "--parsable", str(script))))
        except SlurmError as error:
            if not jobs:
                raise
            known = " ".join(map(str, jobs))
            raise SlurmError(
                f"{error}; at least {len(jobs)} of {count} replicas (squeue --me shows all) are "
                f"submitted and stay, unless you end them: scancel {known}"
            ) from error
    return jobs


def successor(script: Path, of: str) -> int:
    """The job that comes after the replica `of`: one, however often it is asked for.

    The trap: an sbatch that failed may have been heard. So the job has a word of its own behind its
    script, which takes none, and is looked for first. Raises SlurmError.
    """
    mark = f"after-{of}"
    for row in _slurm("squeue", "--me", "--noheader", "--format=%A %o").splitlines():
        job, _, command = row.strip().partition(" ")
        if command.rstrip().endswith(f" {mark}"):
            return _job(job)
    return _job(_slurm("sbatch", "--parsable", str(script), mark))


def wait_ready(
    jobs: Sequence[int],
    registration: Callable[[int], Path],
    log: Callable[[int], Path],
    say: Callable[[str], None],
) -> None:
    """Until all are ready; says what changes. Raises SlurmError for a job that ended before.

    A Slurm that does not answer is waited for: models take long, and jobs go on without it.
    """
    waiting, said = list(jobs), ""
    while True:
        # Slurm first: a job that is ready and ends in between is no failure of ours to see.
        try:
            states = _states(waiting)
        except SlurmError as error:
            states = dict.fromkeys(waiting, f"(unknown: {error})")
        waiting = [job for job in waiting if not is_ready(registration(job))]
        if not waiting:
            return
        for job in waiting:
            if job not in states:
                tail = "\n  ".join(last_lines(log(job)))
                raise SlurmError(
                    f"job {job} ended before its replica was ready; {log(job)} ends with:\n  {tail}"
                )
        words = ", ".join(f"{job} {states[job]}" for job in waiting)
        if words != said:
            say(f"{len(jobs) - len(waiting)} of {len(jobs)} ready; waiting for {words}")
            said = words
        time.sleep(_ASK_S)


def _states(jobs: Sequence[int]) -> dict[int, str]:
    """Of those that Slurm still has in its queue."""
    # Asked for one that it has forgotten, squeue fails; --me is all that one may need.
    told = _slurm("squeue", "--me", "--noheader", "--format=%A %T %R").splitlines()
    rows = (line.split(maxsplit=2) for line in told)
    wanted = {str(job) for job in jobs}
    return {int(row[0]): " ".join(row[1:]).lower() for row in rows if row[0] in wanted}


def _job(told: str) -> int:
    number = told.strip().partition(";")[0]
    if not number.isdigit():
        raise SlurmError(f"sbatch printed {told.strip()[:80]!r} instead of a job's number")
    return int(number)


def _slurm(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, errors="replace", timeout=_ANSWER_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise SlurmError(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise SlurmError(f"{argv[0]}: {' '.join(done.stderr.split())[:400]}")
    return done.stdout
