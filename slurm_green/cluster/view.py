# SPDX-License-Identifier: Apache-2.0
"""A cluster's own view of a chroot that holds another Debian's Slurm.

The chroot is bind-mounted below the cluster's directory, and what the cluster needs is mounted
into that view: several clusters use one chroot, and all mounts of a cluster lie below one path.
"""

import os
import shlex
import subprocess
from contextlib import suppress
from pathlib import Path

from slurm_green.cluster.hook import shim_path
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.lock import locked_directory
from slurm_green.errors import BadInputError, ClusterError

__all__ = ["make_view", "mounts_below", "remove_view"]

_COMMANDS = (
    *("sacct", "sacctmgr", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol"),
    *("sdiag", "sinfo", "sprio", "squeue", "sreport", "srun", "sshare", "sstat", "strigger"),
)


def make_view(layout: Layout, slurm_root: Path) -> None:
    """Mount the chroot and what belongs in it; write wrappers for its commands."""
    if not (slurm_root / "usr/sbin/slurmctld").exists():
        raise BadInputError(
            f"--slurm-root {slurm_root}: no slurmctld in it;"
            " `sgreen cluster chroot SUITE` builds such a directory"
        )
    if os.geteuid() != 0:
        raise BadInputError("--slurm-root: only root may mount and enter a chroot")
    remove_view(layout, slurm_root)
    # One at a time: another cluster's removal must not take our mount points before we use them.
    with locked_directory(slurm_root):
        _mount_all(layout, slurm_root)
    layout.commands.mkdir(exist_ok=True)
    for name in _COMMANDS:
        if (slurm_root / "usr/bin" / name).exists():
            wrapper = layout.commands / name
            wrapper.write_text(_wrapper(layout, name), encoding="utf-8")
            wrapper.chmod(0o755)


def _mount_all(layout: Layout, slurm_root: Path) -> None:
    root = layout.root
    root.mkdir(exist_ok=True)
    _mount("--bind", str(slurm_root), str(root))
    # What happens below must not spread to, or come from, other views of the same chroot.
    _mount("--make-private", str(root))
    _mount("-t", "proc", "proc", str(root / "proc"))
    for source in _shared(layout):
        target = root / source.relative_to("/")
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.touch()
        _mount("--bind", str(source), str(target))
    # An earlier version took an emptied /tmp away with the mount points below it.
    temporary = root / "tmp"
    if not temporary.exists():
        temporary.mkdir()
        temporary.chmod(0o1777)


def remove_view(layout: Layout, slurm_root: Path | None) -> None:
    """Unmount everything below the view, and clear the mount points made in the chroot."""
    for point in reversed(mounts_below(layout.root)):
        done = subprocess.run(["umount", point], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            # Somebody's shell sits in it: it leaves the tree now and vanishes with that shell.
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    if left := mounts_below(layout.root):
        raise ClusterError(f"still mounted: {', '.join(left)}; unmount them and try again")
    if slurm_root is not None and slurm_root.is_dir():
        with locked_directory(slurm_root):
            _remove_mount_points(layout, slurm_root)


def _remove_mount_points(layout: Layout, slurm_root: Path) -> None:
    debian = _directories_of_debian(slurm_root)
    for source in _shared(layout):
        made = slurm_root / source.relative_to("/")
        # Upwards only while empty; another cluster's mount point is busy and stays. So does
        # what Debian brought: an empty /tmp or /opt is still needed.
        while made.is_dir() and f"/{made.relative_to(slurm_root)}" not in debian:
            with suppress(OSError):
                made.rmdir()
            if made.exists():
                break
            made = made.parent


def _directories_of_debian(slurm_root: Path) -> set[str]:
    """The paths of the package that owns the file system's skeleton."""
    owned = slurm_root / "var/lib/dpkg/info/base-files.list"
    return {"/.", "/tmp", *owned.read_text(encoding="utf-8").splitlines()}


def mounts_below(directory: Path) -> list[str]:
    """Mount points at or below a directory, in the order they were made."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == str(directory) or point.startswith(f"{directory}/"):
            found.append(point)
    return found


def _shared(layout: Layout) -> list[Path]:
    """What the chroot's programs see of this machine; the users are the same on both sides."""
    files = [Path("/etc/hosts"), Path("/etc/passwd"), Path("/etc/group")]
    return [*files, shim_path().parent, layout.directory]


def _wrapper(layout: Layout, name: str) -> str:
    work = shlex.quote(str(layout.work))
    root = shlex.quote(str(layout.root))
    return (
        "#!/bin/sh\n"
        f"# {name} of this cluster's own Slurm version; made by `sgreen cluster up`.\n"
        f'[ -d {root}"$PWD" ] || cd {work}\n'
        # Its own directory is first in the caller's PATH, and seen inside as well.
        f'exec chroot {root} /usr/bin/env -C "$PWD" /usr/bin/{name} "$@"\n'
    )


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"mount {shlex.join(arguments)}: {done.stderr.strip()}")
