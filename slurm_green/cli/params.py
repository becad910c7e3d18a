# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share, spelled as sacct spells them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypeVar

import click

from profiling.cli.output import Number, Whole
from slurm_green.errors import BadInputError

__all__ = [
    "POSITIVE",
    "QUANTITIES",
    "JobRef",
    "Number",
    "Whole",
    "as_json",
    "job_argument",
    "names_of",
    "parsable",
    "past_time",
    "quantity_option",
    "table_options",
]

F = TypeVar("F", bound=Callable[..., Any])

POSITIVE = Number(min=0, min_open=True)

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
)
_noheader = click.option("-n", "--noheader", is_flag=True, help="Leave the header line out.")
parsable = click.option(
    "-P", "--parsable2", "parsable", is_flag=True, help="Separate columns with '|', no padding."
)
_REF = re.compile(r"(\d{1,10})(?:_(\d{1,10}))?(?:\+\d+)?", re.ASCII)
_AGO = re.compile(r"now(?:-(\d+)(second|minute|hour|day|week|month)s?)?", re.ASCII)
_UNIT_S = {
    "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 30 * 86400,
}  # fmt: skip


# What people write after --quantity -> its name in files.
QUANTITIES = {
    "carbon": "carbon_g_per_kwh",
    "price": "price_per_kwh",
    "renewable": "renewable_w",
    "base-power": "base_power_w",
}


def quantity_option(help_text: str) -> Callable[[F], F]:
    """--quantity, carbon unless said otherwise."""
    return click.option(
        "--quantity",
        type=click.Choice(list(QUANTITIES)),
        default="carbon",
        show_default=True,
        help=help_text,
    )


def names_of(policies: str, example: str) -> list[str]:
    """The names of `--policy a,b`; BadInputError where there is none, or one stands there twice."""
    names = [one.strip() for one in policies.split(",") if one.strip()]
    if not names:
        raise BadInputError(f"--policy: names no policy; try --policy {example}")
    if len(set(names)) != len(names):
        raise BadInputError(f"--policy {policies}: names a policy twice; leave one out")
    return names


def table_options(function: F) -> F:
    """--noheader and --parsable2."""
    return _noheader(parsable(function))


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job as people write it: 123, or one array task 123_4."""

    job_id: int
    task: int | None = None

    def __str__(self) -> str:
        """As Slurm writes it."""
        return str(self.job_id) if self.task is None else f"{self.job_id}_{self.task}"


def _job(_ctx: click.Context, _param: click.Parameter, value: str) -> JobRef:
    """Read 123 or 123_4; a part of a heterogeneous job (123+1) stands for the whole."""
    found = _REF.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a job: write 123, or 123_4 for an array task.")
    return JobRef(int(found[1]), None if found[2] is None else int(found[2]))


job_argument = click.argument("job", callback=_job)


def past_time(text: str, *, now_utc: datetime, zone: tzinfo) -> datetime:
    """A time in those of sacct's forms that are clear: ISO, `now-7days`, today, yesterday."""
    word = text.strip().lower()
    midnight = now_utc.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    if word in {"today", "midnight"}:
        return midnight.astimezone(UTC)
    if word == "yesterday":
        return (midnight - timedelta(days=1)).astimezone(UTC)
    try:
        if ago := _AGO.fullmatch(word):
            return now_utc - timedelta(seconds=int(ago[1] or 0) * _UNIT_S.get(ago[2] or "", 0))
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:  # of what lies before the first year
        raise BadInputError(
            f"{text!r} is not a time: write 2026-01-31, 2026-01-31T08:00, now, now-7days, today, "
            "midnight or yesterday"
        ) from error
