# SPDX-License-Identifier: Apache-2.0
"""Why a job was not deferred, as far as its own record and the configuration can tell.

The submit hook's own reason is not kept in a job it did not touch, so this asks the same pure
rules again; what depended on that moment (room, forecast) is said to be unknown.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from slurm_green.config.settings import Config
from slurm_green.controller.state import Stage, Tracked, was_deferred
from slurm_green.hook.decide import exclusion
from slurm_green.hook.options import parse_options
from slurm_green.hook.promise import Promise, promise_for
from slurm_green.hook.record import LOOK
from slurm_green.hook.request import request_of
from slurm_green.hook.view import View
from slurm_green.slurm.records import Job
from slurm_green.words import length, when

__all__ = ["SENTENCES", "why_let_go", "why_not"]

SENTENCES = {
    "opted-out": "its comment says off",
    "switched-off": "slurm-green is switched off (sgreen off)",
    "interactive": "it is interactive (srun or salloc)",
    "heterogeneous": "it is a heterogeneous job, and those are left alone",
    "held": "it is held",
    "restarted": "it was requeued, and a requeued job is never deferred again",
    "begin-set": "it has a begin time of its own",
    "reservation": "it runs in a reservation",
    "dependent": "it depends on other jobs",
    "excluded-user": "its user is excluded by the site",
    "excluded-account": "its account is excluded by the site",
    "excluded-qos": "its QOS is excluded by the site",
    "excluded-name": "its name is one of those the site excludes",
    "bad-options": "the options in its comment cannot be understood",
}


def why_let_go(one: Tracked, config: Config, *, off: bool, now_utc: datetime) -> tuple[str, str]:
    """Why a job that was held at submission was not deferred after all: a code and a clause.

    Empty where it was, or where that is still open.
    """
    begin, record = one.job.eligible_utc, one.record
    if begin is None or begin > now_utc or one.stage not in {Stage.HOLDING, Stage.RELEASED}:
        return "", ""
    held = length(config.hook.hold_s)
    hold_end = record.decided_utc + timedelta(seconds=config.hook.hold_s)
    if record.policy == LOOK:
        return "looked-at", f"was held for {held} to look for a --deadline, and not deferred"
    if begin < hold_end:
        # Its begin time is the moment it was let go, and none of the user's.
        own = replace(one.job, eligible_utc=one.job.submit_utc)
        code, clause = why_not(own, config, off=off, now_utc=now_utc)
        return code, f"was let go as soon as the queue showed all of it: {clause}"
    if not was_deferred(one.job, record, config.hook.hold_s):
        return "not-confirmed", (
            f"was not confirmed within its hold of {held} (sgreend was down or too busy), "
            "so it was not deferred"
        )
    return "", ""


def why_not(job: Job, config: Config, *, off: bool, now_utc: datetime) -> tuple[str, str]:
    """A stable code and a clause for people."""
    later = (
        job.eligible_utc is not None
        and job.submit_utc is not None
        # Within the hold it was ours, taken back after a look.
        and job.eligible_utc - job.submit_utc > timedelta(seconds=config.hook.hold_s)
        and not job.dependency
    )
    # One that was cancelled before its begin time never came to it.
    until = now_utc if job.pending or job.end_utc is None else job.end_utc
    coming = job.eligible_utc is not None and job.eligible_utc > until
    request = request_of(job, begin_set=later and coming)
    if request is None:
        return "unknown", "Slurm does not say when it was submitted"
    policy = config.policy_for(job.partition, job.qos)
    general = config.general
    options = parse_options(
        job.comment, prefix=general.comment_prefix, now_utc=request.submit_utc, zone=general.zone
    )
    view = View(taken_utc=now_utc, partitions={}, off=off, comment_prefix=general.comment_prefix)
    refused = exclusion(request, options, policy, view)
    if refused is not None:
        clause = SENTENCES.get(refused.reason, refused.reason)
        return refused.reason, f"{clause}: {options.errors[0]}" if options.errors else clause
    if policy.mode != "enforce":
        names = job.partition.split(",")
        shadowed = [n for n in names if config.policy_for(n, job.qos).mode != "enforce"]
        return "shadow", f"partition {shadowed[0] or '(none)'} is in shadow mode"
    if job.time_limit_s is None:
        return "no-time-limit", "it has no time limit (--time)"
    promise = promise_for(
        request,
        options,
        policy,
        run_s=float(job.time_limit_s),
        margin_s=policy.margin_floor_s,
    )
    if promise is None:
        return "no-slack", (
            "nothing gives it time to wait: no --deadline, no "
            f"--comment={general.comment_prefix}max-delay=..., and no default delay here"
        )
    if promise.latest_utc <= request.submit_utc:
        return "no-slack-left", _no_slack_left(promise, job.time_limit_s, policy.margin_floor_s)
    if job.time_limit_s < policy.min_length_s and not options.marked:
        clause = "it is shorter than the site finds worth deferring"
        if promise.marked:
            clause += (
                ", and a --deadline on the command line is not looked for in short jobs "
                f"(--comment={general.comment_prefix}deadline=... asks for it)"
            )
        return "short", clause
    if later and job.eligible_utc is not None:
        # Slurm has forgotten why once it has come, and whether that was known at the submission.
        came = when(job.eligible_utc, general.zone)
        return "eligible-later", (
            f"it was not eligible before {came} for a reason of its own "
            "(--begin, a hold, other jobs, the limit of its array or a requeue); "
            "if that came after its submission, starting at once was best then"
        )
    return "at-once", (
        "starting at once was best or the only safe choice when it was submitted "
        "(no cleaner window, a full cluster, or no answer in time)"
    )


def _no_slack_left(promise: Promise, limit_s: float, margin_s: float) -> str:
    if promise.binding != "deadline":
        return "it may not wait at all"
    return (
        f"its deadline leaves no time to wait, with up to {length(limit_s)} to run "
        f"and {length(margin_s)} kept for the queue"
    )
