# SPDX-License-Identifier: Apache-2.0
"""Busy GPUs over time, against a list with one number for every quarter of a second."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.plan.profile import GRID, Profile, rounded

GPUS = 4
END_S = 12
TICKS = 4 * END_S  # the list's entries

tick = st.integers(0, TICKS)
stretch = st.tuples(tick, tick).filter(lambda ends: ends[0] != ends[1]).map(sorted)
run = st.tuples(stretch, st.integers(1, GPUS))


def busy(runs: list[tuple[list[int], int]]) -> np.ndarray:
    used = np.zeros(TICKS, dtype=int)
    for (begin, end), gpus in runs:
        used[begin:end] += gpus
    return used


def filled(runs: list[tuple[list[int], int]]) -> Profile:
    profile = Profile(GPUS, 1)
    for (begin, end), gpus in runs:
        profile.add(begin / 4, end / 4, gpus)
    return profile


def steps(profile: Profile) -> np.ndarray:
    """The profile as the list has it."""
    at = np.searchsorted(profile.times, np.arange(TICKS) / 4, side="right") - 1
    return profile.used[at]


@settings(max_examples=80, deadline=None)
@given(st.lists(run, max_size=12), st.data())
def test_runs_come_and_go_without_a_trace(runs, data):
    """What is left is what the others use; steps of equal height are one."""
    profile = filled(runs)
    gone = data.draw(st.sets(st.sampled_from(range(len(runs))))) if runs else set()
    for number in sorted(gone):
        (begin, end), gpus = runs[number]
        profile.add(begin / 4, end / 4, -gpus)
    left = [one for number, one in enumerate(runs) if number not in gone]
    assert steps(profile).tolist() == busy(left).tolist()
    assert profile.times[0] == 0
    assert (np.diff(profile.times) > 0).all()
    assert (np.diff(profile.used) != 0).all()


@settings(max_examples=80, deadline=None)
@given(st.lists(run, max_size=12))
def test_many_at_once_are_the_same_as_one_by_one(runs):
    """Also on top of what is there."""
    one_by_one, at_once = filled(runs), filled(runs[:3])
    rest = runs[3:]
    at_once.add_all(
        np.array([begin / 4 for (begin, _), _ in rest]),
        np.array([end / 4 for (_, end), _ in rest]),
        np.array([gpus for _, gpus in rest], dtype=np.int64),
    )
    assert at_once.times.tolist() == one_by_one.times.tolist()
    assert at_once.used.tolist() == one_by_one.used.tolist()


@settings(max_examples=150, deadline=None)
@given(st.lists(run, max_size=8), stretch, st.integers(1, GPUS))
def test_room_is_where_the_list_has_room(runs, window, gpus):
    """`free` in whole stretches, `fits` all through, `within` with the steps themselves."""
    begin, end = window
    profile, used = filled(runs), busy(runs)
    room = used[begin:end] <= GPUS - gpus
    edge = np.flatnonzero(np.diff(np.concatenate([[False], room, [False]])))
    starts, ends = profile.free(gpus, begin / 4, end / 4)
    assert starts.tolist() == ((edge[0::2] + begin) / 4).tolist()
    assert ends.tolist() == ((edge[1::2] + begin) / 4).tolist()
    assert profile.fits(gpus, begin / 4, end / 4) == room.all()
    times, inside = profile.within(begin / 4, end / 4)
    assert times[0] <= begin / 4
    assert times[-1] < end / 4
    at = np.searchsorted(times, np.arange(begin, end) / 4, side="right") - 1
    assert inside[at].tolist() == used[begin:end].tolist()


def test_what_is_handed_out_within_is_a_copy():
    profile = filled([([4, 8], 2)])
    times, used = profile.within(0.0, 3.0)
    times[:] = used[:] = 9
    assert profile.used.tolist() == [0, 2, 0]


def test_the_whole_grid_adds_up_without_rounding():
    """Seconds of a year in the finest steps: in and out again leaves nothing."""
    profile = Profile(GPUS, 4)
    starts = [rounded(365 * 86_400 * share) for share in (0.1, 1 / 3, 0.7, 0.123456789)]
    for start in starts:
        profile.add(start, start + 1 / GRID, 1)
    for start in starts:
        assert not profile.fits(GPUS, start, start + 1 / GRID)
        profile.add(start, start + 1 / GRID, -1)
    assert profile.times.tolist() == [0.0]
    assert profile.used.tolist() == [0]


@pytest.mark.parametrize("moment", [0.0, 0.3, 1e6 / 3])
def test_rounding_goes_to_the_nearest_step(moment):
    assert abs(rounded(moment) - moment) <= 0.5 / GRID
    assert rounded(moment) * GRID == round(rounded(moment) * GRID)
