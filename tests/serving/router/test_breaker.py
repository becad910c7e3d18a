# SPDX-License-Identifier: Apache-2.0
"""The circuit breaker over any history."""

from hypothesis import given
from hypothesis import strategies as st

from serving.router.breaker import Breaker
from serving.router.settings import Breaking

RULES = Breaking(failures=3, open_s=1.0, open_max_s=8.0)


def test_three_failures_in_a_row_open_it_and_one_trial_closes_it() -> None:
    one = Breaker(RULES)
    for _ in range(2):
        one.failed(0.0)
    one.succeeded()
    for _ in range(2):
        one.failed(0.0)
    assert one.allows(0.0)
    one.failed(0.0)
    assert not one.allows(0.9)
    assert one.allows(1.01)
    one.sent()
    assert not one.allows(1.02)  # one at a time
    one.succeeded()
    assert one.allows(1.02)


def test_a_trial_that_fails_doubles_the_rest_and_old_failures_do_not() -> None:
    one = Breaker(RULES)
    one.failed(0.0, at_once=True)
    one.failed(0.1, at_once=True)  # sent before it opened
    one.sent()
    one.failed(1.1)
    assert not one.allows(3.0)
    assert one.allows(3.2)
    one.sent()
    one.undecided()
    assert one.allows(3.2)


@given(st.lists(st.tuples(st.sampled_from("sfauw"), st.floats(0, 3)), max_size=60), st.floats(0, 1))
def test_it_never_stays_open_longer_than_its_limit(
    history: list[tuple[str, float]], spread: float
) -> None:
    one, now_s = Breaker(RULES, spread), 0.0
    for word, wait_s in history:
        now_s += wait_s
        if word == "w" and one.allows(now_s):
            one.sent()
        elif word == "s":
            one.succeeded()
        elif word == "u":
            one.undecided()
        elif word in "fa":
            one.failed(now_s, at_once=word == "a")
    one.undecided()
    assert one.allows(now_s + 1.25 * RULES.open_max_s)
    one.sent()
    one.succeeded()
    assert one.allows(now_s)
