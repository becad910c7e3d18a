# SPDX-License-Identifier: Apache-2.0
"""A sparse table of amounts, a row per job or way, a column per slot. Pure.

What scipy's CSR matrices are, laid out as the kernel reads it, for who only makes and passes on
such tables: to load scipy.sparse takes a tenth of a re-plan. Sums of products are scipy's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.problem import Floats, Ints

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["SlotTable"]


@dataclass(frozen=True, kw_only=True)
class SlotTable:
    """Entries in the order of the rows; the same cell twice counts twice.

    `first` is where each row's entries begin, and their number at the end, shape (rows + 1,).
    """

    first: NDArray[np.int32]
    slot: NDArray[np.int32]
    value: Floats
    slots: int

    @classmethod
    def of(cls, first: Ints, slot: Ints | NDArray[np.int32], value: Floats, slots: int) -> Self:
        """A table of these entries, which are in the order of the rows."""
        return cls(
            first=np.ascontiguousarray(first, dtype=np.int32),
            slot=np.ascontiguousarray(slot, dtype=np.int32),
            value=np.ascontiguousarray(value, dtype=np.float64),
            slots=slots,
        )

    @classmethod
    def of_cells(cls, row: Ints, slot: Ints, value: Floats, shape: tuple[int, int]) -> Self:
        """A table of these entries in any order, of so many rows and slots."""
        order = np.argsort(row, kind="stable")
        first = np.append(0, np.cumsum(np.bincount(row, minlength=shape[0])))
        return cls.of(first, slot[order], value[order], shape[1])

    @classmethod
    def of_dense(cls, amounts: Floats) -> Self:
        """A table of what is not zero, from shape (rows, slots)."""
        row, slot = np.nonzero(amounts)
        return cls.of_cells(row, slot, amounts[row, slot], (amounts.shape[0], amounts.shape[1]))

    @classmethod
    def of_matrix(cls, matrix: "sparse.csr_matrix") -> Self:
        """A table of a matrix of scipy's."""
        return cls.of(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])

    @classmethod
    def empty(cls, rows: int, slots: int) -> Self:
        """A table without entries."""
        return cls.of(np.zeros(rows + 1, np.int64), np.zeros(0, np.int64), np.zeros(0), slots)

    @classmethod
    def stacked(cls, tables: Sequence["SlotTable"]) -> Self:
        """One below the other, at least one, all of the same slots."""
        before = np.cumsum([0, *(len(one.value) for one in tables)])
        ends = [one.first[1:] + at for one, at in zip(tables, before[:-1], strict=True)]
        return cls.of(
            np.concatenate([[0], *ends]),
            np.concatenate([one.slot for one in tables]),
            np.concatenate([one.value for one in tables]),
            tables[0].slots,
        )

    def __len__(self) -> int:
        return len(self.first) - 1

    def counts(self) -> Ints:
        """How many entries each row has."""
        return np.diff(self.first).astype(np.int64)

    def rows(self, chosen: Ints) -> "SlotTable":
        """These rows, in this order."""
        count = self.counts()[chosen]
        first = np.append(0, np.cumsum(count))
        at = np.arange(first[-1]) + np.repeat(self.first[chosen] - first[:-1], count)
        return SlotTable.of(first, self.slot[at], self.value[at], self.slots)

    def only(self, chosen: Ints) -> "SlotTable":
        """The same rows, nothing in those that are not chosen."""
        keep = np.zeros(len(self), dtype=bool)
        keep[chosen] = True
        count = self.counts()
        at = np.repeat(keep, count)
        first = np.append(0, np.cumsum(np.where(keep, count, 0)))
        return SlotTable.of(first, self.slot[at], self.value[at], self.slots)

    def times(self, factor: float) -> "SlotTable":
        """The same, each amount times a factor."""
        return replace(self, value=factor * self.value)

    def by_slot(self) -> Floats:
        """The sums of the columns, shape (slots,)."""
        return np.bincount(self.slot, self.value, self.slots).astype(np.float64)

    def matrix(self) -> "sparse.csr_matrix":
        """As a matrix of scipy's."""
        from scipy import sparse

        entries = (self.value, self.slot, self.first)
        return sparse.csr_matrix(entries, shape=(len(self), self.slots))
