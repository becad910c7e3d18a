# SPDX-License-Identifier: Apache-2.0
"""Find and stop a cluster's own processes, and never another's.

A process is ours when its program is one that clusters run *and* its command line or its
environment names the cluster's directory. Slurm's children (steps, job processes) rewrite their
command line, so they are found by descent or by the node name in their environment. Signals go
through a pidfd: between looking and shooting a pid cannot become somebody else's.
"""

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "NODED",
    "Process",
    "find",
    "kill_all",
    "send",
    "start_ticks",
    "stop",
    "with_descendants",
]

_PROC = Path("/proc")
_PASSES = 20  # enough for any machine that is not being fork-bombed
NODED = "sgreen-noded"
_NODED_MODULE = b"slurm_green.node.daemon"
_DAEMONS = {"munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "slurmstepd", "slurmscriptd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process as /proc showed it."""

    pid: int
    parent: int
    kind: str
    argv: tuple[str, ...]
    started_ticks: int

    @property
    def node(self) -> str | None:
        """The node a slurmd or an sgreen-noded serves."""
        if self.kind == "slurmd" and "-N" in self.argv[:-1]:
            return self.argv[self.argv.index("-N") + 1]
        if self.kind == NODED:
            return Path(self.argv[-1]).parent.name
        return None


def find(directory: Path) -> list[Process]:
    """Every daemon, step and job process of the cluster in that directory."""
    below = os.fsencode(directory) + b"/"
    found: list[Process] = []
    seen: set[int] = set()
    # A daemon that goes into the background dies as one pid and lives on as another, which may
    # be in no listing made before; so list again until nobody new is there.
    for _ in range(_PASSES):
        fresh = set(_pids()) - seen
        if not fresh:
            break
        seen |= fresh
        looked = (_look(pid, below) for pid in sorted(fresh))
        found += [process for process in looked if process is not None]
    return found


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone."""
    stat = _stat(pid)
    return None if stat is None else stat[2]


def with_descendants(processes: Iterable[Process]) -> list[Process]:
    """The processes and everything they started."""
    wanted = {process.pid: process for process in processes}
    everything = [(pid, *stat) for pid in _pids() if (stat := _stat(pid)) is not None]
    grown = True
    while grown:
        grown = False
        for pid, comm, parent, ticks in everything:
            if parent in wanted and pid not in wanted:
                wanted[pid] = Process(
                    pid=pid, parent=parent, kind=comm, argv=(), started_ticks=ticks
                )
                grown = True
    return list(wanted.values())


def stop(processes: Iterable[Process], *, grace_s: float) -> list[Process]:
    """Ask all of them at once to end, then make them; returns those that had to be killed."""
    opened = _open(processes)
    try:
        left = _signal_and_wait(opened, signal.SIGTERM, grace_s)
        _signal_and_wait(left, signal.SIGKILL, 5.0)
        return list(left.values())
    finally:
        for descriptor in opened:
            os.close(descriptor)


def kill_all(processes: Iterable[Process]) -> None:
    """End them without asking."""
    opened = _open(processes)
    try:
        _signal_and_wait(opened, signal.SIGKILL, 5.0)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    """Send one signal and do not wait (SIGSTOP and SIGCONT in tests)."""
    opened = _open(processes)
    for descriptor in opened:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
        os.close(descriptor)


def _pids() -> list[int]:
    return [int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit()]


def _open(processes: Iterable[Process]) -> dict[int, Process]:
    opened = {}
    for process in processes:
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        # Only now is the pid pinned: is it still the process we saw?
        if start_ticks(process.pid) == process.started_ticks:
            opened[descriptor] = process
        else:
            os.close(descriptor)
    return opened


def _signal_and_wait(
    opened: dict[int, Process], number: signal.Signals, wait_s: float
) -> dict[int, Process]:
    waiting = select.poll()
    left = dict(opened)
    for descriptor in opened:
        waiting.register(descriptor, select.POLLIN)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
    deadline = time.monotonic() + wait_s
    while left and (rest_s := deadline - time.monotonic()) > 0:
        for descriptor, _ in waiting.poll(rest_s * 1000):
            waiting.unregister(descriptor)
            left.pop(descriptor)
    return left


def _look(pid: int, below: bytes) -> Process | None:
    stat = _stat(pid)
    if stat is None:
        return None
    comm, parent, ticks = stat
    try:
        argv = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[:-1]
        if _NODED_MODULE in argv and b"--config" in argv:
            comm = NODED  # Python's own name says nothing
        ours = (comm in _DAEMONS or comm == NODED) and any(below in word for word in argv)
        if not ours:
            environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
            names = any(w.startswith(b"SLURM_CONF=" + below) for w in environment)
            # A job's own processes carry the user's environment and their node's name; a shell
            # that merely sourced env.sh carries no node name and is not ours to stop.
            in_job = any(w.startswith(b"SLURMD_NODENAME=") for w in environment)
            ours = names and (comm in _DAEMONS or in_job)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    if not ours:
        return None
    return Process(
        pid=pid,
        parent=parent,
        kind=comm,
        argv=tuple(os.fsdecode(word) for word in argv),
        started_ticks=ticks,
    )


def _stat(pid: int) -> tuple[str, int, int] | None:
    """Name, parent and start of a process that is not a zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may hold spaces and brackets: fields are counted from the last bracket.
    comm, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    if fields[0] in "ZX":
        return None
    return comm, int(fields[1]), int(fields[19])
