# SPDX-License-Identifier: Apache-2.0
"""The registration of one replica: a file in the directory that routers read.

The trap: a home that is full takes no new file, and a replica is well all the same.
"""

import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG

import platformdirs

from serving.router.registration import MAX_BYTES, READY, Registration, write_registration

__all__ = ["Registered", "is_ready", "job_stem", "state_dir", "sweep"]

_LOG = logging.getLogger("slurm_green.serve")
_LEFT_S = 86_400.0


@dataclass
class Registered:
    """`path` is the replica's file; its directory is made when needed, for the user alone."""

    path: Path
    site: str
    _said: Registration | None = field(default=None, init=False)  # what the file says
    _fails: bool = field(default=False, init=False)

    def show(self, url: str, model: str, key: str, state: str) -> None:
        """Say it, or say it again; raises OSError or BadInputError."""
        one = Registration(url=url, model=model, site=self.site, key=key, state=state)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_registration(self.path, one, datetime.now(UTC))
        except OSError as error:
            # Only what the file says already may live on: a time stamp needs no room.
            if one != self._said:
                raise
            os.utime(self.path)
            if not self._fails:
                _LOG.warning("%s: only its time stamp tells that we live: %s", self.path, error)
            self._fails = True
        else:
            self._said, self._fails = one, False

    def hide(self) -> None:
        """Take it back; raises OSError."""
        self._said = None
        self.path.unlink(missing_ok=True)


def job_stem(job: int | str, script: Path | None) -> str:
    """Of the names of a job's files; other clusters' jobs in this directory have its number, too.

    What is theirs alone is the batch script, where they have one.
    """
    return f"job{job}" if script is None else f"{script.stem}-job{job}"


def is_ready(path: Path) -> bool:
    """Whether that replica says so."""
    return _told(path).get("state") == READY


def sweep(directory: Path, now_s: float) -> None:
    """Remove what killed replicas left: a day without a heartbeat, which is every few seconds.

    The trap: the directory is the user's choice, and may hold other files.
    """
    for path in directory.glob("*.json"):
        with suppress(OSError):
            about = path.stat()
            old = S_ISREG(about.st_mode) and about.st_mtime < now_s - _LEFT_S
            if old and "heartbeat_utc" in _told(path):
                path.unlink()


def _told(path: Path) -> dict[str, object]:
    """What a registration says; nothing where it is none, or larger than routers read."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        told = json.loads(text) if len(text) <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def state_dir() -> Path:
    """Where registrations, logs and scripts are unless said otherwise; shared by a user's jobs."""
    return Path(platformdirs.user_state_dir("slurm-green")) / "serve"
