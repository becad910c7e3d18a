# SPDX-License-Identifier: Apache-2.0
"""What an earlier plan says about a new one: where each job ran, and what it used there. Pure.

Who keeps its place first leaves none for new jobs that are wide or in a hurry. So lists are made
anew, and only a job whose turn it is stays where it was, if there is room; what it used there is
what is expected of it until then (see steering.py).
"""

from typing import NamedTuple

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.overlap import overlap
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats, Ints
from slurm_green.plan.profile import GRID
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.slot_table import SlotTable

__all__ = ["Places", "expected_of", "places_of", "stay_of"]


class Places(NamedTuple):
    """Runs on a board, at most one for each of its rows, in their order."""

    row: Ints
    option: Ints
    start_s: Floats


def places_of(board: Board, previous: Schedule) -> Places:
    """Where the board's jobs ran, those of them that still have that option."""
    options = board.options
    shapes = len(board.problem.shapes.gpus)
    key = options.job * shapes + options.shape
    wanted = previous.job * shapes + previous.shape
    at = np.searchsorted(key, wanted)
    known = np.flatnonzero(np.append(key, -1)[at] == wanted)
    option = at[known]
    # A job that was split has more than one: its first one stands for it.
    row, first = np.unique(np.searchsorted(options.first, option, "right") - 1, return_index=True)
    return Places(row, option[first], previous.start_s[known][first])


def expected_of(board: Board, option: Ints, start_s: Floats) -> Expected:
    """What the board's jobs use if they run in these options from then on."""
    options, site = board.options, board.problem.site
    start_s = np.clip(start_s, 0.0, site.horizon_s)
    end_s = np.minimum(start_s + options.duration_s[option], site.horizon_s)
    met = overlap(start_s, end_s, step_s=site.step_s, slots=site.slots)
    cells = options.job[option][met.stretch], met.slot
    shape = len(board.problem.jobs), site.slots
    gpu_h = options.gpus[option][met.stretch] * met.seconds / SECONDS_PER_HOUR
    energy_j = options.power_w[option][met.stretch] * met.seconds
    return Expected(
        energy_j=SlotTable.of_cells(*cells, energy_j, shape),
        gpu_h=SlotTable.of_cells(*cells, gpu_h, shape),
    )


def stay_of(board: Board, places: Places) -> tuple[Ints, Floats]:
    """For each of the board's jobs the option and start to stay at, -1 without; within windows."""
    option = np.full(len(board.option), -1)
    start_s = np.zeros(len(board.option))
    start = np.round(places.start_s * GRID) / GRID
    early, until = (board.arrays[name][places.option] for name in ("early", "until"))
    end = start + board.arrays["duration"][places.option]
    inside = (start >= early) & (end <= until)
    option[places.row[inside]] = places.option[inside]
    start_s[places.row[inside]] = start[inside]
    return option, start_s
