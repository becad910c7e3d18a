# SPDX-License-Identifier: Apache-2.0
"""One row of a sacct export, whichever Slurm wrote it and however, and its TRES. Pure."""

import re
from dataclasses import dataclass

__all__ = ["BadRow", "Export", "SacctRow", "cores_of", "gpu_type_of"]

_TYPE = re.compile(r"gres/gpu:([^=:,()]+)=")
_NOT_ENDED = frozenset({"PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SacctRow:
    """One run of a job; times in POSIX seconds, unknown is None. `at` is its line or entry.

    `allocated` says whether it was given anything: a job cancelled while it waited may carry a
    start time, that of its end.
    """

    at: int
    job_id: str
    state: str
    submit_s: float | None = None
    eligible_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    elapsed_s: float | None = None
    limit_s: float | None = None
    allocated: bool | None = None
    gpus: int = 0
    gpu_type: str = ""
    cores: int = 1
    partition: str = ""
    cluster: str = ""
    comment: str = ""
    admin_comment: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether it had not ended when it was exported."""
        return self.state in _NOT_ENDED

    @property
    def ran_s(self) -> float | None:
        """How long it ran, without what it was suspended for."""
        if self.elapsed_s is not None:
            return self.elapsed_s
        if self.start_s is None or self.end_s is None:
            return None
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read."""

    at: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """All rows of one export; `counted` says what their `at` counts: lines or entries."""

    rows: tuple[SacctRow | BadRow, ...]
    counted: str = "line"


def gpu_type_of(tres: str) -> str:
    """The type of the GPUs; "" where it is not said or there are several."""
    types = set(_TYPE.findall(tres))
    return types.pop() if len(types) == 1 else ""


def cores_of(tres: str, fallback: str) -> int:
    """Cores in a TRES text, else the other count; at least one."""
    for part in tres.split(","):
        name, _, count = part.partition("=")
        if name == "cpu" and count.isdecimal():
            return max(1, int(count))
    return max(1, int(fallback)) if fallback.isdecimal() else 1
