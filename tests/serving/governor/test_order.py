# SPDX-License-Identifier: Apache-2.0
"""As few prompts as possible are late, and nobody is lost."""

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.governor.order import fewest_late

prompts = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=6)


def late(order: list[int], drawn: list[tuple[int, int]]) -> int:
    done = count = 0
    for number in order:
        done += drawn[number][1]
        count += done > drawn[number][0]
    return count


@settings(max_examples=300, deadline=None)
@given(prompts)
def test_no_other_order_has_fewer_late(drawn: list[tuple[int, int]]) -> None:
    order = fewest_late(0.0, drawn, [False] * len(drawn))
    assert sorted(order) == list(range(len(drawn)))
    assert late(order, drawn) == min(late(list(one), drawn) for one in permutations(order))


@settings(max_examples=100, deadline=None)
@given(prompts, st.data())
def test_who_is_fixed_waits_for_nobody_that_came_later(
    drawn: list[tuple[int, int]], data: st.DataObject
) -> None:
    fixed = [data.draw(st.booleans()) for _ in drawn]
    order = fewest_late(0.0, drawn, fixed)
    assert sorted(order) == list(range(len(drawn)))
    for place, number in enumerate(order):
        if fixed[number]:
            assert all(drawn[one][0] <= drawn[number][0] for one in order[:place])


def test_first_come_first_served_while_all_are_in_time() -> None:
    drawn = [(30.0, 9.0), (40.0, 1.0), (40.0, 20.0), (41.0, 5.0)]
    assert fewest_late(2.0, drawn, [False] * 4) == [0, 1, 2, 3]
    assert fewest_late(7.0, drawn, [False] * 4) == [0, 1, 3, 2]  # the longest goes back
    assert fewest_late(7.0, drawn, [False, False, True, False]) == [1, 2, 3, 0]
    assert fewest_late(99.0, drawn, [False] * 4) == [0, 1, 2, 3]  # all are late
