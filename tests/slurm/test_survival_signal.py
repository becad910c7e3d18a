# SPDX-License-Identifier: Apache-2.0
"""A signal that is missing, broken, old or too short defers nothing and breaks no promise."""

import math
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from tests.slurm.patience import wait_until
from tests.slurm.site import LATE_S, SHAPE, LiveSite


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One cluster for all of them."""
    site = LiveSite(make_module_cluster(stem="si", **SHAPE))
    yield site
    site.close()


def _missing(site: LiveSite) -> None:
    site.trace.unlink()
    site.await_cycles()


def _stale(site: LiveSite) -> None:
    old_s = time.time() - 7 * 3600
    os.utime(site.trace, (old_s, old_s))
    site.await_cycles()


def _rows(values: list[str], end: str = "\n") -> str:
    start_s = int(time.time()) - 60
    rows = [
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start_s + 60 * index)) + f",{value}"
        for index, value in enumerate(values)
    ]
    return "\n".join(["start_utc,carbon_g_per_kwh", *rows]) + end


BROKEN: dict[str, Callable[[LiveSite], None]] = {
    "missing": _missing,
    "empty": lambda site: site.write_raw_trace(""),
    "no-rows": lambda site: site.write_raw_trace("start_utc,carbon_g_per_kwh\n"),
    "truncated": lambda site: site.write_raw_trace(_rows(["800"] * 20 + ["2"], end="")),
    "nan": lambda site: site.write_raw_trace(_rows(["800", "nan", "1"] * 10)),
    "negative": lambda site: site.write_raw_trace(_rows(["800", "-5", "1"] * 10)),
    "noise": lambda site: site.write_raw_trace("\0\x7fELF\n"),
    "stale": _stale,
    "over": lambda site: site.write_trace(lambda _: 500.0, until_s=-30),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_signal(site: LiveSite, name: str) -> None:
    """Jobs pass; what was promised before is kept, not thrown away; when it is back, we are too."""
    promised = site.deferred()
    before = site.job(promised)
    BROKEN[name](site)
    assert site.status()["signal"] is None
    assert site.status()["signal_problem"]
    assert site.passes()
    after = site.job(promised)
    assert (after.eligible_utc, after.state) == (before.eligible_utc, "PENDING")
    site.falling()
    assert not site.passes()


def test_a_signal_that_ends_before_the_deadline(site: LiveSite) -> None:
    """The job is planned within what the signal covers, and Slurm starts it there."""
    site.write_trace(lambda at_s: 800 * math.exp(-at_s / 100), until_s=70)
    job_id = site.deferred("--comment=green:max-delay=5m")
    record = site.record(job_id)
    assert record is not None
    covered_utc = site.job(job_id).submit_utc + timedelta(seconds=70)
    assert record.start_utc <= covered_utc
    job = site.await_done(job_id)
    assert job.start_utc <= covered_utc + timedelta(seconds=LATE_S)
    assert job.start_utc < record.latest_utc


def test_a_signal_too_short_for_the_job(site: LiveSite) -> None:
    """Nothing can be said about an hour by a signal of a minute: the job passes."""
    site.write_trace(lambda at_s: 800 * math.exp(-at_s / 100), until_s=70)
    job_id = site.sbatch("--time=60", "--comment=green:max-delay=5m")
    assert site.untouched(job_id)


def test_a_signal_that_turns_clean_at_once(site: LiveSite) -> None:
    """The forecast changed under a waiting job: it starts now instead of at its latest start."""
    job_id = site.deferred("--comment=green:max-delay=5m")
    latest = site.job(job_id).eligible_utc
    site.write_trace(lambda at_s: 10 if at_s < 120 else 800)
    job = site.await_done(job_id)
    assert job.start_utc < latest - timedelta(seconds=200)


def test_the_signal_is_read_while_it_is_being_written(site: LiveSite) -> None:
    """A writer without a rename: a half file costs a cycle, never the daemon."""
    text = site.trace.read_text()
    worker = site.worker_pid
    for end in range(0, len(text), len(text) // 15):
        site.trace.write_text(text[:end])
        site.ask()
    site.trace.write_text(text)
    wait_until(lambda: not site.passes(), timeout_s=10, what="deferring again")
    assert site.worker_pid == worker
