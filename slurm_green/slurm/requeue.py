# SPDX-License-Identifier: Apache-2.0
"""What Slurm makes of a job that is requeued: a new submission, with the same number."""

from datetime import datetime, timedelta

__all__ = ["submitted_anew"]

# A job is decided on seconds after its submission, by a clock that may be seconds behind.
_SOON = timedelta(seconds=60)


def submitted_anew(submit_utc: datetime, decided_utc: datetime) -> bool:
    """Whether it was submitted again since: what was decided is about its run before."""
    return submit_utc > decided_utc + _SOON
