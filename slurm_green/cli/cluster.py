# SPDX-License-Identifier: Apache-2.0
"""`sgreen cluster`: a real Slurm on this machine, for the demo and for tests."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slurm_green.cli.params import Whole

if TYPE_CHECKING:
    from slurm_green.cluster.status import ClusterStatus

__all__ = ["command"]

_DIRECTORY = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where clusters live [default: SLURM_GREEN_CLUSTERS, or the run directory].",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group(name="cluster")
def command() -> None:
    """Run a real Slurm with emulated GPUs on this machine."""


@command.command()
@click.argument("name")
@click.option("--nodes", type=Whole(min=0), default=4, show_default=True, help="How many slurmd.")
@click.option(
    "--gpus", type=Whole(min=0), default=8, show_default=True, help="Emulated GPUs of each node."
)
@click.option(
    "--gpu-model",
    metavar="MODEL",
    help="Emulate GPUs with clocks and power, such as h100-sxm [default: devices only counted].",
)
@click.option(
    "--cpus", type=Whole(min=0), default=16, show_default=True, help="CPUs each node declares."
)
@click.option("--accounting", is_flag=True, help="With its own slurmdbd and MariaDB.")
@click.option("--accounting-of", metavar="OTHER", help="Join cluster OTHER's slurmdbd and key.")
@click.option("--hook", is_flag=True, help="With slurm-green's submit hook.")
@click.option("--backup", is_flag=True, help="With a backup slurmctld.")
@click.option("--timezone", metavar="TZ", help="Time zone of its daemons [default: this one's].")
@click.option(
    "--extra-conf",
    multiple=True,
    metavar="FILE|KEY=VALUE",
    help="More of slurm.conf: replaces a setting, KEY+=VALUE extends it. May be given again.",
)
@click.option(
    "--slurm-root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Take Slurm from this chroot (see `sgreen cluster chroot`).",
)
@_DIRECTORY
@_JSON
def up(
    name: str, extra_conf: tuple[str, ...], directory: Path | None, as_json: bool, **shape: Any
) -> None:
    """Bring cluster NAME up; does nothing when it is up already."""
    from slurm_green.cluster.conf import extra_lines
    from slurm_green.cluster.layout import clusters_directory
    from slurm_green.cluster.spec import ClusterSpec
    from slurm_green.cluster.status import status
    from slurm_green.cluster.up import up as bring_up

    root = shape.pop("slurm_root")
    spec = ClusterSpec(
        name=name,
        extra_conf=extra_lines(extra_conf),
        slurm_root=None if root is None else root.absolute(),
        **shape,
    )
    base = clusters_directory(directory)
    machine, started = bring_up(spec, base, progress=_progress())
    now = status(name, base)
    if as_json:
        click.echo(json.dumps({**now.to_json(), "started": started}))
        return
    model = "" if spec.gpu_model is None else f" ({spec.gpu_model})"
    shape_text = f"{spec.nodes} nodes x {spec.gpus} emulated GPUs{model}"
    said = "up" if started else "was up already"
    click.echo(f"cluster {name} {said}: Slurm {now.slurm_version}, {shape_text}")
    click.echo(f"  . {machine.layout.env_file}")


@command.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="All clusters there are.")
@click.option("--keep", is_flag=True, help="Keep its directory (state, logs) for another `up`.")
@_DIRECTORY
@_JSON
def down(
    name: str | None, everything: bool, keep: bool, directory: Path | None, as_json: bool
) -> None:
    """Take cluster NAME down: its jobs, daemons and directory, nothing else."""
    from slurm_green.cluster.down import down as take_down
    from slurm_green.cluster.down import down_all
    from slurm_green.cluster.layout import clusters_directory

    if everything == (name is not None):
        raise click.UsageError("give the NAME of a cluster, or --all")
    base = clusters_directory(directory)
    if name is not None:
        take_down(name, base, keep=keep, progress=_progress())
        gone = [name]
    else:
        gone = down_all(base, keep=keep, progress=_progress())
    if as_json:
        click.echo(json.dumps({"down": gone}))
    else:
        click.echo(f"down: {', '.join(gone)}" if gone else f"no clusters in {base}")


@command.command()
@click.argument("name", required=False)
@_DIRECTORY
@_JSON
def status(name: str | None, directory: Path | None, as_json: bool) -> None:
    """Show what is up of cluster NAME, or of all clusters."""
    from slurm_green.cluster.layout import clusters_directory
    from slurm_green.cluster.status import status as status_of
    from slurm_green.cluster.status import status_of_all

    base = clusters_directory(directory)
    found = status_of_all(base) if name is None else [status_of(name, base)]
    if as_json:
        listing = [one.to_json() for one in found]
        click.echo(json.dumps({"clusters": listing} if name is None else listing[0]))
        return
    if not found:
        click.echo(f"no clusters in {base}")
    for one in found:
        daemons = ", ".join(f"{count} {kind}" for kind, count in one.daemons.items()) or "none"
        click.echo(f"{one.name}: {one.state}, Slurm {one.slurm_version}, port {one.port}")
        click.echo(f"  daemons   {daemons}")
        click.echo(f"  nodes     {_nodes(one.nodes)}, {one.gpus_per_node} emulated GPUs each")
        for line in _clocks(one):
            click.echo(f"  {line}")
        click.echo(f"  jobs      {'unknown' if one.jobs is None else one.jobs}")
        click.echo(f"  use       . {one.env_file}")


@command.command(hidden=True)
@click.argument("suite")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where chroots are kept [default: SLURM_GREEN_CHROOTS, or the cache directory].",
)
def chroot(suite: str, directory: Path | None) -> None:
    """Build a chroot with the Slurm of Debian SUITE, once, and print its path."""
    from slurm_green.cluster.chroot import build

    base = None if directory is None else directory.absolute()
    click.echo(build(suite, base, progress=_progress()))


def _clocks(one: "ClusterStatus") -> list[str]:
    """Which GPUs are set to what, and for which job."""
    if one.gpu_model is None:
        return []
    if one.clocks is None:
        return [f"clocks    unknown ({one.gpu_model}; cannot be read)"]
    set_now = [gpu for gpu in one.clocks if gpu.lock_mhz is not None]
    lines = [f"clocks    {len(set_now)} of {len(one.clocks)} {one.gpu_model} set"]
    if "sgreen-noded" not in one.daemons:
        lines[0] += ", and no sgreen-noded to set them (only root's clusters have it)"
    for gpu in set_now:
        job = "no job" if gpu.job_id is None else f"job {gpu.job_id}"
        lines.append(
            f"          {gpu.node} GPU {gpu.gpu}: {job}, at most {gpu.lock_mhz:.0f} MHz;"
            f" runs at {gpu.clock_mhz:.0f} MHz, {gpu.power_w:.0f} W"
        )
    return lines


def _nodes(nodes: dict[str, str] | None) -> str:
    if nodes is None:
        return "unknown"
    states: dict[str, int] = {}
    for state in nodes.values():
        states[state] = states.get(state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _progress() -> Callable[[str], None]:
    """A line a step, for a person who waits; nothing into a log or a pipe."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda text: click.echo(f"... {text}", err=True)
