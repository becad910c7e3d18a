# SPDX-License-Identifier: Apache-2.0
"""Answers the courier in slurmctld: a decision in the answer's form. In memory, no I/O.

The hold it asks for is a few seconds only. `sbatch --deadline` is hidden from submit hooks on
every Slurm version, and Slurm cancels a job that becomes eligible too late for it: so the begin
time is moved to the latest start once the queue has shown the whole job (controller/deferrals.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from slurm_green.hook.asked import request_from
from slurm_green.hook.decide import Decision, decide
from slurm_green.hook.policy import Policy
from slurm_green.hook.record import LOOK, Record, kept_start, new_token
from slurm_green.hook.request import Request
from slurm_green.hook.view import View
from slurm_green.hook.wire import Answer, Ask, Defer, Pass

__all__ = ["MESSAGE_LIMIT", "SubmitHook"]

# The courier shows no longer ones (slurm_green_wire.lua).
MESSAGE_LIMIT = 300

# Reasons to pass that a hidden --deadline could turn around.
_WORTH_A_LOOK = frozenset({"no-slack"})


# A decision made ahead is this old at most: its latest start is as much earlier, no later.
_FORESIGHT = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A job with what its decision rests on, and the decision once there is one."""

    request: Request
    policy: Policy
    view: View
    decided_utc: datetime
    decision: Decision | None = None


@dataclass(kw_only=True)
class SubmitHook:
    """Holds the newest view; `answer` is the hot path, `settle` what can wait until after it.

    A view older than `fresh_s` means that nobody would confirm a hold: then jobs pass.
    Bursts are of jobs alike: `settle` books a deferral and decides about the next job like it,
    so that the answer to that one is ready.
    """

    policy_for: Callable[[str, str], Policy]
    clock: Callable[[], float]
    hold_s: float
    look: bool
    fresh_s: float
    token: Callable[[], str] = field(default=new_token)
    view: View | None = None
    _unsettled: _Case | None = None
    _ahead: tuple[_Case, Decision] | None = None

    def answer(self, ask: Ask) -> Answer:
        """What the courier is to do with this job."""
        self._book()
        now_s = self.clock()
        now = datetime.fromtimestamp(int(now_s), UTC)
        view = self.view
        if view is None or now_s - view.taken_utc.timestamp() > self.fresh_s:
            return Pass(reason="no-view")
        request = request_from(ask, now_utc=now, zone=view.zone)
        partition = view.partition(request.partition)
        # All the partitions a job names: any of them in shadow keeps it there.
        names = request.partition or (partition.name if partition else "")
        policy = self.policy_for(names, request.qos)
        if policy.mode != "enforce":
            return Pass(reason="shadow")
        case = _Case(request=request, policy=policy, view=view, decided_utc=now)
        decision = self._foreseen(case) or decide(request, policy, view, now)
        if decision.latest_utc is not None and decision.latest_utc < self._held_until(now):
            return Pass(reason="hold-too-long")  # the courier takes no hold beyond the promise
        if decision.defer:
            self._unsettled = replace(case, decision=decision)
            return self._defer(decision, view, now)
        if self.look and decision.reason in _WORTH_A_LOOK and _long(ask, policy):
            return self._look(now)
        # Whoever asked for us is told why not; what users wrote goes to a terminal as ASCII only.
        message = decision.sentence.encode("ascii", "replace").decode()
        return Pass(reason=decision.reason, message=message[:MESSAGE_LIMIT])

    def settle(self) -> None:
        """After an answer: book it, and decide about another job like it. Idempotent."""
        case = self._unsettled
        self._book()
        if case is not None and case.view is self.view:
            now = datetime.fromtimestamp(int(self.clock()), UTC)
            again = replace(case.request, submit_utc=now)
            next_case = replace(case, request=again, decided_utc=now, decision=None)
            self._ahead = (next_case, decide(again, case.policy, case.view, now))

    def _foreseen(self, case: _Case) -> Decision | None:
        """The decision made ahead, where it was about such a job, on this view, just now."""
        if self._ahead is None:
            return None
        ahead, decision = self._ahead
        self._ahead = None
        old = case.decided_utc - ahead.decided_utc > _FORESIGHT or ahead.view is not case.view
        alike = replace(case.request, submit_utc=ahead.request.submit_utc) == ahead.request
        return decision if alike and not old and ahead.policy == case.policy else None

    def _book(self) -> None:
        """Until the next view, so that a burst does not all pick the same hour."""
        case, self._unsettled = self._unsettled, None
        if case is None or case.decision is None:
            return
        made = case.decision
        partition = case.view.partition(made.partition)
        if partition is not None and made.extent and made.start_utc and made.latest_utc:
            case.view.book(
                partition,
                made.extent,
                power_w=made.power_w or 0.0,
                start_s=made.start_utc.timestamp(),
                latest_s=made.latest_utc.timestamp(),
            )

    def _held_until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.hold_s)

    def _defer(self, decision: Decision, view: View, now: datetime) -> Answer:
        start, latest = decision.start_utc, decision.latest_utc
        assert start is not None and latest is not None
        origin = None if view.signal is None else view.signal.origin_at(start)
        record = Record(
            token=self.token(),
            decided_utc=now,
            start_utc=kept_start(start, latest),  # the cycle then has no record to change
            latest_utc=latest,
            policy=decision.policy,
            save_g=None if decision.save_g is None else round(decision.save_g),
            signal=None if origin is None else origin.provider,
            signal_age_s=None if origin is None else round(origin.age_s(now)),
        )
        return Defer(
            begin_utc=self._held_until(now),
            latest_utc=latest,
            record=str(record),
            message=decision.sentence,
        )

    def _look(self, now: datetime) -> Answer:
        begin = self._held_until(now)
        record = Record(
            token=self.token(), decided_utc=now, start_utc=now, latest_utc=begin, policy=LOOK
        )
        return Defer(begin_utc=begin, latest_utc=begin, record=str(record))


def _long(ask: Ask, policy: Policy) -> bool:
    """Short jobs are not held for a look: without a limit of their own nobody can say."""
    return ask.time_limit_s is None or ask.time_limit_s >= policy.min_length_s
