# SPDX-License-Identifier: Apache-2.0
"""cluster.json: what `up` wrote down before it started anything, so that `down` can undo it."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slurm_green.cluster.layout import Layout
from slurm_green.cluster.ports import Ports
from slurm_green.cluster.processes import start_ticks
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.errors import BadInputError, ClusterError

__all__ = ["Owner", "Record", "all_records", "check_ours", "load", "save"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process the cluster belongs to, such as a test session; a pid alone may come again."""

    pid: int
    started_ticks: int

    @classmethod
    def this_process(cls) -> "Owner":
        """The caller."""
        return cls(pid=os.getpid(), started_ticks=start_ticks(os.getpid()) or 0)

    @property
    def alive(self) -> bool:
        """Whether that very process still lives."""
        return start_ticks(self.pid) == self.started_ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything needed to run, find and undo a cluster."""

    spec: ClusterSpec
    ports: Ports
    slurm_version: str
    owner: Owner | None = None


def save(layout: Layout, record: Record) -> None:
    """Write it whole or not at all."""
    content = {
        "spec": record.spec.to_json(),
        "ports": record.ports.to_json(),
        "slurm_version": record.slurm_version,
        "owner": None
        if record.owner is None
        else {"pid": record.owner.pid, "started_ticks": record.owner.started_ticks},
    }
    fresh = _unsaved(layout)
    fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    fresh.replace(layout.record)


def _unsaved(layout: Layout) -> Path:
    return layout.record.with_suffix(".new")


def check_ours(layout: Layout) -> None:
    """BadInputError for a directory that is not a cluster's: it would go with all it holds.

    A cluster's record comes first and goes last; an `up` that is killed before leaves nothing else.
    What a link points to is another's.
    """
    theirs = layout.directory.is_symlink()
    if not theirs and not _is_record(layout.record):
        theirs = any(path != _unsaved(layout) for path in layout.directory.iterdir())
    if theirs:
        raise BadInputError(
            f"{layout.directory}: no cluster's directory (it is a link, or holds other things and"
            f" no {layout.record.name} of ours); left as it is: choose another name or --directory"
        )


def _is_record(path: Path) -> bool:
    """Whether that is the record of a cluster, perhaps a damaged one or an older release's."""
    try:
        return '"spec"' in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def load(layout: Layout) -> Record:
    """The record of a cluster that exists, up or not."""
    try:
        content = json.loads(layout.record.read_text(encoding="utf-8"))
        owner = content["owner"]
        return Record(
            spec=ClusterSpec.from_json(content["spec"]),
            ports=Ports.from_json(content["ports"]),
            slurm_version=content["slurm_version"],
            owner=None if owner is None else Owner(**owner),
        )
    except FileNotFoundError as error:
        raise BadInputError(
            f"no cluster {layout.name!r} in {layout.directory.parent};"
            " `sgreen cluster status` lists those there are"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(
            f"{layout.record}: not a cluster's record ({error});"
            f" `sgreen cluster down {layout.name}` still stops and removes what is there"
        ) from error


def all_records(base: Path) -> Iterator[tuple[Layout, Record]]:
    """Every cluster with a readable record below that directory."""
    for path in sorted(base.glob("*/cluster.json")):
        layout = Layout(directory=path.parent)
        try:
            yield layout, load(layout)
        except (ClusterError, BadInputError):
            continue  # `down` still sees its directory
