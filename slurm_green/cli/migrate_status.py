# SPDX-License-Identifier: Apache-2.0
"""`sgreen migrate status`: what the journal says of moves, finished and not."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json

if TYPE_CHECKING:
    from slurm_green.migration.execute.record import MoveRecord

__all__ = ["move_json", "move_line", "status_command"]


@click.command(name="status", short_help="Show moves, finished and not.")
@click.option(
    "--journal",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where moves are written down [default: in the user's state directory].",
)
@click.option("--all", "everything", is_flag=True, help="Finished ones, too.")
@as_json
def status_command(journal: Path | None, everything: bool, as_json: bool) -> None:
    """Show the moves under way; `sgreen migrate run --sites FILE --yes --finish` ends them."""
    from slurm_green.cli.migrate_plan import journal_of

    books = journal_of(journal)
    known, broken = books.readable()
    moves = [one for one in known if everything or not one.settled]
    left = any(not one.settled for one in moves) and books.idle()
    if as_json:
        emit_json({"moves": [move_json(one) for one in moves], "abandoned": left})
        if broken:
            raise broken[0]
        return
    for one in moves:
        click.echo(move_line(one))
    if not moves:
        click.echo("no moves" if everything else "no moves under way")
    if left:
        click.echo("nobody works on them: `sgreen migrate run --sites FILE --yes --finish` goes on")
    if broken:
        raise broken[0]


def move_json(move: "MoveRecord") -> dict[str, Any]:
    """A move as run and status print it."""
    return {
        "move": move.token,
        "job": move.job_id,
        "new_job": move.new_job,
        "from": move.source,
        "to": move.destination,
        "way": move.way,
        "step": move.step,
        "settled": move.settled,
        "why": move.why,
        "trouble": move.trouble,
        "bytes": move.bytes,
        "signals": len(move.signals_s),
        "transfers": move.copies,
        "began_s": move.began_s,
        "took_s": move.since_s - move.began_s if move.settled else None,
    }


def move_line(move: "MoveRecord") -> str:
    """One line for people."""
    new = f" as {move.new_job}" if move.new_job is not None else ""
    why = f" ({move.why})" if move.why else ""
    return (
        f"{move.token}  job {move.job_id}{new}  {move.source} -> {move.destination}"
        f"  {move.step}{why}"
    )
