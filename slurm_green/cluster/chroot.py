# SPDX-License-Identifier: Apache-2.0
"""Build a chroot with another Debian release's Slurm, once: the version matrix's other columns."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import platformdirs

from slurm_green.cluster.lock import locked
from slurm_green.cluster.packages import SEARCH_PATH, ensure, packages_of
from slurm_green.errors import BadInputError, ClusterError

__all__ = ["CHROOTS_VARIABLE", "SUITES", "build", "chroots_directory"]

CHROOTS_VARIABLE = "SLURM_GREEN_CHROOTS"
_SLURM, _PYTHON = "usr/sbin/slurmctld", "usr/bin/python3"
SUITES = {"trixie": "24.11", "forky": "26.05"}


def chroots_directory() -> Path:
    """Where chroots are kept between runs."""
    if from_environment := os.environ.get(CHROOTS_VARIABLE):
        return Path(from_environment).absolute()
    return Path(platformdirs.user_cache_dir("slurm-green")) / "chroots"


def build(
    suite: str, base: Path | None = None, *, progress: Callable[[str], None] = lambda _: None
) -> Path:
    """The chroot of that Debian suite, built if it is not there yet."""
    if suite not in SUITES:
        raise BadInputError(f"suite {suite!r}: allowed are {', '.join(SUITES)}")
    base = base or chroots_directory()
    target = base / suite
    if _complete(target):
        return target
    if os.geteuid() != 0:
        raise BadInputError(f"{target} does not exist, and only root can build it (debootstrap)")
    ensure(["matrix"], progress=progress)
    with locked(base, suite):
        if _complete(target):
            return target
        if (target / _SLURM).exists():
            # An earlier version's: what it lacks is added where it is.
            progress("installing what is missing into it")
            _install(target)
            return target
        fresh = base / f"{suite}.building"
        shutil.rmtree(fresh, ignore_errors=True)
        progress(f"debootstrap {suite}")
        _run([*_debootstrap(), *_debootstrap_options(suite, fresh)])
        policy = fresh / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        policy.chmod(0o755)
        progress(f"installing Slurm {SUITES[suite]} into it")
        _install(fresh)
        # Appears whole or not at all: a killed build is never taken for a chroot.
        fresh.rename(target)
    return target


def _complete(root: Path) -> bool:
    return all((root / program).exists() for program in (_SLURM, _PYTHON))


def _install(root: Path) -> None:
    for name in ("hosts", "resolv.conf"):
        shutil.copyfile(Path("/etc") / name, root / "etc" / name)
    own = ("slurmdbd", "slurm-wlm-mysql-plugin", "tzdata", "python3")  # Python runs the hooks
    inside = ["chroot", str(root), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    _run(
        [*inside, "install", "-y", "--no-install-recommends", *own, *packages_of(["slurm", "hook"])]
    )
    _run([*inside, "clean"])


def _debootstrap() -> list[str]:
    path = shutil.which("debootstrap", path=SEARCH_PATH)
    if path is None:
        raise ClusterError("debootstrap: not found")
    return [path, "--variant=minbase"]


def _debootstrap_options(suite: str, target: Path) -> list[str]:
    scripts = Path("/usr/share/debootstrap/scripts")
    # All suites since buster share a script; an older debootstrap only lacks the newer names.
    known = next(scripts / name for name in (suite, "trixie", "sid") if (scripts / name).exists())
    return [suite, str(target), _mirror(), str(known)]


def _mirror() -> str:
    """Where this machine's own apt gets Debian from."""
    form = "$(SITE)|$(ORIGIN)|$(LABEL)"
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        site, origin, label = (*line.split("|"), "", "")[:3]
        if (origin, label) == ("Debian", "Debian"):
            return site
    raise ClusterError(
        "apt knows no archive of Debian's here; chroots of other releases are built on Debian, "
        "after `apt-get update`"
    )


def _run(command: list[str]) -> None:
    environment = {"PATH": SEARCH_PATH, "HOME": "/root", "LANG": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-4:]
        raise ClusterError(f"{' '.join(command[:6])} ... failed: {' / '.join(last)}")
