# SPDX-License-Identifier: Apache-2.0
"""Which partitions share nodes, and how much they have together. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from slurm_green.slurm.records import Node, Partition

__all__ = ["Shared", "shared_nodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Partitions that share nodes: their names, and units of `resource` (0 GPUs, 1 CPUs)."""

    partitions: frozenset[str]
    node_names: frozenset[str]
    units: int
    resource: int

    @property
    def name(self) -> str:
        """The same for the same partitions."""
        return ",".join(sorted(self.partitions))


def shared_nodes(partitions: Iterable[Partition], nodes: Iterable[Node]) -> list[Shared]:
    """Every partition that is up in exactly one of them; GPUs count where there are any."""
    available = {node.name: node for node in nodes if node.available}
    groups: list[tuple[set[str], set[str]]] = []
    for one in partitions:
        if not one.up:
            continue
        names, here = {one.name}, {name for name in one.node_names if name in available}
        apart = []
        for group in groups:
            if group[1] & here:
                names |= group[0]
                here |= group[1]
            else:
                apart.append(group)
        groups = [*apart, (names, here)]
    found = []
    for names, here in groups:
        gpus = sum(available[name].gpus for name in here)
        cpus = sum(available[name].cpus for name in here)
        if gpus or cpus:
            found.append(
                Shared(
                    partitions=frozenset(names),
                    node_names=frozenset(here),
                    units=gpus or cpus,
                    resource=0 if gpus else 1,
                )
            )
    return found
