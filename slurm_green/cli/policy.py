# SPDX-License-Identifier: Apache-2.0
"""`sgreen policy`: which policies a replay knows, and where each comes from."""

import click

from slurm_green.cli.output import emit_json, emit_rows
from slurm_green.cli.params import as_json
from slurm_green.threads import one_thread

__all__ = ["list_policies"]


@click.group(name="policy", short_help="List the policies that a replay knows.")
def command() -> None:
    """Policies decide when a job starts, and in which shape."""


@command.command(name="list")
@as_json
def list_policies(as_json: bool) -> None:
    """List all policies, with what they do and whose idea it is."""
    one_thread()
    from slurm_green.plan.policy.registry import entries

    known = entries().values()
    if as_json:
        emit_json(
            {
                "policies": {
                    one.name: {
                        "about": one.about,
                        "source": one.source,
                        "knows_everything": one.knows,
                    }
                    for one in known
                }
            }
        )
        return
    emit_rows(("POLICY", "WHAT IT DOES", "SOURCE"), [(o.name, o.about, o.source) for o in known])
