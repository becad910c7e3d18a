# SPDX-License-Identifier: Apache-2.0
"""J.csv of a replay of moves: jobs, each submitted at one of the sites."""

from pathlib import Path

import numpy as np

from slurm_green.migration.replay.inputs import Inputs, ReplayJob
from slurm_green.migration.replay.sites_file import Sites, read_sites
from slurm_green.plan.csv_table import LEAST, MOST, CsvTable, read_table

__all__ = ["read_inputs"]

_JOBS = ("job_id", "submit_s", "site", "gpus", "duration_s", "power_w", "checkpoint_gb")
_MOST_COUNT = 1e9


def read_inputs(
    sites: Path,
    jobs: Path,
    *,
    failure_share: float = 0.0,
    slow_share: float = 0.0,
    closing_share: float = 0.0,
    seed: int = 0,
) -> Inputs:
    """Sites and jobs; BadInputError names file, line and column."""
    read = read_sites(sites)
    return Inputs(
        step_s=read.step_s,
        sites=read.sites,
        links=read.links,
        jobs=_jobs(read_table(jobs, ",".join(_JOBS)), read),
        start_s=read.start_s,
        cycle_s=read.cycle_s,
        horizon_s=read.horizon_s,
        costs=read.costs,
        failure_share=failure_share,
        slow_share=slow_share,
        closing_share=closing_share,
        seed=seed,
    )


def _jobs(table: CsvTable, read: Sites) -> tuple[ReplayJob, ...]:
    table.require(*_JOBS)
    ids = [cell.strip() for cell in table.texts("job_id")]
    for row, name in enumerate(ids):
        if not name:
            raise table.bad(row, "job_id", "is empty; wanted an id of its own for every job")
    first = {name: at for at, name in reversed([*enumerate(ids)])}
    if len(first) < len(ids):
        row = next(at for at, name in enumerate(ids) if first[name] != at)
        raise table.bad(row, "job_id", f"{ids[row]!r} is there twice; wanted an id of its own")
    submit_s = table.numbers("submit_s", -MOST) - read.start_s
    early = submit_s < 0
    if early.any():
        raise table.bad(int(np.argmax(early)), "submit_s", "is before the first slot of the sites")
    late = submit_s >= len(read.sites[0].supply_w) * read.step_s
    if late.any():
        raise table.bad(int(np.argmax(late)), "submit_s", "is after the last slot of the sites")
    duration_s = table.numbers("duration_s", LEAST)
    limit_s = table.numbers("limit_s", LEAST, empty=np.nan)
    deadline_s = table.numbers("deadline_s", -MOST, empty=np.nan) - read.start_s
    every_s = table.numbers("checkpoint_every_s", LEAST, empty=np.nan)
    gpus = table.numbers("gpus", 0, _MOST_COUNT, whole=True)
    nodes = table.numbers("nodes", 1, _MOST_COUNT, whole=True, empty=1.0)
    power_w = table.numbers("power_w", 0)
    size_gb = table.numbers("checkpoint_gb", 0)
    projects = table.texts("project") if "project" in table.names else [""] * len(ids)
    homes = table.texts("site")
    may = table.texts("sites") if "sites" in table.names else [""] * len(ids)
    return tuple(
        ReplayJob(
            id=ids[row],
            site=_site(table, row, read, homes[row].strip(), int(gpus[row])),
            submit_s=float(submit_s[row]),
            duration_s=float(duration_s[row]),
            limit_s=float(duration_s[row] if np.isnan(limit_s[row]) else limit_s[row]),
            gpus=int(gpus[row]),
            power_w=float(power_w[row]),
            checkpoint_bytes=float(size_gb[row]) * 1e9,
            nodes=int(nodes[row]),
            deadline_s=_known(deadline_s[row]),
            checkpoint_every_s=_known(every_s[row]),
            project=projects[row].strip(),
            sites=_names(table, row, read, may[row]),
        )
        for row in range(len(ids))
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _site(table: CsvTable, row: int, read: Sites, name: str, gpus: int) -> int:
    for at, site in enumerate(read.sites):
        if site.name == name:
            if gpus > site.gpus:
                raise table.bad(row, "gpus", f"{gpus} GPUs, and {name} has {site.gpus}")
            return at
    names = ", ".join(site.name for site in read.sites)
    raise table.bad(row, "site", f"no site is called {name[:40]!r}; there are {names}")


def _names(table: CsvTable, row: int, read: Sites, cell: str) -> frozenset[str] | None:
    """Sites where a job's data may be, separated by blanks; empty is any."""
    some = frozenset(cell.split())
    unknown = some - {site.name for site in read.sites}
    if unknown:
        raise table.bad(row, "sites", f"no site is called {min(unknown)[:40]!r}")
    return some or None
