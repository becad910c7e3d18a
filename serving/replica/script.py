# SPDX-License-Identifier: Apache-2.0
"""The batch script of one replica, and what puts a server into a container. Pure.

The trap: Slurm's TERM at the time limit leaves seconds. So the batch shell is the supervisor
itself (exec), and gets USR1 early enough for a replacement to come up.
"""

import shlex
from collections.abc import Sequence

__all__ = ["RUNTIMES", "container", "sbatch_script"]

RUNTIMES = ("apptainer", "pyxis")
_PACKAGES = ("profiling", "serving", "slurm_green")


def sbatch_script(
    command: Sequence[str],
    *,
    gpus: int,
    lead_s: float,
    log: str,
    options: Sequence[str] = (),
    minutes: int | None = None,
) -> str:
    """One replica as a job; `options` are sbatch's own and win, `log` may hold %j, %% is one %.

    `green:off`: a service is not to wait for clean power.
    """
    lines = [
        "--job-name=sgreen-serve",
        "--ntasks=1",
        f"--gpus-per-node={gpus}",
        f"--signal=B:USR1@{lead_s:.0f}",
        "--comment=green:off",
        "--no-requeue",
        f"--output={shlex.quote(log)}",  # sbatch reads quotes as a shell does
    ]
    if minutes is not None:
        lines.append(f"--time={minutes}")
    head = [f"#SBATCH {line}" for line in (*lines, *options)]
    return "\n".join(["#!/bin/sh", *head, f"exec {shlex.join(command)}", ""])


def container(
    runtime: str, image: str, *, code: str, binds: Sequence[str]
) -> tuple[tuple[str, ...], str]:
    """What goes before the server's command, and where our packages are inside.

    `code` is the directory they are in outside; `binds` are further paths, the same on both sides
    (the socket of sgreen-noded, profiles, models).
    """
    inside = "/opt/slurm-green"
    # Each by itself: beside them may be libraries for another Python, found before the image's.
    mounts = [f"{code}/{one}:{inside}/{one}" for one in _PACKAGES]
    mounts += [f"{one}:{one}" for one in binds]
    if runtime == "pyxis":
        line = ["srun", "--overlap", f"--container-image={image}"]
        return (*line, f"--container-mounts={','.join(mounts)}"), inside
    line = ["apptainer", "exec", "--nv"]
    for one in mounts:
        line += ["--bind", one]
    return (*line, "--env", f"PYTHONPATH={inside}", image), inside
