# SPDX-License-Identifier: Apache-2.0
"""A real site: Slurm's commands for one slurm.conf, and the job's files by small jobs of its user.

Nothing here becomes another user: what the caller may not do, Slurm refuses.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

from slurm_green.errors import SlurmError
from slurm_green.migration.execute import scripts
from slurm_green.migration.execute.access import (
    Copy,
    Listing,
    Manifest,
    Seen,
    claim_of,
    old_of,
    staging_of,
)
from slurm_green.migration.execute.comment import TOKEN_PREFIX, tokens_of
from slurm_green.migration.execute.record import Order
from slurm_green.migration.execute.site import Site
from slurm_green.slurm.commands import CommandClient
from slurm_green.slurm.process import (
    Finished,
    command_environment,
    run_command,
    submission_environment,
)
from slurm_green.slurm.records import Job

__all__ = ["CommandAccess"]

_SHORT_S = 60.0
_COMMAND_S = 20.0
_SOON = timedelta(minutes=10)  # clocks are apart by less: munge lets five pass
_APART = timedelta(hours=1)  # far more: no job id comes again within it
_QUEUE_S = 30  # how long a small job may wait for a place


class CommandAccess:
    """SiteAccess by sbatch, scontrol, scancel, squeue and srun.

    `prefix` goes before every command; `lock` is a file descriptor that they inherit (Journal).
    """

    def __init__(self, site: Site, *, prefix: Sequence[str] = (), lock: int | None = None) -> None:
        self._site = site
        self._prefix = tuple(prefix)
        self._run = partial(run_command, pass_fds=() if lock is None else (lock,))
        self._environment = command_environment(site.environment())
        self._client = CommandClient(run=self._run, env=site.environment(), prefix=self._prefix)

    @property
    def name(self) -> str:
        """Its name in the sites file."""
        return self._site.name

    @property
    def reach(self) -> str:
        """What rsync writes before a path there."""
        return self._site.reach

    @property
    def site(self) -> Site:
        """What the sites file says of it."""
        return self._site

    @property
    def client(self) -> CommandClient:
        """For whole lists."""
        return self._client

    def jobs(self) -> list[Job]:
        """Every job the caller may see."""
        conf = self._site.slurm_conf
        if not Path(conf).exists():  # Slurm would try for long, and not say why
            raise SlurmError(f"{self.name}: there is no file {conf} (`slurm_conf`)")
        try:
            return self._client.jobs()
        except SlurmError as error:
            raise SlurmError(f"{self.name}: {error}") from error

    def look(self, job_id: int) -> Seen | None:
        """One squeue; Slurm 26.05 keeps a record of a federated job's earlier stay beside it."""
        found = [_seen(job) for job in self.jobs() if job.job_id == job_id]
        return max(found, key=lambda one: (one.active, one.pending), default=None)

    def past(self, job_id: int, since_s: float) -> Seen | None:
        """One sacct."""
        since = datetime.fromtimestamp(since_s, UTC) - _APART
        try:
            found = self._client.finished(since, job_id=job_id) or []
        except SlurmError as error:
            raise SlurmError(f"{self.name}: {error}") from error
        ended = [job for job in found if job.job_id == job_id and job.end_utc is not None]
        return max((_seen(job) for job in ended), key=lambda one: one.started, default=None)

    def named(self, token: str) -> list[Seen]:
        """One squeue. Anybody may read a token, and write it into a comment: only ours count."""
        mine = {None, self._uid}
        found = [job for job in self.jobs() if job.uid in mine]
        return [_seen(job) for job in found if token in tokens_of(job.comment)]

    def claim(self, directory: str, token: str) -> bool:
        """One small job."""
        return self._words(1, scripts.CLAIM, claim_of(directory, token), token) == ["1"]

    def unclaim(self, directory: str, *tokens: str) -> None:
        """One small job."""
        self.shell(scripts.UNCLAIM, claim_of(directory, tokens[0]), *tokens)

    def signal(self, job_id: int, signal: str) -> None:
        """One scancel; a job that has just ended is no error."""
        batch = signal.startswith("B:")
        where = ["--batch"] if batch else []
        name = signal.removeprefix("B:")
        self.call("scancel", "--quiet", *where, f"--signal={name}", str(job_id))

    def stop(self, job_id: int) -> None:
        """A running job by requeue, which leaves one alone that has ended; else by hold.

        Slurm lets a requeued job wait two minutes, time enough to park it. In a federation it is
        held at once, and Slurm takes a job that runs at a sibling for ended: there it is asked to
        requeue whatever it finds, so one that ended since it was seen runs again, from its end.
        """
        seen = self.look(job_id)
        if seen is not None and seen.pending:
            self.hold(job_id)
        else:
            how = ["requeuehold"] if self._site.federation else ["requeue", "Incomplete"]
            self.call("scontrol", *how, str(job_id))

    def park(self, job_id: int, lease_s: float) -> None:
        """Two: first the time, then the release that makes it count."""
        when = f"StartTime=now+{math.ceil(lease_s)}"
        self.call("scontrol", "update", f"JobId={job_id}", when)
        self.call("scontrol", "release", str(job_id))
        # A release gives the priority back and may make the job eligible.
        self.call("scontrol", "update", f"JobId={job_id}", when)

    def hold(self, job_id: int) -> None:
        """One scontrol."""
        self.call("scontrol", "hold", str(job_id))

    def release(self, job_id: int, *, at_once: bool) -> None:
        """One scontrol; and one more since Slurm lets a requeued job wait two minutes.

        A job that waited keeps the begin time that was set for it.
        """
        self.call("scontrol", "release", str(job_id))
        if at_once:
            # By our clock: scontrol sends no earlier time. A site that is behind waits for it.
            self.call("scontrol", "update", f"JobId={job_id}", "StartTime=now")

    def note(self, job_id: int) -> None:
        """An update that changes nothing: every moved job may be queued anew."""
        self.call("scontrol", "update", f"JobId={job_id}", "Requeue=1")

    def cancel(self, job_id: int) -> None:
        """One scancel."""
        self.call("scancel", "--quiet", str(job_id))

    def submit(self, order: Order, token: str) -> int:
        """One sbatch."""
        return self._submit(order, token, "--hold")

    def route(self, job_id: int, cluster: str) -> None:
        """One scontrol."""
        self.call("scontrol", "update", f"JobId={job_id}", f"Clusters={cluster}")

    def listing(self, directory: str) -> Listing:
        """One small job."""
        digest, files = self._words(2, scripts.LISTING, directory)
        return Listing(digest=digest, files=int(files))

    def manifest(self, directory: str) -> Manifest:
        """One job that reads every byte."""
        words = self._words(3, scripts.MANIFEST, directory, timeout_s=self._site.read_s)
        return Manifest(digest=words[0], bytes=int(words[1]), files=int(words[2]))

    def prepare(self, target: str, token: str) -> int:
        """One small job."""
        return int(self._words(1, scripts.PREPARE, staging_of(target, token))[0])

    def arrived(self, target: str, token: str) -> int:
        """One small job."""
        return int(self._words(1, scripts.ARRIVED, staging_of(target, token))[0])

    def place(self, target: str, token: str) -> None:
        """One small job."""
        self.shell(scripts.PLACE, staging_of(target, token), target, old_of(target, token))

    def sweep(self, target: str, token: str) -> None:
        """One small job."""
        self.shell(scripts.SWEEP, staging_of(target, token), old_of(target, token))

    def copy(self, copy: Copy) -> None:
        """One sbatch on the partition for data movers, where there is one."""
        move, _, number = copy.token.rpartition(".")
        log = scripts.log_of(copy.target if copy.fetch else copy.directory, move, number)
        minutes = math.ceil(copy.limit_s / 60) + 1
        order = Order(
            options=(
                *self._small(minutes),
                *(f"--output={log}", "--open-mode=append", "--no-requeue"),
            ),
            comment="green:off",
            script=self._transfer(copy, move),
        )
        self._submit(order, copy.token)

    def unstore(self, url: str) -> None:
        """One small job."""
        python = self._site.python
        self.shell(scripts.store_script(python, "remove", "/", url, compare=False))

    def _transfer(self, copy: Copy, move: str) -> str:
        if not copy.store:
            return scripts.copy_script(copy, token=move)
        verb = "get" if copy.fetch else "put"
        directory = staging_of(copy.target, move) if copy.fetch else copy.directory
        return scripts.store_script(
            self._site.python, verb, directory, copy.store, compare=copy.compare
        )

    def shell(self, script: str, *arguments: str, timeout_s: float = _SHORT_S) -> str:
        """Run a script on a node as a job of the caller; what it printed."""
        limit = math.ceil(timeout_s / 60) + 1
        argv = [
            *("srun", "--quiet", f"--immediate={_QUEUE_S}", *self._small(limit)),
            *("--comment=green:off", "sh", "-c", script, "sh", *arguments),
        ]
        return self._checked(argv, timeout_s=timeout_s + _QUEUE_S)

    def _words(
        self, count: int, script: str, *arguments: str, timeout_s: float = _SHORT_S
    ) -> list[str]:
        """The last line: what a site's prologs print comes before it."""
        said = self.shell(script, *arguments, timeout_s=timeout_s)
        words = (said.strip().splitlines() or [""])[-1].split()
        if len(words) != count or not all(word.isdecimal() for word in words[-count + 1 :]):
            raise SlurmError(f"{self.name}: a node answered {said[-200:]!r}")
        return words

    @cached_property
    def _uid(self) -> int:
        """Not the name: sites may call a user differently, and uids are the same (check_sites)."""
        return int(self._checked(["id", "-u"]))

    def whoami(self) -> str:
        """The user that all this is done as."""
        return self._checked(["id", "-un"]).strip()

    def test(self, order: Order) -> None:
        """Whether Slurm would take it; raises SlurmError with its words."""
        self._checked(["sbatch", "--test-only", *order.options], stdin=order.script.encode())

    def call(self, *argv: str) -> str:
        """One command of Slurm; its output."""
        return self._checked(argv)

    def _submit(self, order: Order, token: str, *more: str) -> int:
        comment = f"{order.comment} {TOKEN_PREFIX}{token}".strip()
        argv = [
            *("sbatch", "--parsable", *more, *order.options, f"--comment={comment}"),
            *(["/dev/stdin", *order.arguments] if order.arguments else []),
        ]
        environment = submission_environment(self._site.environment())
        if any(option.startswith("--deadline") for option in order.options):
            environment["TZ"] = "UTC"  # as it is written there
        said = self._checked(argv, stdin=order.script.encode(), env=environment)
        try:
            return int(said.split(";")[0].split()[-1])
        except (ValueError, IndexError) as error:
            raise SlurmError(f"{self.name}: sbatch gave no job id: {said[:200]!r}") from error

    def _small(self, minutes: int) -> list[str]:
        partition = self._site.mover_partition
        # Else any site of a federation may run it, and see other files.
        here = [f"--clusters={self.name}"] if self._site.federation else []
        return [
            *here,
            *("--nodes=1", "--ntasks=1", f"--time={minutes}", "--job-name=sgreen-migrate"),
            *("--chdir=/", *([f"--partition={partition}"] if partition else [])),
        ]

    def _checked(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = _COMMAND_S,
    ) -> str:
        done: Finished = self._run(
            [*self._prefix, *argv],
            stdin=stdin,
            env=self._environment if env is None else env,
            timeout_s=timeout_s,
        )
        if done.returncode != 0:
            words = (done.stderr or done.stdout).decode(errors="replace").split("\n")
            said = "; ".join(line.strip() for line in words if line.strip())[-300:]
            raise SlurmError(f"{self.name}: {argv[0]} failed: {said or done.returncode}")
        return done.stdout.decode(errors="replace")


def _seen(job: Job) -> Seen:
    now = datetime.now(UTC)
    later = job.reason == "BeginTime"
    if job.reason in {"", "None"} and job.eligible_utc is not None:
        # The scheduler has not looked at it yet. (Only here does the clock of a site count.)
        later = job.pending and job.eligible_utc > now
    soon = later and job.eligible_utc is not None and job.eligible_utc - now < _SOON
    started, ran_s = "", None
    if not job.pending and job.start_utc is not None:
        started = job.start_utc.isoformat()
        if not job.active and job.end_utc is not None:
            ran_s = (job.end_utc - job.start_utc).total_seconds()
    return Seen(
        job_id=job.job_id,
        state=job.state,
        held=job.held,
        later=later,
        soon=soon,
        started=started,
        restarts=job.restarts,
        ran_s=ran_s,
    )
