# SPDX-License-Identifier: Apache-2.0
"""A real cluster with a real sgreend beside it, for tests that ask what Slurm did in the end.

Everything is short: jobs take a moment, may wait seconds, and carbon falls within minutes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.daemons import log_tail
from slurm_green.cluster.green import cycles_of, start_sgreend
from slurm_green.hook.record import Record, parse
from slurm_green.slurm.commands import CommandClient
from slurm_green.slurm.process import command_environment, run_command
from slurm_green.slurm.records import Job, JobChange
from tests.slurm.patience import PATIENCE, patient_hook, reload_hook, wait_until
from tests.slurm.site_files import HOLD_S, SiteFiles

__all__ = ["HOLD_S", "LATE_S", "QUESTION", "SCRIPT", "SHAPE", "USER", "LiveSite", "ago", "now_utc"]

USER = "nobody"
SCRIPT = "#!/bin/sh\ntrue\n"
# Room for what sgreend thinks will usually arrive, after a minute full of test jobs.
SHAPE = {"hook": True, "cpus": 256}
_SGREEN = Path(sys.executable).with_name("sgreen")
# A scheduler round, a squeue that came late, and a core that is away for a while.
LATE_S = 20
QUESTION = b"1\tuid=0\tuser=root\tpartition=main\ttime_limit=1\n"  # worth a deferral
# Another user may not be able to read our Python: all is imported before root becomes that user.
_AS_USER = """
import _strptime, importlib, os, pkgutil, pwd, sys
import slurm_green
for one in pkgutil.walk_packages(slurm_green.__path__, "slurm_green."):
    if not one.name.endswith("pyslurm"):
        importlib.import_module(one.name)
from slurm_green.cli.root import main
account = pwd.getpwnam(sys.argv[1])
os.setgroups([])
os.setgid(account.pw_gid)
os.setuid(account.pw_uid)
sys.argv[0:2] = ["sgreen"]
sys.exit(main())
"""


class LiveSite(SiteFiles):
    """One cluster, its configuration, its signal and its sgreend.

    stopped -> running (start) -> hung (hang) -> running (resume) -> stopped (stop, kill)
    """

    def __init__(self, cluster: Cluster, **sections: Mapping[str, object]) -> None:
        self.cluster = cluster
        super().__init__(cluster.layout, sections)
        self.log = self.layout.log / "sgreend.log"
        environment = command_environment({**os.environ, **cluster.env})
        self.client = CommandClient(run=run_command, env=environment)
        self._daemon: subprocess.Popen[bytes] | None = None
        patient_hook(self.layout)
        self.configure()
        self.falling()

    # ------------------------------------------------------------------ the daemon

    def start(self, *, wait: bool = True) -> "LiveSite":
        """Start sgreend, and wait until it would defer."""
        assert self._daemon is None
        self._daemon = self.spawn()
        if wait:
            self.await_answers()
        return self

    def spawn(self) -> subprocess.Popen[bytes]:
        """One more sgreend process, in a group of its own; the caller's to end."""
        return start_sgreend(self.cluster, log=self.log)

    def adopt(self, daemon: subprocess.Popen[bytes]) -> None:
        """Take a spawned one for the site's own."""
        assert self._daemon is None
        self._daemon = daemon

    def seen(self) -> None:
        """Until a running daemon has read the new signal."""
        if self.running:
            self.await_cycles()

    def stop(self) -> None:
        """SIGTERM, as systemd does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to both of its processes at once."""
        self._end(signal.SIGKILL)

    def restart(self, **sections: Mapping[str, object]) -> None:
        """Stop, configure anew, start."""
        if self._daemon is not None:
            self.stop()
        self.configure(**sections)
        self.start()

    def hang(self) -> None:
        """It accepts connections, by the kernel, and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Whether a daemon of ours lives."""
        return self._daemon is not None and self._daemon.poll() is None

    @property
    def daemon(self) -> "subprocess.Popen[bytes] | None":
        """The process that `close` ends."""
        return self._daemon

    @property
    def worker_pid(self) -> int:
        """The process that runs the cycles."""
        assert self._daemon is not None
        pid = self._daemon.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        raise AssertionError(f"sgreend {pid} has no cycle process{log_tail(self.log)}")

    @contextmanager
    def between_cycles(self) -> Iterator[None]:
        """The cycle process stands still meanwhile; the other one answers."""
        worker = self.worker_pid
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def ask(self, question: bytes = b"1\tuid=0\tcomment=green:off\n") -> bytes:
        """The daemon's own answer, b"" where nobody answers."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2 * PATIENCE)
                connection.connect(os.fspath(self.layout.hook_socket))
                connection.sendall(question)
                return connection.makefile("rb").readline()
        except OSError:
            return b""

    def await_answers(self, timeout_s: float = 30) -> None:
        """Until the daemon has seen the cluster: before that everything passes."""

        def answers() -> bool:
            if self._daemon is not None and self._daemon.poll() is not None:
                raise AssertionError(f"sgreend ended{log_tail(self.log)}")
            return b"\tpass\t" in (got := self.ask()) and b"no-view" not in got

        wait_until(answers, timeout_s=timeout_s, what="sgreend's answer", log=self.log)

    def await_cycles(self, count: int = 1, timeout_s: float = 30) -> None:
        """Until that many cycles began and ended after this moment."""
        before = self.cycles

        def ran() -> bool:
            nonlocal before
            before = min(before, self.cycles)  # another process counts anew
            # A question that is worth a deferral makes the next cycle come at once.
            self.ask(QUESTION)
            # One more: the cycle that runs now may have looked before we did.
            return self.cycles > before + count

        wait_until(
            ran,
            timeout_s=timeout_s,
            what=f"{count} cycles",
            log=self.log,
        )

    @property
    def cycles(self) -> int:
        """How many cycles the daemon has run."""
        return cycles_of(self.status_file)

    def status(self) -> dict[str, object]:
        """What the daemon last said about itself."""
        try:
            found: dict[str, object] = json.loads(self.status_file.read_text())
        except (OSError, ValueError):
            return {}
        return found

    def close(self) -> None:
        """End the daemon; the cluster is its fixture's."""
        if self._daemon is not None:
            self.kill()

    def reset(self, **sections: Mapping[str, object]) -> None:
        """Between two tests: no jobs, the usual signal and configuration, a daemon that answers."""
        self.cancel_all()
        off = self.off_marker.exists()
        self.off_marker.unlink(missing_ok=True)
        before = self.layout.green_conf.read_text()
        self.configure(**sections)
        if self._daemon is not None and not self.running:
            self._daemon = None
        if self.running and self.layout.green_conf.read_text() != before:
            self.stop()
        if not self._falls:
            self.falling()
        elif off and self.running:
            self.await_cycles()
        if self._daemon is None:
            self.start()

    # ------------------------------------------------------------------ jobs

    def sbatch(
        self,
        *options: str,
        script: str = SCRIPT,
        user: str | None = None,
        limit_min: int | None = 1,
    ) -> int:
        """Submit a job; its id."""
        done = self.submit(*options, script=script, user=user, limit_min=limit_min)
        return int(done.stdout.split(";")[0].split()[-1])

    def submit(
        self,
        *options: str,
        script: str = SCRIPT,
        user: str | None = None,
        limit_min: int | None = 1,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Submit a job; all that sbatch said."""
        usual = ["--parsable", "-o", "/dev/null"]
        if limit_min is not None:
            usual += ["-t", str(limit_min)]
        return self.cluster.run("sbatch", *usual, *options, input=script, user=user, check=check)

    def sgreen(
        self, *arguments: str, user: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line against this site."""
        start = [_SGREEN] if user is None else [sys.executable, "-c", _AS_USER, user]
        done = subprocess.run(
            [*start, *arguments],
            env={**os.environ, **self.cluster.env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert not check or done.returncode == 0, done
        return done

    def job(self, job_id: int) -> Job:
        """The job as Slurm shows it now."""
        return next(job for job in self.client.jobs() if job.job_id == job_id)

    def record(self, job_id: int) -> Record | None:
        """Our record in the job, None when it carries none."""
        return parse(self.job(job_id).admin_comment)

    def untouched(self, job_id: int) -> bool:
        """No begin time of ours, no record."""
        job = self.job(job_id)
        assert job.submit_utc is not None
        early = job.eligible_utc is None or job.eligible_utc <= job.submit_utc + timedelta(
            seconds=1
        )
        return early and job.admin_comment == ""

    def await_job(
        self, job_id: int, met: Callable[[Job], bool], what: str, timeout_s: float = 20
    ) -> Job:
        """Until the job is so; it as it is then."""
        seen: list[Job] = []

        def look() -> bool:
            seen[:] = [job for job in self.client.jobs() if job.job_id == job_id]
            return bool(seen) and met(seen[0])

        try:
            wait_until(look, timeout_s=timeout_s, what=f"job {job_id} {what}", log=self.log)
        except Exception as error:
            raise AssertionError(f"{error}\n{self._hook_log()}\nSlurm shows {seen}") from error
        return seen[0]

    def await_confirmed(self, job_id: int) -> Job:
        """Until its begin time is its latest start."""

        def confirmed(job: Job) -> bool:
            record = parse(job.admin_comment)
            return (
                record is not None
                and record.policy != "look"
                and job.eligible_utc == record.latest_utc
                and job.eligible_utc != record.decided_utc + timedelta(seconds=HOLD_S)
            )

        return self.await_job(job_id, confirmed, "confirmed", timeout_s=HOLD_S + 2)

    def told(self, *options: str, user: str | None = None) -> tuple[int, Record]:
        """Submit a job; its id and what the hook wrote, before a cycle can change it."""
        with self.between_cycles():
            job_id = self.sbatch(*options, user=user)
            record = self.record(job_id)
        assert record is not None
        return job_id, record

    def deferred(self, *options: str, user: str | None = None, script: str = SCRIPT) -> int:
        """Submit a job and see it deferred and confirmed; its id."""
        job_id = self.sbatch(*options, user=user, script=script)
        self.await_confirmed(job_id)
        return job_id

    def await_done(self, job_id: int, timeout_s: float = 30) -> Job:
        """Until it has ended well."""

        def done(job: Job) -> bool:
            assert job.state not in {"CANCELLED", "DEADLINE", "FAILED", "TIMEOUT"}, job
            return job.state == "COMPLETED"

        return self.await_job(job_id, done, "to end", timeout_s)

    def passes(self) -> bool:
        """Whether a job submitted now is left alone (it is cancelled again)."""
        job_id = self.sbatch()
        passed = self.untouched(job_id)
        self.cluster.run("scancel", str(job_id), check=False)
        return passed

    def update(self, job_id: int, **change: object) -> dict[int, str]:
        """A change as the client makes it; refusals."""
        return self.client.update({job_id: JobChange(**change)})  # type: ignore[arg-type]

    def scontrol(
        self, *arguments: str, user: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run scontrol."""
        return self.cluster.run("scontrol", *arguments, user=user, check=check)

    def cancel_all(self) -> None:
        """No job left that could start or run."""
        for state in ("PENDING", "RUNNING", "SUSPENDED"):
            self.cluster.run("scancel", f"--state={state}", check=False)
        wait_until(
            lambda: not self.cluster.run("squeue", "-h", check=False).stdout.strip(),
            timeout_s=20,
            what="an empty queue",
        )

    # ------------------------------------------------------------------ inside

    def reload_hook(self) -> None:
        """Let slurmctld load the script afresh."""
        reload_hook(self.layout)

    def _hook_log(self) -> str:
        lines = self.cluster.slurmctld_log.read_text(errors="replace").splitlines()
        return "\n  ".join(["the hook:", *[line for line in lines if "slurm-green" in line][-5:]])

    def _end(self, number: int) -> None:
        assert self._daemon is not None
        if number != signal.SIGKILL:
            self._daemon.send_signal(number)
            try:
                self._daemon.wait(10 * PATIENCE)
            except subprocess.TimeoutExpired:
                number = signal.SIGKILL
        if number == signal.SIGKILL:
            self._signal(number)
            self._daemon.wait(10 * PATIENCE)
        self._daemon = None

    def _signal(self, number: int) -> None:
        assert self._daemon is not None
        try:
            os.killpg(self._daemon.pid, number)
        except ProcessLookupError:
            pass  # It had ended already.


def now_utc() -> datetime:
    """Now, in whole seconds, as Slurm keeps time."""
    return datetime.now(UTC).replace(microsecond=0)


def ago(when: datetime | None) -> float:
    """Seconds since then."""
    assert when is not None
    return (datetime.now(UTC) - when).total_seconds()
