# SPDX-License-Identifier: Apache-2.0
"""Free TCP ports for a cluster, one block per cluster, remembered in its record."""

import random
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from slurm_green.errors import ClusterError

__all__ = ["Ports", "pick_ports"]

# Below Linux's ephemeral range (from 32768), so that no srun's own socket takes one of ours.
_LOW, _HIGH = 20_000, 32_000
_TRIES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One block: slurmctld, slurmdbd, one slurmd after the other, sgreend's API for nodes."""

    first: int
    count: int

    @property
    def slurmctld(self) -> int:
        """The controller's (a backup listens on the same port of another loopback address)."""
        return self.first

    @property
    def slurmdbd(self) -> int:
        """The accounting daemon's, if this cluster runs one."""
        return self.first + 1

    def slurmd(self, index: int) -> int:
        """The port of the node with that index, from 0."""
        return self.first + 2 + index

    @property
    def nodes_api(self) -> int:
        """Where a cluster's sgreend listens for its sgreen-noded."""
        return self.first + self.count - 1

    def to_json(self) -> dict[str, int]:
        """As cluster.json holds it."""
        return {"first": self.first, "count": self.count}

    @classmethod
    def from_json(cls, values: Mapping[str, int]) -> "Ports":
        """Back from cluster.json."""
        return cls(first=values["first"], count=values["count"])


def pick_ports(nodes: int, taken: Collection[Ports], dice: random.Random | None = None) -> Ports:
    """A block of free ports that no other cluster has written down.

    It starts anywhere, so that two sessions that do not know of each other rarely meet.
    """
    count = nodes + 3
    dice = dice or random.Random()
    for _ in range(_TRIES):
        ports = Ports(first=dice.randrange(_LOW, _HIGH - count), count=count)
        if not any(_overlap(ports, other) for other in taken) and _all_free(ports):
            return ports
    raise ClusterError(
        f"no {count} free TCP ports in a row between {_LOW} and {_HIGH};"
        " take a cluster down (`sgreen cluster status` lists them)"
    )


def _overlap(one: Ports, other: Ports) -> bool:
    return one.first < other.first + other.count and other.first < one.first + one.count


def _all_free(ports: Ports) -> bool:
    return all(_free(port) for port in range(ports.first, ports.first + ports.count))


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Slurm does: a port in TIME_WAIT is free, one that is listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
