# SPDX-License-Identifier: Apache-2.0
"""`sgreen migrate`: whether a move to a greener site fits, where moves fit at all, and moves."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slurm_green.cli.migrate_plan import plan_command
from slurm_green.cli.migrate_replay import replay_command
from slurm_green.cli.migrate_run import run_command
from slurm_green.cli.migrate_status import status_command
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import Number, Whole, as_json
from slurm_green.threads import one_thread

if TYPE_CHECKING:
    from slurm_green.migration.feasibility import Answer, Move

F = TypeVar("F", bound=Callable[..., Any])

_LEAST, _MOST = 1e-12, 1e12


def _within_reach(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Quotients must be finite, too."""
    if value and not _LEAST <= value <= _MOST:
        raise click.BadParameter(f"{value:g} is out of reach; wanted {_LEAST:g} to {_MOST:g}.")
    return value


def _number(
    name: str,
    help_text: str,
    *,
    most: float | None = None,
    above_zero: bool = False,
    **more: Any,
) -> Callable[[F], F]:
    kind = Number(min=0, max=most, min_open=above_zero)
    shown = more.get("default") is not None
    return click.option(
        name, type=kind, callback=_within_reach, help=help_text, show_default=shown, **more
    )


def _conditions(function: F) -> F:
    """The options that check and map share."""
    options = [
        _number("--window-h", "What is left of the renewable window there, in h.", required=True),
        _number(
            "--alpha",
            "Share of the window that a move may take.",
            most=1,
            above_zero=True,
            default=0.1,
        ),
        _number(
            "--efficiency",
            "Share of the bandwidth that arrives as data.",
            most=1,
            above_zero=True,
            default=0.8,
        ),
        _number("--snapshot-s", "Until the checkpoint is written.", default=30.0),
        _number("--restart-s", "From the last byte to the first step there.", default=120.0),
        _number("--queue-wait-s", "Expected wait in the queue there.", default=0.0),
        click.option(
            "--transfers",
            type=Whole(min=1),
            default=1,
            show_default=True,
            help="Transfers that share the link, this one among them.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.group(name="migrate", short_help="Judge and make moves of jobs to a greener site.")
def command() -> None:
    """Move training to where the power is green, only when it fits."""


@command.command(name="check", short_help="Say whether a move fits into a renewable window.")
@_number("--checkpoint-gb", "Size of the checkpoint, in GB (1e9 bytes).", required=True)
@_number(
    "--bandwidth-gbps",
    "Bandwidth between the sites, in Gbit/s.",
    above_zero=True,
    required=True,
)
@_conditions
@_number("--lost-work-s", "Work since the last checkpoint, done again there.", default=0.0)
@_number("--network-j-per-gb", "Energy of the network for each GB.", default=0.0)
@_number("--job-power-w", "What the job draws; with both shares energy is judged, too.")
@_number("--green-share-here", "Renewable share of the power here, 0 to 1.", most=1)
@_number("--green-share-there", "The same there.", most=1)
@_number("--remaining-h", "What the job still needs, in h.")
@as_json
def check_command(as_json: bool, **given: Any) -> None:
    """Say whether a job should move: time, energy, and which of the two forbids it."""
    one_thread()
    from slurm_green.migration.feasibility import Move, check

    move = Move(**given)
    answer = check(move)
    if as_json:
        values = dataclasses.asdict(answer)
        values["class"] = values.pop("klass")
        emit_json(values)
        return
    click.echo(_text(move, answer))


@command.command(name="map", short_help="Draw where moves fit: checkpoint against bandwidth.")
@_conditions
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The picture: .png or .svg, or .html as a page of its own.",
)
@as_json
def map_command(as_json: bool, out: Path, **given: Any) -> None:
    """Draw the feasibility domain of a window: which checkpoints over which link."""
    one_thread()
    from slurm_green.cli.migrate_map import draw
    from slurm_green.migration.domain import limits
    from slurm_green.migration.feasibility import Move

    move = Move(checkpoint_gb=0.0, bandwidth_gbps=1.0, **given)
    draw(move, out)
    largest = limits(move)
    if as_json:
        emit_json({"out": out, "largest_checkpoint_gb": largest})
        return
    click.echo(f"{out}: largest checkpoint that fits a window of {move.window_h:g} h")
    for gbps, size_gb in largest.items():
        click.echo(f"  {gbps:>4} Gbit/s  {'none' if size_gb is None else f'{size_gb:,.0f} GB'}")


def _text(move: "Move", answer: "Answer") -> str:
    verdict = "fits" if answer.feasible else f"does not fit ({answer.binding})"
    share = answer.fraction_of_window
    lines = [
        f"{move.checkpoint_gb:g} GB over {move.bandwidth_gbps:g} Gbit/s: {verdict}, class "
        f"{answer.klass}",
        answer.reason,
    ]
    if share is not None:
        lines.append(f"{share:.1%} of the window")
    if answer.energy_cost_j is not None:
        lines.append(f"the move costs {answer.energy_cost_j / 3.6e6:.3g} kWh")
    return "\n".join(lines)


command.add_command(plan_command)
command.add_command(replay_command)
command.add_command(run_command)
command.add_command(status_command)
