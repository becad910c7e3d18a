# SPDX-License-Identifier: Apache-2.0
"""Start one daemon of a cluster and wait until it answers."""

import re
import shlex
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slurm_green.cluster import processes
from slurm_green.cluster.conf import CONTROLLERS
from slurm_green.cluster.machine import Machine
from slurm_green.errors import ClusterError

__all__ = [
    "await_backup",
    "await_nodes",
    "await_slurmctld",
    "log_tail",
    "start_munged",
    "start_slurmctld",
    "start_slurmds",
    "wait_until",
]

_POLL_S = 0.05
_BAD = re.compile(r"\b(fatal|error|ERROR)\b")
# What every fresh cluster logs: no state of an earlier life, and plugins nobody asked for.
_HARMLESS = re.compile(r"state( save)? file|_state: No such|may be lost|pmix|MailProg")


def wait_until(
    met: Callable[[], bool], *, timeout_s: float, what: str, log: Path | None = None
) -> None:
    """Return once the condition is met; say what did not happen, and the log's word on it."""
    deadline = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {timeout_s:g} s{log_tail(log)}")
        time.sleep(_POLL_S)


def log_tail(log: Path | None, *, lines: int = 6) -> str:
    """The end of a log as an error message's last part: its errors if it has any."""
    if log is None:
        return ""
    try:
        text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    bad = [line for line in text if _BAD.search(line) and not _HARMLESS.search(line)]
    shown = (bad or text)[-lines:]
    return "".join(f"\n  {line}" for line in [f"the end of {log}:", *shown]) if shown else ""


def start_munged(machine: Machine) -> None:
    """The authentication daemon, on its own socket with the cluster's key."""
    layout = machine.layout
    log = layout.log / "munged.log"
    argv = machine.argv(
        "munged",
        "--force",  # its checks are for /run and /etc; ours are the directory's rights
        f"--key-file={layout.munge_key}",
        f"--socket={layout.munge_socket}",
        f"--pid-file={layout.run / 'munged.pid'}",
        f"--log-file={log}",
        f"--seed-file={layout.munge_key.parent / 'seed'}",
        "--num-threads=2",
    )
    machine.start(argv, log="munged")
    wait_until(layout.munge_socket.exists, timeout_s=10, what="munged's socket", log=log)


def start_slurmctld(machine: Machine, *, backup: bool = False) -> None:
    """One controller: the primary, or the backup of a cluster that has one."""
    layout, spec = machine.layout, machine.record.spec
    # The controllers are told apart by their log; nothing else of them may differ.
    log = layout.log / ("slurmctld-backup.log" if backup else "slurmctld.log")
    argv = machine.argv("slurmctld", "-f", str(layout.slurm_conf), "-L", str(log))
    if spec.backup:
        argv = _on_own_host(machine, argv, backup=backup)
    environment = {} if spec.timezone is None else {"TZ": spec.timezone}
    try:
        machine.start(argv, log=log.stem, environment=environment)
    except ClusterError as error:
        raise ClusterError(f"{error}{log_tail(log)}") from error


def await_slurmctld(machine: Machine) -> None:
    """Wait until a controller answers."""
    log = machine.layout.log / "slurmctld.log"

    def answers() -> bool:
        if not any(p.kind == "slurmctld" for p in processes.find(machine.layout.directory)):
            raise ClusterError(f"slurmctld ended right after its start{log_tail(log)}")
        return "UP" in machine.client("scontrol", "ping").stdout

    wait_until(answers, timeout_s=30, what="slurmctld's answer", log=log)


def start_slurmds(machine: Machine, nodes: tuple[str, ...] | None = None) -> None:
    """The nodes, all at once."""
    spec = machine.record.spec
    environment = {} if spec.timezone is None else {"TZ": spec.timezone}

    def start(node: str) -> None:
        (machine.layout.spool / node).mkdir(exist_ok=True)
        argv = machine.argv("slurmd", "-f", str(machine.layout.slurm_conf), "-N", node)
        try:
            machine.start(argv, log=f"slurmd-{node}", environment=environment)
        except ClusterError as error:
            log = machine.layout.log / f"slurmd-{node}.log"
            raise ClusterError(f"{error}{log_tail(log)}") from error

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(start, nodes or spec.node_names))


def await_nodes(machine: Machine, *, timeout_s: float = 60.0) -> None:
    """Wait until every node takes jobs."""
    wanted = set(machine.record.spec.node_names)
    seen: dict[str, str] = {}

    def ready() -> bool:
        seen.clear()
        lines = machine.client("sinfo", "-h", "-N", "-o", "%N %t").stdout.splitlines()
        seen.update((node, state) for node, _, state in (line.partition(" ") for line in lines))
        return {n for n, state in seen.items() if state in ("idle", "alloc", "mix")} >= wanted

    try:
        wait_until(ready, timeout_s=timeout_s, what="all nodes ready")
    except ClusterError as error:
        bad = sorted(node for node in wanted if seen.get(node) not in ("idle", "alloc", "mix"))
        states = ", ".join(f"{node} {seen.get(node, 'unknown')}" for node in bad[:4])
        log = machine.layout.log / f"slurmd-{bad[0]}.log" if bad else None
        raise ClusterError(f"{error}; not ready: {states}{log_tail(log)}") from error


def await_backup(machine: Machine) -> None:
    """Wait until both controllers answer."""
    wait_until(
        lambda: machine.client("scontrol", "ping").stdout.count(" is UP") == len(CONTROLLERS),
        timeout_s=30,
        what="both controllers' answer",
        log=machine.layout.log / "slurmctld-backup.log",
    )


def _on_own_host(machine: Machine, argv: list[str], *, backup: bool) -> list[str]:
    """Give a controller a host name of its own: that is how Slurm tells primary and backup."""
    layout = machine.layout
    host = f"{layout.name}-{CONTROLLERS[1 if backup else 0][0]}"
    seen_from = "" if machine.root is None else str(machine.root)
    mounts = [(layout.etc / "hosts", "/etc/hosts")]
    if backup:
        mounts.append((layout.backup_run, str(layout.controller_run)))
    steps = [shlex.join(["hostname", host])]
    steps += [shlex.join(["mount", "--bind", str(s), f"{seen_from}{t}"]) for s, t in mounts]
    steps.append(f"exec {shlex.join(argv)}")
    return ["unshare", "--uts", "--mount", "sh", "-c", " && ".join(steps)]
