# SPDX-License-Identifier: Apache-2.0
"""Energies into the AdminComment of ended jobs, where users read them without our ledger.

slurmctld changes no job that has ended; accounting does, in a third of a second for each. So few
are noted in a cycle, and none for a while after a failure or where it takes longer: jobs in their
hold wait for the cycle that comes next. The trap: sacctmgr writes all in lower case, so what others
wrote with capitals is left as it is.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from slurm_green.controller.observed import Observed
from slurm_green.errors import SlurmGreenError
from slurm_green.hook.record import parse, remove, with_energy
from slurm_green.ledger.energy import counted
from slurm_green.ledger.entries import JobFacts, NodeEnergy, facts_of
from slurm_green.slurm.client import SlurmClient

__all__ = ["Notes"]

_LOG = logging.getLogger(__name__)
_MOST = 10_000
_PER_CYCLE = 5
_PAUSE_S = 600.0
# Where a cycle's notes take longer, so many times as long passes before the next ones.
_PATIENCE_S, _REST = 3.0, 20.0


class Notes:
    """Jobs to note; `energies_of` gives what the ledger has of a job's nodes."""

    def __init__(
        self,
        client: SlurmClient,
        energies_of: Callable[[JobFacts], Iterable[NodeEnergy]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._energies_of = energies_of
        self._clock = clock
        self._wanted: dict[int, None] = {}
        self._again_s = clock()

    def want(self, job_ids: Iterable[int]) -> None:
        """New figures of these jobs have come."""
        for job_id in job_ids:
            if len(self._wanted) < _MOST:
                self._wanted[job_id] = None

    def write(self, observed: Observed) -> None:
        """Note some that have ended; those that Slurm has forgotten are no longer wanted."""
        if not self._wanted or not observed.info.accounting or self._clock() < self._again_s:
            return
        jobs = {job.job_id: job for job in observed.jobs if job.job_id in self._wanted}
        for job_id in [job_id for job_id in self._wanted if job_id not in jobs]:
            del self._wanted[job_id]
        over = [job for job in jobs.values() if not (job.pending or job.active) and job.submit_utc]
        began_s = self._clock()
        for job in over[:_PER_CYCLE]:
            del self._wanted[job.job_id]
            assert job.submit_utc is not None
            cluster = job.cluster or observed.info.name
            facts = replace(facts_of(job, submit_utc=job.submit_utc), cluster=cluster)
            try:
                found = counted(facts, self._energies_of(facts))
                if found.boards_j is not None and _survives(job.admin_comment):
                    source = "+".join(found.sources)
                    text = with_energy(job.admin_comment, found.boards_j, source)
                    self._client.note(job.job_id, cluster, text)
            except SlurmGreenError as error:
                _LOG.warning("energies are not noted in accounting for now: %s", error)
                self._again_s = self._clock() + _PAUSE_S
                return
            if (took_s := self._clock() - began_s) > _PATIENCE_S:
                _LOG.debug("accounting took %.0f s to note energies, it has a rest", took_s)
                self._again_s = self._clock() + min(_REST * took_s, _PAUSE_S)
                return


def _survives(text: str) -> bool:
    """Whether nothing is lost when it becomes lower case; our own record reads the same."""
    others = remove(text)
    return others == others.lower() and parse(text) == parse(text.lower())
