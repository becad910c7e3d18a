# SPDX-License-Identifier: Apache-2.0
"""What is to be known of a site to reach it, and how its paths map onto another's."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from slurm_green.errors import BadInputError

__all__ = ["Site", "mapped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One cluster.

    `root` is the directory that all moved paths lie in; what stands below it at one site stands
    below the other's root there. "/" where both name their files alike.
    """

    name: str
    slurm_conf: str
    root: str = "/"
    path: str = ""
    mover_partition: str = ""
    partitions: Mapping[str, str] = field(default_factory=dict)
    """Partition of the job -> partition here, where it has another name."""
    gpu_types: Mapping[str, str] = field(default_factory=dict)
    """GPU type that the job asks for -> type here; "" is any."""
    account: str = ""
    reach: str = ""
    """What rsync writes before a path here, such as `data.b.example:`; "" on one machine."""
    federation: str = ""
    """The same at two sites: a job keeps its id, and `name` is the cluster's name in Slurm."""
    python: str = "python3"
    """A Python with fsspec on its nodes, for transfers through an object store."""
    software: tuple[str, ...] = ()
    """Commands that a job finds here."""
    read_s: float = 3600.0
    """How long reading a whole checkpoint may take."""

    def environment(self) -> dict[str, str]:
        """What its commands need."""
        path = os.pathsep.join(filter(None, [self.path, os.environ.get("PATH", "")]))
        kept = {key: os.environ[key] for key in ("HOME", "USER") if os.environ.get(key)}
        return {**kept, "SLURM_CONF": self.slurm_conf, "PATH": path}


def mapped(path: str, source: Site, destination: Site) -> str:
    """The same path at the destination; raises BadInputError where it is outside the root."""
    there = PurePosixPath(path)
    if ".." in there.parts or not there.is_relative_to(source.root):
        raise BadInputError(
            f"{path}: not below {source.root}, the root of site {source.name}; move it there or"
            " change `root` in the sites file"
        )
    return str(PurePosixPath(destination.root) / there.relative_to(source.root))
