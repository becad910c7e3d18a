# SPDX-License-Identifier: Apache-2.0
"""`sgreen config`: what is in force and where it comes from, an example, the reference."""

from typing import TYPE_CHECKING

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json

if TYPE_CHECKING:
    from slurm_green.config.settings import Config


@click.group(name="config", short_help="Show, check or explain the configuration.")
def command() -> None:
    """Show, check or explain the site's configuration."""


@command.command()
@click.option("--origin", is_flag=True, help="Say of each value which line it comes from.")
@as_json
@pass_app
def show(app: App, origin: bool, as_json: bool) -> None:
    """Print every setting in force, as a file that could be used."""
    from slurm_green.config.render import shown, toml

    if not as_json:
        click.echo(toml(app.config, origin=origin), nl=False)
        return
    rows = shown(app.config)
    settings = {one.name: {"value": one.value, "origin": one.origin} for one in rows}
    emit_json({"source": app.config.source, "settings": settings})


@command.command()
@as_json
@pass_app
def check(app: App, as_json: bool) -> None:
    """Read the configuration and say whether it is valid; nobody is asked anything.

    Key files that this user cannot read are named: the fetching process may well.
    """
    config = app.config
    unread = _providers(config)
    enforced = sorted(
        f"{kind}.{name}"
        for kind, found in (("partition", config.partition), ("qos", config.qos))
        for name, one in found.items()
        if one.mode == "enforce"
    )
    if as_json:
        emit_json(
            {
                "ok": True,
                "source": config.source,
                "settings_given": len(config.given),
                "mode": config.general.mode,
                "enforced": enforced,
                "unread_keys": unread,
            }
        )
        return
    click.echo(
        f"{config.source}: {len(config.given)} settings given, all valid"
        if config.source
        else "no configuration file: every setting has its default"
    )
    click.echo(
        f"enforced for {', '.join(enforced)}"
        if enforced
        else "enforced for everything that says nothing else"
        if config.general.mode == "enforce"
        else "nothing is enforced: jobs are looked at, none is deferred"
    )
    for problem in unread:
        click.echo(f"note: {problem}")


@command.command()
def example() -> None:
    """Print a commented file with every setting at its default."""
    from slurm_green.config.render import example

    click.echo(example(), nl=False)


@command.command()
def reference() -> None:
    """Print the reference page of all settings, in Markdown."""
    from slurm_green.config.render import reference

    click.echo(reference(), nl=False)


def _providers(config: "Config") -> list[str]:
    """Which keys cannot be read; raises ConfigError where a provider lacks what it needs."""
    from slurm_green.config.chains import CHAINS
    from slurm_green.fetch.build import build_sources
    from slurm_green.fetch.run import new_client

    with new_client() as client:
        sources = [one for quantity in CHAINS for one in build_sources(config, quantity, client)]
    return sorted({one.problem for one in sources if one.problem})
