# SPDX-License-Identifier: Apache-2.0
"""Whom a change of an array reaches. Pure.

`scontrol update JobId=100` changes all tasks of array 100, also those that are jobs of their own by
now: one whose begin time its user has set, one that was requeued. squeue shows these as part of
what waits of the array (`--array-unique` is gone since 23.02), so who changes an array asks for its
tasks one by one, and names those that are meant: all with the begin time of what waits. Of them may
be jobs of their own, too, by another time limit or after a hold; nobody else would let those go.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from slurm_green.slurm.records import Job, JobChange

__all__ = ["marked", "task_arguments", "tasks_of_rest"]

_FIELDS = ("ArrayJobID", "JobID", "ArrayTaskID", "EligibleTime")


def marked(changes: Mapping[int, JobChange], jobs: Iterable[Job]) -> dict[int, JobChange]:
    """The changes, those of what waits of an array marked as such: it has the array's number."""
    arrays = {job.job_id for job in jobs if job.pending and job.array_job_id == job.job_id}
    return {
        job_id: replace(change, array=True) if job_id in arrays else change
        for job_id, change in changes.items()
    }


def task_arguments(job_ids: Iterable[int]) -> list[str]:
    """The waiting tasks of these arrays, a line each: array, job, task, begin time."""
    return [
        "squeue", "--noheader", "--all", "--local", "--array", "--states=PENDING",
        f"--jobs={','.join(map(str, job_ids))}",
        # A field with a suffix and no width is never cut.
        f"--Format={','.join(f'{field}:@' for field in _FIELDS)}",
    ]  # fmt: skip


def tasks_of_rest(text: str) -> dict[int, str]:
    """Of each array that has lost tasks, those that wait with its own number's, as "1,3-9"."""
    begins: dict[int, str] = {}
    waiting: dict[int, list[tuple[int, str]]] = {}
    for line in text.splitlines():
        *numbers, begin = line.strip().removesuffix("@").split("@")
        if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
            continue
        array, job, task = map(int, numbers)
        waiting.setdefault(array, []).append((task, begin))
        if array == job:
            begins[array] = begin
    return {
        array: _ranges(sorted(task for task, one in waiting[array] if one == begin))
        for array, begin in begins.items()
        if any(one != begin for _, one in waiting[array])
    }


def _ranges(tasks: list[int]) -> str:
    spans: list[list[int]] = []
    for task in tasks:
        if spans and task == spans[-1][1] + 1:
            spans[-1][1] = task
        else:
            spans.append([task, task])
    return ",".join(f"{low}-{high}" if high > low else f"{low}" for low, high in spans)
