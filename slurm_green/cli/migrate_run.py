# SPDX-License-Identifier: Apache-2.0
"""`sgreen migrate run`: carry moves out, those first that an earlier run left unfinished."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slurm_green.cli.migrate_plan import (
    accesses_of,
    as_rows,
    choose,
    choosing,
    journal_of,
    proposal_json,
    stays_json,
)
from slurm_green.cli.migrate_status import move_json, move_line
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import Number, as_json
from slurm_green.errors import SlurmGreenError
from slurm_green.threads import one_thread

if TYPE_CHECKING:
    from slurm_green.migration.execute.journal import Journal
    from slurm_green.migration.execute.pair import Pair
    from slurm_green.migration.execute.proposals import Proposal, Refused
    from slurm_green.migration.execute.record import MoveRecord

__all__ = ["run_command"]


@click.command(name="run", short_help="Move jobs between real clusters; --yes does it.")
@choosing
@click.option("--yes", is_flag=True, help="Do it; else it is only said, as by `plan`.")
@click.option("--finish", is_flag=True, help="Begin nothing: only end what an earlier run began.")
@click.option(
    "--poll-s", type=Number(min=0.05, max=600), default=2.0, show_default=True,
    help="Time between two looks.",
)  # fmt: skip
@click.option(
    "--wait-s",
    type=Number(min=0),
    help="Stop looking after that; run again to go on.",
)
@as_json
def run_command(
    as_json: bool,
    sites_path: Path,
    journal: Path | None,
    yes: bool,
    finish: bool,
    poll_s: float,
    wait_s: float | None,
    **wish: Any,
) -> None:
    """Move your jobs: checkpoint, stop, transfer, verify, start there, then cancel here.

    Killed or interrupted at any moment, a process that stands by goes on where this one was, or
    the next run. A job is never lost and never runs twice; what cannot be moved in time goes on
    where it was.
    """
    one_thread()
    from slurm_green.migration.execute.drive import drive
    from slurm_green.migration.execute.moment import window_closed
    from slurm_green.migration.execute.pair import Pair
    from slurm_green.migration.execute.sites_file import read_sites
    from slurm_green.migration.execute.standby import standing_by, stands_in

    file = read_sites(sites_path)
    books = journal_of(journal)
    moves: list[Proposal] = []
    stays: list[Refused] = []
    if not yes:
        known, broken = books.readable()
        begun = [one for one in known if not one.settled]
        if not (finish or broken):  # with --yes nothing new is begun then, either
            moves, stays = choose(file, accesses_of(file), books, **wish)
        if as_json:
            emit_json(
                {
                    "dry_run": True,
                    "unfinished": [move_json(one) for one in begun],
                    "moves": [proposal_json(one) for one in moves],
                    "stays": stays_json(stays),
                }
            )
        else:
            chosen = [] if finish or broken else as_rows(moves, stays)
            for line in [*map(move_line, begun), *chosen]:
                click.echo(line)
            click.echo("nothing was done; with --yes it is")
        if broken:
            raise broken[0]
        return
    with books.locked() as lock:
        accesses = accesses_of(file, lock)
        known, broken = books.readable()
        begun = [one for one in known if not one.settled]
        if stands_in() and not any(isinstance(one.__cause__, OSError) for one in broken):
            for error in broken:  # to come again for such a file mends nothing
                click.echo(f"sgreen: {error}", err=True)
            broken = []
        trouble: SlurmGreenError | None = None
        try:
            if broken:  # may be of a job that waits for its move: nothing new beside it
                raise broken[0]
            if not finish:
                moves, stays = choose(file, accesses, books, **wish)
        except SlurmGreenError as error:
            if not begun:
                raise
            trouble = error  # no reason to leave what was begun
        for one in (*begun, *(one.record for one in moves)):
            for name in (one.source, one.destination, one.origin or one.source):
                file.site(name)
        for proposal in moves:
            books.save(proposal.record)

        def pair(move: "MoveRecord") -> "Pair":
            return Pair(
                source=accesses[move.source],
                destination=accesses[move.destination],
                origin=accesses[move.origin] if move.origin else None,
            )

        def tell(move: "MoveRecord", why: str) -> None:
            if not as_json:
                click.echo(move_line(move) + (f": {why}" if why else ""))

        log = books.directory / "standby.log"
        with standing_by(_finishing(sites_path, books), log):
            try:
                done = drive(
                    [*begun, *(one.record for one in moves)],
                    pair,
                    books,
                    poll_s=poll_s,
                    give_up_s=wait_s,
                    tell=tell,
                    unwanted=lambda move: window_closed(file, move, time.time()),
                )
            except KeyboardInterrupt:
                click.echo(f"\nthe process beside goes on: see `status`, or {log}", err=True)
                raise
    if as_json:
        ended = [move_json(one) for one in done]
        emit_json({"dry_run": False, "moves": ended, "stays": stays_json(stays)})
    else:
        for line in as_rows([], stays) if stays else ():
            click.echo(line)
        if not done:
            click.echo("nothing to move")
    if trouble is not None:
        raise trouble


def _finishing(sites: Path, books: "Journal") -> list[str]:
    """What ends these moves, should we not."""
    call = [sys.executable, "-c", "from slurm_green.cli.root import main; main()"]
    asked = ["--sites", str(sites.resolve()), "--journal", str(books.directory.resolve())]
    return [*call, "migrate", "run", "--yes", "--finish", *asked]
