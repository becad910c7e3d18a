# SPDX-License-Identifier: Apache-2.0
"""`sgreen signal`: explains the signals; a backtest of the built-in forecast stands beside it."""

import importlib
import importlib.util
import shutil
import sys

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json

__all__ = ["command"]

# Verb -> the module that has it as `command`, imported when it is used.
_LAZY = {"backtest": "slurm_green.cli.signal_backtest"}


class _Signal(click.Group):
    """A group with verbs in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs that are there."""
        lazy = [name for name, module in _LAZY.items() if importlib.util.find_spec(module)]
        return sorted({*super().list_commands(ctx), *lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name in _LAZY and cmd_name in self.list_commands(ctx):
            found: click.Command = importlib.import_module(_LAZY[cmd_name]).command
            return found
        return super().get_command(ctx, cmd_name)


@click.group(
    name="signal",
    cls=_Signal,
    short_help="Explain the signals: who was asked, what is believed.",
)
def command() -> None:
    """Explain where the signals come from, and what they are worth."""


@command.command()
@click.option(
    "--ask",
    "ask_now",
    is_flag=True,
    help="Also ask the providers now, writing nothing (root or the fetching user).",
)
@as_json
@click.pass_context
@pass_app
def check(app: App, ctx: click.Context, ask_now: bool, as_json: bool) -> None:
    """Say who was asked for each signal, what became of it, and what decisions rest on.

    Reads the configuration and the files of the fetching process; with --ask it also asks the
    providers. Exit status 1 when there is no usable carbon signal now.
    """
    from slurm_green.cli.signal_advice import failed_links, warnings
    from slurm_green.cli.signal_state import gather
    from slurm_green.cli.signal_text import as_json as json_of
    from slurm_green.cli.signal_text import lines

    config, now = app.config, app.now()
    zone = config.general.zone
    states = gather(config, now)
    if ask_now:
        from slurm_green.cli.signal_ask import ask

        states = ask(config, states, now)
    found = []
    for state in states:
        links = state.links if state.asked is None else state.asked.links
        found.append((state, [*failed_links(state, links, config), *warnings(state, config, now)]))
    usable = states[0].series is not None
    if as_json:
        emit_json(
            {
                "usable": usable,
                "at_utc": now,
                "quantities": {
                    state.quantity.name: json_of(state, advice, now, zone)
                    for state, advice in found
                },
            }
        )
    else:
        for number, (state, advice) in enumerate(found):
            if number:
                click.echo()
            for line in lines(state, advice, now, zone, _width()):
                click.echo(line)
    if not usable:
        ctx.exit(1)


def _width() -> int | None:
    """Of the terminal, so that long sentences keep their indent; None where there is none."""
    if not sys.stdout.isatty():
        return None
    return min(shutil.get_terminal_size().columns, 120)
