# SPDX-License-Identifier: Apache-2.0
"""Looks happen while time passes, real or virtual, and what goes wrong in one is not lost."""

import threading
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.sweep.times import WallTime
from tests.profiling.sweep.world import World


@given(sleeps=st.lists(st.floats(0, 1), max_size=6), period_s=st.floats(0.01, 0.5))
def test_virtual_looks_come_at_their_time(sleeps, period_s):
    world = World()
    looks = []
    with world.time.watching(period_s, lambda: looks.append(world.now_s)):
        for one in sleeps:
            world.time.sleep(one)
    assert world.now_s == pytest.approx(sum(sleeps))
    assert len(looks) == pytest.approx(1 + sum(sleeps) / period_s, abs=1.01)
    assert looks == pytest.approx([period_s * at for at in range(len(looks))], abs=1e-9)
    world.time.sleep(1)
    assert len(looks) == len(looks)


def test_two_watches_at_once():
    world = World()
    counts = [0, 0]

    def look(at):
        counts[at] += 1

    with ExitStack() as stack:
        for at, period_s in enumerate((0.25, 0.1)):
            stack.enter_context(world.time.watching(period_s, lambda at=at: look(at)))
        world.time.sleep(1.01)
    assert counts == [5, 11]


def test_real_looks_come_from_a_thread_and_end():
    time, seen, looked = WallTime(), [], threading.Event()

    def look():
        seen.append(threading.current_thread().name)
        if len(seen) >= 3:
            looked.set()

    with time.watching(0.001, look):
        assert looked.wait(10)
    assert set(seen) == {"meter"}
    assert "meter" not in {one.name for one in threading.enumerate()}


def test_what_a_look_raises_comes_out():
    def look():
        raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"), WallTime().watching(0.001, look):
        pass
