# SPDX-License-Identifier: Apache-2.0
"""`sgreen restore`: on a GPU node, gives every GPU back that a dead process of ours left set."""

import os
from dataclasses import asdict
from pathlib import Path

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json
from slurm_green.errors import BadInputError


@click.command(name="restore", short_help="Give GPUs of this node back to the site's default.")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration of the node [default: as sgreen-noded].",
)
@as_json
@click.pass_context
@pass_app
def command(app: App, ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """Give back every GPU of this node whose clock or power limit we owe.

    It restores what the journal names and no live process holds, as `sgreen-noded --restore` does.
    What a running sgreen-noded has set for a job stays: it gives it back when the job ends. As
    root. Exit status 1 when something is still set.
    """
    if os.geteuid() != 0:
        raise BadInputError(
            "only root sets and restores GPUs: sudo sgreen restore (a job's own GPUs are given"
            " back when it ends)"
        )
    from slurm_green.node.restoring import restore
    from slurm_green.node.settings import settings_from

    settings, nvml = settings_from(config, app.environ)
    done = restore(settings, nvml.library)
    if as_json:
        emit_json(asdict(done))
    else:
        for uuid in done.restored:
            click.echo(f"{uuid} restored")
        for one in done.held:
            process = "" if one.pid is None else f", process {one.pid}"
            click.echo(f"{one.uuid} is held by {one.holder}{process}, which gives it back itself")
        if any(one.holder == "sgreen-noded" for one in done.held):
            click.echo("To have it back now: systemctl stop slurm-green-noded; jobs run on.")
        if not (done.restored or done.held or done.failed):
            click.echo("Nothing to give back: the journal is empty.")
    for words in done.failed:
        click.echo(f"sgreen: {words}", err=True)
    if done.held or done.failed:
        ctx.exit(1)
