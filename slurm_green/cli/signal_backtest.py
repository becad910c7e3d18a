# SPDX-License-Identifier: Apache-2.0
"""`sgreen signal backtest`: how good the built-in forecast would have been on a history."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slurm_green.cli.output import emit_json, emit_rows
from slurm_green.cli.params import QUANTITIES, Number, Whole, as_json, quantity_option
from slurm_green.errors import BadInputError, SignalError
from slurm_green.threads import one_thread

if TYPE_CHECKING:
    from slurm_green.signals.forecast.backtest import Backtest, Verdict
    from slurm_green.signals.forecast.regret import Worth

_SAVED = {
    "carbon_g_per_kwh": ("saving", "saves", "of", "carbon"),
    "price_per_kwh": ("saving", "saves", "of", "cost"),
    "base_power_w": ("saving", "saves", "of", "base power"),
    "renewable_w": ("gain", "adds", "to", "supply"),
}


@click.command(name="backtest", short_help="Judge the built-in forecast on a history.")
@click.option(
    "--history",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV (also .gz, .xz) or Parquet: start_s or start_utc, and the quantity's column.",
)
@click.option(
    "--horizon-h",
    type=Whole(1, 96),
    default=24,
    show_default=True,
    help="How far ahead errors and coverage are counted.",
)
@click.option(
    "--every-h",
    type=Whole(1, 168),
    default=3,
    show_default=True,
    help="Hours between two forecasts; 1 takes three times as long as 3.",
)
@click.option(
    "--warm-up-days",
    type=Number(28, 3650),
    help="History before the first forecast [default: 59, less where there is little].",
)
@quantity_option("Which column to forecast.")
@click.option(
    "--regressors",
    "regressors_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Table of what was known ahead: start_utc, issued_utc, and columns of forecasts.",
)
@as_json
def command(
    path: Path,
    horizon_h: int,
    every_h: int,
    warm_up_days: float | None,
    quantity: str,
    regressors_path: Path | None,
    as_json: bool,
) -> None:
    """Forecast a history again and again from what was known then, and judge by what came.

    Prints the error by day ahead, the pinball loss, the coverage of the 80 % band, and what the
    forecast is worth: the share of the perfect-forecast saving that a deferred job gets. Two
    plain references stand beside it.
    """
    one_thread()
    from slurm_green.signals.forecast.backtest import backtest
    from slurm_green.signals.forecast.builtin import BuiltIn
    from slurm_green.signals.forecast.naive import LAST_WEEK, YESTERDAY
    from slurm_green.signals.regressors import read_regressors
    from slurm_green.signals.table import read_history

    began_s = time.perf_counter()
    try:
        past = read_history(path, quantity=QUANTITIES[quantity])
        with _progress() as progress:
            done = backtest(
                past,
                (BuiltIn(), YESTERDAY, LAST_WEEK),
                horizon_h=horizon_h,
                every_h=every_h,
                warm_up_days=warm_up_days,
                regressors=None if regressors_path is None else read_regressors(regressors_path),
                progress=progress,
            )
    except SignalError as error:
        raise BadInputError(str(error)) from error
    if as_json:
        emit_json(_json(done, path, round(time.perf_counter() - began_s, 3)))
    else:
        _print(done, path)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A spinner on the terminal; nothing where stderr is none."""
    from rich.console import Console

    with Console(stderr=True).status("reading") as status:
        yield lambda name: status.update(f"forecasting: {name}")


def _json(done: "Backtest", path: Path, wall_s: float) -> dict[str, Any]:
    ours, *others = done.verdicts
    return {
        "history": path,
        "quantity": done.quantity,
        "first_utc": done.first_utc,
        "last_utc": done.last_utc,
        "origins": done.origins,
        "every_h": done.every_h,
        "horizon_h": done.horizon_h,
        **_verdict(ours),
        "references": {one.model: _verdict(one) for one in others},
        "wall_s": wall_s,
    }


def _verdict(one: "Verdict") -> dict[str, Any]:
    return {
        "model": one.model,
        "mape_percent_by_day": one.mape_by_day,
        "pinball": one.pinball,
        "coverage_80": one.coverage_80,
        "decisions": [_worth(two) for two in one.worths],
    }


def _worth(one: "Worth") -> dict[str, Any]:
    share = one.share_of_perfect
    return {
        "job_h": one.job_h,
        "slack_h": one.slack_h,
        "submissions": one.submissions,
        "perfect_saving": one.perfect_saving,
        "saving": one.saving,
        "share_of_perfect_saving": share,
        "regret": None if share is None else 1 - share,
    }


def _print(done: "Backtest", path: Path) -> None:
    click.echo(
        f"{path}: {done.origins} forecasts from {done.first_utc:%Y-%m-%d} to "
        f"{done.last_utc:%Y-%m-%d}, every {done.every_h} h, judged {done.horizon_h} h ahead"
    )
    click.echo()
    days = len(done.verdicts[0].mape_by_day)
    header = ["forecast", *(f"MAPE day {day + 1}" for day in range(days)), "pinball", "in 80 %"]
    header += [f"{one.job_h} h/{one.slack_h} h" for one in done.verdicts[0].worths]
    emit_rows(header, [_row(one) for one in done.verdicts])
    click.echo()
    worths = done.verdicts[0].worths
    saving, saves, of, what = _SAVED[done.quantity]
    click.echo(
        f"last columns: share of the perfect-forecast {saving}, by run time/slack of the job;"
    )
    click.echo(
        f"a perfect forecast {saves} "
        + ", ".join(f"{_percent(one.perfect_saving)} {of} {one.job_h} h jobs'" for one in worths)
        + f" {what}"
    )


def _row(one: "Verdict") -> list[str]:
    return [
        one.model,
        *(f"{'-' if error is None else f'{error:.1f} %'}" for error in one.mape_by_day),
        "-" if one.pinball is None else f"{one.pinball:.4g}",
        _percent(one.coverage_80),
        *(_percent(two.share_of_perfect) for two in one.worths),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
