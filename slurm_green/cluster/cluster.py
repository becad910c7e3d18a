# SPDX-License-Identifier: Apache-2.0
"""A cluster as one object, for tests and the demo."""

import json
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from profiling.device.emulated.bench import Bench
from profiling.whole import write_file
from slurm_green.cluster import daemons, noded, processes
from slurm_green.cluster.down import down as take_down
from slurm_green.cluster.gpus import bench_of
from slurm_green.cluster.layout import Layout, clusters_directory
from slurm_green.cluster.machine import Machine
from slurm_green.cluster.record import Owner, load
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.cluster.status import ClusterStatus, status
from slurm_green.cluster.up import up as bring_up

__all__ = ["Cluster"]


class Cluster:
    """A real Slurm on this machine that is up.

    up -> (stopped parts of it <-> up) -> down; after down only its name means anything.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @classmethod
    def up(
        cls,
        spec: ClusterSpec,
        *,
        base: Path | None = None,
        owner: Owner | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> "Cluster":
        """Bring it up, or find it up."""
        machine, _ = bring_up(spec, clusters_directory(base), owner=owner, progress=progress)
        return cls(machine)

    @classmethod
    def find(cls, name: str, *, base: Path | None = None) -> "Cluster":
        """The cluster of that name."""
        layout = Layout.of(name, clusters_directory(base))
        return cls(Machine(layout=layout, record=load(layout)))

    def down(self, *, keep: bool = False) -> None:
        """Take it down and leave nothing behind (or, with keep, its directory)."""
        take_down(self.name, self.layout.directory.parent, keep=keep)

    @property
    def name(self) -> str:
        """Its name."""
        return self.layout.name

    @property
    def spec(self) -> ClusterSpec:
        """What was asked for."""
        return self._machine.record.spec

    @property
    def layout(self) -> Layout:
        """Its paths: `.etc`, `.run`, `.log`, `.work`, `.hook_socket`, ..."""
        return self._machine.layout

    @property
    def version(self) -> str:
        """Slurm's version, such as 24.11.5."""
        return self._machine.record.slurm_version

    @property
    def env(self) -> dict[str, str]:
        """SLURM_CONF, SLURM_GREEN_CONF and PATH for anything that talks to this cluster."""
        return self._machine.environment

    @property
    def nodes_address(self) -> str:
        """Where its sgreen-noded look for sgreend's API (`nodes.listen`)."""
        return f"127.0.0.1:{self._machine.record.ports.nodes_api}"

    @property
    def slurmctld_log(self) -> Path:
        """The controller's log."""
        return self.layout.log / "slurmctld.log"

    @property
    def slurmctld_pid(self) -> int | None:
        """The (first) controller's process, None when there is none."""
        found = self._controllers()
        return found[0].pid if found else None

    def status(self) -> ClusterStatus:
        """What of it is up."""
        return status(self.name, self.layout.directory.parent)

    def run(
        self,
        program: str,
        *arguments: str,
        user: str | None = None,
        check: bool = True,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout_s: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against this cluster, in its work directory, as root or as that user."""
        directory = cwd or self.layout.work
        account = None if user is None else pwd.getpwnam(user)
        ids = None if account is None else (account.pw_uid, account.pw_gid)
        argv = self._machine.argv(program, *arguments, directory=directory, user=ids)
        become = ids is not None and self._machine.root is None
        done = subprocess.run(
            argv,
            env={**os.environ, **self.env, **(env or {})},
            cwd=directory,
            input=input,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            user=ids[0] if become and ids else None,
            group=ids[1] if become and ids else None,
            extra_groups=[] if become else None,
        )
        if check and done.returncode != 0:
            raise subprocess.CalledProcessError(
                done.returncode,
                # The words of the command belong into a failing test's message.
                [*argv, f"said: {done.stdout[-1000:]}{done.stderr[-1000:]}"],
                done.stdout,
                done.stderr,
            )
        return done

    def stop_slurmctld(self, *, kill: bool = False) -> None:
        """End the (first) controller, politely or not."""
        found = self._controllers()
        if kill:
            processes.kill_all(found)
        else:
            processes.stop(found, grace_s=30)

    def start_slurmctld(self) -> None:
        """Start the (first) controller that was stopped, and wait until one answers."""
        daemons.start_slurmctld(self._machine)
        daemons.await_slurmctld(self._machine)

    def restart_slurmctld(self, *, kill: bool = False) -> None:
        """Stop and start the (first) controller."""
        self.stop_slurmctld(kill=kill)
        self.start_slurmctld()

    def hang_slurmctld(self, hang: bool = True) -> None:
        """Stop the (first) controller's clock, or let it go on (SIGSTOP, SIGCONT)."""
        number = signal.SIGSTOP if hang else signal.SIGCONT
        processes.send(self._controllers(), number)

    def stop_slurmd(self, node: str, *, kill: bool = False) -> None:
        """End one node's daemon."""
        self._stop_on(node, "slurmd", kill=kill)

    def stop_noded(self, node: str, *, kill: bool = False) -> None:
        """End one node's sgreen-noded."""
        self._stop_on(node, processes.NODED, kill=kill)

    def start_noded(self, node: str) -> None:
        """Start a node's sgreen-noded that was stopped."""
        noded.start_nodeds(self._machine, (node,))

    def hang_noded(self, node: str, hang: bool = True) -> None:
        """Stop a node's sgreen-noded's clock, or let it go on."""
        processes.send(self._on(node, processes.NODED), signal.SIGSTOP if hang else signal.SIGCONT)

    def order(self, jobs: Mapping[int, Mapping[str, object]]) -> None:
        """What every sgreen-noded is to do with jobs, where no sgreend tells them (`hook`)."""
        orders = {"jobs": {str(job): values for job, values in jobs.items()}, "cap": {}}
        write_file(self.layout.orders, json.dumps(orders).encode())

    def bench(self, node: str) -> Bench:
        """The emulated GPUs of a node, to read and to break them; close it."""
        return bench_of(self.layout, node)

    def _stop_on(self, node: str, kind: str, *, kill: bool) -> None:
        found = self._on(node, kind)
        if kill:
            processes.kill_all(found)
        else:
            processes.stop(found, grace_s=30)

    def _on(self, node: str, kind: str) -> list[processes.Process]:
        found = processes.find(self.layout.directory)
        return [one for one in found if (one.kind, one.node) == (kind, node)]

    def _controllers(self) -> list[processes.Process]:
        """The (first) controller's processes."""
        return [
            process
            for process in processes.find(self.layout.directory)
            if process.kind == "slurmctld"
            and not any(word.endswith("slurmctld-backup.log") for word in process.argv)
        ]
