# SPDX-License-Identifier: Apache-2.0
"""Carries out what the core decided on real GPUs and files, and says what came of it.

The trap: a job must not suffer from any of this, so a failure is an outcome or a log line.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from profiling.device.apply import Applied, Setting
from profiling.device.gpu import Gpu, RefusedError
from profiling.device.journal import Journal
from profiling.device.lease import Lease
from profiling.errors import DeviceError
from slurm_green.node.books import Begun, Books
from slurm_green.node.energy import JobEnergy, source_of, used_j
from slurm_green.node.events import (
    Action,
    Close,
    Free,
    Freed,
    Held,
    Hold,
    Kept,
    Open,
    Outcome,
    Refused,
)
from slurm_green.node.state import Job

__all__ = ["Actuator"]

_LOG = logging.getLogger(__name__)


class Actuator:
    """The hands of one node."""

    def __init__(
        self,
        gpus: Mapping[str, Gpu],
        *,
        journal: Journal,
        books: Books,
        default: Setting,
        node: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.gpus = gpus
        self.applied: dict[str, Applied] = {}  # what came of the last setting
        self._books = books
        self._node = node
        self._now = now
        self._leases = {
            uuid: Lease(gpu, journal, default=default, holder="sgreen-noded")
            for uuid, gpu in gpus.items()
        }
        self._begun: dict[int, Begun] = {}
        self._failing: set[str] = set()

    def begun(self) -> tuple[Begun, ...]:
        """Jobs that an earlier life of ours left open."""
        found = tuple(self._books.begun())
        self._begun |= {one.job_id: one for one in found}
        return found

    def run(self, action: Action) -> Outcome | None:
        """Carry out one action."""
        match action:
            case Hold(uuid, setting, job_id):
                return self._hold(uuid, setting, job_id)
            case Free(uuid):
                return self._free(uuid)
            case Open(job):
                self._open(job)
            case Close(job_id, unknown):
                self._close(job_id, unknown)
        return None

    def energies_j(self, uuids: Iterable[str]) -> dict[str, float | None]:
        """The counters of these GPUs; None where one does not tell, or is gone."""
        found: dict[str, float | None] = {}
        for uuid in uuids:
            try:
                found[uuid] = self.gpus[uuid].energy_j() if uuid in self.gpus else None
            except RefusedError:
                found[uuid] = None
        return found

    def _hold(self, uuid: str, setting: Setting, job_id: int) -> Outcome:
        lease = self._leases[uuid]
        # A governor sets many times a second: only the first one is news.
        level = logging.DEBUG if lease.held else logging.INFO
        try:
            applied = self.applied[uuid] = lease.set(setting)
        except DeviceError as error:
            _LOG.error("job %d: %s is only observed: %s", job_id, uuid, error)
            return Refused(uuid, str(error), lease.held)
        words = "; ".join(applied.reasons)
        if applied.accepted == Setting():
            _LOG.warning("job %d: %s: %s", job_id, uuid, words)
            return Refused(uuid, words, lease.held)
        shown = f"{_words(setting)}; {words}" if words else _words(setting)
        _LOG.log(level, "job %d: %s set to %s", job_id, uuid, shown)
        return Held(uuid, setting)

    def _free(self, uuid: str) -> Outcome:
        try:
            self._leases[uuid].release()
        except DeviceError as error:
            if uuid not in self._failing:  # a lost GPU stays lost for days
                _LOG.error("%s is not restored, and will be tried again: %s", uuid, error)
            self._failing.add(uuid)
            return Kept(uuid)
        self._failing.discard(uuid)
        self.applied.pop(uuid, None)
        _LOG.info("%s restored", uuid)
        return Freed(uuid)

    def _open(self, job: Job) -> None:
        begun = Begun(
            job_id=job.job_id,
            uid=job.uid,
            begin_utc=self._now(),
            energy_j=self.energies_j(job.gpus),
        )
        self._begun[job.job_id] = begun
        try:
            self._books.begin(begun)
        except OSError as error:
            _LOG.error("job %d: a restart will not know of it: %s", job.job_id, error)

    def _close(self, job_id: int, unknown: str) -> None:
        begun = self._begun.pop(job_id)
        end_utc = self._now()
        energy_j, why = None, unknown
        if not unknown:
            elapsed_s = (end_utc - begun.begin_utc).total_seconds()
            energy_j, why = used_j(begun.energy_j, self.energies_j(begun.energy_j), elapsed_s)
        energy = JobEnergy(
            job_id=job_id,
            node=self._node,
            begin_utc=begun.begin_utc,
            end_utc=end_utc,
            gpus=tuple(begun.energy_j),
            energy_j=energy_j,
            source=source_of(
                self.gpus[uuid].identity for uuid in begun.energy_j if uuid in self.gpus
            ),
            why=why,
        )
        try:
            try:
                self._books.account(energy)
            finally:
                # It has ended all the same: no later life may take it for one that runs.
                self._books.forget(job_id)
        except OSError as error:
            _LOG.error("job %d: its end is not on disk: %s", job_id, error)
        shown = "unknown" if energy_j is None else f"{energy_j:.0f} J"
        _LOG.info("job %d ended: %s (%s)%s", job_id, shown, energy.source, why and f", {why}")


def _words(setting: Setting) -> str:
    clock = f"at most {setting.clock_mhz} MHz" if setting.clock_mhz is not None else ""
    limit = f"{setting.power_limit_w:g} W" if setting.power_limit_w is not None else ""
    return " and ".join(filter(None, [clock, limit]))
