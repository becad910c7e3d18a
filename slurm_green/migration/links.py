# SPDX-License-Identifier: Apache-2.0
"""How much the links carry while moves are chosen: nothing is promised that sharing breaks. Pure.

Transfers of a link share it fairly, so none of them ends later than all bytes of the link together
take. That is what a move is judged by, and each one that is added must leave the earlier ones
within their limits.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slurm_green.migration.moves import Link
from slurm_green.plan.problem import Floats, Ints

__all__ = ["Bools", "LinkBook"]

Bools = NDArray[np.bool_]


class LinkBook:
    """The links between sites, by the numbers of source and destination."""

    def __init__(self, links: Sequence[Link], number: dict[str, int]) -> None:
        """Links that name unknown sites are left out; of two between the same sites the last."""
        shape = (len(number), len(number))
        self._per_s = np.zeros(shape)
        self._bytes = np.zeros(shape)
        self._most = np.full(shape, np.inf)
        for link in links:
            if link.source in number and link.destination in number:
                at = number[link.source], number[link.destination]
                self._per_s[at] = link.efficiency * link.gbps * 1e9 / 8
                self._bytes[at] = link.in_flight_bytes
                if link.budget_bytes is not None:
                    self._most[at] = link.in_flight_bytes + link.budget_bytes

    def exists(self, source: Ints, destination: int) -> Bools:
        """Whether there is a way."""
        return np.asarray(self._per_s[source, destination] > 0)

    def carries_s(self, source: Ints, destination: int, data_bytes: Floats) -> Floats:
        """The longest that these may be under way, each added alone; 0 without data."""
        per_s = np.maximum(self._per_s[source, destination], 1e-9)
        taken_s = (self._bytes[source, destination] + data_bytes) / per_s
        return np.where(data_bytes > 0, taken_s, 0.0)

    def fits(self, source: Ints, destination: int, data_bytes: Floats) -> Bools:
        """Whether budget and earlier moves allow these, each added alone."""
        total = self._bytes[source, destination] + data_bytes
        return np.asarray((total <= self._most[source, destination]) | (data_bytes <= 0))

    def add(self, source: int, destination: int, data_bytes: float, most_s: float) -> None:
        """Promise a transfer that may be under way for `most_s` at most."""
        at = source, destination
        if data_bytes > 0:
            self._bytes[at] += data_bytes
            self._most[at] = min(self._most[at], most_s * self._per_s[at])
