# SPDX-License-Identifier: Apache-2.0
"""`sgreen on`: takes back `sgreen off`."""

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json
from slurm_green.errors import SlurmGreenError


@click.command(name="on", short_help="Defer again after `sgreen off`.")
@as_json
@pass_app
def command(app: App, as_json: bool) -> None:
    """Defer again after `sgreen off`; what is enforced is up to the configuration."""
    marker = app.config.paths.off
    try:
        marker.unlink()
        was_off = True
    except FileNotFoundError:
        was_off = False
    except OSError as error:
        raise SlurmGreenError(
            f"{marker}: cannot be removed: {error.strerror}; run this as root or SlurmUser"
        ) from error
    if as_json:
        emit_json({"off": False, "was_off": was_off, "marker": marker})
    else:
        click.echo("slurm-green is on again." if was_off else "slurm-green was not off.")
