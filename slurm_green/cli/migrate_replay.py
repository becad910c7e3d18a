# SPDX-License-Identifier: Apache-2.0
"""`sgreen migrate replay`: what each policy of moves would have done with the same jobs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slurm_green.cli.output import check_outputs, emit_json, emit_rows
from slurm_green.cli.params import Number, Whole, as_json, names_of
from slurm_green.errors import BadInputError
from slurm_green.threads import one_thread

if TYPE_CHECKING:
    from slurm_green.migration.replay.result import Replay

__all__ = ["replay_command"]

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(dir_okay=False, path_type=Path)
_POLICIES = "never,energy-only,feasibility,prices,oracle"
_HEADER = ("POLICY", "NOT RENEWABLE", "CARBON", "COMPLETION", "P95", "MOVES", "MOVED", "FAILED",
           "LATE")  # fmt: skip


def _share(name: str, help_text: str) -> Callable[[F], F]:
    """What trouble is drawn."""
    return click.option(
        name,
        type=Number(min=0, max=1),
        default=0.0,
        show_default=True,
        help=help_text,
    )


@click.command(name="replay", short_help="Replay policies of moves on past weather and jobs.")
@click.option("--sites", type=_FILE, required=True, help="TOML: sites, their signals, links.")
@click.option(
    "--jobs",
    type=_FILE,
    required=True,
    help="CSV: job_id,submit_s,site,gpus,duration_s,power_w,checkpoint_gb[,limit_s][,deadline_s]"
    "[,nodes][,project][,sites][,checkpoint_every_s].",
)
@click.option(
    "--policy",
    metavar="A,B,...",
    default=_POLICIES,
    show_default=True,
    help="Which policies.",
)
@click.option(
    "--alpha",
    type=Number(min=0, max=1, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of a window that a move may take.",
)
@click.option(
    "--quantile",
    type=Number(min=0, max=1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Quantile of the forecast supply for which a window must hold.",
)
@click.option(
    "--dwell-s",
    type=Number(min=0),
    default=3600.0,
    show_default=True,
    help="Least time between two moves of a job.",
)
@_share("--failure-share", "Share of the transfers that come to nothing, drawn.")
@_share(
    "--slow-share",
    "Share of the transfers that get a tenth of what their link promises, drawn; they are"
    " given up when they should have arrived.",
)
@_share(
    "--closing-share",
    "Share of the moves whose window closes while data is on its way, drawn; they turn back.",
)
@click.option(
    "--seed",
    type=Whole(min=0),
    default=0,
    show_default=True,
    help="Seed of whatever is drawn.",
)
@click.option("--report", type=_FILE, help="Write a page with tables and pictures there, .html.")
@as_json
def replay_command(
    sites: Path,
    jobs: Path,
    policy: str,
    alpha: float,
    quantile: float,
    dwell_s: float,
    failure_share: float,
    slow_share: float,
    closing_share: float,
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Replay policies of moves on simulated sites, all on the same jobs and weather.

    Supply and carbon intensity that are still to come are known by forecasts only; `oracle` alone
    knows them. Figures are simulated, never measured.
    """
    if report is not None and report.suffix.lower() != ".html":
        ending = report.suffix or "nothing"
        raise BadInputError(f"--report {report}: ends in {ending}; wanted .html")
    check_outputs({"--report": report}, {"--sites": sites, "--jobs": jobs})
    one_thread()
    from slurm_green.migration.replay.jobs_file import read_inputs
    from slurm_green.migration.replay.run import replay
    from slurm_green.migration.rules import Rules

    names = names_of(policy, "never,prices")
    inputs = read_inputs(
        sites,
        jobs,
        failure_share=failure_share,
        slow_share=slow_share,
        closing_share=closing_share,
        seed=seed,
    )
    rules = Rules(alpha=alpha, quantile=quantile, dwell_s=dwell_s)
    found = replay(inputs, names, rules)
    rows = _rows(found)
    if report is not None:
        from slurm_green.cli.migrate_replay_page import write_page

        write_page(report, found, _HEADER, rows)
    if as_json:
        emit_json(found.json())
        return
    click.echo(f"{len(found.inputs.jobs):,} jobs on {len(found.inputs.sites)} sites, simulated")
    emit_rows(_HEADER, rows)


def _rows(found: "Replay") -> list[tuple[str, ...]]:
    rows = []
    for name, one in found.json()["policies"].items():
        hours = [
            "-" if one[key] is None else f"{one[key] / 3600:.2f} h"
            for key in ("mean_completion_s", "p95_completion_s")
        ]
        rows.append(
            (
                name,
                f"{one['nonrenewable_j'] / 3.6e9:.3f} MWh",
                f"{one['carbon_g'] / 1000:,.1f} kg",
                *hours,
                f"{one['moves']}",
                f"{one['moved_bytes'] / 1e12:.2f} TB",
                f"{one['failed_moves']}",
                f"{one['late_jobs']}",
            )
        )
    return rows
