# SPDX-License-Identifier: Apache-2.0
"""Two real clusters with storage of their own, and moves between them."""

import itertools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.errors import ClusterError
from slurm_green.migration.execute.begin import begin
from slurm_green.migration.execute.commands import CommandAccess
from slurm_green.migration.execute.drive import drive
from slurm_green.migration.execute.journal import Journal
from slurm_green.migration.execute.pair import Pair
from slurm_green.migration.execute.record import Limits, MoveRecord
from slurm_green.migration.execute.site import Site
from tests.slurm.patience import wait_until

__all__ = ["IGNORE", "LIMITS", "TwoSites", "carry_on"]

LIMITS = Limits(signal_s=60, again_s=5, stop_s=60, copy_s=60, other_s=60, start_s=60, settle_s=0)
# A directory for each training, whatever test it is in.
_numbers = itertools.count(1)
# Python takes a moment to have its handler.
IGNORE = "trap '' USR1; "
TWIN = Path(__file__).with_name("move_twin.py")


class TwoSites:
    """Clusters a and b; what a user of theirs sees and does."""

    def __init__(
        self, a: Cluster, b: Cluster, directory: Path, *, user: str = "root", federation: str = ""
    ) -> None:
        if shutil.which("rsync") is None:
            pytest.skip("no rsync (.ci/install-debian --tests installs it)")
        self.clusters = {"a": a, "b": b}
        if federation:
            self.clusters = {a.name: a, b.name: b}
        self.user = user
        self.directory = directory
        account = pwd.getpwnam(user)
        ids = (account.pw_uid, account.pw_gid)
        prefix = ["setpriv", f"--reuid={ids[0]}", f"--regid={ids[1]}", "--clear-groups"]
        self._prefix = [] if user == "root" else prefix
        self.sites = {
            name: Site(
                name=name,
                slurm_conf=str(cluster.layout.slurm_conf),
                path=cluster.env["PATH"],
                root=str((a if federation else cluster).layout.work),
                federation=federation,
                software=("python3",),
                python=sys.executable,
            )
            for name, cluster in self.clusters.items()
        }
        self.numbers = 0

    def access(self, name: str, lock: int | None = None) -> CommandAccess:
        return CommandAccess(self.sites[name], prefix=self._prefix, lock=lock)

    def work(self, name: str) -> Path:
        """Where jobs of that site work."""
        return Path(self.sites[name].root)

    def submit(self, at: str, command: str, *, gpus: int = 1, word: str = "B:USR1") -> int:
        """A training with its checkpoint in `run`, in a directory of its own at both sites."""
        self.numbers = next(_numbers)
        name = f"job{self.numbers}"
        for site in self.sites:
            place = self.work(site) / name
            place.mkdir(exist_ok=True)
            shutil.copy(TWIN, place)
            shutil.chown(place, self.user)
        options = [
            *("--parsable", "--requeue", f"--gres=gpu:{gpus}", "-t", "5", "-J", name),
            *(f"--comment=green:checkpoint=run,signal={word}", "--open-mode=append"),
            *("-o", "out.txt", f"--chdir={self.work(at) / name}"),
        ]
        done = self.clusters[at].run(
            "sbatch",
            *options,
            input=f"#!/bin/sh\n{command}\n",
            user=None if self.user == "root" else self.user,
        )
        return int(done.stdout.split(";")[0])

    def twin(self, at: str, *, steps: int = 60, pause_s: float = 0.1, ballast: int = 0) -> int:
        """The small training."""
        return self.submit(at, f"{IGNORE}exec python3 move_twin.py run {steps} {pause_s} {ballast}")

    def hurry(self) -> None:
        """Let the last small training come to its end without pauses, wherever it runs."""
        for site in self.sites:
            (self.work(site) / f"job{self.numbers}" / "hurry").touch()

    def said(self, number: int | None = None) -> list[dict[str, Any]]:
        """What the training printed, at either site, in the order of its steps."""
        found = []
        name = f"job{number or self.numbers}"
        for site in dict.fromkeys(self.work(one) for one in self.sites):
            out = site / name / "out.txt"
            lines = out.read_text().splitlines() if out.exists() else []
            found += [json.loads(line) for line in lines if line.startswith("{")]
        return found

    def await_said(self, key: str, times: int = 1, timeout_s: float = 30) -> dict[str, Any]:
        """Until it has printed that so often; the last one."""
        self.wait(lambda: len(self._with(key)) >= times, f"{key} {times} times", timeout_s)
        return self._with(key)[-1]

    def _with(self, key: str) -> list[dict[str, Any]]:
        return [line for line in self.said() if key in line]

    def wait(self, met: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
        try:
            wait_until(met, timeout_s=timeout_s, what=what)
        except ClusterError as error:
            jobs = {name: self.access(name).jobs() for name in self.sites}
            raise AssertionError(f"{error}; it said {self.said()}; of {jobs}") from error

    def plan(
        self, job_id: int, source: str, to: str, *, store: str = "", **limits: Any
    ) -> MoveRecord:
        """The record of a move that was not begun."""
        access = self.access(source)
        (job,) = [one for one in access.jobs() if one.job_id == job_id and one.state != "REVOKED"]
        return begin(
            job,
            access,
            self.access(to),
            now_s=time.time(),
            limits=replace(LIMITS, **limits),
            store=store,
        )

    @property
    def journal(self) -> Journal:
        return Journal(self.directory)

    def pair(self, move: MoveRecord, lock: int | None = None) -> Pair:
        origin = self.access(move.origin, lock) if move.origin else None
        return Pair(
            source=self.access(move.source, lock),
            destination=self.access(move.destination, lock),
            origin=origin,
        )

    def go(
        self,
        move: MoveRecord,
        tell: Callable[[MoveRecord, str], None] = lambda *_: None,
        give_up_s: float = 120,
        saved: Callable[[MoveRecord], None] = lambda _: None,
    ) -> MoveRecord:
        """Carry it out; `saved` is called when a step was written down, `tell` when it waits."""
        journal = _Watched(self.directory, saved)
        with journal.locked() as lock:
            journal.save(move)
            (done,) = drive(
                [move],
                lambda one: self.pair(one, lock),
                journal,
                poll_s=0.2,
                give_up_s=give_up_s,
                tell=tell,
            )
        return done

    def move(self, job_id: int, source: str, to: str, **limits: Any) -> MoveRecord:
        """Plan it and carry it out."""
        return self.go(self.plan(job_id, source, to, **limits))

    def journal_save(self, move: MoveRecord) -> None:
        """Write it down and do nothing."""
        with self.journal.locked():
            self.journal.save(move)

    def run_until_it_dies(self) -> int:
        """A process that carries on with what the journal says, and dies at its next line."""
        code = (
            "import os, sys, time; from pathlib import Path\n"
            "from slurm_green.migration.execute.journal import Journal\n"
            "from slurm_green.migration.execute.record import Step\n"
            "from tests.slurm.move_sites import TwoSites, carry_on\n"
            "save = Journal.save\n"
            "def dies(self, move):\n"
            "    save(self, move)\n"
            "    move.settled or os.kill(os.getpid(), 9)\n"
            "Journal.save = dies\n"
            "carry_on(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])\n"
        )
        names = [cluster.name for cluster in self.clusters.values()]
        done = subprocess.run(
            [sys.executable, "-c", code, self.directory, self.user, *names],
            cwd=Path(__file__).parents[2],
            check=False,
            timeout=60,
        )
        return done.returncode

    def kill(self, program: str) -> int:
        """SIGKILL to what the clusters' jobs run of that name; how many there were."""
        below = [f"SLURM_CONF={c.layout.slurm_conf}".encode() for c in self.clusters.values()]
        found = 0
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                ours = (entry / "comm").read_text().strip() == program and any(
                    word in (entry / "environ").read_bytes().split(b"\0") for word in below
                )
                if ours:
                    os.kill(int(entry.name), signal.SIGKILL)
                    found += 1
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    @contextmanager
    def small_disk(self, name: str, size: str) -> Iterator[None]:
        """The last training's directory at that site on a file system of that size."""
        place = self.work(name) / f"job{self.numbers}"
        options = f"size={size},mode=777"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", place], check=True)

    def state(self, name: str, job_id: int) -> str:
        """As its cluster shows it."""
        seen = self.access(name).look(job_id)
        return "" if seen is None else seen.state

    def alive(self) -> dict[str, list[str]]:
        """State of every copy of the last training that runs or waits."""
        found = {}
        for name in self.sites:
            jobs = [one for one in self.access(name).jobs() if one.name == f"job{self.numbers}"]
            found[name] = [
                "HELD" if job.held else job.state for job in jobs if job.pending or job.active
            ]
        return found

    def goes_on(self, at: str) -> None:
        """One copy of the last training runs, there, from its newest checkpoint."""
        others = {name: [] for name in self.sites if name != at}
        one = {**others, at: ["RUNNING"]}
        # A job whose start its slurmctld forgot is queued anew and held for two minutes, or twice.
        self.wait(lambda: self.alive() == one, f"one copy at {at}", timeout_s=100)
        newest = max(line["saved_at"] for line in self._with("saved_at"))
        self.wait(lambda: self._with("begins_at")[1:] != [], "it to begin again")
        assert max(line["begins_at"] for line in self._with("begins_at")) == newest

    def left_over(self) -> list[Path]:
        """Files that a move should have removed."""
        places = {self.work(one) / f"job{self.numbers}" for one in self.sites}
        return [path for place in places for path in place.glob(".*sgreen*")]

    def close(self) -> None:
        """Cancel everything."""
        for cluster in self.clusters.values():
            for state in ("PENDING", "RUNNING"):
                cluster.run("scancel", f"--state={state}", check=False)


class _Watched(Journal):
    def __init__(self, directory: Path, saved: Callable[[MoveRecord], None]) -> None:
        super().__init__(directory)
        self._saved = saved

    def save(self, record: MoveRecord) -> None:
        super().save(record)
        self._saved(record)


def carry_on(directory: Path, user: str, a: str, b: str) -> None:
    """What a new process does with an old journal."""
    two = TwoSites(Cluster.find(a), Cluster.find(b), directory, user=user)
    with two.journal.locked() as lock:
        drive(two.journal.all(), lambda one: two.pair(one, lock), two.journal, poll_s=0.2)
