# SPDX-License-Identifier: Apache-2.0
"""The life of one replica as a state machine: events and the time in, actions out. Pure.

waiting -> starting -> warming -> ready -> draining -> stopping -> ended, and back to waiting from
wherever the process is lost. The trap: routers learn late of what we say, so draining lasts a
while even when nothing is in flight; and vLLM's own end refuses requests, so it comes last.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["Action", "Event", "Life", "Rules", "State", "step"]


class State(StrEnum):
    """Where a replica is; all but waiting and ended have a process."""

    WAITING = "waiting"
    STARTING = "starting"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    ENDED = "ended"


class Event(StrEnum):
    """What happens to it."""

    TICK = "tick"  # nothing but time
    HEALTHY = "healthy"
    SICK = "sick"  # no answer, or not in time
    DEAD = "dead"  # it says itself that its engine is lost, or nothing moves any more
    WARMED = "warmed"
    COLD = "cold"  # the warm-up failed
    IDLE = "idle"  # nothing is in flight
    EXITED = "exited"
    END = "end"  # somebody wants it to end
    NEAR_END = "near end"  # its time limit comes
    UNREPLACED = "unreplaced"  # no replacement could be submitted
    RELIEVED = "relieved"  # its replacement is ready


class Action(StrEnum):
    """What is to be done, in this order."""

    START = "start"
    WARM = "warm"
    SHOW_READY = "show ready"
    SHOW_DRAINING = "show draining"
    HIDE = "hide"
    REPLACE = "replace"
    TERMINATE = "terminate"
    KILL = "kill"
    GIVE_UP = "give up"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Times in seconds."""

    start_s: float = 1800.0  # until it is healthy and warm
    sick_s: float = 30.0  # without a healthy answer, once it was ready
    notice_s: float = 3.0  # what routers take to see that it drains
    drain_s: float = 120.0
    hurry_s: float = 10.0  # what is left of draining when asked to end again
    stop_s: float = 30.0  # from TERMINATE to KILL
    backoff_s: float = 1.0
    most_backoff_s: float = 60.0
    stable_s: float = 300.0  # ready for so long, earlier failures are forgotten
    most_failures: int = 5  # in a row
    lead_s: float = 900.0  # from NEAR_END to the limit
    again_s: float = 60.0  # from UNREPLACED to the next REPLACE


@dataclass(frozen=True, slots=True)
class Life:
    """Where one replica stands; `until_s` is when its state has lasted too long."""

    state: State = State.WAITING
    until_s: float = float("-inf")
    since_s: float = 0.0
    healthy_s: float = 0.0
    failures: int = 0
    ending: bool = False
    drain_by_s: float = float("inf")  # the time limit less what draining and stopping take
    replace_s: float = float("inf")  # when a replacement is asked for again
    last: bool = False  # somebody wants it to end: nobody is to come after it
    why: str = ""


_Step = tuple[Life, tuple[Action, ...]]
_ALIVE = (State.STARTING, State.WARMING, State.READY, State.DRAINING, State.STOPPING)


def step(life: Life, event: Event, now_s: float, rules: Rules) -> _Step:
    """What follows from an event."""
    if life.state is State.ENDED:
        return life, ()
    if event is Event.EXITED:
        return _exited(life, now_s, rules)
    if event is Event.NEAR_END:
        return _near_end(life, now_s, rules)
    if event is Event.END:
        return _asked_to_end(replace(life, last=True), now_s, rules)
    if event is Event.UNREPLACED:
        return replace(life, replace_s=now_s + rules.again_s), ()
    again: tuple[Action, ...] = ()
    if now_s >= life.replace_s and not life.last:
        life, again = replace(life, replace_s=float("inf")), (Action.REPLACE,)
    life, actions = _STEPS[life.state](life, event, now_s, rules)
    return life, (*again, *actions)


def _waiting(life: Life, event: Event, now_s: float, rules: Rules) -> _Step:
    if now_s >= life.drain_by_s:
        return replace(life, state=State.ENDED, why="the time limit is near"), ()
    if now_s < life.until_s:
        return life, ()
    return _to(life, State.STARTING, now_s, now_s + rules.start_s), (Action.START,)


def _starting(life: Life, event: Event, now_s: float, rules: Rules) -> _Step:
    if now_s >= min(life.until_s, life.drain_by_s):
        why = "not ready in time"
        return _stop(
            replace(life, ending=life.ending or now_s >= life.drain_by_s), now_s, rules, why
        )
    if life.state is State.STARTING and event is Event.HEALTHY:
        return _to(life, State.WARMING, now_s, life.until_s), (Action.WARM,)
    if life.state is State.WARMING and event is Event.DEAD:
        return _stop(life, now_s, rules, "lost its engine while warming up")
    if life.state is State.WARMING and event is Event.WARMED:
        ready = replace(_to(life, State.READY, now_s, float("inf")), healthy_s=now_s)
        return ready, (Action.SHOW_READY,)
    if life.state is State.WARMING and event is Event.COLD:
        return life, (Action.WARM,)
    return life, ()


def _ready(life: Life, event: Event, now_s: float, rules: Rules) -> _Step:
    if event is Event.HEALTHY:
        life = replace(life, healthy_s=now_s)
    if life.failures and now_s >= life.since_s + rules.stable_s:
        life = replace(life, failures=0)
    if event is Event.DEAD:
        return _lost(life, now_s, rules, "its engine is lost or stands still")
    if event is Event.RELIEVED or now_s >= life.drain_by_s:
        return _drain(life, now_s, rules)
    if now_s >= life.healthy_s + rules.sick_s:
        return _lost(life, now_s, rules, "does not answer any more")
    return life, ()


def _draining(life: Life, event: Event, now_s: float, rules: Rules) -> _Step:
    idle = event is Event.IDLE and now_s >= life.since_s + rules.notice_s
    if idle or event is Event.DEAD or now_s >= life.until_s:
        return _stop(life, now_s, rules, life.why)
    return life, ()


def _stopping(life: Life, event: Event, now_s: float, rules: Rules) -> _Step:
    if now_s < life.until_s:
        return life, ()
    return replace(life, until_s=now_s + rules.stop_s), (Action.KILL,)


def _exited(life: Life, now_s: float, rules: Rules) -> _Step:
    """The process is gone, whoever wanted it."""
    hide = (Action.HIDE,)
    if life.state not in _ALIVE:
        return life, ()
    if life.ending or life.state is State.DRAINING:
        return replace(life, state=State.ENDED), hide
    why = life.why if life.state is State.STOPPING else "its process ended"
    failures = life.failures + 1
    if failures > rules.most_failures:
        return replace(life, state=State.ENDED, failures=failures, why=why), (*hide, Action.GIVE_UP)
    pause_s = min(rules.backoff_s * 2.0 ** (failures - 1), rules.most_backoff_s)
    waiting = _to(life, State.WAITING, now_s, now_s + pause_s)
    return replace(waiting, failures=failures, why=why), hide


def _near_end(life: Life, now_s: float, rules: Rules) -> _Step:
    """Ask for a replacement, and note when draining begins without one."""
    if life.ending or life.drain_by_s < float("inf"):
        return life, ()
    wanted_s = rules.drain_s + rules.stop_s
    drain_by_s = now_s + max(rules.lead_s - wanted_s, 0.0)
    return replace(life, drain_by_s=drain_by_s), (Action.REPLACE,)


def _asked_to_end(life: Life, now_s: float, rules: Rules) -> _Step:
    if life.state is State.WAITING:
        return replace(life, state=State.ENDED, ending=True, why="asked to end"), ()
    if life.state is State.READY:
        return _drain(replace(life, why="asked to end"), now_s, rules)
    if life.state is State.DRAINING:
        return replace(life, until_s=min(life.until_s, now_s + rules.hurry_s)), ()
    if life.state is State.STOPPING:
        return replace(life, ending=True), ()
    return _stop(replace(life, ending=True), now_s, rules, "asked to end")


def _drain(life: Life, now_s: float, rules: Rules) -> _Step:
    why = life.why or "the time limit is near"
    draining = _to(life, State.DRAINING, now_s, now_s + rules.drain_s)
    return replace(draining, ending=True, why=why), (Action.SHOW_DRAINING,)


def _lost(life: Life, now_s: float, rules: Rules, why: str) -> _Step:
    """Nobody is to be sent there while it is taken down."""
    stopping, actions = _stop(life, now_s, rules, why)
    return stopping, (Action.HIDE, *actions)


def _stop(life: Life, now_s: float, rules: Rules, why: str) -> _Step:
    stopping = _to(life, State.STOPPING, now_s, now_s + rules.stop_s)
    return replace(stopping, why=why), (Action.TERMINATE,)


_STEPS: Mapping[State, Callable[[Life, Event, float, Rules], _Step]] = {
    State.WAITING: _waiting,
    State.STARTING: _starting,
    State.WARMING: _starting,
    State.READY: _ready,
    State.DRAINING: _draining,
    State.STOPPING: _stopping,
}


def _to(life: Life, state: State, now_s: float, until_s: float) -> Life:
    return replace(life, state=state, since_s=now_s, until_s=until_s)
