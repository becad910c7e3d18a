# SPDX-License-Identifier: Apache-2.0
"""sgreen-noded on every node of a cluster, with prolog and epilog as a site installs them.

Only root sets clocks: the cluster of an ordinary user has emulated GPUs, and no sgreen-noded.
"""

import json
import os
import shlex
import socket
import sys
from pathlib import Path

from profiling.device.emulated.bench import STATE_VARIABLE
from profiling.whole import write_file
from slurm_green.cluster import processes
from slurm_green.cluster.daemons import log_tail, wait_until
from slurm_green.cluster.gpus import write_hook
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.machine import Machine
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.errors import ClusterError
from slurm_green.hook.node_files import CLIENT, node_files

__all__ = ["has_noded", "node_config", "noded_log", "start_nodeds", "write_node_files"]

_START_S = 20.0


def has_noded(spec: ClusterSpec) -> bool:
    """Whether its nodes run sgreen-noded when this user starts it."""
    return spec.gpu_model is not None and os.geteuid() == 0


def node_config(layout: Layout, node: str) -> Path:
    """The configuration of that node's sgreen-noded."""
    return layout.nodes / node / "slurm-green.toml"


def noded_log(layout: Layout, node: str) -> Path:
    """What that node's sgreen-noded says."""
    return layout.log / f"noded-{node}.log"


def write_node_files(machine: Machine) -> None:
    """Configurations, and the hooks that call the sgreen-noded of the node they run on."""
    layout, spec = machine.layout, machine.record.spec
    if not has_noded(spec):
        return
    client = layout.etc / CLIENT
    sockets = f'{shlex.quote(str(layout.nodes))}/"$SLURMD_NODENAME"/run/root.sock'
    texts = node_files(socket=sockets, client=shlex.quote(str(client)))
    client.write_text(texts[CLIENT], encoding="utf-8")
    write_hook(layout, "prolog", "50-slurm-green.sh", texts["prolog.sh"])
    write_hook(layout, "epilog", "50-slurm-green.sh", texts["epilog.sh"])
    for node in spec.node_names:
        write_file(node_config(layout, node), _config_text(machine, node).encode())


def start_nodeds(machine: Machine, nodes: tuple[str, ...] | None = None) -> None:
    """All of them at once, until they answer."""
    layout, spec = machine.layout, machine.record.spec
    if not has_noded(spec):
        return
    silent = set(nodes or spec.node_names)
    for node in sorted(silent):
        command = [sys.executable, "-m", "slurm_green.node.daemon"]
        command += ["--config", str(node_config(layout, node))]
        # It stays in the foreground, and says what happens on its standard error.
        argv = ["setsid", "--fork", "sh", "-c", 'exec "$@" 2>>"$0"', str(noded_log(layout, node))]
        environment = {STATE_VARIABLE: str(layout.gpus(node))}
        machine.start([*argv, *command], log=f"noded-{node}", environment=environment)

    missed: set[str] = set()

    def answer() -> bool:
        silent.difference_update([node for node in silent if _pings(layout, node)])
        found = processes.find(layout.directory)
        dead = silent - {one.node for one in found if one.kind == processes.NODED}
        # One that came up between two looks is not dead, nor one that was seen during its exec,
        # when it has no command line.
        for node in sorted(dead & missed):
            if not _pings(layout, node):
                log = log_tail(noded_log(layout, node))
                raise ClusterError(f"sgreen-noded of {node} ended right after its start{log}")
        missed.clear()
        missed.update(dead)
        return not silent

    limit_s, first = _START_S + len(silent), noded_log(layout, min(silent))
    wait_until(answer, timeout_s=limit_s, what="every sgreen-noded's answer", log=first)


def _config_text(machine: Machine, node: str) -> str:
    layout, record = machine.layout, machine.record
    place = layout.nodes / node
    settings = {
        "name": node,
        "slurm_conf": str(layout.slurm_conf),
        "run": str(place / "run"),
        "state": str(place / "state"),
        "interval": "0.5s",
        "metrics": "",
    }
    if record.spec.hook:
        settings["sgreend"] = f"http://127.0.0.1:{record.ports.nodes_api}"
        settings["munge_socket"] = str(layout.munge_socket)
    else:
        settings["orders"] = str(layout.orders)
    lines = ["# Made by `sgreen cluster up`.", "[node]"]
    # JSON's strings are TOML's.
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    lines += ["[nvml]", f"library = {json.dumps(str(layout.gpu_library))}"]
    return "\n".join(lines) + "\n"


def _pings(layout: Layout, node: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(2)
            peer.connect(str(layout.nodes / node / "run" / "root.sock"))
            peer.sendall(b'{"op":"ping"}\n')
            return bool(json.loads(peer.makefile("rb").readline())["ok"])
    except (OSError, ValueError, LookupError):
        return False
