# SPDX-License-Identifier: Apache-2.0
"""Two small clusters that keep the rules, one job that trains, and faults at any call.

Every moment it is checked that no two of the job compute, and that it goes on from the newest
checkpoint that was ever written, wherever it goes on.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from slurm_green.errors import SlurmError
from slurm_green.migration.execute.access import (
    Copy,
    Listing,
    Manifest,
    Seen,
    claim_of,
    staging_of,
)
from slurm_green.migration.execute.drive import step_once
from slurm_green.migration.execute.journal import Journal
from slurm_green.migration.execute.pair import Pair
from slurm_green.migration.execute.record import Limits, MoveRecord, Order, Way

__all__ = ["CHECKPOINT", "LONG", "FakeJob", "Fault", "Killed", "MemoryJournal", "World"]

T = TypeVar("T")
CHECKPOINT = "/data/run"
LONG = 10_000
LIMITS = Limits(
    signal_s=20,
    again_s=5,
    stop_s=20,
    copy_s=60,
    other_s=20,
    start_s=40,
    copies=3,
    kib_per_s=100,
    lease_s=30,
)


class Killed(BaseException):
    """SIGKILL to the process that moves."""


class Fault(StrEnum):
    """What goes wrong at a call."""

    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    FAILS = "fails"
    TIMES_OUT = "times out"  # it was done, and nobody knows


@dataclass
class FakeJob:
    """A job of one cluster; a federated one of both."""

    job_id: int
    tokens: tuple[str, ...] = ()
    state: str = "PENDING"
    held: bool = False
    progress: int = 0
    asked: bool = False
    copy: Copy | None = None
    begin_s: float = 0.0
    ticks: int = 0
    cluster: str = "a"
    fresh: bool = False  # its begin time is so new that no scheduler has looked at it
    fails_s: float | None = None  # its next start fails after so long
    starts: int = 0
    restarts: int = 0
    noted: bool = True  # its start is written down; else it is not, however long ago

    @property
    def alive(self) -> bool:
        return self.state in {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}


class MemoryJournal(Journal):
    """What a disk would hold; a process can die on either side of a write."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.records: dict[str, MoveRecord] = {}

    def save(self, record: MoveRecord) -> None:
        self.world.call("journal", lambda: self.records.update({record.token: record}))

    def load(self, token: str) -> MoveRecord:
        return MoveRecord.from_json(json.loads(json.dumps(self.records[token].to_json())))


class World:
    """Both clusters, the link, the clock and what is still to go wrong."""

    def __init__(
        self,
        *,
        way: Way = Way.RESUBMIT,
        faults: dict[int, Fault] | None = None,
        pending: bool = False,
        total: int = LONG,
        store: str = "",
    ) -> None:
        self.way = way
        self.faults = faults or {}
        self.calls: list[str] = []
        self.now_s = 1000.0
        self.numbers = itertools.count(1)
        self.newest = 0
        self.total = total
        self.down: set[str] = set()
        self.bad_copies: set[int] = set()
        self.failing_copies: set[int] = set()
        self.copy_ticks = 2
        self.free_bytes = 1_000_000
        self.can_start: dict[str, bool] = {"a": True, "b": True}
        self.sites = {name: FakeSite(self, name) for name in "ab"}
        self.job = self.sites["a"].add(FakeJob(next(self.numbers)))
        if not pending:
            self.job.state = "RUNNING"
        self.journal = MemoryJournal(self)
        self.events: dict[int, Callable[[], None]] = {}
        self.before_call: dict[int, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}
        self.stop_ticks = 1
        self.store: dict[str, int] = {}
        self.unwanted: Callable[[MoveRecord], str] = lambda _: ""
        self.past: dict[str, list[dict[int, tuple[str, bool]]]] = {"a": [{}], "b": [{}]}
        self.ticks = 0
        self.accounting = True
        self.clocks_s: dict[str, float] = {}  # how far those of the sites are ahead
        record = MoveRecord(
            token="m1-abc",
            way=way,
            job_id=self.job.job_id,
            user="u",
            source="a",
            destination="b",
            directory=CHECKPOINT,
            target=CHECKPOINT,
            store=store,
            signal="USR1",
            order=None if way is Way.FEDERATION else Order(options=(), comment="", script=""),
            limits=LIMITS,
            since_s=self.now_s,
            began_s=self.now_s,
        )
        self.journal.records[record.token] = record

    @property
    def pair(self) -> Pair:
        origin = self.sites["a"] if self.way is Way.FEDERATION else None
        return Pair(source=self.sites["a"], destination=self.sites["b"], origin=origin)

    def call(self, name: str, does: Callable[[], T], site: str = "") -> T:
        number = len(self.calls)
        fault = self.faults.get(number)
        self.calls.append(name)
        if event := self.before_call.get(number):
            event()
        if site in self.down:
            raise SlurmError(f"{site} is down")
        if fault is Fault.DIES_BEFORE:
            raise Killed
        if fault is Fault.FAILS and name != "journal":
            raise SlurmError(f"{name} failed")
        try:
            result = does()
        except KeyError as error:
            raise SlurmError(f"{site}: invalid job id {error}") from error
        if event := self.after.pop(name, None):
            event()
        if fault is Fault.DIES_AFTER:
            raise Killed
        if fault is Fault.TIMES_OUT and name != "journal":
            raise SlurmError(f"{name} timed out")
        return result

    def run(self, ticks: int = 400) -> MoveRecord:
        """Until the move is settled, starting the process anew whenever it dies."""
        move = self.journal.load("m1-abc")
        for _ in range(ticks):
            try:
                move, _ = step_once(
                    move, self.pair, self.journal, lambda: self.now_s, self.unwanted
                )
            except Killed:
                move = self.journal.load("m1-abc")
            if move.settled and not any(at > self.ticks for at in self.events):
                break
            self.tick()
        else:
            raise AssertionError(f"not settled: {move}")
        for _ in range(5):
            self.tick()
        return move

    def once(self, ticks: int = 100) -> None:
        """The same by a process that nobody starts anew."""
        move = self.journal.load("m1-abc")
        for _ in range(ticks):
            move, _ = step_once(move, self.pair, self.journal, lambda: self.now_s)
            self.tick()

    def tick(self) -> None:
        self.now_s += 1.0
        self.ticks += 1
        if event := self.events.get(self.ticks):
            event()
        for site in self.sites.values():
            for job in list(site.own()):
                job.fresh = False
                (self.train if job.copy is None else self.carry)(site, job)
        for name, site in self.sites.items():
            now = {
                job.job_id: (job.state if job.noted else "PENDING", job.held)
                for job in site.jobs.values()
            }
            self.past[name] = [*self.past[name], now][-4:]
        assert len(self.running) <= 1, "two of the job compute"
        copies = [job for job in self.jobs() if job.tokens]
        assert len(copies) <= 1, "two copies were submitted"
        transfers = [j for j in self.sites["a"].jobs.values() if j.copy is not None and j.alive]
        assert len(transfers) <= 1, "two transfers at once"

    def forget(self, name: str, *, refuses: bool = False) -> None:
        """A slurmctld that is killed comes back with what it knew some moments ago.

        What ran then and does not now is queued anew; what was submitted since is unknown.
        A start that it has forgotten is ended, and the next perhaps refused, for good.
        """
        site, known = self.sites[name], self.past[name][0]
        for job_id, job in list(site.jobs.items()):
            if job_id not in known:
                del site.jobs[job_id]
                continue
            was, held = known[job_id]
            if was != job.state or held != job.held:
                if refuses and (was, job.state) == ("PENDING", "RUNNING"):
                    job.fails_s = 0.0
                job.state = "PENDING" if was in {"RUNNING", "COMPLETING"} else was
                job.held = held

    def purge(self) -> None:
        """Minutes have passed: Slurm shows no more of what has ended."""
        for site in self.sites.values():
            for job in [one for one in site.jobs.values() if not one.alive]:
                site.gone[job.job_id] = site.jobs.pop(job.job_id)

    def train(self, site: "FakeSite", job: FakeJob) -> None:
        if job.state == "COMPLETING":
            job.ticks += 1
            if job.ticks >= self.stop_ticks:
                job.state, job.ticks = "PENDING", 0
        elif (
            job.state == "PENDING"
            and not job.held
            and self.can_start[site.name]
            and job.begin_s <= self.now_s
        ):
            job.state = "RUNNING" if job.fails_s is None else "FAILED"
            job.noted = not job.tokens or job.fails_s is not None
            job.starts += 1
            if job.fails_s is not None:
                return
            loaded = site.files.get(CHECKPOINT, 0)
            assert loaded == self.newest, f"went on from {loaded} and not from {self.newest}"
            job.progress = self.newest
        elif job.state == "RUNNING":
            job.progress += 1
            if job.asked or job.progress >= self.total:
                job.asked = False
                self.newest = site.files[CHECKPOINT] = job.progress
            if job.progress >= self.total:
                job.state, job.noted = "COMPLETED", True

    def carry(self, site: "FakeSite", job: FakeJob) -> None:
        assert job.copy is not None
        number = int(job.tokens[0].rpartition(".")[2][1:])
        if job.state == "PENDING":
            job.state = "RUNNING"
        elif job.state == "RUNNING":
            job.ticks += 1
            if job.ticks >= self.copy_ticks:
                job.state = "FAILED" if number in self.failing_copies else "COMPLETED"
                good = number not in (self.bad_copies | self.failing_copies)
                files, staging = self.sites["b"].files, staging_of(job.copy.target, "m1-abc")
                if job.copy.fetch:
                    files[staging] = self.store[job.copy.store]
                    return
                value = site.files[job.copy.directory]
                value = value if good else -value
                if job.copy.store:
                    self.store[job.copy.store] = value
                else:
                    files[staging] = value

    def jobs(self) -> list[FakeJob]:
        """Every copy of the training, not the transfers."""
        found = {id(j): j for s in self.sites.values() for j in s.jobs.values() if j.copy is None}
        return list(found.values())

    @property
    def running(self) -> list[FakeJob]:
        return [job for job in self.jobs() if job.state in {"RUNNING", "COMPLETING"}]

    @property
    def alive(self) -> list[FakeJob]:
        return [job for job in self.jobs() if job.alive]


@dataclass
class FakeSite:
    """SiteAccess to one of them."""

    world: World
    name: str
    reach: str = ""
    jobs: dict[int, FakeJob] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    gone: dict[int, FakeJob] = field(default_factory=dict)

    def add(self, job: FakeJob) -> FakeJob:
        job.cluster = self.name
        shared = self.world.way is Way.FEDERATION and job.copy is None
        for site in getattr(self.world, "sites", {}).values() if shared else [self]:
            site.jobs[job.job_id] = job
        return job

    def own(self) -> list[FakeJob]:
        return [job for job in self.jobs.values() if job.cluster == self.name]

    def _do(self, name: str, does: Callable[[], T]) -> T:
        return self.world.call(f"{self.name}.{name}", does, self.name)

    def _seen(self, job: FakeJob) -> Seen:
        state = job.state if job.cluster == self.name else "REVOKED"
        waits = state == "PENDING"
        # As CommandAccess reads it: Slurm's word where there is one, else its clock against ours.
        begin_s = job.begin_s
        if job.fresh:
            begin_s = max(begin_s, self.world.now_s) + self.world.clocks_s.get(self.name, 0.0)
        later = waits and not job.held and begin_s > self.world.now_s
        soon = later and begin_s < self.world.now_s + 600
        return Seen(
            job_id=job.job_id,
            state=state,
            held=job.held and waits,
            later=later,
            soon=soon,
            started=f"start {job.starts}",
            restarts=job.restarts,
            ran_s=job.fails_s,
        )

    def look(self, job_id: int) -> Seen | None:
        job = self.jobs.get(job_id)
        return self._do("look", lambda: None if job is None else self._seen(job))

    def past(self, job_id: int, since_s: float) -> Seen | None:
        job = self.gone.get(job_id) if self.world.accounting else None
        return self._do("past", lambda: None if job is None else self._seen(job))

    def named(self, token: str) -> list[Seen]:
        found = [job for job in self.jobs.values() if token in job.tokens]
        return self._do("named", lambda: [self._seen(job) for job in found])

    def claim(self, directory: str, token: str) -> bool:
        path = claim_of(directory, token)
        return self._do("claim", lambda: self.claims.setdefault(path, token) == token)

    def unclaim(self, directory: str, *tokens: str) -> None:
        def does() -> None:
            path = claim_of(directory, tokens[0])
            if self.claims.get(path) in tokens:
                del self.claims[path]

        self._do("unclaim", does)

    def signal(self, job_id: int, signal: str) -> None:
        def does() -> None:
            self.jobs[job_id].asked |= self.jobs[job_id].state == "RUNNING"

        self._do("signal", does)

    def stop(self, job_id: int) -> None:
        def does() -> None:
            job = self.jobs[job_id]
            if job.state == "RUNNING":
                job.state, job.asked = "COMPLETING", False
                job.held = self.world.way is Way.FEDERATION
                job.begin_s = self.world.now_s + 12
            elif job.state == "PENDING":
                job.held = True

        self._do("stop", does)

    def park(self, job_id: int, lease_s: float) -> None:
        def does() -> None:
            job = self.jobs[job_id]
            if job.state != "PENDING":
                raise SlurmError("not pending")
            job.begin_s, job.held, job.fresh = self.world.now_s + lease_s, False, True

        self._do("park", does)

    def hold(self, job_id: int) -> None:
        def does() -> None:
            job = self.jobs[job_id]
            job.held |= job.state == "PENDING"

        self._do("hold", does)

    def release(self, job_id: int, *, at_once: bool) -> None:
        def does() -> None:
            self.jobs[job_id].held = False
            if at_once:
                # scontrol sends our time: a site whose clock is behind lets it wait until then.
                behind_s = max(-self.world.clocks_s.get(self.name, 0.0), 0.0)
                self.jobs[job_id].begin_s = behind_s and self.world.now_s + behind_s
                self.jobs[job_id].fresh = True

        self._do("release", does)

    def note(self, job_id: int) -> None:
        self._do("note", lambda: setattr(self.jobs[job_id], "noted", True))

    def cancel(self, job_id: int) -> None:
        def does() -> None:
            job = self.jobs[job_id]
            if job.alive:
                job.state, job.held, job.noted = "CANCELLED", False, True

        self._do("cancel", does)

    def submit(self, order: Order, token: str) -> int:
        new = FakeJob(next(self.world.numbers), tokens=(token,), held=True)
        return self._do("submit", lambda: self.add(new)).job_id

    def route(self, job_id: int, cluster: str) -> None:
        def does() -> None:
            job = self.jobs[job_id]
            if job.state != "PENDING":
                raise SlurmError("not pending")
            job.cluster = cluster

        self._do("route", does)

    def listing(self, directory: str) -> Listing:
        value = self.files.get(directory)
        found = Listing(digest=str(value), files=0 if value is None else 1)
        return self._do("listing", lambda: found)

    def manifest(self, directory: str) -> Manifest:
        value = self.files.get(directory)
        files = 0 if value is None else 1
        return self._do("manifest", lambda: Manifest(digest=str(value), bytes=100, files=files))

    def prepare(self, target: str, token: str) -> int:
        return self._do("prepare", lambda: self.world.free_bytes)

    def copy(self, copy: Copy) -> None:
        new = FakeJob(next(self.world.numbers), tokens=(copy.token,), copy=copy)
        self._do("copy", lambda: self.add(new))

    def unstore(self, url: str) -> None:
        self._do("unstore", lambda: self.world.store.pop(url, None))

    def arrived(self, target: str, token: str) -> int:
        there = self.world.copy_ticks and 100 * self._ticks() // self.world.copy_ticks
        return self._do("arrived", lambda: there)

    def _ticks(self) -> int:
        sites = self.world.sites.values()
        return max((job.ticks for site in sites for job in site.jobs.values()), default=0)

    def place(self, target: str, token: str) -> None:
        def does() -> None:
            staging = staging_of(target, token)
            if staging in self.files:
                self.files[target] = self.files.pop(staging)

        self._do("place", does)

    def sweep(self, target: str, token: str) -> None:
        self._do("sweep", lambda: self.files.pop(staging_of(target, token), None))
