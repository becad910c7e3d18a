# SPDX-License-Identifier: Apache-2.0
"""Changes of jobs as scontrol's arguments, and as lines for one scontrol that does them all.

One scontrol reading its stdin changes a job in 1 ms, a process per job takes 5.6 ms. But on
stdin no quoting works (a quote becomes part of the value, a blank ends it), so only changes
without blanks, begin times above all, go in a batch. Which job a message is about shows only in
the echoed lines around it; so a batch says at most *which jobs to try again on their own*: that
process then gives the exit status and the words. Changes are absolute, a second try is harmless.
"""

import re
from collections.abc import Mapping, Sequence

from slurm_green.slurm.records import JobChange
from slurm_green.slurm.times import to_slurm_time

__all__ = [
    "batch_input",
    "change_arguments",
    "is_refusal",
    "is_too_late",
    "jobs_gone",
    "jobs_to_retry",
    "one_line",
]

# What scontrol takes from stdin as it stands, tried on every version.
_PLAIN = re.compile(r"[A-Za-z0-9,.:;=@_/+%()-]+")
_ECHO = re.compile(r"^(?:scontrol: )?update JobId=(\d+)\b")
_PROMPT = re.compile(r"^scontrol: *(?:quit)?$")
# What Slurm says of a job that has started or ended since, and with its number in a batch.
_TOO_LATE = "Job has already finished", "Job is no longer pending execution"
_GONE = re.compile(rf"^(?:{'|'.join(_TOO_LATE)}) for job (\d+)$")
# Tasks of an array that run or have ended cannot be delayed; its waiting part was.
_ARRAY_PART = re.compile(rf"^\d+_\S+: (?:{'|'.join(_TOO_LATE)}|No error)$")


def change_arguments(job_id: int, change: JobChange, *, tasks: str = "") -> list[str]:
    """The arguments after `scontrol`, for these tasks of an array; [] when nothing is to change."""
    arguments: list[str] = []
    if change.begin_utc is not None:
        arguments.append(f"StartTime={to_slurm_time(change.begin_utc)}")
    for name, value in (
        ("NumTasks", change.ntasks),
        ("NumCPUs", change.cpus),
        ("TasksPerNode", change.tasks_per_node),
    ):
        if value is not None:
            arguments.append(f"{name}={value}")
    if change.nodes is not None:
        # A minimum alone must not exceed the maximum that the job had.
        arguments.append(f"NumNodes={change.nodes}-{change.nodes}")
    if change.gres is not None:
        arguments.append(f"Gres={change.gres}")
    if change.site_factor is not None:
        arguments.append(f"SiteFactor={change.site_factor}")
    if change.extra is not None:
        arguments.append(f"Extra={one_line(change.extra)}")
    if change.admin_comment is not None:
        arguments.append(f"AdminComment={one_line(change.admin_comment)}")
    name = f"{job_id}_[{tasks}]" if tasks else str(job_id)
    return ["update", f"JobId={name}", *arguments] if arguments else []


def one_line(text: str) -> str:
    """One line of text: a NUL cannot be passed at all, a line break splits Slurm's records."""
    return " ".join(text.replace("\0", "").splitlines())


def batch_input(commands: Mapping[int, Sequence[str]]) -> tuple[bytes, list[int]]:
    """Lines for scontrol's stdin, and the jobs whose values are too odd for that."""
    lines: list[str] = []
    odd: list[int] = []
    for job_id, arguments in commands.items():
        if all(_PLAIN.fullmatch(argument) for argument in arguments):
            lines.append(" ".join(arguments))
        else:
            odd.append(job_id)
    return "".join(f"{line}\n" for line in lines).encode("ascii"), odd


def jobs_to_retry(output: str, asked: Sequence[int]) -> list[int]:
    """The jobs a failed batch says something about; all of them where that is not certain."""
    echoed: list[int] = []
    failed: dict[int, None] = {}
    for line in output.splitlines():
        echo = _ECHO.match(line)
        if echo:
            echoed.append(int(echo[1]))
        elif line.strip() and not _PROMPT.match(line):
            if not echoed:
                return list(asked)
            failed[echoed[-1]] = None
    if echoed != list(asked) or not failed:
        return list(asked)
    return list(failed)


def jobs_gone(output: str) -> dict[int, str]:
    """Jobs that a failed batch came too late for, with Slurm's words.

    After a burst these can be a thousand: one process for each would keep others waiting.
    """
    found = (_GONE.match(line.strip()) for line in output.splitlines())
    return {int(one[1]): one[0] for one in found if one}


def is_too_late(words: str) -> bool:
    """Whether a refusal only says that the job waits no longer."""
    return words.startswith(_TOO_LATE)


def is_refusal(returncode: int, words: str) -> bool:
    """Whether a single update was refused, and not only for tasks of an array that have begun."""
    if returncode == 0:
        return False
    lines = [line for line in words.splitlines() if line.strip()]
    return not lines or not all(_ARRAY_PART.match(line.strip()) for line in lines)
