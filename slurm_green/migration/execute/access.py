# SPDX-License-Identifier: Apache-2.0
"""What a move needs of a site: its Slurm and the job's files, both as the job's own user. Pure.

Every call may be repeated. Calls raise SlurmError when the site does not do it or does not answer;
then nobody knows whether it was done.
"""

from dataclasses import dataclass
from typing import Protocol

from slurm_green.migration.execute.record import Order

__all__ = [
    "Copy",
    "Listing",
    "Manifest",
    "Seen",
    "SiteAccess",
    "claim_of",
    "old_of",
    "staging_of",
]

_RUNNING = frozenset({"RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING"})
_FAILED = frozenset({"FAILED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "DEADLINE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A job as its cluster shows it."""

    job_id: int
    state: str
    held: bool = False
    later: bool = False
    """It waits for its begin time."""
    soon: bool = False
    """That is only minutes away, by our clock."""
    started: str = ""
    """When it started, by its cluster's clock: another moment is another start."""
    restarts: int = 0
    """How often it was queued anew."""
    ran_s: float | None = None
    """How long a job that has ended ran, by its cluster's clock; None where it does not say."""

    @property
    def parked(self) -> bool:
        """Waiting, and not to start by itself for now."""
        return self.pending and (self.held or self.later)

    @property
    def pending(self) -> bool:
        """Waiting, held or not."""
        return self.state == "PENDING"

    @property
    def active(self) -> bool:
        """Something of it may still be at work."""
        return self.state in _RUNNING

    @property
    def changing(self) -> bool:
        """Its nodes are being started, or it is being ended: soon it is something else."""
        return self.state in {"CONFIGURING", "COMPLETING"}

    @property
    def ended(self) -> bool:
        """It will not run again."""
        return not self.pending and not self.active

    @property
    def refused(self) -> bool:
        """Its start failed (a prolog, its launch): Slurm has queued it anew and holds it."""
        return self.pending and self.held and self.restarts > 0

    def failed_within(self, limit_s: float) -> bool:
        """Whether it ended badly, by itself or by Slurm, so soon after its start."""
        return self.state in _FAILED and self.ran_s is not None and self.ran_s < limit_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Names, sizes and times of a checkpoint's files as one digest, to see them change."""

    digest: str
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Contents of a checkpoint's files as one digest."""

    digest: str
    bytes: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A transfer to start: where from, where to, how fast, and whether contents are compared.

    With a `store` it ends there, or `fetch`es from there. With `delta` only what has changed of a
    file is sent.
    """

    directory: str
    target: str
    token: str
    reach: str
    kib_per_s: int
    limit_s: float
    compare: bool
    store: str = ""
    fetch: bool = False
    delta: bool = True


class SiteAccess(Protocol):
    """One site, as one user."""

    @property
    def name(self) -> str:
        """Its name in the sites file."""

    @property
    def reach(self) -> str:
        """What rsync writes before a path there; "" where it is this machine's."""

    def look(self, job_id: int) -> Seen | None:
        """The job; None when the cluster knows of none."""

    def past(self, job_id: int, since_s: float) -> Seen | None:
        """How a job ended that the cluster no longer shows; None where it keeps no accounting.

        `since_s` is before its end, by our clock.
        """

    def named(self, token: str) -> list[Seen]:
        """The caller's jobs under this token, ended ones too while Slurm knows them."""

    def claim(self, directory: str, token: str) -> bool:
        """Take the job's checkpoint for the move; False where another move has it."""

    def unclaim(self, directory: str, *tokens: str) -> None:
        """Let go of what these moves of one job took; what another one took stays."""

    def signal(self, job_id: int, signal: str) -> None:
        """Send it to the job's steps, or with `B:` to its batch script."""

    def stop(self, job_id: int) -> None:
        """Back into the queue, not to start at once; nothing where it has ended."""

    def release(self, job_id: int, *, at_once: bool) -> None:
        """Let it start; `at_once` for one that was stopped while it ran."""

    def park(self, job_id: int, lease_s: float) -> None:
        """A held job, or a parked one again: it starts by itself, but not before that."""

    def hold(self, job_id: int) -> None:
        """Keep a waiting job from starting."""

    def note(self, job_id: int) -> None:
        """Let the cluster write down how the job is: a start alone it may not for minutes."""

    def cancel(self, job_id: int) -> None:
        """End it."""

    def submit(self, order: Order, token: str) -> int:
        """A held job under this token; its id."""

    def route(self, job_id: int, cluster: str) -> None:
        """Where a federated job may run."""

    def listing(self, directory: str) -> Listing:
        """The checkpoint from outside; no files where there is no such directory."""

    def manifest(self, directory: str) -> Manifest:
        """The checkpoint from inside; reads all of it."""

    def prepare(self, target: str, token: str) -> int:
        """Make the place for a transfer; the bytes that are free there."""

    def copy(self, copy: Copy) -> None:
        """Start a transfer as a job of this site, under the token."""

    def unstore(self, url: str) -> None:
        """Remove what a transfer left in an object store."""

    def arrived(self, target: str, token: str) -> int:
        """Bytes that are there of a transfer."""

    def place(self, target: str, token: str) -> None:
        """What was transferred becomes the checkpoint; the one before it is kept aside."""

    def sweep(self, target: str, token: str) -> None:
        """Remove what a transfer left, its logs, and the checkpoint kept aside."""


def staging_of(target: str, token: str) -> str:
    """Where a transfer arrives: beside its target, so that one rename puts it there."""
    return _beside(target, f"sgreen-{token}")


def old_of(target: str, token: str) -> str:
    """Where the checkpoint that was there before is kept meanwhile."""
    return _beside(target, f"sgreen-{token}.old")


def claim_of(directory: str, token: str) -> str:
    """What says which move has the job: one for all moves of it."""
    job, _, _ = token.rpartition("-")
    return _beside(directory, f"sgreen-{job}")


def _beside(target: str, suffix: str) -> str:
    parent, _, name = target.rstrip("/").rpartition("/")
    return f"{parent}/.{name}.{suffix}"
