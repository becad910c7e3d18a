# SPDX-License-Identifier: Apache-2.0
"""The upkeep of deferred jobs: confirm, pull earlier, release; never later than confirmed. Pure."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from slurm_green.controller.credit import credit_for
from slurm_green.controller.observed import Credit, Observed
from slurm_green.controller.outcome import Event, Judged, Kept
from slurm_green.controller.planning.follow import planned_start, planned_way
from slurm_green.controller.planning.question import Way
from slurm_green.controller.planning.width import width_of
from slurm_green.controller.rules import Rules
from slurm_green.controller.state import Tracked
from slurm_green.hook.decide import Decision, decide, exclusion, plan_start
from slurm_green.hook.extent import Extent
from slurm_green.hook.options import Options, parse_options
from slurm_green.hook.policy import Policy
from slurm_green.hook.promise import promise_for
from slurm_green.hook.record import LOOK, PAUSE, Record, kept_start, remove, replace_record
from slurm_green.hook.request import Request, request_of
from slurm_green.hook.respond import start_at
from slurm_green.hook.view import PartitionView, View
from slurm_green.plan.start import Start
from slurm_green.slurm.records import Job, JobChange

__all__ = ["Deferrals"]


@dataclass(kw_only=True)
class Deferrals:
    """One cycle's work on the deferred jobs; books into `view` as it goes."""

    observed: Observed
    rules: Rules
    view: View
    # Latest starts (POSIX s) that jobs depending on ours allow.
    by_dependents: dict[int, float] = field(default_factory=dict)
    changes: dict[int, JobChange] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    credits: dict[int, Credit] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)
    # Jobs whose width Slurm refused to change before.
    rigid: frozenset[int] = frozenset()
    moves: int = 0
    # Watts of those whose window has come.
    released_w: dict[int, float] = field(default_factory=dict)

    @property
    def _now(self) -> datetime:
        return self.observed.now_utc

    def upkeep(self, one: Tracked) -> None:
        """A confirmed job: keep it, pull it earlier, or let it go."""
        job, record = one.job, one.record
        request = request_of(job, begin_set=False)
        partition = self.view.partition(job.partition)
        policy = self.rules.policy_for(job.partition, job.qos)
        if job.held:
            return None
        if request is None or partition is None:
            return self._release(one, "released", "its partition is down or gone")
        if record.policy == PAUSE:
            request = replace(request, restarted=False)
        refused = self._refusal(request, policy)
        if refused is not None:
            return self._release(one, "released", refused.reason)
        if partition.gpus == 0 and partition.cpus == 0:
            # No node is up, as just after a restart of slurmctld: a crowd let go now would find
            # all of them a moment later. The begin time in Slurm is the promise, and stands.
            self.kept.append(Kept(job=job))
            return None
        options = self._options(request)
        extent = partition.extent(request, options)
        if extent is None:
            return self._release(one, "released", "it has no time limit any more")
        latest_s = self._promised_s(one, request, options, policy, partition, extent.run_s)
        if latest_s is None:
            return self._release(one, "released", "nobody gives it time to wait any more")
        now_s = self._now.timestamp()
        power_w = self.view.power_w(request, extent)
        going = (partition, extent, power_w)
        if latest_s <= now_s:
            why = "its latest start has come"
            return self._release(one, "released", why, going=going, saves_g=record.save_g)
        fit_s = partition.room.latest_fit(extent.need, now_s, latest_s, extent.run_s)
        if fit_s is None or fit_s <= now_s:
            return self._release(one, "released-early", "no room is left for it later", going=going)
        start = planned_start(
            self.observed.advice, job, self.view, partition, extent, power_w, self.rules, fit_s
        ) or plan_start(
            self.view,
            partition,
            extent,
            power_w,
            earliest_s=now_s,
            latest_s=fit_s,
            earliest_needs_room=True,
        )
        start_s = record.start_utc.timestamp() if start is None else start.start_s
        saves_g = self._saves_g(record, start, extent, power_w)
        # On a full cluster it takes its turn in the queue rather than wait for its start in vain.
        turn_s = partition.queue.earliest_fit(extent.need, now_s, extent.run_s)
        if start_s <= max(now_s + self.rules.interval_s / 2, turn_s or 0.0):
            self.released_w[job.job_id] = power_w
            way = None
            if job.job_id not in self.rigid and record.policy != PAUSE:
                way = planned_way(
                    self.observed.advice,
                    job,
                    self.view,
                    partition,
                    extent,
                    power_w,
                    self.rules,
                    self.observed.nodes_site,
                )
            why = "its window has come"
            return self._release(one, "released", why, going=going, saves_g=saves_g, way=way)
        self.view.book(partition, extent, power_w=power_w, start_s=start_s, latest_s=fit_s)
        self.kept.append(Kept(job=job, extent=extent, power_w=power_w, latest_s=fit_s))
        return self._keep(one, start_s, fit_s, saves_g, replan=start is not None)

    def confirm(self, one: Tracked) -> None:
        """A job in its hold: decide with all that the queue shows, then confirm or let go."""
        job = one.job
        if job.eligible_utc is None or job.eligible_utc <= self._now:
            return self._too_late(one)
        request = request_of(job, begin_set=False)
        if request is None:
            return None
        policy = self.rules.policy_for(job.partition, job.qos)
        looking = one.record.policy == LOOK
        # What the user was told at submission holds; a look told nothing.
        bounds_s = [] if looking else [one.record.latest_utc.timestamp()]
        if job.job_id in self.by_dependents:
            bounds_s.append(max(self.by_dependents[job.job_id], 0.0))
        bound = datetime.fromtimestamp(min(bounds_s), UTC) if bounds_s else None
        decision = decide(request, policy, self.view, self._now, no_later_utc=bound)
        if policy.mode != "enforce":
            decision = replace(decision, defer=False, reason="not-enforced")
        self.judged.append(
            Judged(job=job, decision=decision, mode=policy.mode, token=one.record.token)
        )
        if not decision.defer or decision.start_utc is None or decision.latest_utc is None:
            return self._let_go(one, decision)
        latest = decision.latest_utc
        start = kept_start(decision.start_utc, latest)
        told = one.record
        as_told = latest == told.latest_utc and told.start_utc < latest
        if as_told and not self._moved(told, start):
            # As told at submission. A begin time alone goes to Slurm in one batch with others'.
            self.changes[job.job_id] = JobChange(begin_utc=latest)
        else:
            record = self._record(one.record, decision, start, latest)
            self._change(job, begin=latest, record=record)
        self._event(job, "confirmed", f"eligible by {latest:%Y-%m-%dT%H:%M:%SZ}")
        self._book(
            job,
            decision,
            start_s=decision.start_utc.timestamp(),
            latest_s=latest.timestamp(),
        )
        return None

    def _too_late(self, one: Tracked) -> None:
        """It queues already, as if we were not there: its record must not say otherwise."""
        begin = one.job.eligible_utc
        if one.record.policy == LOOK:
            text = remove(self._text(one.job))
            self.changes[one.job.job_id] = self._with_text(JobChange(), text)
        elif begin is not None and one.record.start_utc != begin:
            record = replace(one.record, start_utc=begin, save_g=None)
            self._change(one.job, begin=None, record=record)
            self._event(one.job, "released", "seen too late to be confirmed")

    def _book(self, job: Job, decision: Decision, *, start_s: float, latest_s: float) -> None:
        self.kept.append(
            Kept(
                job=job,
                extent=decision.extent,
                power_w=decision.power_w or 0.0,
                latest_s=latest_s,
            )
        )
        partition = self.view.partition(job.partition)
        if partition is not None and decision.extent is not None:
            self.view.book(
                partition,
                decision.extent,
                power_w=decision.power_w or 0.0,
                start_s=start_s,
                latest_s=latest_s,
            )

    def _refusal(self, request: Request, policy: Policy) -> Decision | None:
        options = self._options(request)
        # Switching off stops new deferrals; what was promised runs its course (sgreen off
        # --release-all ends it). A dependency added later is the user's own further wait.
        refused = exclusion(
            replace(request, dependent=False), options, policy, replace(self.view, off=False)
        )
        if refused is None and policy.mode != "enforce":
            return Decision(defer=False, reason="not-enforced")
        return refused

    def _promised_s(
        self,
        one: Tracked,
        request: Request,
        options: Options,
        policy: Policy,
        partition: PartitionView,
        run_s: float,
    ) -> float | None:
        """The latest start all promises allow by now; None where nobody gives it slack any more."""
        margin_s = partition.margin_s(request, policy)
        promise = promise_for(request, options, policy, run_s=run_s, margin_s=margin_s)
        if promise is None:
            return None
        latest_s = min(one.record.latest_utc.timestamp(), promise.latest_utc.timestamp())
        return min(latest_s, self.by_dependents.get(one.job.job_id, latest_s))

    def _options(self, request: Request) -> Options:
        return parse_options(
            request.comment,
            prefix=self.rules.comment_prefix,
            now_utc=request.submit_utc,
            zone=self.rules.zone,
        )

    def _saves_g(
        self, record: Record, start: Start | None, extent: Extent, power_w: float
    ) -> int | None:
        """Against starting when it was decided on, as was told then."""
        if start is None:
            return record.save_g
        view, start_s = self.view, start.start_s
        decided_s, planned_s = record.decided_utc.timestamp(), record.start_utc.timestamp()
        if found := start_at(view, extent, power_w, start_s=start_s, earliest_s=decided_s):
            return round(found.saved_g)
        # The signal begins after that: what was told, and what this start does to it.
        found = start_at(view, extent, power_w, start_s=start_s, earliest_s=planned_s)
        if found is None or record.save_g is None:
            return record.save_g
        return record.save_g + round(found.saved_g)

    def _keep(
        self, one: Tracked, start_s: float, latest_s: float, saves_g: int | None, *, replan: bool
    ) -> None:
        record = one.record
        latest = datetime.fromtimestamp(int(latest_s), UTC)
        pulled = latest < record.latest_utc
        planned = datetime.fromtimestamp(int(start_s), UTC)
        moved = replan and self._moved(record, planned)
        # A new plan moves many; what it says counts, the records may follow in later cycles.
        if not pulled and (not moved or self.moves >= self.rules.releases_per_cycle):
            return
        self.moves += 1
        planned = planned if moved else record.start_utc
        changed = replace(
            record, start_utc=kept_start(planned, latest), latest_utc=latest, save_g=saves_g
        )
        if moved and self.view.signal is not None:
            origin = self.view.signal.origin_at(planned)
            age_s = round(origin.age_s(self._now))
            changed = replace(changed, signal=origin.provider, signal_age_s=age_s)
        self._change(one.job, begin=latest if pulled else None, record=changed)
        kind = "pulled" if pulled else "moved"
        self._event(one.job, kind, f"start {changed.start_utc:%H:%M:%S}, latest {latest:%H:%M:%S}")

    def _moved(self, record: Record, start: datetime) -> bool:
        """Whether a new start differs by more than a step of the signal, or a cycle, is long."""
        step_s = 0.0 if self.view.signal is None else self.view.signal.step_s
        apart_s = abs((start - record.start_utc).total_seconds())
        return apart_s >= max(step_s, self.rules.interval_s)

    def _let_go(self, one: Tracked, decision: Decision) -> None:
        if one.record.policy == LOOK:
            text = remove(self._text(one.job))
            self.changes[one.job.job_id] = self._with_text(JobChange(begin_utc=self._now), text)
            return
        self._release(one, "released", decision.reason, credit=False)

    def _release(
        self,
        one: Tracked,
        kind: str,
        why: str,
        *,
        credit: bool = True,
        going: tuple[PartitionView, Extent, float] | None = None,
        saves_g: int | None = None,
        way: Way | None = None,
    ) -> None:
        """Let it queue. `going` is what it takes where it will probably start at once.

        Let go before its time, it saves nothing that could be claimed (`saves_g`).
        `way` is how it is to run where that is not as it asked for.
        """
        job, now = one.job, self._now
        begin, planned = now, one.record.start_utc
        if job.eligible_utc is not None and job.eligible_utc <= now:
            # It queues and ages already (we were away): another begin time would cost it that.
            begin = job.eligible_utc
        elif 0 <= (planned - now).total_seconds() <= self.rules.interval_s / 2:
            # To the second as planned; its record is true as it is, which saves Slurm a change.
            begin = planned
        if begin == planned and way is None:
            self.changes[job.job_id] = JobChange(begin_utc=begin)
        else:
            self._change(
                job,
                begin=None if begin == job.eligible_utc else begin,
                record=replace(
                    one.record,
                    start_utc=begin,
                    save_g=saves_g,
                    workers=one.record.workers if way is None else way.workers,
                    clock_mhz=one.record.clock_mhz if way is None else way.clock_mhz or None,
                ),
            )
        if way is not None:
            job = self._reshape(job, way)
        self._event(job, kind, why)
        if going is not None:
            partition, extent, power_w = going
            self.view.queue_up(partition, extent, power_w=power_w)
        if not credit or not self.rules.keep_place:
            return
        place = credit_for(
            job, self.observed.info, now_utc=begin, max_credit_s=self.rules.max_credit_s
        )
        if place is not None:
            self.credits[job.job_id] = place
            change = self.changes[job.job_id]
            points = job.site_factor + place.points
            self.changes[job.job_id] = replace(change, site_factor=points)

    def _reshape(self, job: Job, way: Way) -> Job:
        """Have it run that way; the job as it will be."""
        width = width_of(job)
        if width is None:
            return job
        clock = f", GPUs at {way.clock_mhz} MHz" if way.clock_mhz else ""
        self._event(job, "reshaped", f"{way.workers} workers instead of {width.workers}{clock}")
        if way.workers == width.workers:
            return job
        shape = width.change(job, way.workers)
        self.changes[job.job_id] = replace(
            self.changes[job.job_id],
            nodes=shape.nodes,
            ntasks=shape.ntasks,
            tasks_per_node=shape.tasks_per_node,
            cpus=shape.cpus,
            gres=shape.gres,
        )
        return width.reshaped(job, way.workers)

    def _record(self, old: Record, decision: Decision, start: datetime, latest: datetime) -> Record:
        signal = self.view.signal
        origin = None if signal is None else signal.origin_at(start)
        return replace(
            old,
            start_utc=start,
            latest_utc=latest,
            policy=decision.policy,
            save_g=None if decision.save_g is None else round(decision.save_g),
            signal=None if origin is None else origin.provider,
            signal_age_s=None if origin is None else round(origin.age_s(self._now)),
        )

    def _change(self, job: Job, *, begin: datetime | None, record: Record) -> None:
        text = replace_record(self._text(job), record)
        self.changes[job.job_id] = self._with_text(JobChange(begin_utc=begin), text)

    def _text(self, job: Job) -> str:
        return job.extra if self.rules.record_field == "extra" else job.admin_comment

    def _with_text(self, change: JobChange, text: str) -> JobChange:
        if self.rules.record_field == "extra":
            return replace(change, extra=text)
        return replace(change, admin_comment=text)

    def _event(self, job: Job, kind: str, detail: str) -> None:
        self.events.append(Event(job_id=job.job_id, kind=kind, detail=detail, at_utc=self._now))
