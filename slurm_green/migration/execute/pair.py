# SPDX-License-Identifier: Apache-2.0
"""The two sites of a move, and where its job is to be looked for. Pure."""

from dataclasses import dataclass

from slurm_green.migration.execute.access import Seen, SiteAccess
from slurm_green.migration.execute.record import MoveRecord, Way

__all__ = ["Pair", "Wait"]

_ELSEWHERE = "REVOKED"  # a federated job's record where it does not run


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now, and why; perhaps something to write down first."""

    why: str
    record: MoveRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Source and destination, and in a federation the site that keeps the job's record."""

    source: SiteAccess
    destination: SiteAccess
    origin: SiteAccess | None = None

    @property
    def keeper(self) -> SiteAccess:
        """Where the job of the source is changed."""
        return self.origin or self.source

    def here(self, move: MoveRecord) -> Seen | None:
        """The job that was to be moved."""
        if move.way is Way.RESUBMIT:
            return self.source.look(move.job_id)
        return self._federated(move)

    def there(self, move: MoveRecord) -> Seen | None:
        """The job at the destination: its copy, or in a federation the same."""
        if move.way is Way.RESUBMIT:
            return None if move.new_job is None else self.destination.look(move.new_job)
        return self._federated(move)

    def ended_there(self, move: MoveRecord) -> Seen | None:
        """How its copy ended, long enough ago for the destination's Slurm to have forgotten it."""
        if move.way is Way.FEDERATION or move.new_job is None:
            return None
        return self.destination.past(move.new_job, move.began_s)

    def _federated(self, move: MoveRecord) -> Seen | None:
        """The record of the cluster that has it: the one at work, else the one that waits."""
        sites = {site.name: site for site in (self.keeper, self.source, self.destination)}
        seen = [job for site in sites.values() if (job := site.look(move.job_id)) is not None]
        own = [job for job in seen if job.state != _ELSEWHERE]
        for kind in ("active", "pending"):
            if found := [job for job in own if getattr(job, kind)]:
                return found[0]
        return own[0] if own else None
