# SPDX-License-Identifier: Apache-2.0
"""Whom a change of an array reaches. Pure.

`scontrol update JobId=100` changes all tasks of array 100, also those that are jobs of their own by
now: one whose begin time its user has set, one that was requeued. squeue shows these as part of
what waits of the array (`--array-unique` is gone since 23.02), so who changes an array asks for its
tasks one by one, and names those that are meant.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from slurm_green.slurm.records import Job, JobChange

__all__ = ["marked", "task_arguments", "tasks_of_rest"]


def marked(changes: Mapping[int, JobChange], jobs: Iterable[Job]) -> dict[int, JobChange]:
    """The changes, those of what waits of an array marked as such: it has the array's number."""
    arrays = {job.job_id for job in jobs if job.pending and job.array_job_id == job.job_id}
    return {
        job_id: replace(change, array=True) if job_id in arrays else change
        for job_id, change in changes.items()
    }


def task_arguments(job_ids: Iterable[int]) -> list[str]:
    """The waiting tasks of these arrays, a line each: array, job, task."""
    return [
        "squeue", "--noheader", "--all", "--local", "--array", "--states=PENDING",
        f"--jobs={','.join(map(str, job_ids))}", "--format=%F %A %K",
    ]  # fmt: skip


def tasks_of_rest(text: str) -> dict[int, str]:
    """Of each array that has lost tasks, those that stand under its own number, as "1,3-9"."""
    rest: dict[int, list[int]] = {}
    divided: set[int] = set()
    for line in text.splitlines():
        words = line.split()
        if len(words) != 3 or not all(word.isdecimal() for word in words):
            continue
        array, job, task = map(int, words)
        if array == job:
            rest.setdefault(array, []).append(task)
        else:
            divided.add(array)
    return {array: _ranges(sorted(tasks)) for array, tasks in rest.items() if array in divided}


def _ranges(tasks: list[int]) -> str:
    spans: list[list[int]] = []
    for task in tasks:
        if spans and task == spans[-1][1] + 1:
            spans[-1][1] = task
        else:
            spans.append([task, task])
    return ",".join(f"{low}-{high}" if high > low else f"{low}" for low, high in spans)
