# SPDX-License-Identifier: Apache-2.0
"""Arrays run in waves: how many, how wide, how long."""

import pytest
from builders import HOUR, request
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.hook.extent import extent_of, waves


@pytest.mark.parametrize(
    ("tasks", "gpus", "cpus", "running", "room", "expected"),
    [
        (1, 1, 4, None, (8, 64), 1),
        (8, 1, 4, None, (8, 64), 1),
        (9, 1, 4, None, (8, 64), 2),
        (9, 1, 4, 3, (8, 64), 3),
        (9, 1, 4, 100, (8, 64), 2),
        (10, 0, 16, None, (8, 64), 3),
        (10, 0, 1, None, (8, 4), 3),
        (10, 3, 1, None, (8, 64), 5),
        (10, 16, 1, None, (8, 64), 10),  # larger than the partition: one at a time, fits nowhere
        (10, 0, 0, None, (0, 0), 1),
    ],
)
def test_waves(
    tasks: int, gpus: int, cpus: int, running: int | None, room: tuple[int, int], expected: int
) -> None:
    assert waves(tasks, gpus=gpus, cpus=cpus, max_running=running, room=room) == expected


def test_an_array_of_nine_with_three_at_a_time() -> None:
    nine = extent_of(
        request(tasks=9, max_running_tasks=3), limit_s=2 * HOUR, task_s=HOUR, room=(8, 64)
    )
    assert (nine.rounds, nine.width, nine.need) == (3, 3, (3.0, 12.0))
    assert (nine.run_s, nine.expected_s) == (6 * HOUR, 3 * HOUR)


@given(
    st.integers(1, 10**6),
    st.integers(0, 20),
    st.integers(0, 200),
    st.none() | st.integers(1, 1000),
    st.tuples(st.integers(0, 64), st.integers(0, 512)),
    st.sampled_from([0.0, 500.0]),
)
def test_rounds_times_width_hold_all_tasks(
    tasks: int, gpus: int, cpus: int, running: int | None, room: tuple[int, int], task_s: float
) -> None:
    one = extent_of(
        request(tasks=tasks, gpus=gpus, cpus=cpus, max_running_tasks=running),
        limit_s=100.0,
        task_s=task_s,
        room=room,
    )
    assert one.rounds * one.width >= tasks
    assert running is None or one.width <= running
    assert 0 < one.expected_s <= one.run_s
    if one.width > 1:
        assert one.need[0] <= room[0] or gpus == 0
        assert one.need[1] <= room[1] or cpus == 0
