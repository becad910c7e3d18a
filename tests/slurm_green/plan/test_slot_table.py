# SPDX-License-Identifier: Apache-2.0
"""Sparse tables of amounts by slot: what scipy's matrices say, and what the kernel reads."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slurm_green.plan.slot_table import SlotTable

ROWS, SLOTS = 5, 4
amounts = hnp.arrays(np.float64, (ROWS, SLOTS), elements=st.sampled_from([0.0, 0.0, 1.5, -2.0]))
chosen = st.lists(st.integers(0, ROWS - 1), max_size=8).map(lambda some: np.array(some, dtype=int))


def dense(table: SlotTable) -> np.ndarray:
    return np.asarray(table.matrix().toarray())


@given(amounts)
def test_tables_are_matrices(wanted: np.ndarray) -> None:
    table = SlotTable.of_dense(wanted)
    assert (dense(table) == wanted).all()
    assert (dense(SlotTable.of_matrix(table.matrix())) == wanted).all()
    assert (table.by_slot() == wanted.sum(axis=0)).all()
    assert (dense(table.times(3.0)) == 3 * wanted).all()
    assert (table.counts() == (wanted != 0).sum(axis=1)).all()
    assert table.first.dtype == table.slot.dtype == np.int32  # as the kernel reads them


@given(amounts, chosen)
def test_rows_can_be_chosen(wanted: np.ndarray, some: np.ndarray) -> None:
    table = SlotTable.of_dense(wanted)
    assert (dense(table.rows(some)) == wanted[some]).all()
    left = np.where(np.isin(np.arange(ROWS), some)[:, None], wanted, 0.0)
    assert (dense(table.only(some)) == left).all()


@given(amounts, amounts, st.randoms())
def test_entries_come_in_any_order_and_add_up(one, other, luck) -> None:
    row, slot = np.indices((ROWS, SLOTS)).reshape(2, -1)
    values = np.concatenate([one.ravel(), other.ravel()])
    entries = list(zip([*row, *row], [*slot, *slot], values, strict=True))
    luck.shuffle(entries)
    cells = [np.array(part) for part in zip(*entries, strict=True)]
    table = SlotTable.of_cells(*cells, (ROWS, SLOTS))
    assert (dense(table) == one + other).all()


@given(amounts, amounts)
def test_tables_are_stacked(one: np.ndarray, other: np.ndarray) -> None:
    tables = [SlotTable.of_dense(one), SlotTable.empty(2, SLOTS), SlotTable.of_dense(other)]
    stacked = SlotTable.stacked(tables)
    assert len(stacked) == 2 * ROWS + 2
    assert (dense(stacked) == np.concatenate([one, np.zeros((2, SLOTS)), other])).all()


def test_the_planner_starts_without_scipy() -> None:
    code = "import sys, slurm_green.plan.planner; sys.exit('scipy.sparse' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
