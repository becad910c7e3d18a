# SPDX-License-Identifier: Apache-2.0
"""Take a cluster down: its jobs, its processes, its mounts, its directory, and nothing else."""

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from slurm_green.cluster import processes, view
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.lock import locked
from slurm_green.cluster.machine import Machine
from slurm_green.cluster.record import all_records, check_ours, load
from slurm_green.errors import BadInputError, ClusterError

__all__ = ["clear", "down", "down_all", "reap_orphans", "stop_processes"]

_CANCEL_S = 8.0
_RESTORE_S = 5.0
_SWEEPS = 5  # of a directory: a core or a late log may still come


def down(
    name: str,
    base: Path,
    *,
    keep: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Stop what `up` started and remove its directory; with `keep` the directory stays."""
    layout = Layout.of(name, base)
    if not layout.directory.is_dir():
        raise BadInputError(
            f"no cluster {name!r} in {base}; `sgreen cluster status` lists those there are"
        )
    with locked(base, name):
        if not layout.directory.is_dir():
            return  # somebody else took it down while we waited
        check_ours(layout)
        for guest, record in all_records(base):
            if record.spec.accounting_of == name and processes.find(guest.directory):
                raise BadInputError(
                    f"cluster {guest.name!r} uses the accounting of {name!r}:"
                    f" take {guest.name!r} down first"
                )
        machine = None
        root = None
        with suppress(ClusterError, BadInputError):  # no readable record: stop what is there
            machine = Machine(layout=layout, record=load(layout))
            root = machine.record.spec.slurm_root
        # A cluster that is to come back keeps its jobs; Slurm then finds out which have ended.
        if machine is not None and not keep:
            progress("cancelling jobs")
            _cancel_jobs(machine)
        progress("stopping daemons")
        # A daemon that will never come back has nothing to save, unless others share its
        # slurmdbd and want its last records.
        joined = machine is not None and machine.record.spec.accounting_of is not None
        clear(layout, root, keep=keep, grace_s=15.0 if keep or joined else 0.0)


def down_all(
    base: Path,
    *,
    keep: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Take every cluster there down, those that use another's accounting first."""
    names = []
    for path in sorted(base.glob("*/cluster.json")):
        with suppress(BadInputError):  # another's
            check_ours(Layout.of(path.parent.name, base))
            names.append(path.parent.name)
    guests = {layout.name for layout, record in all_records(base) if record.spec.accounting_of}
    for name in sorted(names, key=lambda name: (name not in guests, name)):
        progress(f"taking {name} down")
        down(name, base, keep=keep)
    return names


def reap_orphans(base: Path) -> list[str]:
    """Take down the clusters whose owner (a test session, say) has died without doing so."""
    dead = [
        (layout.name, record.spec.accounting_of is None)
        for layout, record in all_records(base)
        if record.owner is not None and not record.owner.alive
    ]
    reaped = []
    for name, _ in sorted(dead, key=lambda entry: entry[1]):
        with suppress(BadInputError):  # another session reaps too
            down(name, base)
            reaped.append(name)
    return reaped


def clear(layout: Layout, slurm_root: Path | None, *, keep: bool, grace_s: float = 0.0) -> None:
    """End every process, undo every mount, and remove the directory unless it is to stay."""
    stop_processes(layout, grace_s=grace_s)
    view.remove_view(layout, slurm_root)
    if keep or not layout.directory.exists():
        return
    # Asked once more: removing a tree with a chroot still mounted in it would empty the chroot.
    if view.mounts_below(layout.directory):
        raise ClusterError(f"{layout.directory}: something is mounted in it; not removed")
    for _ in range(_SWEEPS):
        others = [path for path in layout.directory.iterdir() if path != layout.record]
        if not others:
            break
        for path in others:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    else:
        raise ClusterError(f"{layout.directory}: something still writes there; not removed")
    # Last: whatever a killed `down` leaves is still known for a cluster's.
    layout.record.unlink(missing_ok=True)
    layout.directory.rmdir()


def stop_processes(layout: Layout, *, grace_s: float) -> None:
    """End the cluster's processes in parallel, those that appear meanwhile too."""
    for _ in range(5):
        found = processes.find(layout.directory)
        if not found:
            return
        # A step's processes first belong to the step: killing it alone would leave them behind.
        steps = [process for process in found if process.kind == "slurmstepd"]
        everything = {p.pid: p for p in [*found, *processes.with_descendants(steps)]}
        # The controller first: it must not see its nodes die. Then, all at once, what takes its
        # orders; munge and the database serve the others to their end.
        ends = ("slurmctld", processes.NODED, "slurmdbd", "mariadbd", "munged")
        named = {kind: [p for p in everything.values() if p.kind == kind] for kind in ends}
        others = [p for p in everything.values() if p.kind not in ends]
        for group in (named["slurmctld"], others, *(named[kind] for kind in ends[1:])):
            # One that sets clocks always gets the time to give them back.
            wait_s = max(grace_s, _RESTORE_S) if group is named[processes.NODED] else grace_s
            if wait_s > 0:
                processes.stop(group, grace_s=wait_s)
            else:
                processes.kill_all(group)
    left = ", ".join(f"{p.kind} {p.pid}" for p in processes.find(layout.directory))
    if left:
        raise ClusterError(f"these processes do not end: {left}")


def _cancel_jobs(machine: Machine) -> None:
    """Let Slurm end its jobs, while it can: only it knows all their processes."""
    if not any(p.kind == "slurmctld" for p in processes.find(machine.layout.directory)):
        return
    deadline = time.monotonic() + _CANCEL_S
    try:
        listing = machine.client("squeue", "-h", "-o", "%t", timeout_s=5)
        if listing.returncode == 0 and not listing.stdout.strip():
            return
        # One state a call: a second --state would override the first. Pending ones first, or
        # they would start on what the running ones leave.
        for state in ("PENDING", "RUNNING", "SUSPENDED"):
            machine.client("scancel", f"--state={state}", timeout_s=5)
        while time.monotonic() < deadline:
            left = machine.client("squeue", "-h", "-t", "R,CG,S", "-o", "%i", timeout_s=5)
            if left.returncode != 0 or not left.stdout.strip():
                return
            time.sleep(0.1)
    except (ClusterError, OSError, subprocess.SubprocessError):
        return  # a controller that hangs: the processes are ended all the same
