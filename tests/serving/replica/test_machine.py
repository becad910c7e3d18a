# SPDX-License-Identifier: Apache-2.0
"""The life of a replica, whatever happens to it."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.replica.machine import Action, Event, Life, Rules, State, step

RULES = Rules(
    start_s=60, sick_s=5, notice_s=2, drain_s=20, hurry_s=3, stop_s=4, backoff_s=1,
    most_backoff_s=8, stable_s=30, most_failures=3, lead_s=40,
    again_s=5,
)  # fmt: skip
_LIVE = {State.STARTING, State.WARMING, State.READY, State.DRAINING, State.STOPPING}


@dataclass
class World:
    """The machine and what its actions do; checks what must hold at every step."""

    rules: Rules = RULES
    life: Life = field(default_factory=Life)
    now_s: float = 0.0
    alive: bool = False
    shown: str | None = None
    done: list[Action] = field(default_factory=list)
    asked: bool = False
    warmed: bool = False

    def feed(self, event: Event, passed_s: float = 0.0) -> None:
        self.now_s += passed_s
        if event is Event.EXITED:
            if not self.alive:
                return
            self.alive = False
        if event is Event.WARMED and self.life.state is State.WARMING:
            self.warmed = True
        self.asked |= event is Event.END
        before = self.life.state
        self.life, actions = step(self.life, event, self.now_s, self.rules)
        for action in actions:
            self._do(action, before)
        self.done += actions
        assert (self.life.state in _LIVE) == self.alive
        if not self.alive:
            assert self.shown is None
        if self.life.state is State.READY:
            assert self.shown == "ready"

    def _do(self, action: Action, before: State) -> None:
        if action is Action.START:
            assert not self.alive
            assert not self.asked
            self.alive, self.warmed = True, False
        elif action is Action.SHOW_READY:
            assert self.alive and self.warmed
            self.shown = "ready"
        elif action is Action.SHOW_DRAINING:
            assert self.alive and self.shown == "ready"
            self.shown = "draining"
        elif action is Action.HIDE:
            self.shown = None
        elif action in (Action.TERMINATE, Action.KILL, Action.WARM):
            assert self.alive
            # Nobody is sent to who is about to go.
            assert action is Action.WARM or self.shown != "ready"

    def up(self) -> "World":
        for event in (Event.TICK, Event.HEALTHY, Event.WARMED):
            self.feed(event)
        assert self.life.state is State.READY
        return self


steps = st.lists(st.tuples(st.sampled_from(Event), st.floats(0, 15)), max_size=60)


@settings(max_examples=200)
@given(steps)
def test_whatever_happens_it_is_shown_only_while_it_can_serve(
    run: list[tuple[Event, float]],
) -> None:
    world = World()
    for event, passed_s in run:
        world.feed(event, passed_s)


@settings(max_examples=100)
@given(steps, st.booleans())
def test_asked_to_end_it_ends_in_bounded_time(
    run: list[tuple[Event, float]], obedient: bool
) -> None:
    world = World()
    for event, passed_s in run:
        world.feed(event, passed_s)
    world.feed(Event.END)
    began_s = world.now_s
    while world.life.state is not State.ENDED:
        assert world.now_s <= began_s + RULES.drain_s + 2 * RULES.stop_s + 3
        last = world.done[-1] if world.done else None
        goes = last is Action.KILL or (obedient and last is Action.TERMINATE)
        world.feed(Event.EXITED if goes else Event.TICK, 1.0)
    assert not world.alive


def test_it_drains_until_nothing_is_in_flight_and_routers_had_time() -> None:
    world = World().up()
    world.feed(Event.END)
    assert world.done[-1] is Action.SHOW_DRAINING
    world.feed(Event.IDLE, 1.0)
    assert world.life.state is State.DRAINING
    world.feed(Event.TICK, 8.0)
    assert world.life.state is State.DRAINING
    world.feed(Event.IDLE, 1.0)
    assert world.done[-1] is Action.TERMINATE
    world.feed(Event.EXITED, 1.0)
    assert world.life.state is State.ENDED


def test_asked_twice_it_hurries() -> None:
    world = World().up()
    world.feed(Event.END)
    world.feed(Event.END, 1.0)
    world.feed(Event.TICK, 3.0)
    assert world.done[-1] is Action.TERMINATE


@pytest.mark.parametrize("relieved", [True, False])
def test_a_replacement_is_warm_before_it_drains_or_time_is_up(relieved: bool) -> None:
    world = World().up()
    world.feed(Event.NEAR_END)
    world.feed(Event.NEAR_END)
    assert world.done.count(Action.REPLACE) == 1
    world.feed(Event.HEALTHY, 4.0)
    assert world.life.state is State.READY
    if relieved:
        world.feed(Event.RELIEVED)
    else:
        for _ in range(3):
            world.feed(Event.HEALTHY, 3.9)
        assert world.life.state is State.READY
        world.feed(Event.HEALTHY, 1.0)  # lead less draining and stopping
    assert world.life.state is State.DRAINING
    assert world.life.ending


def test_a_replacement_is_asked_for_until_one_is_submitted() -> None:
    world = World().up()

    def asked() -> int:
        return world.done.count(Action.REPLACE)

    world.feed(Event.NEAR_END)
    world.feed(Event.UNREPLACED, 2.0)
    world.feed(Event.HEALTHY, 4.9)
    assert asked() == 1
    world.feed(Event.HEALTHY, 0.1)  # again_s after it failed
    assert asked() == 2
    world.feed(Event.HEALTHY, 4.0)
    world.feed(Event.HEALTHY, 4.0)
    assert asked() == 2  # that one was submitted, or still is asked for
    world.feed(Event.UNREPLACED)
    world.feed(Event.HEALTHY, 4.0)
    world.feed(Event.END)
    world.feed(Event.UNREPLACED)
    world.feed(Event.TICK, 10.0)
    assert asked() == 2


def test_lost_it_comes_back_later_and_later_and_not_for_ever() -> None:
    world, pauses = World(), []
    while world.life.state is not State.ENDED:
        world.feed(Event.TICK)
        assert world.life.state is State.STARTING
        world.feed(Event.EXITED)
        pauses.append(world.life.until_s - world.now_s)
        world.feed(Event.TICK, 0.5)
        assert world.life.state is not State.STARTING
        world.feed(Event.TICK, 8.0) if world.life.state is State.WAITING else None
        world.feed(Event.EXITED)
        if world.life.state is State.WAITING:
            world.now_s = world.life.until_s
    assert world.done[-1] is Action.GIVE_UP


def test_ready_for_long_its_failures_are_forgotten() -> None:
    world = World().up()
    world.feed(Event.EXITED)
    assert world.life.failures == 1
    world.now_s += 2
    world.up()
    for _ in range(7):
        world.feed(Event.HEALTHY, 4.0)
    assert world.life.failures == 1
    world.feed(Event.HEALTHY, 4.0)
    assert world.life.failures == 0


@pytest.mark.parametrize(("event", "passed_s"), [(Event.DEAD, 0.0), (Event.SICK, 5.0)])
def test_sick_it_is_hidden_taken_down_and_started_again(event: Event, passed_s: float) -> None:
    world = World().up()
    world.feed(event, passed_s)
    assert world.done[-2:] == [Action.HIDE, Action.TERMINATE]
    world.feed(Event.TICK, 3.9)
    assert world.done[-1] is Action.TERMINATE  # it has stop_s to end well
    world.feed(Event.TICK, 0.1)
    assert world.done[-1] is Action.KILL
    world.feed(Event.EXITED)
    world.feed(Event.TICK, 1.0)
    assert world.done[-1] is Action.START
