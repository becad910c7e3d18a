# SPDX-License-Identifier: Apache-2.0
"""Which programs a cluster needs, and how to get them on Debian.

Standard library only, and runnable before anything is installed:
`python3 -m slurm_green.cluster.packages [--accounting] [--tests] [--matrix]`, or `--venv` or
`--compiler` alone.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm_green.errors import SlurmGreenError, SlurmMissingError

__all__ = ["GROUPS", "SEARCH_PATH", "Group", "ensure", "main", "missing", "packages_of"]

# Ordinary users' PATH often lacks the sbin directories where the daemons are.
SEARCH_PATH = os.pathsep.join(
    [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/sbin", "/usr/sbin", "/sbin"]
)
_POLICY = Path("/usr/sbin/policy-rc.d")
_LOCK_S = 300  # for whoever installs beside us


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Programs that come together: the commands that show they are there, and their packages."""

    commands: tuple[str, ...]
    packages: tuple[str, ...]
    files: tuple[str, ...] = ()


GROUPS = {
    "slurm": Group(
        commands=("slurmctld", "slurmd", "sbatch", "scontrol", "munged"),
        packages=(
            "slurmctld",
            "slurmd",
            "slurm-client",
            "slurm-wlm-basic-plugins",
            "munge",
        ),
    ),
    # The hook's Lua speaks over a socket; Slurm's own Lua on Debian is 5.1.
    "hook": Group(commands=(), packages=("lua-socket",), files=("/usr/share/lua/5.1/socket.lua",)),
    # The -core packages hold MariaDB's programs without its service.
    "accounting": Group(
        commands=("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb"),
        packages=(
            "slurmdbd",
            "slurm-wlm-mysql-plugin",
            "mariadb-server-core",
            "mariadb-client-core",
        ),
    ),
    # The shim's tests run its Lua without Slurm too; a moved job's checkpoint goes by rsync;
    # faketime sets the clocks of two sites apart.
    "tests": Group(
        commands=("lua5.1", "rsync", "faketime"), packages=("lua5.1", "rsync", "faketime")
    ),
    "matrix": Group(commands=("debootstrap",), packages=("debootstrap",)),
    # Debian splits Python; without this part it cannot make virtual environments.
    "venv": Group(
        commands=(),
        packages=("python3-venv",),
        files=(f"{sysconfig.get_path('stdlib')}/ensurepip/__init__.py",),
    ),
    # What the planner's lists and moves, and the emulated GPU's library, are compiled with.
    "compiler": Group(commands=("gcc",), packages=("gcc", "libc6-dev")),
}


def packages_of(groups: Sequence[str]) -> tuple[str, ...]:
    """All Debian packages of those groups."""
    return tuple(package for name in groups for package in GROUPS[name].packages)


def missing(groups: Sequence[str]) -> tuple[str, ...]:
    """The commands and files of those groups that this machine lacks."""
    lacking = []
    for name in groups:
        group = GROUPS[name]
        lacking += [c for c in group.commands if shutil.which(c, path=SEARCH_PATH) is None]
        lacking += [file for file in group.files if not Path(file).exists()]
    return tuple(lacking)


def ensure(groups: Sequence[str], *, progress: Callable[[str], None]) -> None:
    """Install what is missing with apt-get, or say in one message what a person must do."""
    lacking = missing(groups)
    if not lacking:
        return
    wanted = packages_of([name for name in groups if missing([name])])
    elsewhere = "Slurm 22.05 or newer, munge and LuaSocket" if "slurm" in groups else "them"
    advice = (
        f"not installed: {', '.join(lacking)}."
        f" On Debian or Ubuntu: apt-get install --no-install-recommends {' '.join(wanted)}."
        f" Elsewhere install {elsewhere} from your distribution."
    )
    prefix = _become_root()
    if shutil.which("apt-get") is None:
        raise SlurmMissingError(advice)
    if prefix is None:
        raise SlurmMissingError(f"{advice} (Not done for you: neither root nor sudo -n works.)")
    progress(f"installing {' '.join(wanted)}")
    _install(prefix, wanted, advice)
    if still := missing(groups):
        raise SlurmMissingError(f"installed, but still {advice} (still missing: {still})")


def _become_root() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return ["sudo", "-n"] if asked.returncode == 0 else None


def _install(prefix: Sequence[str], packages: Sequence[str], advice: str) -> None:
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    apt += ["-o", f"DPkg::Lock::Timeout={_LOCK_S}"]
    # Debian starts services on installation; a cluster of ours runs its own daemons instead.
    denied = _deny_services(prefix)
    try:
        install = [*apt, "install", "-y", "--no-install-recommends", *packages]
        for command in (install, [*apt, "update"], install):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0 and command is install:
                return
    finally:
        if denied:
            subprocess.run([*prefix, "rm", "-f", str(_POLICY)], check=False)
    last = (done.stderr or done.stdout).strip().splitlines()[-3:]
    raise SlurmMissingError(f"apt-get failed: {' / '.join(last)}\n{advice}")


def _deny_services(prefix: Sequence[str]) -> bool:
    """Put a policy-rc.d there that starts nothing, if the machine has none; whether it did."""
    if _POLICY.exists():
        return False
    text = 'printf \'#!/bin/sh\\nexit 101\\n\' > "$1" && chmod 755 "$1"'
    done = subprocess.run([*prefix, "sh", "-c", text, "sh", str(_POLICY)], check=False)
    return done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Install what clusters need; exit status 1 with one message when that cannot be done."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--accounting", action="store_true", help="slurmdbd and MariaDB too")
    parser.add_argument("--tests", action="store_true", help="what only tests need too")
    parser.add_argument("--matrix", action="store_true", help="debootstrap too")
    parser.add_argument("--venv", action="store_true", help="nothing but Python's venv")
    parser.add_argument("--compiler", action="store_true", help="nothing but a C compiler")
    options = parser.parse_args(arguments)
    alone = [name for name in ("venv", "compiler") if getattr(options, name)]
    groups = alone or ["slurm", "hook"]
    groups += [name for name in ("accounting", "tests", "matrix") if getattr(options, name)]
    try:
        ensure(groups, progress=lambda text: print(text, file=sys.stderr, flush=True))
    except SlurmGreenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
