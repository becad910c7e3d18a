# SPDX-License-Identifier: Apache-2.0
"""Bring a cluster up: all of it, or nothing of it."""

import os
import pwd
import secrets
import shlex
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from profiling.whole import whole_file
from slurm_green.cluster import conf, daemons, hook, view
from slurm_green.cluster.accounting import register, start_accounting
from slurm_green.cluster.down import clear, stop_processes
from slurm_green.cluster.gpus import make_gpus
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.lock import PORTS, locked
from slurm_green.cluster.machine import Machine, slurm_version
from slurm_green.cluster.noded import start_nodeds, write_node_files
from slurm_green.cluster.packages import ensure
from slurm_green.cluster.ports import pick_ports
from slurm_green.cluster.record import Owner, Record, all_records, check_ours, load, save
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.cluster.status import is_up
from slurm_green.errors import BadInputError, ClusterError

__all__ = ["up"]

Progress = Callable[[str], None]


def up(
    spec: ClusterSpec,
    base: Path,
    *,
    owner: Owner | None = None,
    progress: Progress = lambda _: None,
) -> tuple[Machine, bool]:
    """Bring it up, or find it up already; returns it and whether anything had to be started."""
    layout = Layout.of(spec.name, base)
    if os.geteuid() != 0 and (spec.backup or spec.slurm_root is not None):
        raise BadInputError(
            "--backup and --slurm-root need root (namespaces, mounts); without root a cluster"
            " runs its starter's own jobs only"
        )
    ensure(_needed(spec), progress=progress)
    with locked(base, spec.name):
        found = _found(layout, spec)
        if found is not None and is_up(found):
            return found, False
        had_state = found is not None
        machine = found or _fresh(layout, spec, base, owner)
        try:
            # What a killed `up` or a crash left would stand in the way.
            stop_processes(machine.layout, grace_s=5)
            _start(machine, progress)
        except BaseException:
            # Ctrl-C too: half a cluster is of no use to anybody.
            clear(layout, spec.slurm_root, keep=had_state)
            raise
    return machine, True


def _needed(spec: ClusterSpec) -> list[str]:
    groups = [] if spec.slurm_root is not None else ["slurm"]
    groups += ["hook"] if spec.hook and spec.slurm_root is None else []
    groups += ["accounting"] if spec.accounting else []
    groups += ["compiler"] if spec.gpu_model is not None else []
    return groups


def _found(layout: Layout, spec: ClusterSpec) -> Machine | None:
    """The cluster of that name when there is one; refuses one of another shape."""
    if not layout.directory.exists():
        return None
    check_ours(layout)
    try:
        record = load(layout)
    except (BadInputError, ClusterError):
        clear(layout, spec.slurm_root, keep=False)  # an `up` that was killed before its record
        return None
    if record.spec == spec:
        return Machine(layout=layout, record=record)
    machine = Machine(layout=layout, record=record)
    ours, theirs = spec.to_json(), record.spec.to_json()
    differences = [
        f"{key} {theirs[key]} (asked: {ours[key]})" for key in ours if ours[key] != theirs[key]
    ]
    state = "is up" if is_up(machine) else "exists"
    raise BadInputError(
        f"cluster {spec.name!r} {state} with other options: {', '.join(differences)};"
        f" `sgreen cluster down {spec.name}` first, or choose another name"
    )


def _fresh(layout: Layout, spec: ClusterSpec, base: Path, owner: Owner | None) -> Machine:
    version = slurm_version(spec.slurm_root)
    # Ports are chosen and written down in one step: the next `up` must see them as taken.
    with locked(base, PORTS):
        taken = [record.ports for _, record in all_records(base)]
        record = Record(
            spec=spec,
            ports=pick_ports(spec.nodes, taken),
            slurm_version=version,
            owner=owner,
        )
        layout.directory.mkdir(parents=True)
        save(layout, record)
    return Machine(layout=layout, record=record)


def _start(machine: Machine, progress: Progress) -> None:
    layout, spec = machine.layout, machine.record.spec
    _directories(layout)
    host = _accounting_host(machine)
    _key(layout, host)
    _files(machine, host)
    if spec.slurm_root is not None:
        progress("mounting the chroot")
        view.make_view(layout, spec.slurm_root)
    if spec.gpu_model is not None:
        progress("making the emulated GPUs")
        make_gpus(layout, spec)
        write_node_files(machine)
        start_nodeds(machine)
    progress("starting munged")
    daemons.start_munged(machine)
    if spec.accounting:
        progress("starting MariaDB and slurmdbd")
        start_accounting(machine)
    if spec.has_accounting:
        register(machine)
    progress(f"starting slurmctld {machine.record.slurm_version}")
    daemons.start_slurmctld(machine)
    if spec.backup:
        daemons.start_slurmctld(machine, backup=True)
    progress(f"starting {spec.nodes} slurmd")
    daemons.start_slurmds(machine)
    daemons.await_slurmctld(machine)
    if spec.backup:
        daemons.await_backup(machine)
    progress("waiting for the nodes")
    daemons.await_nodes(machine)


def _directories(layout: Layout) -> None:
    for directory in (
        *(layout.directory, layout.etc, layout.run, layout.log, layout.state, layout.spool),
        *(layout.devices, layout.work, layout.munge_key.parent),
        *(layout.controller_run, layout.backup_run),
    ):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
    for private in (layout.state, layout.munge_key.parent):
        private.chmod(0o700)
    layout.work.chmod(0o1777)  # any user's jobs may write their output there


def _accounting_host(machine: Machine) -> Machine:
    """The cluster whose slurmdbd and key this one uses: itself, or the one it joins."""
    name = machine.record.spec.accounting_of
    if name is None:
        return machine
    layout = Layout.of(name, machine.layout.directory.parent)
    host = Machine(layout=layout, record=load(layout))
    if not host.record.spec.accounting:
        raise BadInputError(f"--accounting-of {name}: that cluster runs no slurmdbd of its own")
    if not is_up(host):
        raise BadInputError(f"--accounting-of {name}: that cluster is not up")
    return host


def _key(layout: Layout, host: Machine) -> None:
    if layout.munge_key.exists():
        return
    other = host.layout.munge_key
    key = other.read_bytes() if other.exists() else secrets.token_bytes(1024)
    with whole_file(layout.munge_key, binary=True, mode=0o400) as file:  # an `up` may be killed
        file.write(key)


def _files(machine: Machine, host: Machine) -> None:
    layout, spec, ports = machine.layout, machine.record.spec, machine.record.ports
    slurmdbd = (host.record.ports.slurmdbd, layout.munge_socket) if spec.has_accounting else None
    user = pwd.getpwuid(os.geteuid()).pw_name
    devices = _devices(layout, spec.gpus)
    texts = {
        layout.slurm_conf: conf.slurm_conf(
            spec=spec,
            layout=layout,
            ports=ports,
            user=user,
            extra=spec.extra_conf,
            slurmdbd=slurmdbd,
        ),
        layout.etc / "gres.conf": conf.gres_conf(spec=spec, devices=devices),
        layout.etc / "cgroup.conf": conf.cgroup_conf(machine.record.slurm_version),
        layout.env_file: _env_text(machine),
    }
    if spec.backup:
        texts[layout.etc / "hosts"] = conf.hosts(spec)
    # Kept as it is when a kept cluster comes up again: somebody may have edited it.
    if spec.hook and not layout.job_submit.exists():
        texts[layout.job_submit] = hook.job_submit(layout)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def _env_text(machine: Machine) -> str:
    lines = [
        f"# Source this to work with cluster {machine.layout.name}.",
        f"export SLURM_CONF={shlex.quote(str(machine.layout.slurm_conf))}",
        f"export SLURM_GREEN_CONF={shlex.quote(str(machine.layout.green_conf))}",
    ]
    if machine.root is not None:
        lines.append(f"export PATH={shlex.quote(str(machine.layout.commands))}:$PATH")
    return "\n".join(lines) + "\n"


def _devices(layout: Layout, gpus: int) -> list[Path]:
    """A character device per GPU: Slurm wants device files, and only looks at them."""
    paths = [layout.devices / f"nvidia{index}" for index in range(gpus)]
    try:
        for path in paths:
            if not path.exists():
                # The null device's numbers: whoever opens an emulated GPU reaches no real one.
                os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        shutil.rmtree(layout.devices)
        paths = [Path(f"/dev/tty{index}") for index in range(10, 10 + gpus)]
        if not all(path.is_char_device() for path in paths):
            raise ClusterError(
                f"{gpus} emulated GPUs need as many character devices: mknod is not allowed"
                f" here, and /dev has too few terminals; ask for fewer --gpus, or run as root"
            ) from None
    return paths
