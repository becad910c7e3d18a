# SPDX-License-Identifier: Apache-2.0
"""`sgreen migrate plan`: what would move between real sites now, and why the rest stays."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slurm_green.cli.output import emit_json
from slurm_green.cli.params import Whole, as_json
from slurm_green.threads import one_thread
from slurm_green.words import length, saving

if TYPE_CHECKING:
    from slurm_green.migration.execute.commands import CommandAccess
    from slurm_green.migration.execute.journal import Journal
    from slurm_green.migration.execute.proposals import Proposal, Refused
    from slurm_green.migration.execute.sites_file import SitesFile

__all__ = [
    "accesses_of",
    "as_rows",
    "choose",
    "choosing",
    "journal_of",
    "plan_command",
    "proposal_json",
    "stays_json",
]

F = TypeVar("F", bound=Callable[..., Any])

journal_option = click.option(
    "--journal",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where moves are written down [default: in the user's state directory].",
)


def choosing(function: F) -> F:
    """The options of plan and run."""
    options = [
        click.option(
            "--sites",
            "sites_path",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            required=True,
            help="The sites file: how to reach each site, and what its power will be.",
        ),
        click.option(
            "--policy", default="prices", show_default=True, help="Who decides what moves."
        ),
        click.option("--job", "job_id", type=Whole(min=1), help="Move this one, whoever decides."),
        click.option("--from", "source", metavar="SITE", help="Where --job is."),
        click.option("--to", "destination", metavar="SITE", help="Where --job is to go."),
        journal_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


def journal_of(directory: Path | None) -> "Journal":
    """The journal there, or the user's own."""
    import platformdirs

    from slurm_green.migration.execute.journal import Journal

    return Journal(directory or Path(platformdirs.user_state_dir("slurm-green")) / "moves")


@click.command(name="plan", short_help="Say what would move between real clusters, and why.")
@choosing
@as_json
def plan_command(as_json: bool, sites_path: Path, journal: Path | None, **wish: Any) -> None:
    """Say which of your jobs would move now, and why the others stay. Changes nothing."""
    one_thread()
    from slurm_green.migration.execute.sites_file import read_sites

    file = read_sites(sites_path)
    moves, stays = choose(file, accesses_of(file), journal_of(journal), **wish)
    if as_json:
        emit_json(
            {
                "moves": [proposal_json(one) for one in moves],
                "stays": stays_json(stays),
            }
        )
        return
    for line in as_rows(moves, stays):
        click.echo(line)


def accesses_of(file: "SitesFile", lock: int | None = None) -> "dict[str, CommandAccess]":
    """Every site of the file."""
    from slurm_green.migration.execute.commands import CommandAccess

    return {name: CommandAccess(site, lock=lock) for name, site in file.sites.items()}


def choose(
    file: "SitesFile",
    accesses: "dict[str, CommandAccess]",
    journal: "Journal",
    *,
    policy: str,
    job_id: int | None,
    source: str | None,
    destination: str | None,
) -> "tuple[list[Proposal], list[Refused]]":
    """The move that was asked for, or what the policy would move."""
    from slurm_green.migration.execute.proposals import proposals, wished

    past, now_s = journal.all(), time.time()
    if job_id is None:
        if source or destination:
            raise click.UsageError("--from and --to go with --job.")
        return proposals(file, accesses, past, policy=policy, now_s=now_s)
    if destination is None:
        raise click.UsageError("--job needs --to.")
    one = wished(
        file,
        accesses,
        past,
        job_id=job_id,
        source=source,
        destination=destination,
        now_s=now_s,
    )
    return [one], []


def proposal_json(one: "Proposal") -> dict[str, Any]:
    """A move as plan and run print it."""
    record = one.record
    return {
        "job": record.job_id,
        "from": record.source,
        "to": record.destination,
        "way": record.way,
        "checkpoint": record.directory,
        "arrives": record.target,
        "why": record.reason,
        "migration_s": one.migration_s,
        "saves_g": one.saves_g,
    }


def stays_json(stays: "list[Refused]") -> list[dict[str, str]]:
    """Jobs that stay, and why."""
    return [{"job": one.job, "why": one.why} for one in stays]


def as_rows(moves: "list[Proposal]", stays: "list[Refused]") -> list[str]:
    """For people."""
    lines = []
    for one in moves:
        move = one.record
        takes = "" if one.migration_s is None else f", takes {length(one.migration_s)}"
        saves = "" if one.saves_g is None else f", {saving(one.saves_g)}"
        lines.append(f"move job {move.job_id}  {move.source} -> {move.destination}{takes}{saves}")
        lines.append(f"    {move.reason}; {move.directory} -> {move.target} ({move.way})")
    lines += [f"stay {one.job}  {one.why}" for one in stays]
    return lines or ["you have no jobs at these sites"]
