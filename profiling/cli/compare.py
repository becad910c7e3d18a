# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile compare`: how far one profile is from another."""

from dataclasses import asdict
from pathlib import Path

import click

from profiling.cli.output import (
    as_json,
    emit_json,
    emit_table,
    number,
    percent,
    profile_argument,
)


@click.command(name="compare", short_help="Say how far one profile is from another.")
@profile_argument("first")
@profile_argument("second")
@as_json
def command(first: Path, second: Path, as_json: bool) -> None:
    """Compare SECOND with FIRST at the settings of FIRST, and their best clocks.

    SECOND is interpolated between its points, never beyond them. Regret is what its best clock
    costs by the figures of FIRST.
    """
    from profiling.compare import compare, optima
    from profiling.files import read_profile

    one, other = read_profile(first), read_profile(second)
    differences, best = compare(one, other), optima(one, other)
    if as_json:
        emit_json(
            {
                "first": first,
                "second": second,
                "differences": [asdict(at) for at in differences],
                "optima": [asdict(at) for at in best],
            }
        )
        return
    emit_table(
        ("phase", "points", "time", "mean", "most", "power", "mean", "most"),
        [
            (
                at.phase,
                f"{at.points} of {at.of}",
                _signed(at.time_bias),
                percent(at.time_mean),
                percent(at.time_most),
                _signed(at.power_bias),
                percent(at.power_mean),
                percent(at.power_most),
            )
            for at in differences
        ],
    )
    if best:
        click.echo()
        emit_table(
            ("phase", "batch", "context", "best MHz", "second's", "regret"),
            [
                (
                    at.phase + f", tp {at.tp}" * (at.tp > 1),
                    str(at.batch),
                    "-" if at.context is None else str(at.context),
                    number(at.first_mhz, 6),
                    number(at.second_mhz, 6),
                    percent(at.regret),
                )
                for at in best
            ],
        )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.2f} %"
