# SPDX-License-Identifier: Apache-2.0
"""`sgreen queue`: the waiting jobs that carry a decision, with their planned and latest start."""

from typing import TYPE_CHECKING, Any

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json, emit_rows
from slurm_green.cli.params import Number, as_json, table_options
from slurm_green.errors import BadInputError
from slurm_green.words import clean, grams, when

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("JOBID", "PARTITION", "NAME", "USER", "STATE", "PLANNED START", "ELIGIBLE BY", "SAVES")


@click.command(name="queue", short_help="List the jobs that carry a decision of ours.")
@click.option("-u", "--user", help="Only jobs of this user.")
@click.option("-A", "--account", help="Only jobs of this account.")
@click.option("--all", "every", is_flag=True, help="Also jobs that run, or ended lately.")
@click.option("--watch", is_flag=True, help="Stay and keep the table current; Ctrl-C ends it.")
@click.option(
    "--every",
    "interval_s",
    type=Number(1, 3600),
    default=5.0,
    show_default=True,
    help="Seconds between two looks of --watch.",
)
@table_options
@as_json
@pass_app
def command(
    app: App,
    user: str | None,
    account: str | None,
    every: bool,
    watch: bool,
    interval_s: float,
    noheader: bool,
    parsable: bool,
    as_json: bool,
) -> None:
    """List waiting jobs that slurm-green decided on, soonest first.

    STATE is looking (held for seconds until the whole job is seen), deferred, released (waits for
    Slurm only) or changed (somebody set another begin time). SAVES is what is expected.
    """
    if watch and (as_json or parsable):
        raise BadInputError("--watch is for people: it goes with neither --json nor -P")

    def look() -> list[dict[str, Any]]:
        return _rows_of(app, user=user, account=account, every=every)

    if watch:
        _watch(app, look, interval_s)
        return
    rows = look()
    if as_json:
        emit_json({"jobs": rows, "deferred": sum(row["state"] == "deferred" for row in rows)})
    else:
        emit_rows(HEADER, [_cells(row, app) for row in rows], noheader=noheader, parsable=parsable)


def _rows_of(
    app: App, *, user: str | None = None, account: str | None = None, every: bool = False
) -> list[dict[str, Any]]:
    """One record per job, from one query of Slurm's queue."""
    from slurm_green.cli.jobs import of_ours
    from slurm_green.cli.story import tell

    now, zone, rows = app.now(), app.config.general.zone, []
    for job in app.slurm.jobs():
        one = of_ours(job, app.config)
        if one is None or not (job.pending or every):
            continue
        if (user and job.user != user) or (account and job.account != account):
            continue
        task = "" if job.array_job_id is None or not job.array_task else f"_{job.array_task}"
        shown = f"{job.array_job_id}{task}" if task else str(job.job_id)
        story = tell(one, name=shown, now_utc=now, zone=zone)
        rows.append(
            {
                "job": shown,
                "job_id": job.job_id,
                "partition": job.partition,
                "name": job.name,
                "user": job.user,
                "account": job.account,
                "state": story.state,
                **story.numbers,
            }
        )
    rows.sort(key=lambda row: (row["planned_start_utc"] or row["decided_utc"], row["job_id"]))
    return rows


def _cells(row: dict[str, Any], app: App) -> tuple[str, ...]:
    """A record as text."""
    zone = app.config.general.zone
    return (
        row["job"],
        row["partition"],
        row["name"][:32],
        row["user"],
        row["state"],
        when(row["planned_start_utc"], zone),
        when(row["latest_start_utc"], zone),
        grams(row["save_g"]),
    )


def _watch(app: App, look: Any, interval_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    # rich honours NO_COLOR by itself and writes plain text where no terminal listens.
    with Live(console=Console(), auto_refresh=False) as live:
        try:
            while True:
                live.update(_table(app, look()), refresh=True)
                app.sleep(interval_s)
        except KeyboardInterrupt:
            return


def _table(app: App, rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    colours = {"deferred": "green", "looking": "cyan", "released": "", "changed": "yellow"}
    title = f"slurm-green, {when(app.now(), app.config.general.zone)}"
    table = Table(*HEADER, title=title, box=None, pad_edge=False)
    for row in rows:
        # Text, not str: a job name must not be read as markup.
        table.add_row(
            *(Text(clean(cell), style=colours.get(row["state"], "")) for cell in _cells(row, app))
        )
    return table
