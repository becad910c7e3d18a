# SPDX-License-Identifier: Apache-2.0
"""`sgreen forecast`: a signal as a chart, a table or a picture."""

import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import check_outputs, emit_json
from slurm_green.cli.params import QUANTITIES, Number, as_json, quantity_option
from slurm_green.errors import BadInputError, SignalError
from slurm_green.words import clean, length

if TYPE_CHECKING:
    from datetime import datetime

    from slurm_green.cli.signal_steps import Step
    from slurm_green.signals.series import Series

_NOW = {"carbon_g_per_kwh": "now_g_per_kwh", "price_per_kwh": "now_per_kwh"}


@click.command(name="forecast", short_help="Show the signals that decisions rest on.")
@quantity_option("Which signal.")
@click.option(
    "--hours",
    type=Number(min=0, max=24 * 60, min_open=True),
    default=24.0,
    show_default=True,
    help="How far ahead to show.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw a picture, .png, .svg or .pdf (needs the extra slurm-green[plot]).",
)
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print CSV: issued_s,start_s (POSIX seconds), the expected values, p10,p90.",
)
@as_json
@pass_app
def command(
    app: App, quantity: str, hours: float, plot: Path | None, as_csv: bool, as_json: bool
) -> None:
    """Show a signal from now on, as sgreend sees it, and where each part of it comes from.

    p10 and p90 bound what happens 8 of 10 times; they are shown where they are known. With
    --csv carbon also carries the on-site renewable supply where the site has a signal of it.
    """
    if as_csv and as_json:
        raise BadInputError("--csv and --json exclude each other")
    if plot is not None:
        from slurm_green.cli.picture import check_path

        check_path(plot)
        check_outputs({"--plot": plot}, {})
    from slurm_green.cli.signal_steps import steps
    from slurm_green.cli.source import read_signal

    now, zone = app.now(), app.config.general.zone
    series = read_signal(app.config, now, QUANTITIES[quantity])
    # A demo's trace is time-scaled: its hours are shorter than ours.
    shown = steps(series, now, now + timedelta(hours=hours / series.time_scale))
    if plot is not None:
        from slurm_green.cli.picture import draw

        draw(plot, series, shown, zone=zone, now_utc=now)
    if as_json:
        _emit_json(series, shown, now)
    elif as_csv:
        from slurm_green.cli.signal_csv import rows

        for row in rows(series, shown, _renewable(app, series, now)):
            click.echo(row)
    else:
        _emit_chart(app, series, shown, now)


def _emit_json(series: "Series", shown: "list[Step]", now: "datetime") -> None:
    from slurm_green.cli.signal_origin import origins

    emit_json(
        {
            "quantity": series.quantity,
            "unit": series.unit,
            "basis": series.basis,
            "scope": series.scope,
            "region": series.region,
            "provider": series.provider,
            "issued_utc": series.issued_utc,
            "age_s": round(series.age_s(now)),
            "step_s": series.step_s,
            "end_utc": series.end_utc,
            _NOW.get(series.quantity, "now_w"): series.at(now),
            "origins": [asdict(one) for one in origins(series, now)],
            "values": [
                {
                    "start_utc": one.start_utc,
                    series.quantity: one.value,
                    "p10": one.p10,
                    "p90": one.p90,
                    "kind": one.origin.kind,
                }
                for one in shown
            ],
        }
    )


def _emit_chart(app: App, series: "Series", shown: "list[Step]", now: "datetime") -> None:
    from slurm_green.cli.chart import chart

    what = series.kind.what
    kinds = ", ".join(one for one in (series.basis, series.scope) if one not in {"", "unknown"})
    region = f" of {clean(series.region)}" if series.region else ""
    click.echo(
        f"{what[0].upper()}{what[1:]}{region} in {series.unit}"
        + (f" ({kinds})" if series.quantity == "carbon_g_per_kwh" and kinds else "")
        + f", times in {app.config.general.time_zone}"
    )
    encoding = sys.stdout.encoding or "ascii"
    for line in chart(shown, series.kind, app.config.general.zone, fine=_is_fine(encoding)):
        click.echo(line)
    click.echo(
        f"{clean(series.provider)}, {length(series.age_s(now))} old, ends in "
        + length((series.end_utc - now).total_seconds())
    )


def _is_fine(encoding: str) -> bool:
    """Whether a terminal of this encoding shows blocks."""
    try:
        "█▏▓░│─".encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def _renewable(app: App, series: "Series", now: "datetime") -> "Series | None":
    """The site's own supply for the same table; None where the site has no signal of it."""
    from slurm_green.cli.source import read_signal
    from slurm_green.config.chains import signal_path
    from slurm_green.signals.quantity import CARBON, RENEWABLE

    if series.quantity != CARBON.name or not signal_path(app.config, RENEWABLE.name).exists():
        return None
    try:
        return read_signal(app.config, now, RENEWABLE.name)
    except SignalError as error:
        click.echo(f"sgreen: renewable supply left out: {error}", err=True)
        return None
