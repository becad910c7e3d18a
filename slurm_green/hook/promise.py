# SPDX-License-Identifier: Apache-2.0
"""The latest start that keeps every promise: the user's, the site's and Slurm's own deadline.

Slurm cancels a job that becomes eligible too late to end before its `--deadline`, so a start
counted back from a deadline leaves a margin for the queue.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from slurm_green.hook.options import Options
from slurm_green.hook.policy import Policy
from slurm_green.hook.request import Request

__all__ = ["Promise", "promise_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """The latest start, what binds it, and whether the user or only the policy asked for it."""

    latest_utc: datetime
    binding: str  # "deadline", "max-delay" or "default-delay"
    marked: bool


def promise_for(
    request: Request, options: Options, policy: Policy, *, run_s: float, margin_s: float
) -> Promise | None:
    """The promise, or None when nobody gave the job any slack.

    `run_s` is the longest the whole job may take (all waves at the time limit), `margin_s` what is
    left for the queue before a deadline. The site's `max_delay` bounds every promise.
    """
    submit_s = request.submit_utc.timestamp()
    # In seconds, not datetimes: people ask for deadlines in the year 1 and limits of 8,000 years.
    bounds = [
        (deadline.timestamp() - run_s - margin_s, "deadline")
        for deadline in (request.deadline_utc, options.deadline_utc)
        if deadline is not None
    ]
    if options.max_delay_s is not None:
        bounds.append((submit_s + options.max_delay_s, "max-delay"))
    marked = bool(bounds)
    # A deadline or a delay of the user's own is slack in its own right: the default is for others.
    if not marked and policy.default_delay_s > 0:
        bounds.append((submit_s + policy.default_delay_s, "default-delay"))
    if not bounds:
        return None
    bounds.append((submit_s + policy.max_delay_s, "max-delay"))
    latest_s, binding = min(bounds, key=lambda bound: bound[0])
    latest = datetime.fromtimestamp(max(latest_s, 0.0), UTC)
    return Promise(latest_utc=latest, binding=binding, marked=marked)
