# SPDX-License-Identifier: Apache-2.0
"""Who may have what set on which GPU. Pure.

The trap: an answer must not tell a stranger which jobs there are, so "not yours" and "no such job"
are the same words.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from profiling.device.apply import Setting
from slurm_green.node.core import users_of
from slurm_green.node.state import State

__all__ = ["Allowed", "clock_refusal", "user_refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What one GPU may be set to: what it can, within what the site allows; None is nothing."""

    clocks_mhz: tuple[int, int] | None
    limits_w: tuple[float, float] | None


def clock_refusal(allowed: Allowed, setting: Setting) -> str | None:
    """Why a GPU may not have a setting; None when it may."""
    for name, unit, value, bounds in (
        ("clock_mhz", "MHz", setting.clock_mhz, allowed.clocks_mhz),
        ("power_limit_w", "W", setting.power_limit_w, allowed.limits_w),
    ):
        if value is None:
            continue
        if bounds is None:
            return f"{name} {value:g}: cannot be set on this GPU"
        if not bounds[0] <= value <= bounds[1]:
            return f"{name} {value:g}: allowed are {bounds[0]:g} to {bounds[1]:g} {unit}"
    return None


def user_refusal(
    state: State,
    *,
    uid: int,
    peer_job: int | None,
    job_id: int,
    uuids: Iterable[str],
    now_s: float,
) -> str | None:
    """Why a user's process may not ask for GPUs of a job; `peer_job` is the job it runs in.

    A process of one job may not touch another job's GPUs, not even those of the same user.
    """
    job = state.jobs.get(job_id)
    stranger = job is None or uid not in (0, job.uid) or peer_job not in (None, job_id)
    if job is None or stranger or not set(uuids) <= set(job.gpus):
        return f"job {job_id} is not yours, not live here, or has no such GPU"
    if any(users_of(state, uuid, now_s) != [job] for uuid in uuids):
        return "a GPU is shared with another job, or the job has ended"
    if job.plan is not None and job.plan.own:
        return f"job {job_id} chose its clocks by --gpu-freq"
    return None
