# SPDX-License-Identifier: Apache-2.0
"""A federation: Slurm gives a job to every sibling at once, each with a hook and an sgreend.

Only the site that was asked may decide; Slurm carries its changes into the siblings' copies.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.packages import missing
from slurm_green.hook.record import LOOK
from slurm_green.slurm.records import Job
from tests.slurm.patience import wait_until
from tests.slurm.site import LATE_S, SHAPE, LiveSite

MakeCluster = Callable[..., Cluster]
WaitFor = Callable[..., None]
Pair = tuple[LiveSite, LiveSite]

WORK = "#!/bin/sh\nexec sleep 2\n"
# 22.05's backfill, running every second here, starts a sibling's copy in the second of its
# submission more often than the main scheduler does (_deferred).
PLAIN = ("SchedulerType=sched/builtin",)

pytestmark = pytest.mark.skipif(
    bool(missing(["accounting"])), reason="slurmdbd or MariaDB missing (.ci/install-debian)"
)


@pytest.fixture(scope="module")
def shared(make_module_cluster: MakeCluster, wait_for: WaitFor) -> Iterator[Pair]:
    """Two sites of one federation, each with its own daemon."""
    home = make_module_cluster(stem="fh", nodes=1, accounting=True, extra_conf=PLAIN, **SHAPE)
    guest = make_module_cluster(
        stem="fg", nodes=1, accounting_of=home.name, extra_conf=PLAIN, **SHAPE
    )
    names = f"clusters={home.name},{guest.name}"
    home.run("sacctmgr", "-i", "add", "federation", "green", names)

    def synced() -> bool:
        said = [c.run("scontrol", "show", "federation").stdout for c in (home, guest)]
        return all("Synced:Yes" in text for text in said)

    wait_for(synced, 30, "the federation")
    sites = LiveSite(home), LiveSite(guest)
    yield sites
    for site in sites:
        site.close()


@pytest.fixture
def sites(shared: Pair) -> Pair:
    """Both without jobs, both daemons up."""
    for site in shared:
        site.reset()
    return shared


def test_decided_once_by_the_site_that_was_asked(sites: Pair) -> None:
    """Both copies have its begin time; the sibling's hook and daemon keep out of it."""
    home, guest = sites
    job_id = _deferred(home, guest)
    promised = home.record(job_id)
    assert promised is not None
    # Cleaner elsewhere and now: this daemon would let its own jobs go at once.
    guest.valley(0)
    for site in sites:
        site.await_cycles(3)
    assert home.record(job_id) == promised
    assert home.job(job_id).eligible_utc == promised.latest_utc
    assert _decisions(home, job_id) == ["confirmed"]
    assert _decisions(guest, job_id) == []
    assert [site.status()["deferred"] for site in sites] == [1, 0]


def test_runs_once_wherever_there_is_room(sites: Pair, wait_for: WaitFor) -> None:
    """Its window comes at the origin: one copy runs, one record, the other copy is revoked."""
    home, guest = sites
    job_id = _deferred(home, guest)
    promised = home.record(job_id)
    assert promised is not None
    home.valley(2)

    wait_for(lambda: "COMPLETED" in [_state(site, job_id) for site in sites], 30, "the job")
    (ran,) = [site for site in sites if _state(site, job_id) == "COMPLETED"]
    job = ran.job(job_id)
    assert job.start_utc < promised.latest_utc
    assert job.restarts == 0
    assert job.admin_comment.count("green:v1") == 1
    record = ran.record(job_id)
    assert record is not None
    assert (record.token, record.latest_utc) == (promised.token, promised.latest_utc)
    for site in sites:
        site.await_cycles(2)
    assert {_state(site, job_id) for site in sites} <= {"COMPLETED", "REVOKED", ""}
    # The ledger waits when somebody else reads it just then.
    wait_for(lambda: _decisions(home, job_id)[-1] == "released", 10, "the ledger", log=home.log)
    # Of a copy that a sibling had already started the change is refused, once.
    lines = [line for site in sites for line in site.log.read_text().splitlines()]
    assert not [line for line in lines if "WARNING" in line and f"={job_id} " in f"{line} "]
    assert _decisions(guest, job_id) == []


def test_opted_out_on_every_site(sites: Pair, wait_for: WaitFor) -> None:
    """No sibling defers what the user wants at once."""
    home, _ = sites
    submitted = home.sbatch("--comment=green:off", "--gres=gpu:1", script=WORK)
    wait_for(lambda: "COMPLETED" in [_state(site, submitted) for site in sites], 20, "the job")
    jobs = [job for site in sites for job in _copies(site, submitted) if job.state == "COMPLETED"]
    assert [job.admin_comment for job in jobs] == [""]
    assert jobs[0].start_utc - jobs[0].submit_utc <= timedelta(seconds=LATE_S)


def _deferred(home: LiveSite, guest: LiveSite) -> int:
    """A job deferred at its origin, whose sibling's copy knows it.

    Slurm was seen to start a sibling's copy within the second of its submission, whatever its
    begin time (two busy cores; once in some ten runs): such a job ran, another one is asked.
    """
    for _ in range(5):
        job_id = home.sbatch("--gres=gpu:1", script=WORK)
        wait_until(
            lambda job_id=job_id: _begun(guest, job_id) or _agreed(home, guest, job_id),
            timeout_s=10,
            what="both copies",
            log=home.log,
        )
        if not _begun(guest, job_id):
            return job_id
    raise AssertionError("Slurm started five siblings at once")


def _begun(site: LiveSite, job_id: int) -> bool:
    return _state(site, job_id) not in {"", "PENDING"}


def _agreed(home: LiveSite, guest: LiveSite, job_id: int) -> bool:
    """Whether the origin has promised a latest start and both copies have it as begin time."""
    record, copies = home.record(job_id), _copies(guest, job_id)
    return (
        record is not None
        and record.policy != LOOK
        and [record.latest_utc] * 2 == [job.eligible_utc for job in (home.job(job_id), *copies)]
    )


def _copies(site: LiveSite, job_id: int) -> list[Job]:
    return [job for job in site.client.jobs() if job.job_id == job_id]


def _state(site: LiveSite, job_id: int) -> str:
    return next((job.state for job in _copies(site, job_id)), "")


def _decisions(site: LiveSite, job_id: int) -> list[str]:
    """What the daemon did to the job, by its log; "confirmed", "moved", "released" ..."""
    lines = site.log.read_text().splitlines()
    return [
        line.split(f"job={job_id} ")[1].split()[0].rstrip(":")
        for line in lines
        if f"={job_id} " in line
    ]
