# SPDX-License-Identifier: Apache-2.0
"""What a cycle leaves in the ledger: decisions, events, and a receipt for every job that ended."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from slurm_green.controller.observed import Observed
from slurm_green.controller.outcome import Judged, Outcome
from slurm_green.controller.state import requeued_since, was_deferred
from slurm_green.errors import LedgerError
from slurm_green.hook.record import LOOK, PAUSE, Record, parse
from slurm_green.ledger.energy import with_counters
from slurm_green.ledger.entries import (
    Decision,
    Entry,
    Event,
    JobFacts,
    NodeEnergy,
    Query,
    facts_of,
)
from slurm_green.ledger.guard import Ledger
from slurm_green.ledger.receipt import make_receipt, with_receipt
from slurm_green.plan.power import PowerModel
from slurm_green.signals.series import Series
from slurm_green.slurm.records import Job
from slurm_green.slurm.requeue import REQUEUED

__all__ = ["Books"]

_LOG = logging.getLogger(__name__)
# How far back accounting is read after a start: weekly patterns, and a week-end's outage.
_REMEMBERED = timedelta(days=7)
_TIDY_EVERY = timedelta(hours=1)
# A clock that leaps is not believed at once: what is deleted does not come back.
_LEAP = timedelta(days=1)
_MOST_UNREAD = 10_000  # as many as entries that wait for the ledger
# Slurm rounds submit and eligible time on their own.
_SAME_MOMENT = timedelta(seconds=2)


class Books:
    """Writes through the guarded ledger: a full disk costs entries, never a cycle."""

    def __init__(
        self,
        ledger: Ledger,
        power: PowerModel,
        *,
        record_field: str,
        hold_s: float,
        keep_s: float | None = None,
    ) -> None:
        self._ledger = ledger
        self._power = power
        self._record_field = record_field
        self._hold_s = hold_s
        self._keep_s = keep_s
        self._tidied_utc: datetime | None = None
        # (mode, action) of jobs judged since the start; after a restart their records tell.
        self._judged: dict[int, tuple[str, str]] = {}
        self._ended: set[int] = set()
        # What ran in the cycle before: a requeue leaves no other trace of it in the queue.
        self._active: dict[int, Job] = {}
        # Of each job how often it was requeued, by runs that are booked, and as of when.
        self._counted: dict[int, tuple[int, datetime]] = {}
        self._looked_utc: datetime | None = None
        # Since when, as the last cycle found, jobs have had runs that only accounting can tell of.
        self.missed_since: datetime | None = None
        # Ended jobs of which an unreadable ledger did not tell whether it has a receipt already.
        self._unread: dict[tuple[str, int, datetime], JobFacts] = {}
        self._unreadable = ""

    def remember_since(self, now_utc: datetime) -> datetime:
        """From when on accounting is worth reading at the start."""
        return now_utc - _REMEMBERED

    def write(self, observed: Observed, outcome: Outcome, refused: Mapping[int, str]) -> None:
        """Everything one cycle brought, in one transaction where the disk allows it."""
        if observed.signal is not None:
            self._ledger.record_signal(observed.signal)
        cluster = observed.info.name
        entries: list[Entry] = []
        for one in outcome.judged:
            if one.job.job_id not in refused:
                action = "defer" if one.decision.defer else "pass"
                self._judged[one.job.job_id] = (one.mode, action)
                entries.append(_decision(one, cluster, observed.now_utc, outcome.view.signal))
        entries += [
            Event(
                cluster=cluster,
                job_id=event.job_id,
                at_utc=event.at_utc,
                kind="refused" if event.job_id in refused else event.kind,
                detail=refused.get(event.job_id, event.detail),
            )
            for event in outcome.events
        ]
        present = {job.job_id for job in observed.jobs}
        runs = _requeued(self._active, observed.jobs)
        self._active = _running(self._active, observed.jobs)
        self._count(observed, {run.job_id for run in runs})
        entries += self._receipts(observed.jobs, cluster, runs)
        # One that is requeued after its end will end again.
        self._ended &= {job.job_id for job in observed.jobs if _over(job)}
        for gone in self._judged.keys() - present:
            del self._judged[gone]
        self._ledger.record(*entries)

    def keep(self, energies: Sequence[NodeEnergy]) -> bool:
        """Energies into the ledger now, and into receipts already written; False if it failed.

        Those of jobs yet to be closed are found then.
        """
        if not self._ledger.flush():
            return False  # a receipt that still waits would be written over the better one
        try:
            store = self._ledger.store()
            store.add(energies)
            for job_id in {one.job_id for one in energies}:
                rows = store.jobs(Query(cluster=energies[0].cluster, job_id=job_id))
                store.add([self._with_receipt(row) for row in rows if row.job_id == job_id])
        except LedgerError as error:
            _LOG.warning("energies wait at their nodes: %s", error)
            return False
        return True

    def observe(self, past: Iterable[Job], cluster: str = "") -> bool:
        """Receipts of runs that ended while nobody looked, from accounting; False: not now.

        It knows less than a cycle sees: a receipt that is there already stays as it is, and one
        that still waits would be written over, or go to make room for a week's.
        """
        if self._unread or not self._ledger.flush():
            return False
        # As runs: of one job there may be several.
        self._ledger.record(*self._receipts((), cluster, filter(_over, past)))
        return True

    def tidy(self, now_utc: datetime) -> None:
        """Once an hour forget what is older than the site keeps, a part of it in each cycle."""
        if self._keep_s is None:
            return
        passed = timedelta(0) if self._tidied_utc is None else now_utc - self._tidied_utc
        if self._tidied_utc is None or not timedelta(0) <= passed < _LEAP:
            self._tidied_utc = now_utc
            return
        before_utc = now_utc - timedelta(seconds=self._keep_s)
        if passed >= _TIDY_EVERY and not self._ledger.prune(before_utc):
            self._tidied_utc = now_utc

    @property
    def problem(self) -> str:
        """Why entries or receipts wait in memory; "" where none does."""
        return self._ledger.problem or self._unreadable

    def close(self) -> None:
        """A last try to write what waits."""
        try:
            self._ledger.record(*self._receipts((), ""))
        finally:
            self._ledger.close()

    def _count(self, observed: Observed, booked: Collection[int]) -> None:
        """Notice requeues that no run accounts for.

        Of a job that is completing one may just end a run that no cycle saw: accounting has all of
        it when that is over.
        """
        now, before = observed.now_utc, self._looked_utc
        counted: dict[int, tuple[int, datetime]] = {}
        missed: list[datetime] = []
        for job in observed.jobs:
            # What was there before the first cycle is asked for at the start.
            count, since = self._counted.get(
                job.job_id, (job.restarts, now) if before is None else (0, before)
            )
            count += job.job_id in booked
            if job.state == "COMPLETING":
                counted[job.job_id] = count, since
                continue
            if job.restarts > count:
                missed.append(since)
            counted[job.job_id] = job.restarts, now
        self._counted, self._looked_utc = counted, now
        self.missed_since = min(missed, default=None)

    def _receipts(self, jobs: Iterable[Job], cluster: str, runs: Iterable[Job] = ()) -> list[Entry]:
        waiting = len(self._unread)
        for job in runs:
            self._await(job, cluster)
        for job in jobs:
            if _over(job) and job.job_id not in self._ended:
                self._ended.add(job.job_id)
                self._await(job, cluster)
        new = len(self._unread) > waiting
        receipts: list[Entry] = []
        self._unreadable = ""
        try:
            for key in list(self._unread):
                # One of before a restart knew more: shadow decisions are in no record.
                known = self._ledger.store().has_ended(*key)
                facts = self._unread.pop(key)
                if not known:
                    receipts.append(self._closed(facts))
        except LedgerError as error:
            self._unreadable = str(error)
            if new:
                _LOG.warning("receipts of %d jobs wait: %s", len(self._unread), error)
            while len(self._unread) > _MOST_UNREAD:
                del self._unread[next(iter(self._unread))]
        return receipts

    def _await(self, job: Job, cluster: str) -> None:
        """Have it wait for the ledger to be asked of it."""
        if job.submit_utc is not None:
            facts = self._facts(job, job.submit_utc, cluster)
            self._unread.setdefault((facts.cluster, job.job_id, job.submit_utc), facts)

    def _facts(self, job: Job, submit_utc: datetime, cluster: str) -> JobFacts:
        mode, action = self._mode_and_action(job)
        record = self._record(job)
        if mode == "enforce" and record is not None and requeued_since(job, record):
            action = "pass"  # what was decided is about its run before
        asked = None
        eligible = job.eligible_utc
        # Shadow mode moves nothing: whatever put it off was not us.
        own = (mode, action) != ("enforce", "defer") or self._put_off(job)
        if own and eligible is not None and eligible - submit_utc > _SAME_MOMENT:
            asked = eligible
        facts = facts_of(
            job,
            submit_utc=submit_utc,
            asked_begin_utc=asked,
            mode=mode,
            action=action,
        )
        return facts if facts.cluster else replace(facts, cluster=cluster)

    def _closed(self, facts: JobFacts) -> JobFacts:
        try:
            return self._with_receipt(facts)
        except LedgerError as error:
            _LOG.warning("job=%d has no receipt: %s", facts.job_id, error)
        except Exception:
            # It costs neither those of jobs that ended with it nor the rest of the cycle's entries.
            _LOG.exception("job=%d has no receipt, this is a bug of slurm-green", facts.job_id)
        return facts

    def energies_of(self, facts: JobFacts) -> list[NodeEnergy]:
        """What nodes told of a job's GPUs; raises LedgerError."""
        query = Query(cluster=facts.cluster, job_id=facts.job_id)
        return self._ledger.store().energies(query) if facts.gpus else []

    def _with_receipt(self, facts: JobFacts) -> JobFacts:
        facts = with_counters(facts, self.energies_of(facts), self._power)
        return with_receipt(facts, make_receipt(facts, self._past, self._power))

    def _mode_and_action(self, job: Job) -> tuple[str, str]:
        record = self._record(job)
        # What was decided before a pause was about the run before it.
        if record is None or record.policy != PAUSE:
            for job_id in (job.job_id, job.array_job_id):
                if job_id in self._judged:
                    return self._judged[job_id]
        if record is None or record.policy == LOOK:
            return "", ""
        return "enforce", "defer" if was_deferred(job, record, self._hold_s) else "pass"

    def _record(self, job: Job) -> Record | None:
        return parse(job.extra if self._record_field == "extra" else job.admin_comment)

    def _put_off(self, job: Job) -> bool:
        """Whether somebody gave it a begin time behind its latest start: we never do."""
        record = self._record(job)
        if record is None or record.policy in (LOOK, PAUSE) or job.eligible_utc is None:
            return False
        return job.eligible_utc > record.latest_utc + _SAME_MOMENT

    def _past(self, start_utc: datetime, end_utc: datetime) -> Series | None:
        return self._ledger.store().signal(start_utc, end_utc)


def _over(job: Job) -> bool:
    return not job.pending and not job.active and job.end_utc is not None


def _running(before: Mapping[int, Job], jobs: Iterable[Job]) -> dict[int, Job]:
    """What runs, as it was while it ran.

    Of one that a requeue ends Slurm shows the record, begin time and restarts of the next run, and
    times that this would have if it began now (seen on 22.05).
    """
    found: dict[int, Job] = {}
    for job in jobs:
        if job.state != "COMPLETING":
            if job.active:
                found[job.job_id] = job
        elif (run := before.get(job.job_id)) and run.submit_utc == job.submit_utc:
            found[job.job_id] = run
    return found


def _requeued(before: Mapping[int, Job], jobs: Iterable[Job]) -> list[Job]:
    """The runs that ended by a requeue, which gave their jobs another time of submission.

    That comes when the last epilog is done; the run ended then, or by its limit before.
    """
    runs: list[Job] = []
    for job in jobs:
        run, again = before.get(job.job_id), job.submit_utc
        if run is None or run.start_utc is None or run.submit_utc is None or again is None:
            continue
        if job.restarts - run.restarts > 1:
            continue  # it ran once more in between: when this run ended is not known
        if run.submit_utc < again and run.start_utc <= again:
            runs.append(replace(run, state=REQUEUED, end_utc=min(again, run.end_utc or again)))
    return runs


def _decision(one: Judged, cluster: str, now_utc: datetime, signal: Series | None) -> Decision:
    job, made = one.job, one.decision
    origin = None if signal is None else signal.origin_at(made.start_utc or now_utc)
    return Decision(
        cluster=job.cluster or cluster,
        job_id=job.job_id,
        decided_utc=now_utc,
        token=one.token or "",
        user=job.user,
        account=job.account,
        partition=job.partition,
        qos=job.qos,
        name=job.name,
        gpus=job.gpus,
        nodes=job.nodes,
        cpus=job.cpus,
        tasks=job.tasks,
        submit_utc=job.submit_utc,
        mode=one.mode,
        action="defer" if made.defer else "pass",
        reason=made.reason,
        policy=made.policy,
        start_utc=made.start_utc,
        latest_utc=made.latest_utc,
        expected_s=None if made.extent is None else made.extent.expected_s,
        power_w=made.power_w,
        save_g=made.save_g,
        provider="" if origin is None else origin.provider,
        basis="" if signal is None else signal.basis,
        scope="" if signal is None else signal.scope,
        age_s=None if origin is None else origin.age_s(now_utc),
        promise=made.binding,
    )
