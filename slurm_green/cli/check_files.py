# SPDX-License-Identifier: Apache-2.0
"""Doctor: configuration, signal, ledger, the off switch and the clocks."""

import os
import stat
from collections.abc import Iterator
from datetime import datetime

from slurm_green.cli.app import App
from slurm_green.cli.check import Check, fail, ok, warn
from slurm_green.cli.freshness import most_age_s, status_of
from slurm_green.errors import LedgerError, SlurmGreenError
from slurm_green.words import length

__all__ = ["check_files"]


def check_files(app: App) -> Iterator[Check]:
    """What lies on this host."""
    yield _config(app)
    yield _switch(app)
    yield _daemon_status(app)
    yield _signal(app)
    yield _ledger(app)
    yield _clock(app)


def _config(app: App) -> Check:
    config = app.config
    if config.source is None:
        return warn(
            "configuration",
            "no file: every setting has its default",
            "mkdir -p /etc/slurm-green; sgreen config example > /etc/slurm-green/slurm-green.toml",
        )
    found = config.source.stat()
    if stat.S_IMODE(found.st_mode) & 0o022:
        return fail(
            "configuration",
            f"{config.source} can be written by more than its owner",
            f"chmod go-w {config.source}",
        )
    if not stat.S_IMODE(found.st_mode) & 0o004:
        return warn(
            "configuration",
            f"{config.source} cannot be read by users",
            "chmod a+r, or their commands do not know the site's paths",
        )
    modes = [one.mode for one in (*config.partition.values(), *config.qos.values())]
    enforced = config.general.mode == "enforce" or "enforce" in modes
    words = "enforcing" if enforced else "shadow mode only"
    return ok("configuration", f"{config.source}, {len(config.given)} settings given, {words}")


def _switch(app: App) -> Check:
    if app.config.paths.off.exists():
        return warn("switch", f"off ({app.config.paths.off})", "sgreen on")
    return ok("switch", "on")


def _daemon_status(app: App) -> Check:
    path, status = app.config.paths.status, status_of(app.config)
    if status is None:
        return warn("status file", f"{path} cannot be read", "start sgreend")
    try:
        age_s = (app.now() - datetime.fromisoformat(str(status["at_utc"]))).total_seconds()
    except (KeyError, ValueError, TypeError):
        return warn("status file", f"{path} is damaged", "restart sgreend")
    if age_s > most_age_s(app.config):
        return fail("status file", f"last cycle {length(age_s)} ago", "see sgreend's log")
    # A release before this one does not say.
    if status.get("settings", here := app.config.digest()) != here:
        return warn(
            "status file",
            "sgreend runs with other settings than this configuration's, or in another release",
            "restart sgreend: it reads them when it starts",
        )
    return ok("status file", f"last cycle {length(age_s)} ago, {status.get('deferred')} deferred")


def _signal(app: App) -> Check:
    from slurm_green.cli.signal_advice import failed_links
    from slurm_green.cli.signal_origin import origins
    from slurm_green.cli.signal_state import gather

    now = app.now()
    state = gather(app.config, now)[0]
    refused = failed_links(
        state, [one for one in state.links if one.kind == "provider"], app.config
    )
    failed = "".join(f"; {one.about} failed: {one.seen}" for one in refused)
    todo = "; ".join(one.todo for one in refused)
    series = state.series
    if series is None:
        why = "without one nothing is deferred; sgreen signal check says why"
        return fail("signal", f"{state.problem}{failed}", todo or why)
    ahead_s = (series.end_utc - now).total_seconds()
    age_s = series.age_s(now)
    seen = f"{series.provider}, {length(age_s)} old, {length(ahead_s)} ahead"
    if refused:
        return warn("signal", f"{seen}{failed}", todo)
    if origins(series, now)[0].kind == "climatology":
        return warn("signal", f"{seen}: no forecast, only what is usual", "sgreen signal check")
    need_s = max(
        [app.config.policy.max_delay_s]
        + [one.max_delay_s or 0.0 for one in app.config.partition.values()]
    )
    if ahead_s < need_s / series.time_scale:
        return warn(
            "signal", seen, f"delays go to {length(need_s)}: late starts are not considered"
        )
    return ok("signal", seen)


def _ledger(app: App) -> Check:
    path = app.config.paths.ledger
    if problem := (status_of(app.config) or {}).get("ledger_problem"):
        todo = "make room, or see to what it says; until then entries wait in sgreend's memory"
        return fail("ledger", str(problem), todo)
    if not path.exists():
        if path.parent.exists():
            return warn("ledger", f"{path} does not exist yet", "sgreend makes it when it starts")
        return fail("ledger", f"{path.parent} does not exist", "make it, owned by sgreend's user")
    if not os.access(path, os.R_OK):
        return warn("ledger", f"{path} is not yours to read", "run this as root or sgreend's user")
    from slurm_green.ledger.entries import Query
    from slurm_green.ledger.store import Store

    try:
        with Store(path, readonly=True) as store:
            store.jobs(Query(limit=1))
    except LedgerError as error:
        return fail("ledger", str(error), "decisions go on without it, receipts do not")
    # Writing needs the folder too: SQLite puts its journal beside the file.
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return warn("ledger", f"{path} is not yours to write", "check sgreend's user, or its disk")
    return ok("ledger", str(path))


def _clock(app: App) -> Check:
    """Begin times are set by our clock and judged by slurmctld's."""
    now = app.now()
    try:
        # No command shows slurmctld's clock; a submit time ahead of ours proves a difference.
        ahead = [
            (job.submit_utc - now).total_seconds()
            for job in app.slurm.jobs()
            if job.submit_utc is not None
        ]
    except SlurmGreenError:
        return warn("clock", "slurmctld cannot be asked", "see the finding about slurm")
    worst_s = max(ahead, default=0.0)
    if worst_s > 2:
        return fail(
            "clock", f"slurmctld's clock is {worst_s:.0f} s ahead of this host's", "run NTP"
        )
    return ok("clock", "no job was submitted in our future (a clock behind ours cannot be seen)")
