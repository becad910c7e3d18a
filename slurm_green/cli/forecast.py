# SPDX-License-Identifier: Apache-2.0
"""`sgreen forecast`: the carbon signal as a chart, a table or a picture."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json
from slurm_green.errors import BadInputError
from slurm_green.words import length

if TYPE_CHECKING:
    from datetime import datetime

    from slurm_green.signals.series import Series

_BLOCKS = " ▏▎▍▌▋▊▉█"
_WIDTH = 40


@click.command(name="forecast", short_help="Show the carbon signal that decisions rest on.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, max=24 * 14, min_open=True),
    default=24.0,
    show_default=True,
    help="How far ahead to show.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw a picture, .png, .svg or .pdf (needs the extra slurm-green[plot]).",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: start_utc,carbon_g_per_kwh.")
@as_json
@pass_app
def command(app: App, hours: float, plot: Path | None, as_csv: bool, as_json: bool) -> None:
    """Show the carbon signal from now on, as sgreend sees it."""
    if as_csv and as_json:
        raise BadInputError("--csv and --json exclude each other")
    from slurm_green.cli.source import read_signal

    now = app.now()
    series = read_signal(app.config, now)
    # A demo's trace is time-scaled: its hours are shorter than ours.
    rows = _steps(series, now, now + timedelta(hours=hours / series.time_scale))
    if plot is not None:
        from slurm_green.cli.picture import draw

        draw(plot, series, rows, app.config.general.zone)
    if as_json:
        emit_json(
            {
                "provider": series.provider,
                "region": series.region,
                "unit": series.unit,
                "basis": series.basis,
                "scope": series.scope,
                "issued_utc": series.issued_utc,
                "age_s": round(series.age_s(now)),
                "step_s": series.step_s,
                "end_utc": series.end_utc,
                "now_g_per_kwh": series.at(now),
                "values": [{"start_utc": at, "carbon_g_per_kwh": value} for at, value in rows],
            }
        )
    elif as_csv:
        click.echo("start_utc,carbon_g_per_kwh")
        for at, value in rows:
            click.echo(f"{at:%Y-%m-%dT%H:%M:%SZ},{value:g}")
    else:
        for line in _chart(rows, app.config.general.zone):
            click.echo(line)
        click.echo(
            f"{series.unit} ({series.basis}) from {series.provider} {series.region}".rstrip()
            + f", {length(series.age_s(now))} old, ends in "
            + length((series.end_utc - now).total_seconds())
        )


def _steps(
    series: "Series", start_utc: "datetime", end_utc: "datetime"
) -> list[tuple["datetime", float]]:
    """The steps that touch a span, each with its start."""
    step = timedelta(seconds=series.step_s)
    first = max(0, int((start_utc - series.start_utc) / step))
    return [
        (series.start_utc + i * step, float(series.values[i]))
        for i in range(first, len(series.values))
        if series.start_utc + i * step < end_utc
    ]


def _chart(rows: list[tuple["datetime", float]], zone: Any, lines: int = 48) -> list[str]:
    """A bar per time, at most `lines` of them, the cleanest marked."""
    group = -(-len(rows) // lines)
    bars = []
    for i in range(0, len(rows), group):
        part = rows[i : i + group]
        bars.append((part[0][0], sum(value for _, value in part) / len(part)))
    top = max((value for _, value in bars), default=0.0) or 1.0
    low = min((value for _, value in bars), default=0.0)
    found = []
    for at, value in bars:
        eighths = round(8 * _WIDTH * value / top)
        bar = "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()
        mark = "  cleanest" if value == low and len(bars) > 1 else ""
        found.append(f"{at.astimezone(zone):%a %H:%M} {value:6.0f} {bar}{mark}")
    return found
