# SPDX-License-Identifier: Apache-2.0
"""`sgreen doctor`: whether everything is in place, and what to do where it is not."""

from collections import Counter

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json
from slurm_green.words import clean

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(name="doctor", short_help="Check that everything needed is in place.")
@as_json
@click.pass_context
@pass_app
def command(app: App, ctx: click.Context, as_json: bool) -> None:
    """Check Slurm, the submit hook, the daemon, the signal and the ledger on this host.

    Run it as root on slurmctld's host after installation and after upgrades. Changes nothing.
    Exit status 1 when a check failed; warnings do not count.
    """
    from slurm_green.cli.check_files import check_files
    from slurm_green.cli.check_hook import check_hook
    from slurm_green.cli.check_slurm import check_slurm

    checks = [one for part in (check_slurm, check_hook, check_files) for one in part(app)]
    counts = Counter(one.status for one in checks)
    if as_json:
        emit_json(
            {
                "ok": not counts["fail"],
                "checks": [
                    {"name": one.name, "status": one.status, "seen": one.seen, "todo": one.todo}
                    for one in checks
                ],
            }
        )
    else:
        for one in checks:
            click.echo(
                f"{click.style(f'{one.status:4}', fg=_COLOURS[one.status])}  "
                f"{one.name}: {clean(one.seen)}"
            )
            if one.todo:
                click.echo(f"      -> {clean(one.todo)}")
        click.echo(f"{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failed")
    if counts["fail"]:
        ctx.exit(1)
