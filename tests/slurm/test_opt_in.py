# SPDX-License-Identifier: Apache-2.0
"""Nobody is deferred who was not asked: shadow by default, exclusions, and the user's own words."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.slurm.records import Job
from tests.slurm.patience import wait_until
from tests.slurm.site import HOLD_S, LATE_S, SHAPE, USER, LiveSite, now_utc


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """Two partitions beside the default one, and accounts and QOS that Slurm knows."""
    cluster = make_module_cluster(
        stem="oi",
        accounting=True,
        extra_conf=(
            "PartitionName=green Nodes=ALL MaxTime=INFINITE State=UP",
            "PartitionName=grey Nodes=ALL MaxTime=INFINITE State=UP",
            "AccountingStorageEnforce=associations,qos",
        ),
        **SHAPE,
    )
    for words in (
        ("account", "lab"),
        ("account", "clinic"),
        ("qos", "patient"),
        ("user", USER, "account=lab"),
        ("user", USER, "account=clinic"),
        ("user", "root", "account=lab"),
    ):
        cluster.run("sacctmgr", "-i", "add", *words)
    cluster.run(
        "sacctmgr", "-i", "modify", "user", USER, "set", "qos+=patient", "defaultaccount=lab"
    )
    site = LiveSite(cluster)
    wait_until(
        lambda: site.submit("--test-only", user=USER, check=False).returncode == 0,
        timeout_s=20,
        what="the user's association",
    )
    yield site
    site.close()


def _site(shared: LiveSite, **sections: Mapping[str, object]) -> LiveSite:
    shared.reset(**sections)
    return shared


def _decisions(site: LiveSite, job_id: int) -> list[tuple[str, str, str]]:
    """(mode, action, reason) of the ledger's decisions about a job."""
    try:
        with closing(sqlite3.connect(f"file:{site.ledger}?mode=ro", uri=True)) as ledger:
            return ledger.execute(
                "select mode, action, reason from decisions where job_id = ?", [job_id]
            ).fetchall()
    except sqlite3.OperationalError:
        return []


def _waits(job: Job, delay: timedelta) -> bool:
    """Whether it was given that delay; Slurm's whole second comes after the hook's."""
    return timedelta(0) <= job.submit_utc + delay - job.eligible_utc <= timedelta(seconds=LATE_S)


def test_shadow_is_the_default_and_changes_nothing(shared: LiveSite) -> None:
    """The job runs at once with no trace of us; what would have been is in the ledger."""
    site = _site(shared, general={"mode": "shadow"})
    job_id = site.sbatch(user=USER)
    assert site.untouched(job_id)
    job = site.await_done(job_id)
    assert job.start_utc - job.submit_utc <= timedelta(seconds=LATE_S)
    assert (job.admin_comment, job.comment, job.site_factor) == ("", "", 0)
    wait_until(
        lambda: _decisions(site, job_id) == [("shadow", "defer", "deferred")],
        timeout_s=10,
        what="the decision in the ledger",
        log=site.log,
    )


def test_enforce_by_partition(shared: LiveSite) -> None:
    """One partition defers, its neighbours are left alone; a list with a shadowed one is too."""
    site = _site(shared, general={"mode": "shadow"}, partition={"green": {"mode": "enforce"}})
    site.deferred("-p", "green", user=USER)
    for partitions in ("main", "grey", "green,grey"):
        assert site.untouched(site.sbatch("-p", partitions, user=USER)), partitions


def test_a_delay_by_partition(shared: LiveSite) -> None:
    """The nearer setting wins."""
    site = _site(shared, partition={"green": {"default_delay": "3m"}, "grey": {"max_delay": "1m"}})
    for partition, delay_s in (("main", 120), ("green", 180), ("grey", 60)):
        job = site.job(site.deferred("-p", partition, user=USER))
        assert _waits(job, timedelta(seconds=delay_s)), partition


def test_enforce_by_qos(shared: LiveSite) -> None:
    """Jobs of one QOS wait, with its own delay; Slurm's own default QOS does not."""
    site = _site(
        shared,
        general={"mode": "shadow"},
        qos={"patient": {"mode": "enforce", "default_delay": "4m"}},
    )
    job = site.job(site.deferred("-q", "patient", user=USER))
    assert job.qos == "patient"
    assert _waits(job, timedelta(seconds=240))
    assert site.untouched(site.sbatch(user=USER))


def test_exclusions(shared: LiveSite) -> None:
    """Accounts, users, QOS and names a site excludes; the names case is ignored."""
    site = _site(
        shared,
        policy={
            "exclude_accounts": ["clinic"],
            "exclude_users": ["root"],
            "exclude_qos": ["patient"],
        },
    )
    for options in (
        ("-A", "clinic"),
        ("-q", "patient"),
        ("-J", "My-Jupyter-Lab"),
        ("-J", "nextflow_main"),
    ):
        assert site.untouched(site.sbatch(*options, user=USER)), options
    assert site.untouched(site.sbatch())
    site.deferred("-A", "lab", "-J", "train", user=USER)


def test_the_users_own_words(shared: LiveSite) -> None:
    """green:off wins over everything; max-delay and deadline make the promise."""
    site = _site(shared, policy={"default_delay": "0s"})
    off = site.sbatch("--comment=project x green:off", "--deadline=now+8minutes", user=USER)
    assert site.untouched(off)
    both = site.sbatch("--comment=green:max-delay=5m,off", user=USER)
    assert site.untouched(both)
    job = site.job(site.deferred("--comment=green:max-delay=5m", user=USER))
    assert _waits(job, timedelta(minutes=5))
    until = now_utc() + timedelta(minutes=6)
    text = f"green:deadline={until:%Y-%m-%dT%H:%M:%SZ}"
    job = site.job(site.deferred(f"--comment={text}", user=USER))
    left_s = (until - job.eligible_utc).total_seconds()
    assert 70 <= left_s <= 80
    told = site.submit("--comment=green:max-delay=soon", user=USER)
    assert site.untouched(int(told.stdout))


def test_short_jobs(shared: LiveSite) -> None:
    """Not worth it by default, unless their user asks; and they are not even held for a look."""
    site = _site(shared, policy={"min_length": "2m"})
    assert site.untouched(site.sbatch(user=USER, limit_min=1))
    site.deferred("--time=2", user=USER)
    site.deferred("--comment=green:max-delay=5m", user=USER)


def test_little_to_save(shared: LiveSite) -> None:
    """Clean now, or as dirty later: nothing to wait for."""
    site = _site(shared, policy={"min_saving_percent": 5})
    site.write_trace(lambda _: 300.0)
    assert site.passes()
    site.write_trace(lambda at_s: 300.0 - at_s / 1000)
    assert site.passes()


def test_a_look_leaves_no_trace(shared: LiveSite) -> None:
    """Held to see a deadline that is not there: afterwards the job is as its user wrote it."""
    site = _site(shared, policy={"default_delay": "0s"})
    job_id, record = site.told(user=USER)
    assert record.policy == "look"
    job = site.await_done(job_id)
    assert (job.admin_comment, job.comment, job.site_factor) == ("", "", 0)
    assert job.start_utc - job.submit_utc <= timedelta(seconds=HOLD_S + LATE_S)


def test_no_looks_where_the_site_does_not_want_them(shared: LiveSite) -> None:
    """hook.look = false: what shows no slack passes at once."""
    site = _site(shared, policy={"default_delay": "0s"}, hook={"look": False})
    assert site.untouched(site.sbatch("--deadline=now+8minutes", user=USER))
