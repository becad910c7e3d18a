# SPDX-License-Identifier: Apache-2.0
"""What `sgreen report` counts: from the ledger where it may be read, else from Slurm alone."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from slurm_green.cli.app import App
from slurm_green.cli.jobs import expected_g, of_ours, requeued
from slurm_green.cli.source import read_signal
from slurm_green.config.settings import Config
from slurm_green.controller.state import was_deferred
from slurm_green.errors import LedgerError, SignalError, SlurmError, SlurmGreenError
from slurm_green.ledger.entries import Decision, JobFacts, Query, facts_of, lookup_in
from slurm_green.ledger.fifo import Capacity
from slurm_green.ledger.report import Report, build_report
from slurm_green.ledger.shadow import ShadowOutcome, compare_shadow
from slurm_green.ledger.store import Store
from slurm_green.slurm.records import Job

__all__ = ["Account", "Shadow", "account_for", "shadow_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A report and where it comes from: "ledger" or "slurm"."""

    source: str
    report: Report
    shadow: "Shadow"
    expected_g: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """What enforcing would have done, by what was expected when each job was decided on."""

    decided: int = 0
    would_defer: int = 0
    expected_save_g: float = 0.0
    unknown: int = 0
    # Against what happened to those that have ended.
    outcome: ShadowOutcome = field(default_factory=ShadowOutcome)


def account_for(app: App, query: Query) -> Account:
    """The report of a period; raises when neither the ledger nor Slurm can tell."""
    config = app.config
    if os.access(config.paths.ledger, os.R_OK):
        with Store(config.paths.ledger, readonly=True) as store:
            jobs = store.jobs(query)
            # Who ended in the period may have been decided on, and let go, before it or after.
            theirs = replace(query, since_utc=_first_submitted(jobs, query), until_utc=None)
            decisions = store.decisions(theirs)
            report = build_report(
                jobs,
                decisions,
                signal=store.signal,
                power=config.power_model(),
                capacity=_capacity(app, query),
            )
            outcome = compare_shadow(
                jobs,
                decisions,
                store.events(theirs),
                signal=store.signal,
                power=config.power_model(),
                now_utc=app.now(),
            )
            shadow = replace(shadow_of(store.decisions(query)), outcome=outcome)
        return Account(source="ledger", report=report, shadow=shadow)
    return _from_slurm(app, query)


def _first_submitted(jobs: Sequence[JobFacts], query: Query) -> datetime | None:
    """From when on the jobs' decisions are; a submit hook decides just before Slurm notes when."""
    submitted = [job.submit_utc - timedelta(minutes=1) for job in jobs]
    return min([query.since_utc, *submitted]) if query.since_utc else None


def shadow_of(decisions: Sequence[Decision]) -> Shadow:
    """The sum over decisions that were only thought of."""
    shadow = [one for one in decisions if one.mode == "shadow"]
    would = [one for one in shadow if one.action == "defer"]
    return Shadow(
        decided=len(shadow),
        would_defer=len(would),
        expected_save_g=sum(one.save_g or 0.0 for one in would),
        unknown=sum(one.save_g is None for one in would),
    )


def _from_slurm(app: App, query: Query) -> Account:
    config, now = app.config, app.now()
    if query.since_utc is None:
        raise SlurmGreenError("a report from Slurm's records needs a start (-S)")
    finished = app.slurm.finished(query.since_utc)
    if finished is None:
        raise LedgerError(
            f"no report: {config.paths.ledger} cannot be read by you, and this site keeps no "
            "accounting to make one from"
        )
    until = query.until_utc or now
    wanted = [job for job in finished if _wanted(job, query, until)]
    try:
        signal = lookup_in(read_signal(config, now))
    except SignalError:
        signal = lookup_in(None)
    report = build_report(
        [_facts(job, config) for job in wanted],
        [],
        signal=signal,
        power=config.power_model(),
        capacity=_part(query) or "it is made from the ledger alone",
    )
    # By token: all tasks of an array carry one decision, whose figure is for all of them.
    expected = {
        one.record.token: save_g
        for job in wanted
        if (one := of_ours(job, config)) and (save_g := expected_g(one)) is not None
    }
    return Account(
        source="slurm",
        report=report,
        shadow=Shadow(),
        expected_g=float(sum(expected.values())) if expected else None,
    )


def _wanted(job: Job, query: Query, until: datetime) -> bool:
    return (
        job.submit_utc is not None
        and (not query.user or job.user == query.user)
        and (not query.account or job.account == query.account)
        and (not query.partition or job.partition == query.partition)
        and (job.end_utc is None or job.end_utc < until)
    )


def _facts(job: Job, config: Config) -> JobFacts:
    assert job.submit_utc is not None
    ours = of_ours(job, config)
    deferred = (
        ours is not None
        and was_deferred(job, ours.record, config.hook.hold_s)
        and not requeued(ours)
    )
    return facts_of(
        job,
        submit_utc=job.submit_utc,
        mode="enforce" if deferred else "",
        action="defer" if deferred else "",
    )


def _part(query: Query) -> str:
    """Why what is asked for has no site's figure, which would mean nothing; "" for all jobs."""
    part = query.user or query.account or query.partition
    return "part of a site has none" if part else ""


def _capacity(app: App, query: Query) -> Capacity | str:
    """The site's size, or why it is not told."""
    if part := _part(query):
        return part
    try:
        nodes = app.slurm.nodes()
    except SlurmError:
        return "Slurm did not tell the site's GPU and CPU counts"
    return Capacity(gpus=sum(n.gpus for n in nodes), cpus=sum(n.cpus for n in nodes))
