# SPDX-License-Identifier: Apache-2.0
"""When the next plan is due: at an interval, and sooner when what it rests on has changed. Pure."""

from dataclasses import dataclass, field
from datetime import datetime

from slurm_green.controller.observed import Observed

__all__ = ["PlanPace"]

# At most so many plans in an interval.
_MOST_OFTEN = 10
# So many jobs came or went, and such a share of them: the old plan is about others.
_MANY, _SHARE = 5, 0.1


@dataclass(kw_only=True)
class PlanPace:
    """Remembers what the last plan was asked about; times are POSIX seconds."""

    interval_s: float
    _asked_s: float | None = None
    _signal: tuple[datetime, int] | None = None
    _jobs: frozenset[int] = field(default_factory=frozenset)
    _waiting: frozenset[int] = field(default_factory=frozenset)

    def due(self, observed: Observed, waiting: frozenset[int]) -> bool:
        """Whether to ask for a plan now; `waiting` are jobs that it would be about."""
        if self._asked_s is None:
            return True
        since_s = observed.now_utc.timestamp() - self._asked_s
        # Below 0 the clock was set back: what it said before says nothing of how long ago it is.
        if not 0.0 <= since_s < self.interval_s:
            return True
        if since_s < self.interval_s / _MOST_OFTEN:
            return False
        # Its window may come before the interval is over.
        if waiting - self._waiting:
            return True
        changed = len(_jobs(observed) ^ self._jobs)
        many = changed >= max(_MANY, _SHARE * len(self._jobs))
        return many or _forecast(observed) != self._signal

    def asked(self, observed: Observed, waiting: frozenset[int]) -> None:
        """A plan was asked for."""
        self._waiting = waiting
        self._asked_s = observed.now_utc.timestamp()
        self._signal = _forecast(observed)
        self._jobs = _jobs(observed)


def _jobs(observed: Observed) -> frozenset[int]:
    return frozenset(job.job_id for job in observed.jobs if job.pending or job.active)


def _forecast(observed: Observed) -> tuple[datetime, int] | None:
    """What changes with a new forecast, and with the slot that it begins in."""
    signal = observed.signal
    if signal is None:
        return None
    slot = int((observed.now_utc.timestamp() - float(signal.edges_s[0])) // signal.step_s)
    return signal.issued_utc, slot
