# SPDX-License-Identifier: Apache-2.0
"""Why a job was not deferred, as far as its own record and the configuration can tell.

The submit hook's own reason is not kept in a job it did not touch, so this asks the same pure
rules again; what depended on that moment (room, forecast) is said to be unknown.
"""

from datetime import datetime, timedelta

from slurm_green.config.settings import Config
from slurm_green.hook.decide import exclusion
from slurm_green.hook.options import parse_options
from slurm_green.hook.promise import promise_for
from slurm_green.hook.request import request_of
from slurm_green.hook.view import View
from slurm_green.slurm.records import Job

__all__ = ["SENTENCES", "why_not"]

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


def why_not(job: Job, config: Config, *, off: bool, now_utc: datetime) -> tuple[str, str]:
    """A stable code and a clause for people."""
    begin_set = (
        job.eligible_utc is not None
        and job.submit_utc is not None
        and job.eligible_utc - job.submit_utc > timedelta(seconds=1)
        and not job.dependency
    )
    request = request_of(job, begin_set=begin_set and job.pending)
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
        return "shadow", f"partition {job.partition or '(none)'} is in shadow mode"
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
        return "no-slack-left", "its deadline leaves no time to wait"
    if job.time_limit_s < policy.min_length_s and not promise.marked:
        return "short", "it is shorter than the site finds worth deferring"
    return "at-once", (
        "starting at once was best or the only safe choice when it was submitted "
        "(no cleaner window, a full cluster, or no answer in time); sgreend's log has the reason"
    )
