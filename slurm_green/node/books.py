# SPDX-License-Identifier: Apache-2.0
"""Files of a node: jobs that began, to survive our death, and energies until sgreend has them.

The trap: counters start anew when the machine does, so a job of an earlier boot has no energy.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from profiling.whole import whole_file
from slurm_green.node.energy import JobEnergy

__all__ = ["Begun", "Books"]

_LOG = logging.getLogger(__name__)
_MOST_RECORDS = 10_000  # a node that never reaches its sgreend must not fill its disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A job as its prolog left it, with its GPUs' energy counters."""

    job_id: int
    uid: int
    begin_utc: datetime
    energy_j: Mapping[str, float | None]  # by uuid


class Books:
    """One directory; `boot` tells this boot of the machine from others."""

    def __init__(self, directory: Path, boot: str) -> None:
        self._boot = boot
        self._jobs = directory / "jobs"
        self._energy = directory / "energy"
        self._unwritten: dict[str, dict[str, Any]] = {}
        self._unread: set[str] = set()
        for path in (self._jobs, self._energy):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, begun: Begun) -> None:
        """On disk when this returns. OSError when it cannot be."""
        values = {**asdict(begun), "begin_utc": begun.begin_utc.isoformat(), "boot": self._boot}
        _write(self._jobs / f"{begun.job_id}.json", values)

    def forget(self, job_id: int) -> None:
        """The job has ended."""
        (self._jobs / f"{job_id}.json").unlink(missing_ok=True)

    def begun(self) -> Iterator[Begun]:
        """Jobs of this boot that have not ended; others are removed, as is what makes no sense."""
        for path in sorted(self._jobs.glob("*.json")):
            values = self._read(path)
            if values is None:
                continue
            try:
                if values["boot"] != self._boot:
                    raise ValueError("an earlier boot")
                yield Begun(
                    job_id=int(values["job_id"]),
                    uid=int(values["uid"]),
                    begin_utc=datetime.fromisoformat(values["begin_utc"]),
                    energy_j=dict(values["energy_j"]),
                )
            except (KeyError, TypeError, ValueError):
                path.unlink(missing_ok=True)

    def account(self, energy: JobEnergy) -> None:
        """Keep a job's energy until it is reported; the oldest go when there are too many.

        OSError when it is not on disk; this life still reports it, and `write_late` writes it.
        """
        name = f"{energy.end_utc:%Y%m%dT%H%M%S}-{energy.job_id}.json"
        values = {
            **asdict(energy),
            "begin_utc": energy.begin_utc.isoformat(),
            "end_utc": energy.end_utc.isoformat(),
        }
        try:
            _write(self._energy / name, values)
        except OSError:
            if len(self._unwritten) >= _MOST_RECORDS:
                self._unwritten.pop(min(self._unwritten), None)  # the other thread may have
            self._unwritten[name] = values
            raise
        for path in sorted(self._energy.glob("*.json"))[:-_MOST_RECORDS]:
            path.unlink(missing_ok=True)

    def write_late(self) -> None:
        """Write what could not be written, where the disk is well again."""
        for name, values in list(self._unwritten.items()):  # at once: the other thread takes some
            try:
                _write(self._energy / name, values)
            except OSError:
                return  # whoever lost it was told
            self._unwritten.pop(name, None)

    def unreported(self, most: int = 100) -> dict[str, dict[str, Any]]:
        """Energies to report, oldest first, by the name to give to `reported`."""
        found = dict(self._unwritten)  # at once: jobs end in another thread
        for path in sorted(self._energy.glob("*.json")):
            if len(found) >= most:
                break
            if (values := self._read(path)) is not None:
                found[path.name] = values
        return {name: found[name] for name in sorted(found)[:most]}

    def reported(self, name: str) -> None:
        """Somebody else keeps it now."""
        self._unwritten.pop(name, None)
        (self._energy / name).unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Any] | None:
        """Its values, {} where they make no sense; None, said once, where the disk fails."""
        try:
            values = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            if path.name not in self._unread:
                _LOG.error("%s stays for later: %s", path, error.strerror)
                self._unread.add(path.name)
            return None
        except ValueError:
            return {}
        return values if isinstance(values, dict) else {}


def _write(path: Path, values: Mapping[str, object]) -> None:
    with whole_file(path, sync=True) as file:
        json.dump(values, file)
        file.write("\n")
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
