# SPDX-License-Identifier: Apache-2.0
"""The default backend: Slurm's own commands, on every version from 22.05 on."""

import json as json_text
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from slurm_green.errors import SlurmError
from slurm_green.slurm import text
from slurm_green.slurm.accounting import draw_delimiter, parse_sacct, sacct_arguments
from slurm_green.slurm.arrays import task_arguments, tasks_of_rest
from slurm_green.slurm.normalise import jobs_from_json
from slurm_green.slurm.process import Finished, Run, command_environment, run_command, who_is_up
from slurm_green.slurm.records import ClusterInfo, Job, JobChange, Node, Partition, Reservation
from slurm_green.slurm.squeue import queue_arguments, queue_records
from slurm_green.slurm.update import (
    batch_input,
    change_arguments,
    is_refusal,
    jobs_gone,
    jobs_to_retry,
    one_line,
)

__all__ = ["CommandClient"]

_log = logging.getLogger(__name__)
# From this many changes on, one scontrol for all of them pays.
_BATCH_FROM = 3
_BATCH_MOST = 500


class CommandClient:
    """SlurmClient over squeue, scontrol, sprio and sacct.

    `prefix` goes before every command, for a Slurm that lives elsewhere, such as
    ("chroot", "/srv/slurm-24.11"). With `json`, jobs come with `extra` and all their flag words,
    at three to eight times the CPU.
    """

    def __init__(
        self,
        *,
        run: Run = run_command,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 20.0,
        prefix: Sequence[str] = (),
        json: bool = False,
    ) -> None:
        self._run = run
        self._env = command_environment(env)
        self._timeout_s = timeout_s
        self._prefix = tuple(prefix)
        self._json = json
        self._multifactor: bool | None = None
        self._accounting: bool | None = None
        self._sacct_extra = False

    def jobs(self) -> list[Job]:
        """One squeue; and one sprio where jobs can have a site factor (squeue has it nowhere)."""
        records = self._squeue_json() if self._json else self._squeue()
        return jobs_from_json(records, site_factors=self.site_factors() if records else {})

    def nodes(self) -> list[Node]:
        """One scontrol."""
        return text.parse_nodes(self._output(["scontrol", "show", "nodes", "--oneliner"]))

    def partitions(self) -> list[Partition]:
        """One scontrol, hidden partitions too."""
        arguments = ["scontrol", "--all", "show", "partition", "--oneliner"]
        return text.parse_partitions(self._output(arguments))

    def reservations(self) -> list[Reservation]:
        """One scontrol."""
        arguments = ["scontrol", "show", "reservation", "--oneliner"]
        return text.parse_reservations(self._output(arguments))

    def info(self) -> ClusterInfo:
        """One scontrol."""
        settings = text.parse_config(self._output(["scontrol", "show", "config"]))
        info = text.info_from_settings(settings)
        self._multifactor = info.priority_type == "priority/multifactor"
        self._accounting = info.accounting
        self._sacct_extra = info.version >= (24, 11)
        return info

    def finished(
        self, since_utc: datetime, *, job_id: int | None = None, runs: bool = False
    ) -> list[Job] | None:
        """One sacct; None where the site keeps no accounting."""
        if self._accounting is None:
            self.info()
        if not self._accounting:
            return None
        delimiter, extra = draw_delimiter(), self._sacct_extra
        arguments = sacct_arguments(
            since_utc=since_utc, delimiter=delimiter, job_id=job_id, runs=runs, extra=extra
        )
        try:
            text = self._output(arguments)
        except SlurmError:
            if not extra:
                raise
            # A sacct that is older than slurmctld tells nothing if it is asked for Extra.
            self._sacct_extra = False
            return self.finished(since_utc, job_id=job_id, runs=runs)
        return parse_sacct(text, delimiter=delimiter, extra=extra)

    def note(self, job_id: int, cluster: str, admin_comment: str) -> None:
        """One sacctmgr; it takes as long as the database does."""
        where = [f"cluster={cluster}"] if cluster else []
        text = f"AdminComment={one_line(admin_comment)}"
        job = ["where", f"jobid={job_id}", *where, "set", text]
        self._output(["sacctmgr", "--immediate", "modify", "job", *job])

    def update(self, changes: Mapping[int, JobChange]) -> dict[int, str]:
        """Few changes one by one, many through one scontrol; see update.py and arrays.py."""
        tasks = self._tasks_of_rest([job_id for job_id, one in changes.items() if one.array])
        commands = {
            job_id: change_arguments(job_id, one, tasks=tasks.get(job_id, ""))
            for job_id, one in changes.items()
        }
        commands = {job_id: arguments for job_id, arguments in commands.items() if arguments}
        alone = list(commands)
        refused: dict[int, str] = {}
        if len(commands) >= _BATCH_FROM:
            alone = []
            ids = list(commands)
            for at in range(0, len(ids), _BATCH_MOST):
                part = {one: commands[one] for one in ids[at : at + _BATCH_MOST]}
                alone += self._batch(part, refused)
        for job_id in alone:
            done = self._finish(["scontrol", *commands[job_id]])
            words = _words(done)
            if is_refusal(done.returncode, words):
                refused[job_id] = words or f"scontrol ended with status {done.returncode}"
        return refused

    def requeue(self, job_ids: Iterable[int]) -> dict[int, str]:
        """One scontrol each."""
        refused: dict[int, str] = {}
        for job_id in job_ids:
            done = self._finish(["scontrol", "requeue", str(job_id)])
            if done.returncode != 0:
                refused[job_id] = _words(done) or f"scontrol ended with status {done.returncode}"
        return refused

    def _tasks_of_rest(self, arrays: Sequence[int]) -> dict[int, str]:
        """One squeue where there are arrays."""
        if not arrays:
            return {}
        try:
            return tasks_of_rest(self._output(task_arguments(arrays)))
        except SlurmError as error:
            _log.warning("arrays are changed with all their tasks: %s", error)
            return {}

    def _batch(self, commands: Mapping[int, Sequence[str]], refused: dict[int, str]) -> list[int]:
        """Try all in one process; returns the jobs that need one of their own."""
        lines, odd = batch_input(commands)
        asked = [job_id for job_id in commands if job_id not in set(odd)]
        if not asked:
            return odd
        try:
            done = self._finish(["scontrol", "--oneliner"], stdin=lines, merge=True)
        except SlurmError as error:
            raise SlurmError(f"changing {len(asked)} jobs at once failed: {error}") from error
        if done.returncode == 0:
            return odd
        output = done.stdout.decode(errors="replace")
        gone = jobs_gone(output)
        refused |= {job_id: gone[job_id] for job_id in asked if job_id in gone}
        return odd + [job_id for job_id in jobs_to_retry(output, asked) if job_id not in refused]

    def _squeue(self) -> list[dict[str, Any]]:
        """The job records, fast."""
        delimiter = draw_delimiter()
        return queue_records(self._output(queue_arguments(delimiter)), delimiter)

    def _squeue_json(self) -> list[Any]:
        """The raw job records; raises on Slurm's errors even where squeue's status is 0."""
        arguments = ["squeue", "--json", "--all", "--local", "--states=all"]
        raw = self._output(arguments)
        try:
            # Not strict: a control character in a job name is no reason to lose the queue.
            answer = json_text.loads(raw, strict=False)
        except ValueError as error:
            raise SlurmError(f"squeue --json wrote no JSON: {error}") from error
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if errors:
            # 22.05 exits 0 with an empty job list when slurmctld is down.
            described = "; ".join(
                str(one.get("description") or one.get("error") or one) for one in errors
            )
            raise SlurmError(f"squeue failed: {described}. Is slurmctld up? Try `scontrol ping`.")
        jobs = answer.get("jobs") if isinstance(answer, dict) else None
        if not isinstance(jobs, list):
            raise SlurmError("squeue --json gave no list of jobs; is this Slurm older than 22.05?")
        return jobs

    def site_factors(self) -> dict[int, int]:
        """Site factors of pending jobs; {} where priorities are not multifactor."""
        if self._multifactor is None:
            self.info()
        if not self._multifactor:
            return {}
        try:
            shown = self._output(["sprio", "--noheader", "--format=%i %S"])
        except SlurmError as error:
            _log.warning("site factors are unknown this time: %s", error)
            return {}
        return text.parse_site_factors(shown)

    def _finish(
        self, arguments: Sequence[str], *, stdin: bytes | None = None, merge: bool = False
    ) -> Finished:
        argv = [*self._prefix, *arguments]
        return self._run(argv, stdin=stdin, env=self._env, timeout_s=self._timeout_s, merge=merge)

    def _output(self, arguments: Sequence[str]) -> str:
        """What a query printed; raises with Slurm's own words when it failed."""
        done = self._finish(arguments)
        if done.returncode != 0:
            said = " ".join(_words(done).split()) or done.returncode  # a log line is one line
            raise SlurmError(f"`{' '.join(arguments[:3])}` failed: {said}. {who_is_up(arguments)}")
        return done.stdout.decode(errors="replace")


def _words(done: Finished) -> str:
    """What the command complained about."""
    return (done.stderr or done.stdout).decode(errors="replace").strip()[:500]
