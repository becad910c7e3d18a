# SPDX-License-Identifier: Apache-2.0
"""The text of Slurm's configuration files for a cluster; pure, so that tests can read it.

Every choice here was seen to work as root, without systemd and without cgroups, on Slurm 22.05,
24.11 and 26.05. The schedulers are set fast: a demo or a test waits for them.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from slurm_green.cluster.layout import Layout
from slurm_green.cluster.ports import Ports
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.errors import BadInputError

__all__ = [
    "CONTROLLERS",
    "cgroup_conf",
    "extra_lines",
    "gres_conf",
    "hosts",
    "slurm_conf",
    "slurmdbd_conf",
]

# With a backup there are two controllers on one machine and one port: each has its own address,
# and its own host name inside a namespace of its own.
CONTROLLERS = (("ctl1", "127.0.0.1"), ("ctl2", "127.0.0.2"))

# Settings that may stand several times; all others replace what stands here already.
_REPEATED = {"nodename", "partitionname", "nodeset", "downnodes", "frontendname", "include"}
_LINE = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)\s*(\+?=)\s*(.*?)\s*")


def slurm_conf(
    *,
    spec: ClusterSpec,
    layout: Layout,
    ports: Ports,
    user: str,
    extra: Sequence[str] = (),
    slurmdbd: tuple[int, Path] | None = None,
) -> str:
    """slurm.conf; `slurmdbd` is the port of the accounting daemon and our munge socket."""
    settings: dict[str, list[str]] = {}
    lines: list[str] = []
    for key, value in _defaults(spec, layout, ports, user, slurmdbd):
        settings.setdefault(key, []).append(value)
    names = {key.lower(): key for key in settings}
    for line in extra:
        key, operator, value = _parse(line)
        if key.lower() in _REPEATED:
            lines.append(line.strip())
            continue
        key = names.setdefault(key.lower(), key)
        if operator == "+=" and settings.get(key):
            settings[key] = [f"{settings[key][-1]},{value}"]
        else:
            settings[key] = [value]
    own = [f"{key}={value}" for key, values in settings.items() for value in values]
    nodes = _nodes(spec, ports)
    partition = "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP"
    head = [
        f"# Made by `sgreen cluster up {spec.name}` and removed by `sgreen cluster down`.",
        "# Its GPUs are emulated: character devices that nothing ever opens.",
    ]
    # A partition of that name in the extra lines is meant instead of ours, not beside it.
    if any(re.match(r"\s*PartitionName\s*=\s*main\b", line, re.IGNORECASE) for line in lines):
        partition = ""
    return "\n".join([*head, *own, *nodes, *filter(None, [partition]), *lines]) + "\n"


def extra_lines(given: Iterable[str]) -> tuple[str, ...]:
    """The lines of --extra-conf: each a KEY=VALUE, or a file full of them."""
    lines: list[str] = []
    for item in given:
        path = Path(item)
        if path.is_file():
            text = path.read_text(encoding="utf-8").splitlines()
            found = [line for line in text if line.strip() and not line.lstrip().startswith("#")]
        elif "=" in item:
            found = [item]
        else:
            raise BadInputError(
                f"--extra-conf {item!r}: neither a file that exists nor KEY=VALUE (or KEY+=VALUE)"
            )
        for line in found:
            _parse(line)
        lines += found
    return tuple(lines)


def gres_conf(*, spec: ClusterSpec, devices: Sequence[Path]) -> str:
    """gres.conf: one emulated GPU per device; Slurm insists on real device files."""
    lines = ["# Emulated GPUs: the devices exist so that Slurm can count and hand them out."]
    lines += [f"Name=gpu Type={spec.gpu_type} File={device}" for device in devices]
    return "\n".join(lines) + "\n"


def cgroup_conf(slurm_version: str) -> str:
    """cgroup.conf: none of ours uses cgroups, and slurmd must start whatever is mounted here.

    24.11 has a word for that. 22.05 refuses it, and by itself ends where it finds no cgroup file
    system or an odd one; told a version it looks only when a plugin needs it, and none does.
    """
    major = int(slurm_version.split(".")[0])
    return f"CgroupPlugin={'disabled' if major >= 24 else 'cgroup/v1'}\n"


def slurmdbd_conf(*, layout: Layout, port: int, user: str) -> str:
    """slurmdbd.conf; the database's password guards nothing, its socket's directory does."""
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "DbdHost": "localhost",
        "DbdPort": str(port),
        "SlurmUser": user,
        "LogFile": str(layout.log / "slurmdbd.log"),
        "PidFile": str(layout.run / "slurmdbd.pid"),
        "ArchiveDir": str(layout.work),  # checked at start, never used
        "DebugLevel": "info",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "slurm",
        "StoragePass": "slurm",
        "StorageLoc": "slurm_acct_db",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def hosts(spec: ClusterSpec) -> str:
    """/etc/hosts as the two controllers of a cluster with backup see it."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{address} {spec.name}-{suffix}" for suffix, address in CONTROLLERS]
    return "\n".join(lines) + "\n"


def _defaults(
    spec: ClusterSpec,
    layout: Layout,
    ports: Ports,
    user: str,
    slurmdbd: tuple[int, Path] | None,
) -> Iterable[tuple[str, str]]:
    yield "ClusterName", spec.name
    if spec.backup:
        for suffix, address in CONTROLLERS:
            yield "SlurmctldHost", f"{spec.name}-{suffix}({address})"
        # Each listens on its own address only, or the second would find the port taken.
        yield "CommunicationParameters", "NoCtldInAddrAny"
    else:
        yield "SlurmctldHost", "localhost(127.0.0.1)"
    yield "SlurmctldPort", str(ports.slurmctld)
    yield "SlurmUser", user
    yield "SlurmdUser", user
    yield "AuthType", "auth/munge"
    yield "AuthInfo", f"socket={layout.munge_socket}"
    yield "CredType", "cred/munge"
    yield "StateSaveLocation", str(layout.state)
    yield "SlurmdSpoolDir", f"{layout.spool}/%n"
    yield "SlurmctldPidFile", str(layout.controller_run / "slurmctld.pid")
    yield "SlurmdPidFile", f"{layout.run}/slurmd-%n.pid"
    yield "SlurmctldLogFile", str(layout.log / "slurmctld.log")
    yield "SlurmdLogFile", f"{layout.log}/slurmd-%n.log"
    yield "SlurmctldDebug", "info"
    yield "SlurmdDebug", "info"
    yield "LogTimeFormat", "iso8601_ms"
    yield "ProctrackType", "proctrack/linuxproc"
    yield "TaskPlugin", "task/none"
    yield "JobAcctGatherType", "jobacct_gather/none"
    yield "SelectType", "select/cons_tres"
    yield "SelectTypeParameters", "CR_Core"
    yield "SchedulerType", "sched/backfill"
    yield (
        "SchedulerParameters",
        "bf_interval=1,sched_interval=1,batch_sched_delay=0,default_queue_depth=1000",
    )
    yield "GresTypes", "gpu"
    # A node may declare more CPUs than this machine has.
    yield "SlurmdParameters", "config_overrides"
    yield "ReturnToService", "2"
    yield "MpiDefault", "none"
    yield "SwitchType", "switch/none"
    yield "MailProg", "/bin/true"
    yield "MinJobAge", "300"
    yield "KillWait", "3"
    yield "InactiveLimit", "0"
    yield "SlurmdTimeout", "60"
    yield "SlurmctldTimeout", "5" if spec.backup else "60"
    if spec.hook:
        yield "JobSubmitPlugins", "lua"
    if spec.gpu_model is not None:
        for key, name in (("Prolog", "prolog"), ("Epilog", "epilog")):
            # Not %n: slurmd puts no name there.
            yield key, f"{layout.hooks(name)}/*.sh"
        yield "PrologFlags", "Alloc"
    if slurmdbd is not None:
        port, munge_socket = slurmdbd
        yield "AccountingStorageType", "accounting_storage/slurmdbd"
        yield "AccountingStorageHost", "localhost"
        yield "AccountingStoragePort", str(port)
        # Without it sacctmgr and slurmctld look for a munge of the whole machine, and hang.
        yield "AccountingStoragePass", str(munge_socket)
        yield "AccountingStorageTRES", "gres/gpu"


def _nodes(spec: ClusterSpec, ports: Ports) -> Iterable[str]:
    gres = f" Gres=gpu:{spec.gpu_type}:{spec.gpus}" if spec.gpus else ""
    for index, name in enumerate(spec.node_names):
        yield (
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1"
            f" Port={ports.slurmd(index)} CPUs={spec.cpus} Sockets=1"
            f" CoresPerSocket={spec.cpus} ThreadsPerCore=1 RealMemory={spec.memory_mb}"
            f" Feature=emulated,{spec.gpu_type}{gres} State=UNKNOWN"
        )


def _parse(line: str) -> tuple[str, str, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadInputError(f"slurm.conf line {line!r}: expected KEY=VALUE (or KEY+=VALUE)")
    return match[1], match[2], match[3]
