# SPDX-License-Identifier: Apache-2.0
"""Which process belongs to which job, and which jobs are live here, from /proc.

The trap: a job's user names processes and makes cgroups below its own, so only what root made
counts: slurmstepd processes of root, and cgroups at Slurm's own places. Where several Slurms share
a machine, another's job has the same number.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from slurm_green.node.state import Job

__all__ = ["Sight"]

# cgroup v1: /slurm[_NODE]/uid_N/job_N; v2: [/system.slice]/[NODE_]slurmstepd.scope/job_N.
_CGROUP = re.compile(
    r"^\d+:[^:]*:(?:/slurm(?:_[\w.-]+)?/uid_\d+|(?:/system\.slice)?/(?:[\w.-]+_)?slurmstepd\.scope)"
    r"/job_(\d+)(?:/|$)",
    re.MULTILINE,
)
_CONF = re.compile(rb"(?:^|\0)SLURM_CONF=([^\0]+)")
_TITLE = re.compile(rb"^slurmstepd: \[(\d+)[.+\]]")


class Sight:
    """Looks at a /proc as it is now; a process that vanishes meanwhile is nobody's.

    With a `slurm_conf`, a slurmstepd whose environment names another one is none of this Slurm's.
    """

    def __init__(self, proc: Path = Path("/proc"), *, slurm_conf: Path | None = None) -> None:
        self._proc = proc
        self._slurm_conf = None if slurm_conf is None else os.fsencode(slurm_conf)

    def live_jobs(self) -> frozenset[int]:
        """Jobs with a slurmstepd on this machine; one between two steps may have none."""
        return frozenset(self._steps())

    def job_of(self, pid: int) -> int | None:
        """The job whose cgroup a process is in; None outside jobs, and where cgroups are unused."""
        try:
            text = (self._proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        found = _CGROUP.search(text)
        return int(found[1]) if found else None

    def ours(self, job: Job) -> Callable[[int], bool]:
        """Whether a process is the job's, or root's."""

        def ours(pid: int) -> bool:
            in_job = self.job_of(pid)
            if in_job is not None:
                return in_job == job.job_id
            try:
                return (self._proc / str(pid)).stat().st_uid in (0, job.uid)
            except OSError:
                return True

        return ours

    def _steps(self) -> Iterator[int]:
        for path in self._proc.iterdir():
            if not path.name.isdigit():
                continue
            try:
                if (path / "comm").read_bytes() != b"slurmstepd\n" or path.stat().st_uid != 0:
                    continue
                found = _TITLE.match((path / "cmdline").read_bytes())
                if found and not self._of_another_slurm(path):
                    yield int(found[1])
            except OSError:
                continue

    def _of_another_slurm(self, process: Path) -> bool:
        if self._slurm_conf is None:
            return False
        # The title lies over most of the environment; where none is left, it is believed ours.
        named = _CONF.search((process / "environ").read_bytes())
        return named is not None and named[1] != self._slurm_conf
