# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile`: the verbs around profiles, each imported only when it is used."""

import importlib

import click

__all__ = ["VERBS"]

# Verb -> its short help; a test keeps them equal to the verbs' own.
VERBS = {
    "compare": "Say how far one profile is from another.",
    "convert": "Make a profile of a published table.",
    "fit": "Fit the physics of a GPU to a profile.",
    "plot": "Draw power, time and energy against the clock.",
    "run": "Measure a profile on a GPU.",
    "show": "Say what a profile holds, and its best clocks.",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        found = importlib.import_module(f"profiling.cli.{cmd_name}").command
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(VERBS.items()))


@click.group(name="profile", cls=_Verbs, short_help="Measure, fit, show and draw GPU profiles.")
def command() -> None:
    """Work with profiles: what a GPU and a model do at each clock."""
