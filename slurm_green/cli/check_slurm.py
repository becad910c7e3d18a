# SPDX-License-Identifier: Apache-2.0
"""Doctor: what of Slurm and its configuration our decisions rest on."""

import re
from collections.abc import Iterator

from slurm_green.cli.app import App
from slurm_green.cli.check import Check, fail, ok, warn
from slurm_green.errors import SlurmError
from slurm_green.slurm.records import ClusterInfo

__all__ = ["check_slurm"]

_OLDEST = (22, 5)
_SCRIPT_S = 5  # our prolog and epilog end by themselves after this long


def check_slurm(app: App) -> Iterator[Check]:
    """Answers, version, partitions, plugin, accounting, priority, limits of prolog and epilog."""
    try:
        info = app.slurm.info()
        jobs = len(app.slurm.jobs())
    except SlurmError as error:
        yield fail("slurm", str(error), "run this where squeue and scontrol work")
        return
    version = f"{info.version[0]}.{info.version[1]:02d}"
    if info.version < _OLDEST:
        yield fail(
            "slurm", f"version {version} of cluster {info.name}", "22.05 is the oldest known"
        )
    else:
        yield ok("slurm", f"cluster {info.name}, version {version}, {jobs} jobs known")
    wanted = app.config.general.cluster
    if wanted and wanted != info.name:
        yield fail(
            "cluster", f"general.cluster is {wanted!r}, Slurm's is {info.name!r}", "correct it"
        )
    yield from _partitions(app)
    yield _plugin(info)
    yield from _accounting(info, app.config.general.record_field)
    yield _priority(info, app.config.priority.keep_place)
    yield _scripts(info)


def _scripts(info: ClusterInfo) -> Check:
    """slurmd drains a node whose prolog outlives the limit; ours bounds itself at 5 s."""
    name = "prolog and epilog"
    # Newer versions number them: Prolog[0].
    scripts = [key for key in info.settings if re.fullmatch(r"(Prolog|Epilog)(\[\d+\])?", key)]
    if not any(info.settings[key] for key in scripts):
        return ok(name, "none set: clocks are not touched")
    limits = {
        key: info.settings[key]
        for key in ("PrologEpilogTimeout", "PrologTimeout", "EpilogTimeout")
        if info.settings.get(key)
    }
    for key, value in limits.items():
        seconds = re.match(r"\d+", value)
        if seconds is not None and int(seconds[0]) <= _SCRIPT_S:
            return fail(
                name,
                f"{key}={value}",
                f"set more than {_SCRIPT_S} s or leave it out: slurmd drains a node whose script "
                "takes longer",
            )
    shown = ", ".join(f"{key}={value}" for key, value in limits.items())
    return ok(name, shown or "no time limit of slurmd's")


def _partitions(app: App) -> Iterator[Check]:
    """A misspelt name is no error of the file's: it would just never hold."""
    named = set(app.config.partition)
    if not named:
        return
    try:
        known = {one.name for one in app.slurm.partitions()}
    except SlurmError as error:
        yield fail("partitions", str(error), "see what scontrol show partition says")
        return
    if missing := sorted(named - known):
        yield warn(
            "partitions",
            f"the configuration names {', '.join(missing)}, which Slurm does not have",
            f"correct [partition.NAME]; Slurm has {', '.join(sorted(known))}",
        )
    else:
        yield ok("partitions", "Slurm has those that the configuration names")


def _plugin(info: ClusterInfo) -> Check:
    plugins = info.settings.get("JobSubmitPlugins", "")
    if "lua" in re.split(r"[,\s]+", plugins):
        return ok("submit plugin", f"JobSubmitPlugins={plugins}")
    return fail(
        "submit plugin",
        f"JobSubmitPlugins={plugins or '(none)'}",
        "put job_submit.lua beside slurm.conf first, then set JobSubmitPlugins=lua and restart "
        "slurmctld: it does not start without the file",
    )


def _accounting(info: ClusterInfo, field: str) -> Iterator[Check]:
    if not info.accounting:
        yield warn(
            "accounting",
            "no slurmdbd",
            "finished jobs are known for MinJobAge only, so receipts and `why` forget them",
        )
    else:
        flags = info.settings.get("AccountingStoreFlags", "")
        if field == "extra" and "job_extra" not in flags:
            yield warn(
                "accounting",
                f"AccountingStoreFlags={flags or '(none)'}",
                "add job_extra, or the record is lost when a job ends",
            )
        else:
            yield ok("accounting", "slurmdbd; the record outlives its job")
    age = re.match(r"\d+", info.settings.get("MinJobAge", ""))
    if age is None:
        yield warn("MinJobAge", "not shown by Slurm", "see that it is 60 s or more")
    elif int(age[0]) < 60:
        yield warn(
            "MinJobAge",
            f"{age[0]} s",
            "raise it to 60 s or more: ended jobs vanish before a cycle sees them",
        )
    else:
        yield ok("MinJobAge", f"{age[0]} s")


def _priority(info: ClusterInfo, keep_place: bool) -> Check:
    name = "place in the queue"
    if "multifactor" not in info.priority_type:
        return ok(name, f"{info.priority_type}: order of submission, nothing to make up for")
    if "ACCRUE_ALWAYS" in info.priority_flags:
        return ok(name, "PriorityFlags=ACCRUE_ALWAYS: deferred jobs age")
    if info.priority_weight_age <= 0:
        return ok(name, "PriorityWeightAge=0: age counts for nothing")
    if keep_place:
        return ok(name, "released jobs get their age as a site factor (priority.keep_place)")
    return warn(
        name,
        "deferred jobs do not age",
        "set priority.keep_place = true, or PriorityFlags=ACCRUE_ALWAYS in slurm.conf",
    )
