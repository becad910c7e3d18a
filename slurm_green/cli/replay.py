# SPDX-License-Identifier: Apache-2.0
"""`sgreen replay`: what each policy would have done with the same jobs, knowing what it would."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import check_outputs, emit_json
from slurm_green.cli.params import Number, Whole, as_json
from slurm_green.cli.replay_history import History, history_options, source_of
from slurm_green.threads import one_thread

if TYPE_CHECKING:
    from slurm_green.cli.replay_history import Source
    from slurm_green.replay.result import Replay

F = TypeVar("F", bound=Callable[..., Any])

_POLICIES = "fifo,lowest-window,prices,oracle"
_EXAMPLE_POLICIES = "fifo,lowest-window,wait-awhile,prices,oracle"


def _file(name: str, help_text: str) -> Callable[[F], F]:
    return click.option(name, type=click.Path(dir_okay=False, path_type=Path), help=help_text)


def _amount(
    name: str, help_text: str, default: float | None = None, most: float | None = None
) -> Callable[[F], F]:
    kind = Number(min=0, max=most)
    return click.option(
        name,
        type=kind,
        default=default,
        show_default=default is not None,
        help=help_text,
    )


@click.command(name="replay", short_help="Replay policies on the same jobs and signals.")
@_file(
    "--jobs",
    "CSV as for `sgreen plan`; further columns: submit_s (when the job becomes known), actual_work"
    " (what it really needs), fails_at_work.",
)
@_file("--classes", "CSV, a row per shape: class,workers,gpus_per_worker,clock_mhz,rate,power_w.")
@_file("--signal", "CSV of what really came: start_s,carbon_g_per_kwh[,renewable_w]...")
@_file(
    "--forecast",
    "CSV of what was expected: issued_s,start_s,carbon_g_per_kwh[,p10,p90][,renewable_w...]."
    " Without it the built-in forecaster sees the signal's past.",
)
@click.option("--gpus", type=Whole(min=0), help="GPUs of the site.")
@click.option(
    "--policy",
    "policy",
    metavar="A,B,...",
    help="Which policies, or `all`; `sgreen policy list` knows them."
    f"  [default: {_POLICIES}; of --example: {_EXAMPLE_POLICIES}]",
)
@_amount("--power-cap-w", "Most that the site may draw, in watts, averaged over a slot.")
@_amount("--ramp-w-per-slot", "Most that its average power may rise from slot to slot, in watts.")
@_amount("--pause-cost-s", "Seconds that a job works for nothing when it goes on.", 0.0)
@_amount(
    "--idle-w-per-gpu",
    "Watts of each GPU of the site on top of the base power: 0, or what --example or --from-sacct"
    " say.",
)
@_amount("--failure-share", "Share of the jobs that fail on their way, drawn.", 0.0, 1.0)
@_amount("--issue-every-h", "The built-in forecaster issues so often.", 6.0)
@click.option(
    "--option",
    "option",
    multiple=True,
    metavar="NAME=NUMBER",
    help="A setting of a policy; may be given again.",
)
@click.option(
    "--bound/--no-bound",
    default=True,
    help="Solve the whole for the bound that no policy can beat; or not, where that takes long.",
)
@_amount("--bound-limit-s", "Stop solving after that many seconds, with the bound so far.")
@click.option(
    "--processes",
    type=Whole(min=1),
    default=1,
    show_default=True,
    help="Replay so many policies at once.",
)
@click.option(
    "--seed",
    type=Whole(min=0),
    default=0,
    show_default=True,
    help="Seed of whatever is drawn: the same one gives the same figures.",
)
@_file("--report", "Write a page with pictures of the replay there, .html.")
@history_options
@as_json
@pass_app
def command(
    app: App,
    jobs: Path | None,
    classes: Path | None,
    signal: Path | None,
    forecast: Path | None,
    gpus: int | None,
    policy: str | None,
    power_cap_w: float | None,
    ramp_w_per_slot: float | None,
    pause_cost_s: float,
    idle_w_per_gpu: float | None,
    failure_share: float,
    issue_every_h: float,
    option: tuple[str, ...],
    bound: bool,
    bound_limit_s: float | None,
    processes: int,
    seed: int,
    report: Path | None,
    history: History,
    as_json: bool,
) -> None:
    """Replay policies on a simulated cluster, all on the same jobs and signals.

    Jobs become known when they are submitted, the signal of later slots only by forecasts, and
    what a job really needs when it ends. `oracle` alone knows everything.
    """
    given = {
        "--jobs": jobs,
        "--classes": classes,
        "--signal": signal,
        "--forecast": forecast,
        "--from-sacct": history.from_sacct,
    }
    check_outputs({"--report": report}, given)
    one_thread()
    from slurm_green.cli.progress import progress_bar
    from slurm_green.cli.replay_inputs import Asked, inputs_of, options_of, policies_of
    from slurm_green.replay.run import replay

    if policy is None:
        policy = _EXAMPLE_POLICIES if history.example else _POLICIES
    names, options = policies_of(policy), options_of(option)
    issue_every_s = issue_every_h * 3600
    with source_of(
        app,
        history,
        signal=signal,
        forecast=forecast,
        gpus=gpus,
        issue_every_s=issue_every_s,
    ) as source:
        inputs = inputs_of(
            Asked(
                jobs=jobs,
                classes=classes,
                signal=signal,
                forecast=forecast,
                gpus=gpus,
                power_cap_w=power_cap_w,
                ramp_w_per_slot=ramp_w_per_slot,
                pause_cost_s=pause_cost_s,
                idle_w_per_gpu=idle_w_per_gpu,
                failure_share=failure_share,
                seed=seed,
            ),
            source,
        )
    with progress_bar() as progress:
        found = replay(
            inputs,
            names,
            bound=bound,
            bound_limit_s=bound_limit_s,
            options=options,
            issue_every_s=issue_every_s,
            seed=seed,
            processes=processes,
            progress=progress,
        )
    _finished(app, found, source, report=report, as_json=as_json)


def _finished(
    app: App, found: "Replay", source: "Source | None", *, report: Path | None, as_json: bool
) -> None:
    """Everything that is made of the results."""
    if report is not None:
        from slurm_green.cli.replay_page import write_page

        write_page(report, found)
    if as_json:
        from slurm_green.replay.weeks import savings_json

        more = {} if source is None else source.json()
        emit_json({**found.json(), "savings": savings_json(found), **more})
        return
    from slurm_green.cli.replay_text import print_replay

    print_replay(found, colour=not app.environ.get("NO_COLOR"))
