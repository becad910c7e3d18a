# SPDX-License-Identifier: Apache-2.0
"""`sgreen plan`: when each job runs, in which shape, with a proof of how good the plan is."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import check_outputs, emit_json
from slurm_green.cli.params import Number, Whole, as_json
from slurm_green.cli.progress import progress_bar
from slurm_green.errors import BadInputError
from slurm_green.threads import one_thread

if TYPE_CHECKING:
    from slurm_green.cli.plan_facts import Facts

F = TypeVar("F", bound=Callable[..., Any])

_OBJECTIVES = ("performance-constrained", "carbon-constrained", "ppc")
_BUDGETED = "carbon-constrained"
# Above that many the comparison costs time that --json has no use for.
_COMPARED_JOBS = 20_000


def _file(name: str, *, required: bool = False, help_text: str) -> Callable[[F], F]:
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, type=kind, required=required, help=help_text)


def _amount(name: str, *, help_text: str, above_zero: bool = False) -> Callable[[F], F]:
    kind = Number(min=0, min_open=above_zero)
    return click.option(name, type=kind, help=help_text)


@click.command(name="plan", short_help="Plan jobs over the next days, with a proof.")
@_file(
    "--jobs",
    required=True,
    help_text="CSV: job_id,class,work,earliest_s,deadline_s,preemptible.",
)
@_file(
    "--classes",
    required=True,
    help_text="CSV, a row per shape: class,workers,gpus_per_worker,clock_mhz,rate,power_w.",
)
@_file(
    "--signal",
    required=True,
    help_text="CSV: start_s,carbon_g_per_kwh and, where known, renewable_w, base_power_w.",
)
@click.option("--gpus", type=Whole(min=0), required=True, help="GPUs of the site.")
@click.option(
    "--objective",
    type=click.Choice(_OBJECTIVES),
    default=_OBJECTIVES[0],
    show_default=True,
    help="Least carbon; most performance within a carbon budget; most performance per carbon.",
)
@_amount("--carbon-budget-g", help_text="The budget of carbon-constrained, in gCO2e.")
@_amount("--power-cap-w", help_text="Most that the site may draw, in watts, averaged over a slot.")
@_amount(
    "--ramp-w-per-slot",
    help_text="Most that the site's average power may rise from one slot to the next, in watts.",
)
@_file(
    "--services",
    help_text="CSV, inference planned beside the jobs, a row per clock: service,clock_mhz,max_rate,"
    "power_w,latency_s. Its load is column NAME_rate of the signal.",
)
@_file("--out", help_text="Write the plan there, as CSV.")
@_file("--prices-out", help_text="Write the prices there, as JSON.")
@_file("--warm-start", help_text="Prices of an earlier plan to start from: a re-plan is quicker.")
@_file(
    "--warm-plan", help_text="An earlier plan, as CSV: its jobs stay where they were if they can."
)
@_amount(
    "--time-limit-s",
    above_zero=True,
    help_text="Stop after that many seconds with the best plan so far and its gap.",
)
@click.option(
    "--seed",
    type=Whole(min=0),
    default=0,
    show_default=True,
    help="Seed of the search: the same one gives the same plan.",
)
@_file("--report", help_text="Write a page with pictures of the plan there, .html.")
@as_json
@pass_app
def command(
    app: App,
    jobs: Path,
    classes: Path,
    signal: Path,
    gpus: int,
    objective: str,
    carbon_budget_g: float | None,
    power_cap_w: float | None,
    ramp_w_per_slot: float | None,
    services: Path | None,
    out: Path | None,
    prices_out: Path | None,
    warm_start: Path | None,
    warm_plan: Path | None,
    time_limit_s: float | None,
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Plan when each job runs, with how many workers and at which clock.

    Every plan comes with a bound that no plan can beat, and with the prices of power and GPUs
    that prove it. Deadlines come first, then carbon; every objective places every job it can.
    """
    _check_budget(objective, carbon_budget_g)
    given = {
        "--jobs": jobs,
        "--classes": classes,
        "--signal": signal,
        "--services": services,
        "--warm-start": warm_start,
        "--warm-plan": warm_plan,
    }
    check_outputs({"--out": out, "--prices-out": prices_out, "--report": report}, given)
    one_thread()
    from slurm_green.cli.plan_facts import Facts
    from slurm_green.plan import planner
    from slurm_green.plan.files import read_problem, write_schedule
    from slurm_green.plan.outcome import Objective
    from slurm_green.plan.previous import read_previous
    from slurm_green.plan.price_file import PriceFile, read_prices, regrid, write_prices

    earlier = None if warm_start is None else read_prices(warm_start)
    problem = read_problem(
        jobs,
        classes,
        signal,
        gpus=gpus,
        power_cap_w=math.inf if power_cap_w is None else power_cap_w,
        ramp_w_per_slot=math.inf if ramp_w_per_slot is None else ramp_w_per_slot,
        services=services,
    )
    site = problem.site
    warm = None
    if earlier is not None:
        warm = regrid(earlier, start_s=site.start_s, step_s=site.step_s, slots=site.slots)
    previous = None if warm_plan is None else read_previous(warm_plan, problem)
    with progress_bar() as progress:
        outcome = planner.solve(
            problem,
            objective=Objective(objective),
            carbon_budget_g=carbon_budget_g,
            time_limit_s=time_limit_s,
            seed=seed,
            warm=warm,
            previous=previous,
            progress=progress,
        )
    facts = Facts(problem=problem, outcome=outcome, carbon_budget_g=carbon_budget_g)
    if out is not None:
        write_schedule(out, outcome.schedule, problem)
    if prices_out is not None:
        file = PriceFile(
            start_s=site.start_s,
            step_s=site.step_s,
            gpus=site.gpus,
            objective=outcome.objective,
            weights=outcome.weights,
            prices=outcome.response_prices,
            made_utc=app.now(),
        )
        write_prices(prices_out, file)
    if report is not None:
        from slurm_green.cli.plan_page import write_page

        write_page(report, facts)
    if as_json:
        emit_json(_json(facts, compare=report is not None or len(problem.jobs) <= _COMPARED_JOBS))
        return
    from slurm_green.cli.plan_text import print_plan

    print_plan(facts, colour=not app.environ.get("NO_COLOR"))


def _check_budget(objective: str, carbon_budget_g: float | None) -> None:
    if objective == _BUDGETED and carbon_budget_g is None:
        raise BadInputError(f"--objective {objective} needs --carbon-budget-g, in gCO2e")
    if objective != _BUDGETED and carbon_budget_g is not None:
        raise BadInputError(
            f"--carbon-budget-g goes with --objective {_BUDGETED} only, not with {objective}"
        )


def _json(facts: "Facts", *, compare: bool) -> dict[str, Any]:
    """The contract's keys first, then ours; None where something is not known."""
    found, site = facts.outcome, facts.problem.site
    ids = facts.problem.jobs.ids
    return {
        "carbon_g": found.carbon_g,
        "lower_bound_g": found.lower_bound_g,
        "gap": found.gap,
        "energy_j": found.energy_j,
        "late_jobs": found.late_jobs,
        "unplaced_jobs": found.unplaced_jobs,
        "peak_w": found.peak_w,
        "performance": found.performance,
        "ppc": found.ppc,
        "objective": str(found.objective),
        "solve_s": round(found.solve_s, 3),
        "prices": {
            "mu": found.prices.mu.tolist(),
            "lam": found.prices.lam.tolist(),
            "nu": found.prices.nu.tolist(),
        },
        "stopped": found.stopped,
        "performance_at_most": found.performance_at_most,
        "ppc_at_most": found.ppc_at_most,
        "service_performance": found.service_performance,
        "services": [
            {"name": one.name, "clock_mhz": one.clock_mhz[clock].tolist()}
            for one, clock in zip(facts.problem.services, found.service_clock, strict=True)
        ],
        "start_now_carbon_g": facts.start_now.carbon_g if compare else None,
        "start_now_late_jobs": facts.start_now.late_jobs if compare else None,
        "start_now_unplaced_jobs": facts.start_now.unplaced_jobs if compare else None,
        "late_job_ids": [ids[one] for one in facts.late],
        "unplaced_job_ids": [ids[one] for one in facts.unplaced],
        "jobs": len(ids),
        "gpus": site.gpus,
        "gpu_share": facts.gpu_share,
        "start_s": site.start_s,
        "step_s": site.step_s,
    }
