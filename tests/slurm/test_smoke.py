# SPDX-License-Identifier: Apache-2.0
"""The whole way of a job once, on whatever Slurm the tests run against: the version matrix's core.

Cluster, hook, sgreend and command line together; the cases are in the survival tests.
"""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from tests.slurm.conftest import slurm_root
from tests.slurm.site import HOLD_S, LATE_S, SHAPE, USER, LiveSite

MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One cluster for all of them."""
    site = LiveSite(make_module_cluster(stem="sm", **SHAPE))
    yield site
    site.close()


def test_these_are_the_commands_of_the_cluster_itself(site: LiveSite) -> None:
    """Not this machine's own: sgreend finds the version of the chroot through PATH."""
    info = site.client.info()
    numbers = tuple(int(part) for part in site.cluster.version.split("."))
    assert (info.name, info.version) == (site.cluster.name, numbers[: len(info.version)])
    if slurm_root() is not None:
        assert site.cluster.env["PATH"].startswith(str(site.layout.commands))


def test_deferred_confirmed_released_and_accounted_for(site: LiveSite) -> None:
    """An ordinary user's job waits for its window, runs in it, and has a receipt."""
    done = site.submit("--gres=gpu:1", user=USER, script="#!/bin/sh\nexec sleep 2\n")
    assert "becomes eligible by" in done.stderr
    job_id = int(done.stdout)
    told = site.record(job_id)
    assert told is not None
    confirmed = site.await_confirmed(job_id)
    record = site.record(job_id)
    assert record is not None
    assert (confirmed.user, confirmed.gpus, record.token) == (USER, 1, told.token)
    assert told.decided_utc + timedelta(seconds=HOLD_S) < record.latest_utc <= told.latest_utc

    site.valley(2)
    job = site.await_done(job_id)
    assert job.start_utc < record.latest_utc - MINUTE
    site.await_cycles()
    why = json.loads(site.sgreen("why", str(job_id), "--json").stdout)
    receipt = why["receipt"]
    assert receipt is not None
    assert receipt["energy_kwh"] > 0
    assert receipt["carbon_g"] < receipt["carbon_now_g"]


def test_opted_out(site: LiveSite) -> None:
    """It starts at once and carries nothing of ours."""
    job_id = site.sbatch("--comment=green:off", user=USER)
    assert site.untouched(job_id)
    job = site.await_done(job_id)
    assert job.start_utc - job.submit_utc <= timedelta(seconds=LATE_S)


def test_a_deadline_that_no_hook_can_see(site: LiveSite) -> None:
    """On no Slurm does Lua get --deadline; the queue shows it before the hold ends."""
    job_id, told = site.told("--deadline=now+90", user=USER)
    job = site.await_done(job_id, 40)
    assert told.latest_utc + MINUTE > job.deadline_utc
    assert job.start_utc + MINUTE <= job.deadline_utc
