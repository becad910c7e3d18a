# SPDX-License-Identifier: Apache-2.0
"""`sgreen report`: the site's figure beside the sum of receipts, never added to each other."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json, emit_rows
from slurm_green.cli.params import as_json, past_time, table_options
from slurm_green.errors import BadInputError
from slurm_green.words import grams, length, saved, when

if TYPE_CHECKING:
    from slurm_green.cli.account import Account

_GROUPS = ("user", "account", "partition")


@click.command(name="report", short_help="Report energy and carbon of a period.")
@click.option("-S", "--starttime", default="now-7days", show_default=True, help="From when on.")
@click.option("-E", "--endtime", default="now", show_default=True, help="Until when.")
@click.option("-u", "--user", default="", help="Only jobs of this user.")
@click.option("-A", "--account", default="", help="Only jobs of this account.")
@click.option("--partition", default="", help="Only jobs of this partition.")
@click.option(
    "--by",
    type=click.Choice(_GROUPS),
    default="account",
    show_default=True,
    help="What the table is grouped by.",
)
@click.option("--shadow", is_flag=True, help="What enforcing would have done in shadow mode.")
@click.option("--csv", "as_csv", is_flag=True, help="Print one CSV line per job.")
@table_options
@as_json
@pass_app
def command(
    app: App,
    starttime: str,
    endtime: str,
    user: str,
    account: str,
    partition: str,
    by: str,
    shadow: bool,
    as_csv: bool,
    noheader: bool,
    parsable: bool,
    as_json: bool,
) -> None:
    """Report energy and carbon of the jobs that ended in a period, and what deferring saved.

    Who may read the ledger gets the site's figure against a replayed FIFO; everybody else a
    report of the jobs that Slurm's accounting shows them. Times are as 2026-01-31,
    2026-01-31T08:00, now, now-7days, today, midnight or yesterday; the other forms of sacct, such
    as noon or 11/29, are refused.
    """
    if as_csv and as_json:
        raise BadInputError("--csv and --json exclude each other")
    from slurm_green.cli.account import account_for
    from slurm_green.ledger.entries import Query
    from slurm_green.ledger.export import report_row, write_receipts_csv

    now, zone = app.now(), app.config.general.zone
    since = past_time(starttime, now_utc=now, zone=zone)
    until = past_time(endtime, now_utc=now, zone=zone)
    if since >= until:
        raise BadInputError(f"-S {starttime} is not before -E {endtime}")
    query = Query(since_utc=since, until_utc=until, user=user, account=account, partition=partition)
    found = account_for(app, query)
    if as_csv:
        write_receipts_csv(found.report.receipts, sys.stdout)
        return
    if as_json:
        emit_json(
            {
                "since_utc": since,
                "until_utc": until,
                "source": found.source,
                **report_row(found.report),
                "expected_save_g": found.expected_g,
                "shadow": {
                    "decided": found.shadow.decided,
                    "would_defer": found.shadow.would_defer,
                    "expected_save_g": found.shadow.expected_save_g,
                    "unknown": found.shadow.unknown,
                },
                "shadow_outcome": {
                    **asdict(found.shadow.outcome),
                    "saved_g": found.shadow.outcome.saved_g,
                },
            }
        )
        return
    if not (noheader or parsable):
        click.echo(f"{when(since, zone)} to {when(until, zone)}, from {_SOURCES[found.source]}")
        for line in _shadow(found) if shadow else _summary(found):
            click.echo(line)
        click.echo()
    groups = getattr(found.report, f"by_{by}")
    emit_rows(
        (by.upper(), "JOBS", "DEFERRED", "KWH", "CO2E", "RECEIPTS SAVED", "UNKNOWN"),
        [
            (
                group.name or "(none)",
                str(group.jobs),
                str(group.deferred),
                f"{group.energy_j / 3.6e6:.3f}",
                grams(_known(group.carbon_g, group.jobs, group.unknown)),
                grams(_known(group.saved_g, group.deferred, group.unknown)),
                str(group.unknown),
            )
            for group in groups
        ],
        noheader=noheader,
        parsable=parsable,
    )


_SOURCES = {
    "ledger": "the ledger",
    "slurm": "Slurm's accounting (no ledger that you may read)",
}


def _summary(found: "Account") -> list[str]:
    report, site = found.report, found.report.site
    lines = [f"{report.jobs} jobs, {report.deferred} of them deferred."]
    if site.saved_g is not None:
        percent = "" if site.saved_percent is None else f" ({abs(site.saved_percent):.1f} %)"
        lines.append(
            f"Site: {grams(site.actual_g)} against {grams(site.fifo_g)} of {site.counterfactual}: "
            f"{saved(site.saved_g)}{percent}."
        )
        lines.append(
            f"Receipts: {saved(site.receipts_g)} over the same jobs; taken off for the "
            f"site: {grams(site.queue_g)} they would have queued anyway, "
            f"{grams(site.displaced_g)} of displaced jobs and {grams(site.idle_g)} of idle GPUs."
        )
    else:
        lines.append(f"Site: no figure, {site.reason}.")
        less = _known(report.receipts_saved_g, report.deferred, report.unknown)
        lines.append(
            "Receipts: what deferred jobs saved is not known, nor the signal while they ran."
            if less is None
            else f"Receipts: {_less(less)} than {report.counterfactual}; "
            "what displaced jobs emitted is not counted."
        )
    if found.expected_g is not None:
        lines.append(f"Expected when the jobs were decided on: {grams(found.expected_g)}.")
    delays, promises = report.delays_deferred, report.promises
    if delays.jobs:
        lines.append(
            f"Deferred jobs waited {length(delays.p50_s)} (median), {_most(delays.max_s)}."
        )
    if promises.made:
        # Of jobs whose begin time somebody moved, or of which the first run is in no record.
        neither = f", {promises.unknown} neither" if promises.unknown else ""
        lines.append(
            f"Promises: {promises.kept} of {promises.made} kept, {promises.broken} broken{neither}."
        )
    sources = ", ".join(f"{count} {name}" for name, count in report.energy_sources.items())
    bases = ", ".join(f"{count} {name}" for name, count in report.bases.items())
    lines.append(f"Energy: {sources or 'none'}. Carbon basis: {bases or 'none'}.")
    if report.time_scale not in (None, 1.0):
        lines.append(f"Time-scaled signal (x{report.time_scale:g}): figures of a demonstration.")
    return lines


def _shadow(found: "Account") -> list[str]:
    shadow = found.shadow
    if found.source != "ledger":
        return ["Shadow decisions are in the ledger only, and there is none that you may read."]
    lines = [
        f"Shadow mode: {shadow.decided} jobs looked at, {shadow.would_defer} would have waited.",
        f"Expected saving, had it been enforced: {grams(shadow.expected_save_g)} "
        f"({shadow.unknown} unknown). An estimate of single jobs; nothing was changed.",
    ]
    outcome = shadow.outcome
    if outcome.compared:
        lines += [
            f"Against what happened: {outcome.compared} of them or of earlier ones have ended and "
            f"emitted {grams(outcome.actual_g)}; when shadow mode would have let them go it had "
            f"been {grams(outcome.would_g)}, {_less(outcome.saved_g)} "
            f"(expected of these: {grams(outcome.expected_g)}).",
            f"They would have been let go {length(outcome.mean_delay_s)} after submission (mean), "
            f"{_most(outcome.most_delay_s)}; {outcome.late} of {outcome.deadlines} with a "
            "deadline would have ended late.",
        ]
    if outcome.ahead or outcome.unknown:
        lines.append(
            f"Not compared: {outcome.ahead} that would not have ended yet, {outcome.unknown} "
            "that never ran or whose signal is not known."
        )
    return lines


def _known(amount_g: float, jobs: int, unknown: int) -> float | None:
    """A sum over the known of so many jobs; None where it is one of nothing."""
    return None if jobs and not amount_g and unknown >= jobs else amount_g


def _less(saved_g: float) -> str:
    return f"{grams(abs(saved_g))} {'less' if saved_g >= 0 else 'more'}"


def _most(seconds: float | None) -> str:
    return f"{length(seconds)} at most"
