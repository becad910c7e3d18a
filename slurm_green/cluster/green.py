# SPDX-License-Identifier: Apache-2.0
"""sgreend beside a demo, test or benchmark cluster: its configuration, its process, its end."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.daemons import log_tail, wait_until
from slurm_green.cluster.layout import Layout
from slurm_green.errors import ClusterError

__all__ = [
    "await_sgreend",
    "cycles_of",
    "green_paths",
    "nodes_table",
    "start_sgreend",
    "stop_sgreend",
    "toml_text",
]


def green_paths(layout: Layout, directory: Path | None = None) -> dict[str, Path]:
    """The table [paths] of a cluster whose hook is ours; files go to `directory`, else to `run`."""
    place = directory or layout.run
    return {
        "socket": layout.hook_socket,
        "published": layout.hook_published,
        "status": place / "status.json",
        "ledger": place / "ledger.sqlite",
        "signal": place / "signal.json",
        "signals": place / "signals",
        "lock": place / "sgreend.lock",
        "off": place / "off",
    }


def nodes_table(cluster: Cluster) -> dict[str, object]:
    """The table [nodes] with which a cluster's sgreen-noded find their sgreend."""
    return {"listen": cluster.nodes_address, "munge_socket": cluster.layout.munge_socket}


def toml_text(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Tables as TOML; one in another is one table more: {"partition": {"main": {...}}}."""
    return "".join(_table(name, table) for name, table in tables.items())


def start_sgreend(
    cluster: Cluster, *, log: Path, config: Path | None = None
) -> "subprocess.Popen[bytes]":
    """The daemon in a process group of its own; it ends with us even if we are killed."""
    command = [sys.executable, "-m", "slurm_green.controller.daemon"]
    if config is not None:
        command += ["--config", str(config)]
    if setpriv := shutil.which("setpriv"):
        command = [setpriv, "--pdeathsig", "TERM", *command]
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            env={**os.environ, **cluster.env},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            # Ctrl-C is for whoever started it, who then ends it in order.
            start_new_session=True,
        )


def await_sgreend(
    daemon: "subprocess.Popen[bytes]",
    paths: Mapping[str, Path],
    *,
    log: Path | None = None,
    cycles: int = 2,
    timeout_s: float = 45.0,
) -> None:
    """Until it would defer: after its second cycle the first one's view can be answered from.

    With a long interval one cycle has to do: its view arrives a moment later.
    """

    def answers() -> bool:
        if daemon.poll() is not None:
            raise ClusterError(f"sgreend ended right after its start{log_tail(log)}")
        return cycles_of(paths["status"]) >= cycles and paths["socket"].exists()

    wait_until(answers, timeout_s=timeout_s, what="sgreend's first cycles", log=log)


def cycles_of(status: Path) -> int:
    """How many cycles the daemon says to have run; 0 while it says nothing."""
    try:
        return int(json.loads(status.read_text(encoding="utf-8"))["cycles"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def stop_sgreend(daemon: "subprocess.Popen[bytes]", *, timeout_s: float = 10.0) -> None:
    """End it as systemd does: SIGTERM, and SIGKILL for one that does not listen."""
    daemon.terminate()
    try:
        daemon.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _table(name: str, table: Mapping[str, object]) -> str:
    lines = [f"[{name}]\n"]
    below = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            below.append(_table(f"{name}.{key}", value))
        else:
            # JSON's strings, numbers, lists and booleans are TOML's.
            text = json.dumps(os.fspath(value) if isinstance(value, Path) else value)
            lines.append(f"{key} = {text}\n")
    return "".join([*lines, *below])
