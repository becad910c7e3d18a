# SPDX-License-Identifier: Apache-2.0
"""One cycle of the controller: from what Slurm shows to what is to be changed. Pure.

The simulator, shadow mode and the live daemon run this same function.
"""

from dataclasses import replace

from slurm_green.controller.arrivals import Arrivals
from slurm_green.controller.chains import latest_by_dependents
from slurm_green.controller.credit import credit_for, shape_of
from slurm_green.controller.deferrals import Deferrals
from slurm_green.controller.learn import learn
from slurm_green.controller.nodes.clocking import clock_jobs
from slurm_green.controller.observed import Credit, Memory, Observed
from slurm_green.controller.occupancy import occupancy, reserved_for
from slurm_green.controller.outcome import Event, Kept, Outcome
from slurm_green.controller.planning.pauses import pause_jobs
from slurm_green.controller.ramp import Ramp
from slurm_green.controller.rules import Rules
from slurm_green.controller.shadow import judge_new_jobs
from slurm_green.controller.state import Stage, Tracked, tracked
from slurm_green.controller.views import keep_free, take_watts, view_of
from slurm_green.hook.options import Options, parse_options
from slurm_green.hook.record import CLOCK, LOOK, PAUSE, parse
from slurm_green.hook.request import request_of
from slurm_green.hook.view import View
from slurm_green.slurm.arrays import marked
from slurm_green.slurm.records import Job, JobChange

__all__ = ["cycle"]


def cycle(observed: Observed, memory: Memory, rules: Rules) -> Outcome:
    """Everything to do now. Running it twice on the same input gives the same outcome."""
    now = observed.now_utc
    recorded = [one for job in observed.jobs if (one := _track(job, rules)) is not None]
    occupied = occupancy(observed, horizon_s=rules.horizon_s)
    history, started, ended = learn(
        memory.history, observed.jobs, started=memory.started, ended=memory.ended
    )
    view = view_of(observed, occupied, history, rules)
    if observed.advice is not None:
        view = replace(view, prices=observed.advice.prices)
    known = {job.job_id: job for job in (*observed.past, *observed.jobs)}.values()
    arrivals = (memory.arrivals or Arrivals(over_s=rules.usual_over_s)).with_jobs(
        # Nothing is kept free for whoever comes to nodes of their own.
        [job for job in known if reserved_for(job, observed.reservations) is None],
        view.partitions,
        waiting=frozenset(
            one.job.job_id for one in recorded if one.stage in (Stage.HOLDING, Stage.CONFIRMED)
        ),
        now_utc=now,
    )
    loads = {name: arrivals.load(name, least_s=rules.usual_least_s) for name in view.partitions}
    keep_free(view, occupied, loads, rules.reserve_deviations)
    take_watts(view, occupied, (job for job in observed.jobs if _was_deferred(job, rules)))
    work = Deferrals(
        observed=observed,
        rules=rules,
        view=view,
        by_dependents=_by_dependents(observed, view, rules),
        rigid=memory.rigid,
    )
    # Older promises first: a later job must not push an earlier one out of its room.
    recorded.sort(key=lambda one: (one.record.decided_utc, one.job.job_id))
    for one in recorded:
        if one.stage is Stage.CONFIRMED:
            work.upkeep(one)
    for one in recorded:
        if one.stage is Stage.HOLDING:
            work.confirm(one)
    ramp = memory.ramp.at(now.timestamp(), rules.ramp_w_per_min)
    _limit_releases(work, recorded, rules, ramp)
    paused = pause_jobs(observed, view, rules)
    judged, shadow, thought = judge_new_jobs(observed, memory, rules, view, occupied)
    credits = _keep_credits(observed, memory, rules, recorded, work)
    clocked = clock_jobs(observed, memory.clocks, rules, view)
    return Outcome(
        changes=marked({**clocked.changes, **work.changes}, observed.jobs),
        events=(*work.events, *thought, *paused.events, *clocked.events),
        judged=(*work.judged, *judged),
        view=view,
        memory=replace(
            memory,
            last_utc=now,
            arrivals=arrivals,
            history=history,
            credits=credits,
            seen=frozenset(job.job_id for job in observed.jobs),
            started=started,
            ended=ended,
            shadow=shadow,
            clocks=clocked.planned,
            ramp=ramp,
            rigid=memory.rigid & {job.job_id for job in observed.jobs},
        ),
        orders=clocked.orders,
        kept=tuple(work.kept),
        pauses=paused.changes,
        occupied=occupied,
    )


def _by_dependents(observed: Observed, view: View, rules: Rules) -> dict[int, float]:
    pending = [_with_own_deadline(job, rules) for job in observed.jobs if job.pending]
    if not any(job.dependency for job in pending):
        return {}
    margins_s: dict[int, float] = {}
    runs_s: dict[int, float] = {}
    for job in pending:
        margins_s[job.job_id] = rules.policy_for(job.partition, job.qos).margin_floor_s
        partition, request = view.partition(job.partition), request_of(job, begin_set=False)
        if partition is not None and request is not None:
            extent = partition.extent(request, Options())
            runs_s[job.job_id] = 0.0 if extent is None else extent.run_s
    return latest_by_dependents(pending, margins_s=margins_s, runs_s=runs_s)


def _with_own_deadline(job: Job, rules: Rules) -> Job:
    """The job with the earlier of Slurm's deadline and that in its comment."""
    if not job.dependency or job.submit_utc is None or "deadline=" not in job.comment:
        return job
    asked = parse_options(
        job.comment, prefix=rules.comment_prefix, now_utc=job.submit_utc, zone=rules.zone
    ).deadline_utc
    deadlines = [one for one in (job.deadline_utc, asked) if one is not None]
    return replace(job, deadline_utc=min(deadlines, default=None))


def _text(job: Job, rules: Rules) -> str:
    return job.extra if rules.record_field == "extra" else job.admin_comment


def _was_deferred(job: Job, rules: Rules) -> bool:
    """Whether it waited for its window and runs or queues now."""
    if job.pending and (one := _track(job, rules)) is not None:
        return one.stage is Stage.RELEASED
    record = parse(_text(job, rules)) if job.active else None
    return record is not None and record.policy not in (LOOK, CLOCK)


def _track(job: Job, rules: Rules) -> Tracked | None:
    # What the origin of a federated job changes, Slurm changes in the siblings' copies.
    if not job.pending or job.sibling:
        return None
    one = tracked(job, record_text=_text(job, rules), hold_s=rules.hold_s)
    # Restarted by somebody else, it is none of our business any more.
    paused = one is not None and one.record.policy == PAUSE
    return None if job.restarts and not paused else one


def _limit_releases(work: Deferrals, recorded: list[Tracked], rules: Rules, ramp: Ramp) -> None:
    """Spread a herd of window releases over cycles; those that are due or crowded out go first."""
    kinds = {event.job_id: event.detail for event in work.events if event.kind == "released"}
    windows = [one for one in recorded if kinds.get(one.job.job_id) == "its window has come"]
    later = {one.job.job_id: one.job for one in windows[rules.releases_per_cycle :]}
    for one in windows[: rules.releases_per_cycle]:
        if not ramp.take(work.released_w.get(one.job.job_id, 0.0)):
            later[one.job.job_id] = one.job
    for job_id in later:
        del work.changes[job_id]
        work.credits.pop(job_id, None)
    work.events[:] = [event for event in work.events if event.job_id not in later]
    work.kept += [Kept(job=job) for job in later.values()]


def _keep_credits(
    observed: Observed, memory: Memory, rules: Rules, recorded: list[Tracked], work: Deferrals
) -> dict[int, Credit]:
    """Credits of jobs still waiting; a job that changed its shape since loses it."""
    known = dict(memory.credits)
    for one in recorded:
        if one.stage is not Stage.RELEASED or not rules.keep_place:
            continue
        # After a restart: what we gave follows from the record; the rest is the site's own factor.
        given = credit_for(
            one.job,
            observed.info,
            now_utc=one.record.start_utc,
            max_credit_s=rules.max_credit_s,
        )
        if given is not None and one.job.site_factor >= given.points:
            known.setdefault(one.job.job_id, given)
    kept: dict[int, Credit] = {}
    for job in observed.jobs:
        credit = known.get(job.job_id)
        if credit is None or not job.pending:
            continue
        if credit.shape == shape_of(job):
            kept[job.job_id] = credit
            continue
        change = work.changes.get(job.job_id, JobChange())
        points = max(job.site_factor - credit.points, 0)
        work.changes[job.job_id] = replace(change, site_factor=points)
        work.events.append(
            Event(
                job_id=job.job_id,
                kind="credit-dropped",
                detail="the job changed its size, time, QOS or partition",
                at_utc=observed.now_utc,
            )
        )
    return kept | work.credits
