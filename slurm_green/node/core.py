# SPDX-License-Identifier: Apache-2.0
"""What a node's GPUs should be set to, and the steps there: (state, event) -> (state, actions).

The trap: the actions are wishes. What the hardware answered comes back as an outcome, and only
then does the state believe it; a `Look` after the outcomes asks for what is left to do. Pure.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from profiling.device.apply import TOLERANCE_MHZ, Setting
from slurm_green.node.events import (
    Action,
    Asked,
    Begin,
    Close,
    End,
    Event,
    Free,
    Freed,
    Held,
    Hold,
    Kept,
    Look,
    Open,
    Refused,
    Stop,
    Tick,
    Withdrawn,
)
from slurm_green.node.state import Job, Plan, State

__all__ = ["GRACE_S", "step", "users_of", "wanted", "with_shared"]

GRACE_S = 60.0  # a job's first process comes some time after its prolog
_LOOKS_S = 600.0 + GRACE_S  # the longest `interval`; after that looks fail
_FORGET_S = 86_400.0  # a job that nobody has seen for so long had no epilog, and never will
_RETRY_S = 30.0
_ASTRAY_MOST = 3
_NO_EPILOG = "no epilog told when it ended"
_SHARED = "it shared a GPU with another job"

T = TypeVar("T", int, float)


def step(state: State, event: Event, now_s: float) -> tuple[State, tuple[Action, ...]]:
    """The state after the event and what is to be done, in that order.

    Outcomes ask for nothing by themselves: feed all of a batch, then a Look.
    """
    before: list[Action] = []
    after: list[Action] = []
    match event:
        case Begin(job, foreign):
            gone = [one for one in state.jobs.values() if _replaced(state, one, job, now_s)]
            before += [Close(one.job_id, _NO_EPILOG) for one in gone]
            before.append(Open(job))
            state = _without(state, [one.job_id for one in gone])
            others = {uuid: why for uuid, why in state.foreign.items() if uuid not in job.gpus}
            state = replace(
                state,
                jobs={**state.jobs, job.job_id: job},
                foreign={**others, **foreign},
            )
            state = _changed(with_shared(state, now_s), job.gpus, barred=None, astray=0)
        case End(job_id, unknown):
            # Restoring comes first: whatever the accounting meets, the GPU is back.
            if ended := state.jobs.get(job_id):
                after.append(Close(job_id, unknown or (_SHARED if ended.shared else "")))
            state = _without(state, [job_id])
        case Asked(uuids, ask):
            state = replace(state, asks={**state.asks, **dict.fromkeys(uuids, ask)})
        case Withdrawn(job_id):
            kept = {uuid: ask for uuid, ask in state.asks.items() if ask.job_id != job_id}
            state = replace(state, asks=kept)
        case Tick():
            state, lost = _ticked(state, event, now_s)
            after += [Close(job_id, _NO_EPILOG) for job_id in lost]
        case Stop():
            state = replace(state, stopping=True)
        case Look():
            pass
        case _:
            return _told(state, event, now_s), ()
    asks = {uuid: ask for uuid, ask in state.asks.items() if ask.until_s > now_s}
    state = replace(state, asks=asks)
    return state, (*before, *_steps(state, now_s), *after)


def users_of(state: State, uuid: str, now_s: float) -> list[Job]:
    """The live jobs that have a GPU; more than one share it."""
    return [one for one in state.jobs.values() if uuid in one.gpus and _alive(state, one, now_s)]


def wanted(state: State, uuid: str, now_s: float) -> tuple[Job, Setting] | None:
    """What a GPU should be set to, and for whom; None is the site's default."""
    device, users = state.devices[uuid], users_of(state, uuid, now_s)
    if state.stopping or device.barred or uuid in state.foreign or len(users) != 1:
        return None
    job = users[0]
    plan, ask = job.plan or Plan(), state.asks.get(uuid)
    if plan.own:
        return None
    asked = ask.setting if ask is not None and ask.job_id == job.job_id else Setting()
    clock_mhz = _least(plan.clock_mhz, asked.clock_mhz)
    limit_w = _least(plan.power_limit_w, asked.power_limit_w)
    if clock_mhz is None and limit_w is None:
        return None  # the cap alone slows nobody: what slowness does to this job is not known
    capped_mhz = _least(clock_mhz, state.cap.clock_mhz)
    if capped_mhz is not None and plan.floor_mhz is not None:
        capped_mhz = max(capped_mhz, _least(clock_mhz, plan.floor_mhz) or plan.floor_mhz)
    limit_w = _least(limit_w, state.cap.power_limit_w)
    # A ceiling, not a lock: an idle GPU may go as low as it likes.
    floor_mhz = None if capped_mhz is None else 0
    return job, Setting(clock_mhz=capped_mhz, floor_mhz=floor_mhz, power_limit_w=limit_w)


def _steps(state: State, now_s: float) -> Iterable[Action]:
    for uuid, device in state.devices.items():
        found = wanted(state, uuid, now_s)
        if found is not None and found[1] != device.held:
            yield Hold(uuid, found[1], found[0].job_id)
        elif found is None and device.owed and (now_s >= device.retry_s or state.stopping):
            yield Free(uuid)


def _told(state: State, outcome: Event, now_s: float) -> State:
    match outcome:
        # What was tried before is no reason to wait: it is set anew, or may be in part.
        case Held(uuid, setting):
            return _changed(state, (uuid,), held=setting, owed=True, astray=0, retry_s=0.0)
        case Refused(uuid, why, owed):
            return _changed(state, (uuid,), held=None, owed=owed, barred=why, retry_s=0.0)
        case Freed(uuid):
            return _changed(state, (uuid,), held=None, owed=False, retry_s=0.0)
        case Kept(uuid):
            return _changed(state, (uuid,), held=None, retry_s=now_s + _RETRY_S)
    raise TypeError(f"{outcome!r} is no event")


def _ticked(state: State, tick: Tick, now_s: float) -> tuple[State, list[int]]:
    jobs = {
        key: replace(job, seen_s=now_s) if key in tick.live else job
        for key, job in state.jobs.items()
    }
    if tick.orders is not None:
        plans = tick.orders.plans
        # A job that began after sgreend was asked keeps the plan that its prolog brought.
        jobs = {key: replace(job, plan=plans.get(key, job.plan)) for key, job in jobs.items()}
        state = replace(state, cap=tick.orders.cap)
    state = replace(state, jobs=jobs, foreign=tick.foreign, looked_s=now_s)
    state = _changed(state, tick.owed, held=None, owed=True)
    for uuid, clock_mhz in tick.clocks_mhz.items():
        held = state.devices[uuid].held
        if held is None or held.clock_mhz is None or clock_mhz is None:
            continue
        above = clock_mhz > held.clock_mhz + TOLERANCE_MHZ
        astray = state.devices[uuid].astray + 1 if above else 0
        state = _changed(state, (uuid,), astray=astray)
        if astray >= _ASTRAY_MOST:
            why = f"it runs at {clock_mhz} MHz although {held.clock_mhz} MHz was accepted"
            state = _changed(state, (uuid,), barred=why)
    lost = [key for key, job in jobs.items() if now_s - job.seen_s > _FORGET_S]
    return _without(state, lost), lost


def with_shared(state: State, now_s: float) -> State:
    """Its jobs are marked where a GPU has two live ones."""
    live = [job for job in state.jobs.values() if _alive(state, job, now_s)]
    uses = Counter(uuid for job in live for uuid in job.gpus)
    jobs = {
        key: replace(job, shared=job.shared or any(uses[uuid] > 1 for uuid in job.gpus))
        for key, job in state.jobs.items()
    }
    return replace(state, jobs=jobs)


def _replaced(state: State, old: Job, new: Job, now_s: float) -> bool:
    """Whether a new job shows that an old one is gone: it is itself again, or holds its GPUs."""
    shares = bool(set(old.gpus) & set(new.gpus))
    return old.job_id == new.job_id or (shares and not _alive(state, old, now_s))


def _alive(state: State, job: Job, now_s: float) -> bool:
    # Looks may be rare, or late because a driver hangs: until the next nobody knows better.
    limit_s = _LOOKS_S if job.seen_s >= state.looked_s else GRACE_S
    return now_s - job.seen_s <= limit_s


def _without(state: State, job_ids: Iterable[int]) -> State:
    gone = set(job_ids)
    return replace(
        state,
        jobs={key: job for key, job in state.jobs.items() if key not in gone},
        asks={uuid: ask for uuid, ask in state.asks.items() if ask.job_id not in gone},
    )


def _changed(state: State, uuids: Iterable[str], **changes: object) -> State:
    new = {uuid: replace(state.devices[uuid], **changes) for uuid in uuids}  # type: ignore[arg-type]
    return replace(state, devices={**state.devices, **new})


def _least(*amounts: T | None) -> T | None:
    return min((one for one in amounts if one is not None), default=None)
