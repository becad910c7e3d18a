# SPDX-License-Identifier: Apache-2.0
"""The planner in a real sgreend on a real Slurm: starts, widths, pauses, and its sudden end.

Days pass in four minutes. benchmarks/planner_live.py is the same with 200 jobs.
"""

import json
import os
import random
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.green import nodes_table
from slurm_green.hook.record import PAUSE, parse
from slurm_green.ledger.entries import Query
from slurm_green.ledger.fifo import Capacity
from slurm_green.ledger.report import build_report
from slurm_green.ledger.store import Store
from slurm_green.plan.power import PowerModel
from tests.slurm.patience import wait_until
from tests.slurm.site import SHAPE, LiveSite, ago, now_utc

SCALE = 360.0
HOUR_S = 3600 / SCALE
PROFILE = 'provenance = "simulated"\ngpu_name = "H100"\n'
# Four workers do in a quarter of the time what one does, and a little more.
TRAINING = """workers,gpus_per_worker,clock_mhz,rate,power_w
1,1,1200,0.9,350
1,1,1980,1.0,600
2,1,1980,2.0,1200
4,1,1200,3.8,1200
4,1,1980,4.2,2200
"""


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One cluster for all of them, whose profile is known and whose nodes have no noded."""
    cluster = make_module_cluster(stem="plan", nodes=4, **SHAPE)
    profile = cluster.layout.directory / "profiles" / "train"
    profile.mkdir(parents=True)
    (profile / "profile.toml").write_text(PROFILE)
    (profile / "training.csv").write_text(TRAINING)
    site = LiveSite(
        cluster,
        plan={"enabled": True, "interval": "4s", "pause": True, "pause_cost": "1s"},
        nodes={
            **nodes_table(cluster),
            "profiles": profile.parent,
            "shipped_profiles": False,
        },
        policy={"default_delay": "50s"},
        budget={"reserve_deviations": 0.0},
    )
    yield site
    site.close()


@pytest.fixture
def site(shared: LiveSite) -> LiveSite:
    """The cluster without jobs."""
    shared.cancel_all()
    return shared


def clean(site: LiveSite, *hours: tuple[int, int], **sections: Mapping[str, object]) -> None:
    """A day of 600 g/kWh that has just begun, with 50 in these hours; sgreend anew, with a plan."""
    site.ledger = site.ledger.with_name(f"ledger-{datetime.now(UTC).timestamp():.3f}.sqlite")
    path = site.directory / "day.csv"
    if site.running:
        site.stop()
    began_utc = now_utc()
    write_day(path, hours)
    site.configure(
        signal={
            "csv": {
                "path": path,
                "anchor_utc": f"{began_utc:%Y-%m-%dT%H:%M:%SZ}",
                "time_scale": SCALE,
                "repeat": True,
            }
        },
        **sections,
    )
    site.start()
    wait_until(lambda: plans(site) > 0, timeout_s=20, what="the first plan", log=site.log)
    gone = 0
    while (late := int(ago(began_utc) // HOUR_S)) > gone:
        # A start that took hours of the day: let them be the day's later ones.
        gone = late
        write_day(path, hours, later=gone)
        site.await_cycles()
        before = plans(site)
        wait_until(lambda n=before: plans(site) > n, timeout_s=20, what="a plan", log=site.log)


def write_day(path: Path, hours: Iterable[tuple[int, int]], *, later: int = 0) -> None:
    """The day's signal, its clean hours so much later, exchanged in one step."""
    values = [50 if any(a <= hour - later < b for a, b in hours) else 600 for hour in range(24)]
    rows = [f"{hour * 3600},{value}" for hour, value in enumerate(values)]
    new = path.with_suffix(".new")
    new.write_text("start_s,carbon_g_per_kwh\n" + "\n".join(rows) + "\n")
    new.replace(path)


def plans(site: LiveSite) -> int:
    """How many plans it has made."""
    plan = site.status().get("plan")
    assert plan is None or isinstance(plan, dict)
    return int(plan["plans"]) if plan else 0


def planner_pid(site: LiveSite) -> int:
    """The process that plans: a child of the one that runs the cycles."""
    pid = site.worker_pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # others of them are short: squeue, scontrol
            for child in (task / "children").read_text().split():
                if b"planning.process" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
    raise AssertionError("nobody plans")


def test_a_queue_follows_one_plan_and_every_promise_is_kept(site: LiveSite) -> None:
    """Twenty jobs of all kinds; what opted out is not touched."""
    clean(site, (2, 8))
    dice = random.Random(5)
    ours, out = [], []
    for number in range(20):
        words = [f"--gres=gpu:{dice.choice((1, 1, 1, 2))}"]
        if number % 5 == 4:
            out.append(site.sbatch(*words, "--comment=green:off"))
            continue
        words.append("--comment=green:runtime=10s")
        if number % 4 == 1:
            due = now_utc() + timedelta(seconds=60 + dice.choice((60, 90)))
            words.append(f"--deadline={due:%Y-%m-%dT%H:%M:%S}")
        ours.append(site.sbatch(*words, script=f"#!/bin/sh\nexec sleep {dice.randint(2, 8)}\n"))
    assert all(site.untouched(job_id) for job_id in out)
    wait_until(
        lambda: any((one := site.record(job_id)) and one.policy == "prices" for job_id in ours),
        timeout_s=20,
        what="a start by the plan's prices",
        log=site.log,
    )
    for job_id in (*out, *ours):
        site.await_done(job_id, 120)
    site.await_cycles()
    with Store(site.ledger, readonly=True) as store:
        report = build_report(
            store.jobs(Query()),
            store.decisions(Query()),
            signal=store.signal,
            power=PowerModel(),
            capacity=Capacity(gpus=32, cpus=1024),
        )
    promises = report.promises
    assert promises.made >= 10
    assert (promises.broken, promises.deadlines_missed) == (0, 0)
    assert report.site.saved_g is not None
    assert report.site.saved_g > 0
    plan = site.status()["plan"]
    assert isinstance(plan, dict)
    assert plan["failures"] == 0


@pytest.mark.parametrize(
    ("asked", "workers", "count"),
    [
        (("--gres=gpu:1",), "1-4", "$SLURM_GPUS_ON_NODE"),
        (("-N2", "--gres=gpu:1"), "2-4", "$SLURM_NNODES"),
    ],
    ids=["gpus", "nodes"],
)
def test_a_moldable_job_gets_the_workers_and_the_clock_of_the_plan(
    site: LiveSite, asked: tuple[str, ...], workers: str, count: str
) -> None:
    """It asked for few; in the clean hours there is time for it with four only."""
    clean(site, (4, 7))
    job_id = site.sbatch(
        *asked,
        f"--comment=green:profile=train,runtime=45s,workers={workers}",
        script=f"#!/bin/sh\necho {count} > {site.directory}/workers\nexec sleep 5\n",
    )
    job = site.await_done(job_id, 120)
    record = parse(job.admin_comment)
    assert record is not None
    assert (record.workers, job.gpus) == (4, 4)
    assert (site.directory / "workers").read_text().strip() == "4"
    assert job.eligible_utc is not None
    assert job.eligible_utc <= record.latest_utc
    with Store(site.ledger, readonly=True) as store:
        kinds = [event.kind for event in store.events(Query(job_id=job_id))]
    assert "reshaped" in kinds


def test_shadow_tells_what_it_would_have_done_and_is_compared(site: LiveSite) -> None:
    """Jobs run at once, in a dirty hour; the plan would have let them go in the clean one."""
    clean(site, (3, 8), general={"mode": "shadow"})
    script = "#!/bin/sh\nexec sleep 3\n"
    words = ("--gres=gpu:1", "--comment=green:runtime=5s")
    ids = [site.sbatch(*words, script=script) for _ in range(4)]
    for job_id in ids:
        assert site.await_done(job_id).admin_comment == ""

    def told() -> bool:
        with Store(site.ledger, readonly=True) as store:
            kinds = [event.kind for event in store.events(Query())]
        return kinds.count("shadow-start") == len(ids)

    wait_until(told, timeout_s=70, what="the virtual starts", log=site.log)
    outcome: dict[str, float] = {}

    def compared() -> bool:
        found = json.loads(site.sgreen("report", "--shadow", "--json").stdout)
        outcome.update(found["shadow_outcome"])
        return outcome["compared"] == len(ids)

    wait_until(compared, timeout_s=30, what="the comparison", log=site.log)
    assert outcome["saved_g"] > 0
    assert outcome["would_g"] < 0.2 * outcome["actual_g"]
    assert outcome["mean_delay_s"] > 10
    words = site.sgreen("report", "--shadow").stdout
    assert "Against what happened: 4 of them" in words


def test_a_job_with_checkpoints_rests_in_dirty_hours(site: LiveSite) -> None:
    """It starts at once by its owner's wish, is requeued, and goes on when power is clean."""
    clean(site, (3, 12))
    due = now_utc() + timedelta(minutes=4)
    runs = site.directory / "runs"
    runs.unlink(missing_ok=True)
    job_id = site.sbatch(
        "--gres=gpu:1",
        "--requeue",
        f"--deadline={due:%Y-%m-%dT%H:%M:%S}",
        "--comment=green:checkpoint=/tmp,runtime=45s",
        f"--begin={now_utc():%Y-%m-%dT%H:%M:%S}",
        script=f"#!/bin/sh\ndate >> {runs}\n[ $(wc -l < {runs}) = 1 ] && exec sleep 40\ntrue\n",
    )
    job = site.await_job(
        job_id,
        lambda one: (record := parse(one.admin_comment)) is not None and record.policy == PAUSE,
        "paused",
        timeout_s=40,
    )
    record = parse(job.admin_comment)
    assert record is not None
    assert record.latest_utc + timedelta(seconds=60) < due
    job = site.await_done(job_id, 120)
    assert job.restarts == 1
    assert job.end_utc is not None
    assert job.end_utc <= due
    assert len(runs.read_text().splitlines()) == 2
    site.await_cycles()
    with Store(site.ledger, readonly=True) as store:
        first, last = store.jobs(Query(job_id=job_id))
    assert (first.state, last.state) == ("REQUEUED", "COMPLETED")
    assert first.end_utc == last.submit_utc
    assert last.ours, "what the pause saved"


def test_when_the_process_that_plans_is_killed_jobs_go_on(site: LiveSite) -> None:
    """Its end is one plan less, and another process makes the next."""
    clean(site, (3, 8))
    pid = planner_pid(site)
    os.kill(pid, signal.SIGSTOP)
    job_id = site.sbatch("--gres=gpu:1")
    site.await_confirmed(job_id)
    os.kill(pid, signal.SIGKILL)
    before = plans(site)
    wait_until(lambda: plans(site) > before, timeout_s=20, what="another plan", log=site.log)
    assert planner_pid(site) != pid
    site.await_done(job_id, 90)
