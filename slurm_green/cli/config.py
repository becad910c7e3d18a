# SPDX-License-Identifier: Apache-2.0
"""`sgreen config`: what is in force and where it comes from, an example, the reference."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json

if TYPE_CHECKING:
    from slurm_green.config.policy import Overrides, PolicySection
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

    Key files that this user cannot read are named: the fetching process may well. So are delays
    shorter than hook.hold, by which no job ever waits.
    """
    config = app.config
    unread = _providers(config)
    never = list(_never_deferred(config))
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
                "never_deferred": never,
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
    for problem in (*unread, *never):
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


def _never_deferred(config: "Config") -> Iterator[str]:
    """Delays that end before a hold does, and holds that end before a cycle: nobody waits then."""
    from slurm_green.config.durations import duration_text

    tables: list[tuple[str, PolicySection | Overrides]] = [("policy", config.policy)]
    tables += [(f"partition.{name}", one) for name, one in config.partition.items()]
    tables += [(f"qos.{name}", one) for name, one in config.qos.items()]
    hold_s, between_s = config.hook.hold_s, config.controller.min_interval_s
    if between_s >= hold_s:
        yield (
            f"controller.min_interval = {duration_text(between_s)} is no shorter than "
            f"hook.hold = {duration_text(hold_s)}: no job that comes right after a cycle waits"
        )
    for title, one in tables:
        for key, delay_s in (
            ("max_delay", one.max_delay_s),
            ("default_delay", one.default_delay_s),
        ):
            if delay_s is not None and 0 < delay_s < hold_s:
                yield (
                    f"{title}.{key} = {duration_text(delay_s)} is shorter than "
                    f"hook.hold = {duration_text(hold_s)}: no job waits by it"
                )


def _providers(config: "Config") -> list[str]:
    """Which keys cannot be read; raises ConfigError where a provider lacks what it needs."""
    from slurm_green.config.chains import CHAINS
    from slurm_green.fetch.build import build_sources
    from slurm_green.fetch.run import new_client

    with new_client() as client:
        sources = [one for quantity in CHAINS for one in build_sources(config, quantity, client)]
    return sorted({one.problem for one in sources if one.problem})
