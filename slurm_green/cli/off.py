# SPDX-License-Identifier: Apache-2.0
"""`sgreen off`: nothing is deferred any more, and with --release-all nothing stays deferred.

It needs neither the daemon nor the ledger, and not even a valid configuration: what is ours
stands in the jobs themselves.
"""

import getpass
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json
from slurm_green.errors import ConfigError, SlurmGreenError


@click.command(name="off", short_help="Stop deferring; with --release-all, undo what was done.")
@click.option(
    "--release-all",
    is_flag=True,
    help="Also make every job that waits because of us eligible now, from Slurm's own records.",
)
@as_json
@click.pass_context
@pass_app
def command(app: App, ctx: click.Context, release_all: bool, as_json: bool) -> None:
    """Stop deferring jobs, until `sgreen on`.

    Jobs deferred already keep their promised start unless --release-all is given. Can be repeated
    at will; exit status 1 when Slurm refused to release a job.
    """
    _forgive_config(app)
    marker = app.config.paths.off
    was_off = _mark(marker, app.now_s())
    result: dict[str, Any] = {"off": True, "was_off": was_off, "marker": marker}
    if release_all:
        from slurm_green.cli.release import release_all as release

        done = release(app.slurm, app.config, app.now_s())
        result |= {"released": done.released, "restored": done.restored, "refused": done.refused}
    if as_json:
        emit_json(result)
    else:
        click.echo(f"slurm-green {'was already' if was_off else 'is'} off: {marker}")
        if release_all:
            click.echo(
                f"{len(done.released)} jobs released, "
                f"priority restored on {len(done.restored)}, {len(done.refused)} refused"
            )
        else:
            click.echo("Jobs deferred already keep their promise; --release-all lets them go.")
        for job_id, words in (done.refused if release_all else {}).items():
            click.echo(f"sgreen: job {job_id}: {words}", err=True)
    if release_all and done.refused:
        ctx.exit(1)


def _mark(marker: Path, now_utc: datetime) -> bool:
    """Write the marker file; True when it was there already."""
    if marker.exists():
        return True
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        marker.chmod(0o644)
    except OSError as error:
        raise SlurmGreenError(
            f"{marker}: cannot be written: {error.strerror}; run this as root or SlurmUser"
        ) from error
    with suppress(OSError):  # it counts by being there; a full disk has no room for more
        marker.write_text(f"off since {now_utc:%Y-%m-%dT%H:%M:%SZ} by {_who()}\n")
    return False


def _forgive_config(app: App) -> None:
    """A broken configuration must not stand between an admin and the way out."""
    try:
        _ = app.config
    except ConfigError as error:
        from slurm_green.config.settings import Config, General

        click.echo(f"sgreen: going on with default paths: {error}", err=True)
        app.config = replace(Config(), general=General(slurm_backend="commands"))


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "?"
