# SPDX-License-Identifier: Apache-2.0
"""What sgreend says to a node: clocks of its jobs and the site's cap; and what it is told.

The trap: a plan slows a job, so it never comes from the job's owner: a file must be root's.
"""

import json
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from slurm_green.errors import BadInputError
from slurm_green.node.state import Cap, Orders, Plan

__all__ = ["FileSgreend", "NoSgreend", "Sgreend", "parse_orders"]

_MOST_BYTES = 4 * 2**20

T = TypeVar("T", Plan, Cap)


class Sgreend(Protocol):
    """The way to sgreend; every call may raise anything, and may take as long as it likes."""

    def orders(self, job_ids: Sequence[int]) -> Orders:
        """What it wants for each of these jobs, None where it plans nothing, and the cap."""
        ...

    def report(self, energies: Mapping[str, Mapping[str, Any]]) -> Collection[str]:
        """Give it energies of jobs by name; the names that it has now."""
        ...


class NoSgreend(Sgreend):
    """Nobody: no job is planned, energies stay in their files."""

    def orders(self, job_ids: Sequence[int]) -> Orders:
        return Orders(dict.fromkeys(job_ids))

    def report(self, energies: Mapping[str, Mapping[str, Any]]) -> Collection[str]:
        return ()


class FileSgreend(Sgreend):
    """Orders from a JSON file that somebody trusted writes whole; energies stay in their files."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def orders(self, job_ids: Sequence[int]) -> Orders:
        """BadInputError when the file is there and wrong; no file is no orders."""
        try:
            with self._path.open("rb") as file:
                _check_owner(self._path, os.fstat(file.fileno()))
                data = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return Orders(dict.fromkeys(job_ids))
        except OSError as error:
            raise BadInputError(f"{self._path}: {error.strerror}") from error
        if len(data) > _MOST_BYTES:
            raise BadInputError(f"{self._path}: larger than {_MOST_BYTES // 2**20} MiB")
        return parse_orders(data, str(self._path), job_ids)

    def report(self, energies: Mapping[str, Mapping[str, Any]]) -> Collection[str]:
        return ()


def parse_orders(data: bytes, where: str, job_ids: Sequence[int]) -> Orders:
    """`{"jobs": {"12": {"clock_mhz": 1095, ...}}, "cap": {...}}`; keys are Plan's and Cap's."""
    try:
        document = json.loads(data)
    except ValueError as error:
        raise BadInputError(f"{where}: not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("jobs", {}), dict):
        raise BadInputError(f'{where}: wanted {{"jobs": {{"JOB": {{...}}}}, "cap": {{...}}}}')
    jobs = document.get("jobs", {})
    plans = {
        job_id: _filled(Plan, jobs[key], f"{where}: jobs.{key}") if key in jobs else None
        for job_id, key in ((job_id, str(job_id)) for job_id in job_ids)
    }
    return Orders(plans, _filled(Cap, document.get("cap", {}), f"{where}: cap"))


def _filled(kind: type[T], values: object, where: str) -> T:
    known = kind.__annotations__
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise BadInputError(f"{where}: {str(values)[:80]} is not a table of {', '.join(known)}")
    for key, value in values.items():
        # An integer is a fine float; a bool is neither.
        allowed = {"own": (bool,), "power_limit_w": (int, float)}.get(key, (int,))
        right = isinstance(value, allowed) and (key == "own") == isinstance(value, bool)
        if value is not None and not (right and 0 <= value < 100_000):
            raise BadInputError(f"{where}.{key}: {str(value)[:40]!r} is not allowed")
    return kind(**{key: value for key, value in values.items() if value is not None})


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadInputError(f"{path}: only root may own it and write to it, as it slows jobs")
    if not stat.S_ISREG(found.st_mode):
        raise BadInputError(f"{path}: is not a plain file")
