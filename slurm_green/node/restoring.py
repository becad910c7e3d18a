# SPDX-License-Identifier: Apache-2.0
"""Gives GPUs back that the journal owes and nobody holds, for `sgreen restore` and the unit.

The trap: what a live sgreen-noded holds is a running job's, and stays.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from profiling.device.journal import Journal
from profiling.device.lease import restore_left
from profiling.errors import DeviceError
from slurm_green.config.node import NodeSection
from slurm_green.node.hardware import find_gpus
from slurm_green.node.settings import default_of

__all__ = ["Held", "Restored", "restore"]

_SUFFIX = ".owed"


@dataclass(frozen=True, slots=True)
class Held:
    """A GPU that a live process has set, and will give back itself."""

    uuid: str
    holder: str
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What became of the journal's GPUs; `failed` has a sentence for each that stays owed."""

    restored: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    failed: tuple[str, ...] = ()


def restore(settings: NodeSection, library: Path | None) -> Restored:
    """Restore all that is owed. DeviceError when something is, and no GPU can be reached."""
    directory = settings.state / "journal"
    owed = _owed(directory)
    if not owed:
        return Restored()
    try:
        gpus = find_gpus(settings.vendor, library)
    except DeviceError as error:
        raise DeviceError(f"{', '.join(owed)}: still to be given back: {error}") from error
    failed = restore_left(Journal(directory), gpus.values(), default_of(settings))
    left = _owed(directory)
    held = [uuid for uuid in left if not any(one.startswith(uuid) for one in failed)]
    return Restored(
        restored=tuple(uuid for uuid in owed if uuid not in left),
        held=tuple(_held(directory, uuid) for uuid in held),
        failed=failed,
    )


def _owed(directory: Path) -> list[str]:
    return sorted(path.name.removesuffix(_SUFFIX) for path in directory.glob(f"*{_SUFFIX}"))


def _held(directory: Path, uuid: str) -> Held:
    try:
        content = json.loads((directory / f"{uuid}{_SUFFIX}").read_text(encoding="utf-8"))
        return Held(uuid, str(content["holder"]), int(content["pid"]))
    except (OSError, ValueError, LookupError, TypeError):
        return Held(uuid, "unknown", None)
