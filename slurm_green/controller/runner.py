# SPDX-License-Identifier: Apache-2.0
"""Runs cycles: observe, decide, change, book. The only impure step of the controller."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from slurm_green.controller.books import Books
from slurm_green.controller.cycle import cycle
from slurm_green.controller.learn import learn
from slurm_green.controller.missed import Missed
from slurm_green.controller.nodes.desk import Desk
from slurm_green.controller.nodes.notes import Notes
from slurm_green.controller.observed import Memory, Observed
from slurm_green.controller.outcome import Outcome
from slurm_green.controller.planning.planner import Planner
from slurm_green.controller.rules import Rules
from slurm_green.controller.source import Source
from slurm_green.controller.status import Counters, Status, status_of
from slurm_green.errors import SlurmError
from slurm_green.hook.view import View
from slurm_green.slurm.records import Job
from slurm_green.slurm.requeue import last_runs

__all__ = ["Report", "Runner"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a cycle leaves for the answer process."""

    view: View
    status: Status
    slurm_user: str


@dataclass(kw_only=True)
class Runner:
    """One cycle per `step`; state that outlives a cycle is `memory` and the counters."""

    source: Source
    rules: Rules
    books: Books
    desk: Desk | None = None
    notes: Notes | None = None
    planner: Planner | None = None
    # Digest of the configuration, for whoever asks whether its file has changed since.
    settings: str = ""
    memory: Memory = field(default_factory=Memory)
    counters: Counters = field(default_factory=Counters)
    cpu_s: Callable[[], float] = time.process_time
    _signal_problem: str = ""
    _failed_links: set[tuple[str, str]] = field(default_factory=set)
    # Only the first cycle needs it; kept no longer, it can be large.
    _past: tuple[Job, ...] = ()
    _remembered_utc: datetime | None = None

    def __post_init__(self) -> None:
        """What closes the books on jobs that no cycle saw end."""
        self._missed = Missed(
            client=self.source.client, books=self.books, now=lambda: self.source.now()
        )

    def remember(self) -> None:
        """Learn from accounting what happened while we were away; nothing is lost without it."""
        now = self.source.now()
        since = self.books.remember_since(now)
        try:
            runs = self.source.client.finished(since, runs=True)
        except SlurmError as error:
            _LOG.warning("accounting did not answer, starting without history: %s", error)
            self._missed.unknown_since(since)
            return
        self._remembered_utc = now
        if runs:
            past = last_runs(runs)
            history, started, ended = learn(
                self.memory.history, past, started=frozenset(), ended=frozenset()
            )
            # Slurm may still show them, and later tasks of their arrays.
            self.memory = Memory(history=history, started=started, ended=ended)
            self._past = tuple(past)
            self._missed.add(runs)

    def step(self) -> Report | None:
        """One whole cycle; None when Slurm did not answer (logged, and tried again next time)."""
        began_s = self.cpu_s()
        try:
            observed = replace(self.source.observe(), past=self._past)
            if self.planner is not None:
                observed = replace(observed, advice=self.planner.advice(observed))
        except SlurmError as error:
            self.counters.slurm_failures += 1
            _LOG.error("cycle skipped, Slurm did not answer: %s", error)
            return None
        except Exception:
            # An answer nobody foresaw; another may come with the next cycle.
            _LOG.exception("cycle skipped, this is a bug of slurm-green")
            self.counters.bugs += 1
            return None
        if observed.signal_problem != self._signal_problem:
            self._signal_problem = observed.signal_problem
            if self._signal_problem:
                _LOG.warning("nothing is deferred: %s", self._signal_problem)
            else:
                _LOG.info("the signal is back")
        self._tell_links(observed)
        try:
            outcome = cycle(observed, self.memory, self.rules)
        except Exception:
            # A job nobody foresaw must not stop us in a loop of restarts. Without a fresh view new
            # jobs pass unchanged, and what is deferred starts at its latest start.
            _LOG.exception("cycle skipped, this is a bug of slurm-green")
            self.counters.bugs += 1
            return None
        if self.desk is not None:
            self.desk.publish(outcome.orders)
        refused = self._apply(outcome)
        refused |= self._pause(outcome)
        stiff = {i for i in refused if i in outcome.changes and outcome.changes[i].reshapes}
        before = self.memory.last_utc or self._remembered_utc
        self.memory = replace(outcome.memory, rigid=outcome.memory.rigid | stiff)
        self._past = ()
        self._book(observed, outcome, refused)
        self._missed.looked(before, observed.now_utc, observed.info)
        if self.planner is not None:
            self.planner.ask(observed, outcome, self.rules)
        self.counters.count(outcome, refused, cpu_s=self.cpu_s() - began_s)
        return Report(
            view=outcome.view,
            status=status_of(
                observed,
                outcome,
                self.counters,
                self.rules,
                plan=None if self.planner is None else self.planner.status(observed),
                ledger_problem=self.books.problem,
                settings=self.settings,
            ),
            slurm_user=observed.info.slurm_user,
        )

    def catch_up(self) -> None:
        """After a report, what takes longer: receipts of jobs that no cycle saw end, old rows."""
        self._missed.write()
        self.books.tidy(self.source.now())

    def _tell_links(self, observed: Observed) -> None:
        """Log which links of the signal's chain began or ceased to fail."""
        now = {(one.kind, one.name): one for one in observed.signal_links}
        failed = {key for key, one in now.items() if one.status == "failed"}
        for key in sorted(failed - self._failed_links):
            _LOG.warning("signal: %s %s failed: %s", *key, now[key].said)
        # One that is left alone because it asked for it has not come back yet.
        still = {key for key, one in now.items() if one.status == "waiting"} & self._failed_links
        back = self._failed_links - failed - still
        for key in sorted(back & set(now)):
            _LOG.info("signal: %s %s no longer fails: %s", *key, now[key].said)
        # A signal file that is good again says nothing of itself.
        for key in sorted(key for key in back - set(now) if key[0] == "file"):
            _LOG.info("signal: %s %s no longer fails", *key)
        self._failed_links = failed | still

    def _book(self, observed: Observed, outcome: Outcome, refused: dict[int, str]) -> None:
        try:
            if self.desk is not None:
                self._take_energies(self.desk, observed.info.name)
            self.books.write(observed, outcome, refused)
            if self.notes is not None:
                self.notes.write(observed)
        except Exception:
            # The books are for people; whatever is wrong with them, jobs go on.
            _LOG.exception("this cycle is not in the ledger")

    def _take_energies(self, desk: Desk, cluster: str) -> None:
        energies = desk.waiting()
        if energies and self.books.keep([replace(one, cluster=cluster) for one in energies]):
            desk.settle(energies)
            if self.notes is not None:
                self.notes.want(one.job_id for one in energies)

    def _pause(self, outcome: Outcome) -> dict[int, str]:
        """Requeue first: what waits by mistake starts again in two minutes, by Slurm itself."""
        pauses = outcome.pauses
        if not pauses:
            return {}
        try:
            refused = self.source.client.requeue(pauses)
            rest = {job_id: one for job_id, one in pauses.items() if job_id not in refused}
            refused |= self.source.client.update(rest)
        except SlurmError as error:
            _LOG.error("no job was paused, Slurm did not answer: %s", error)
            return dict.fromkeys(pauses, str(error))
        for job_id in pauses:
            _LOG.info("job=%d %s", job_id, refused.get(job_id, "paused"))
        return refused

    def _apply(self, outcome: Outcome) -> dict[int, str]:
        if not outcome.changes:
            return {}
        try:
            refused = self.source.client.update(outcome.changes)
        except SlurmError as error:
            _LOG.error("no change was made, Slurm did not answer: %s", error)
            return dict.fromkeys(outcome.changes, str(error))
        for job_id, why in refused.items():
            _LOG.warning("job=%d change refused: %s", job_id, why)
        for event in outcome.events:
            if event.job_id not in refused:
                _LOG.info("job=%d %s: %s", event.job_id, event.kind, event.detail)
        return refused
