# SPDX-License-Identifier: Apache-2.0
"""How Slurm's commands are run: never through a shell, with our own environment, bounded in time.

The environment is built, not inherited: a stray SQUEUE_STATES or SLURM_CLUSTERS of whoever
started the daemon must not change what it sees.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from slurm_green.errors import SlurmError, SlurmMissingError

__all__ = [
    "Finished",
    "Run",
    "command_environment",
    "run_command",
    "submission_environment",
    "who_is_up",
]

_KEPT = ("SLURM_CONF", "PATH", "LD_LIBRARY_PATH", "HOME", "USER", "SLURM_JWT")
_FORCED = {
    "LC_ALL": "C",
    # Slurm's commands read and print times in the zone of the client.
    "TZ": "UTC",
    "SLURM_TIME_FORMAT": "%s",
    # Else a long array's task list is cut to 64 characters.
    "SLURM_BITSTR_LEN": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that ended; output is bytes, users write into it."""

    returncode: int
    stdout: bytes
    stderr: bytes


class Run(Protocol):
    """Runs one command to its end; raises SlurmError when it cannot or takes too long."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None,
        env: Mapping[str, str],
        timeout_s: float,
        merge: bool,
    ) -> Finished:
        """With `merge`, stderr comes in stdout, in the order it was written."""


def command_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for Slurm's commands."""
    return submission_environment(environ) | _FORCED


def submission_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The same without what our reading needs: a job inherits all of its sbatch's."""
    source = os.environ if environ is None else environ
    kept = {key: source[key] for key in _KEPT if source.get(key)}
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
    return kept


def who_is_up(argv: Sequence[str]) -> str:
    """What to ask when a command failed: accounting's commands speak with another daemon."""
    if "sacct" in argv or "sacctmgr" in argv:
        return "Is slurmdbd up? Try `sacctmgr show cluster`."
    return "Is slurmctld up? Try `scontrol ping`."


def run_command(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    env: Mapping[str, str],
    timeout_s: float,
    merge: bool = False,
    pass_fds: Sequence[int] = (),
) -> Finished:
    """The real Run; the command inherits the descriptors in `pass_fds`."""
    try:
        done = subprocess.run(  # a list, never a shell: nothing in it can be a command
            list(argv),
            # Never our own stdin: scontrol would wait for a terminal.
            input=b"" if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            env=dict(env),
            timeout=timeout_s,
            check=False,
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        raise SlurmMissingError(
            f"{argv[0]} is not installed or not in PATH ({env.get('PATH', '')})."
            " Install Slurm's client commands (Debian: apt install slurm-client)."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(
            f"`{' '.join(argv[:3])}` gave no answer within {timeout_s:g} s. {who_is_up(argv)}"
        ) from error
    except (OSError, ValueError) as error:
        raise SlurmError(f"`{' '.join(argv[:2])}` could not be run: {error}") from error
    return Finished(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr or b"")
