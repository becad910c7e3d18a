# SPDX-License-Identifier: Apache-2.0
"""How the programs of one cluster are called: directly, or inside its chroot."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from slurm_green.cluster.layout import Layout
from slurm_green.cluster.packages import SEARCH_PATH
from slurm_green.cluster.record import Record
from slurm_green.errors import ClusterError, SlurmMissingError

__all__ = ["Machine", "slurm_version"]

_CHROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One cluster's layout and record, and the way to its programs."""

    layout: Layout
    record: Record

    @property
    def root(self) -> Path | None:
        """Where its programs' file system is, when that is not this machine's own."""
        return None if self.record.spec.slurm_root is None else self.layout.root

    @property
    def environment(self) -> dict[str, str]:
        """What a client of this cluster needs in its environment, and nothing else."""
        # The wrappers of a chroot come first: a host's squeue may be too old for its slurmctld.
        own = f"{self.layout.commands}{os.pathsep}" if self.root is not None else ""
        return {
            "SLURM_CONF": str(self.layout.slurm_conf),
            "SLURM_GREEN_CONF": str(self.layout.green_conf),
            "PATH": own + os.environ.get("PATH", os.defpath),
        }

    def argv(
        self,
        program: str,
        *arguments: str,
        directory: Path | None = None,
        user: tuple[int, int] | None = None,
    ) -> list[str]:
        """The command line that runs the program where this cluster's programs are."""
        if self.root is None:
            path = shutil.which(program, path=SEARCH_PATH)
            if path is None:
                raise SlurmMissingError(f"{program}: not found in {SEARCH_PATH}")
            return [path, *arguments]
        as_user = [] if user is None else [f"--userspec={user[0]}:{user[1]}"]
        # chroot(8) goes to "/"; the caller meant the directory it is in.
        there = ["/usr/bin/env", "-C", str(directory or self.layout.work), f"PATH={_CHROOT_PATH}"]
        return ["chroot", *as_user, str(self.root), *there, program, *arguments]

    def client(
        self, program: str, *arguments: str, timeout_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands against this cluster; never raises for its exit status."""
        try:
            return subprocess.run(
                self.argv(program, *arguments),
                env={**os.environ, **self.environment},
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{program}: no answer within {timeout_s:g} s") from error

    def start(
        self,
        argv: list[str],
        *,
        log: str,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        """Run a program that goes into the background by itself; raise with its words if not."""
        path = self.layout.log / f"{log}.start"
        with path.open("wb") as output:
            status = self._run_detached(argv, output, environment or {}, timeout_s)
        if status != 0:
            words = path.read_text(encoding="utf-8", errors="replace").strip()
            raise ClusterError(
                f"{Path(argv[0]).name} ({log}) did not start (exit status {status}): {words}"
            )

    def _run_detached(
        self, argv: list[str], output: IO[bytes], extra: Mapping[str, str], timeout_s: float
    ) -> int:
        # A daemon gets a clean environment: what it holds, it hands on to steps and hooks. The
        # cluster's SLURM_CONF in it is also how `down` recognises its processes.
        environment = {
            "PATH": SEARCH_PATH,
            "LANG": "C.UTF-8",
            "SLURM_CONF": str(self.layout.slurm_conf),
            **extra,
        }
        try:
            done = subprocess.run(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.layout.directory,
                check=False,
                start_new_session=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(
                f"{Path(argv[0]).name} did not go into the background within {timeout_s:g} s"
            ) from error
        return done.returncode


def slurm_version(root: Path | None) -> str:
    """The version of the slurmctld on this machine or in that chroot, such as 24.11.5."""
    program = shutil.which("slurmctld", path=SEARCH_PATH)
    if root is None and program is None:
        raise SlurmMissingError("slurmctld: not found; `sgreen cluster up` installs it on Debian")
    prefix = [] if root is None else ["chroot", str(root), "/usr/bin/env", f"PATH={_CHROOT_PATH}"]
    command = [*prefix, "slurmctld" if root is not None else str(program), "-V"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = done.stdout.split()
    if done.returncode != 0 or len(words) < 2:
        raise SlurmMissingError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return words[1]
