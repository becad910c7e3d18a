# SPDX-License-Identifier: Apache-2.0
"""The Slurm client against a real slurmctld that lives in another time zone than we do."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.packages import missing
from slurm_green.errors import SlurmError
from slurm_green.slurm.client import SlurmClient
from slurm_green.slurm.commands import CommandClient
from slurm_green.slurm.pyslurm import PyslurmClient, import_pyslurm
from slurm_green.slurm.records import Job, JobChange
from slurm_green.slurm.times import to_slurm_time

MakeCluster = Callable[..., Cluster]
WaitFor = Callable[..., None]

MULTIFACTOR = ("PriorityType=priority/multifactor", "PriorityFlags=ACCRUE_ALWAYS")
# Around the changes of both zones: the hour that is missing, and the one that comes twice.
MOMENTS = [
    datetime(2027, month, day, hour, 30, tzinfo=UTC)
    for month, day in ((3, 14), (11, 7), (3, 28), (10, 31))
    for hour in (0, 1, 5, 6, 7)
]


@pytest.fixture(scope="module")
def cluster(make_module_cluster: MakeCluster) -> Cluster:
    return make_module_cluster(
        stem="c", nodes=2, gpus=2, timezone="America/New_York", extra_conf=MULTIFACTOR
    )


@pytest.fixture(
    scope="module",
    params=["commands", "json", pytest.param("pyslurm", marks=pytest.mark.real_pyslurm)],
)
def client(request: pytest.FixtureRequest, cluster: Cluster) -> SlurmClient:
    """Every way has to pass the same tests; pyslurm where it can be imported."""
    commands = CommandClient(env=cluster.env, json=request.param == "json")
    if request.param != "pyslurm":
        return commands
    try:
        module = import_pyslurm()
    except SlurmError as error:
        pytest.skip(str(error))
    return PyslurmClient(commands=commands, site_factors=commands.site_factors, module=module)


def submit(cluster: Cluster, *options: str, wrap: str = "sleep 300") -> int:
    """A job that writes nothing; its id."""
    done = cluster.run("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", wrap)
    return int(done.stdout.strip())


def job(client: SlurmClient, job_id: int) -> Job:
    return {one.job_id: one for one in client.jobs()}[job_id]


@pytest.fixture(autouse=True)
def empty_queue(cluster: Cluster, wait_for: WaitFor) -> None:
    cluster.run("scancel", "--user=root")
    wait_for(lambda: not cluster.run("squeue", "--noheader").stdout, what="an empty queue")


def test_the_cluster_itself(client: SlurmClient, cluster: Cluster) -> None:
    info = client.info()
    assert info.name == cluster.name
    assert ".".join(map(str, info.version)) == cluster.version.replace(".0", ".").rsplit(".", 1)[0]
    assert info.priority_type == "priority/multifactor"
    assert "ACCRUE_ALWAYS" in info.priority_flags
    assert info.accounting is False and client.finished(datetime.now(UTC)) is None
    names = cluster.spec.node_names
    assert [(node.name, node.gpus, node.available) for node in client.nodes()] == [
        (name, 2, True) for name in names
    ]
    assert any(
        part.default and part.up and part.node_names == names for part in client.partitions()
    )


def test_a_drained_node_and_a_reservation(client: SlurmClient, cluster: Cluster) -> None:
    name = cluster.spec.node_names[0]
    cluster.run("scontrol", "update", f"nodename={name}", "state=drain", "reason=State=IDLE x")
    start = datetime(2027, 3, 28, 0, 30, tzinfo=UTC)
    options = [f"StartTime=uts{int(start.timestamp())}", "Duration=90", f"Nodes={name}"]
    cluster.run("scontrol", "create", "reservation", "ReservationName=m", *options,
                "Users=root", "Flags=MAINT,IGNORE_JOBS")  # fmt: skip
    try:
        assert {node.name: node.available for node in client.nodes()}[name] is False
        (found,) = client.reservations()
        assert (found.start_utc, found.maintenance, found.node_names) == (start, True, (name,))
        assert found.end_utc - found.start_utc == timedelta(minutes=90)
    finally:
        cluster.run("scontrol", "delete", "reservation", "m")
        cluster.run("scontrol", "update", f"nodename={name}", "state=resume")
    assert client.reservations() == []


@pytest.mark.parametrize(
    ("options", "gpus", "nodes"),
    [(["--gres=gpu:1"], 1, 1), (["--gres=gpu:h100:2", "-N2"], 4, 2), (["--gres=gpu"], 1, 1),
     (["--gpus-per-node=h100:2", "-N2"], 4, 2), (["--gpus=3", "-N2"], 3, 2),
     (["--gpus-per-task=1", "-n2", "-N1"], 2, 1), (["-n3", "-N1"], 0, 1)],
)  # fmt: skip
def test_gpus_of_a_job(
    client: SlurmClient, cluster: Cluster, options: list[str], gpus: int, nodes: int
) -> None:
    one = job(client, submit(cluster, "--hold", "--time=90", *options))
    assert (one.gpus, one.nodes, one.time_limit_s) == (gpus, nodes, 5400)
    assert one.held and one.pending and one.cluster == cluster.name


def test_a_jobs_life(client: SlurmClient, cluster: Cluster, wait_for: WaitFor) -> None:
    before = datetime.now(UTC)
    number = submit(cluster, "--gres=gpu:2", "--no-requeue")
    wait_for(lambda: job(client, number).state == "RUNNING", what="a running job")
    one = job(client, number)
    assert one.node_names and one.active and one.batch and not one.requeue
    assert one.start_utc is not None
    assert before - timedelta(seconds=2) <= one.start_utc <= datetime.now(UTC)
    cluster.run("scancel", str(number))
    wait_for(lambda: job(client, number).state == "CANCELLED", what="a cancelled job")
    assert job(client, number).end_utc is not None


def test_whatever_users_write_is_only_text(
    client: SlurmClient, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    plain = submit(cluster, "--hold", "--job-name=plain")
    odd = ['a"b\\c', "x\ny JobId=1 State=RUNNING", "\x01\x1b[31m", "caf\udce9 \udcff", "\U0001f600",
           "]}],", "%n%s", "$(reboot)`x`", "a|b\tc", "\u2028", "x" * 1000]  # fmt: skip
    numbers = [
        submit(cluster, "--hold", f"--comment={text}", f"--job-name={text[:200]}") for text in odd
    ]
    with caplog.at_level(logging.WARNING):
        seen = {one.job_id: one for one in client.jobs()}
    assert not caplog.records
    assert seen[plain].name == "plain"
    for number, text in zip(numbers, odd, strict=True):
        wanted = text.encode(errors="surrogateescape").decode(errors="replace")
        assert seen[number].comment == wanted
        assert seen[number].held


@pytest.mark.parametrize("count", [1, 25])
def test_begin_times_are_exact_across_clock_changes(
    client: SlurmClient, cluster: Cluster, count: int
) -> None:
    number = submit(cluster, "--begin=now+1hour")
    others = [submit(cluster, "--begin=now+1hour") for _ in range(count - 1)]
    for when in MOMENTS if count == 1 else MOMENTS[:2]:
        changes = dict.fromkeys([number, *others], JobChange(begin_utc=when))
        assert client.update(changes) == {}
        seen = {one.job_id: one.eligible_utc for one in client.jobs()}
        assert {seen[one] for one in changes} == {when}


def test_begin_times_are_exact_in_london_too(make_cluster: MakeCluster) -> None:
    london = make_cluster(stem="l", nodes=1, timezone="Europe/London")
    client = CommandClient(env=london.env)
    number = submit(london, "--begin=now+1hour")
    for when in MOMENTS:
        assert client.update({number: JobChange(begin_utc=when)}) == {}
        assert job(client, number).eligible_utc == when


def test_a_begin_time_in_the_past_means_now(
    client: SlurmClient, cluster: Cluster, wait_for: WaitFor
) -> None:
    number = submit(cluster, "--begin=now+1hour")
    past = datetime.now(UTC) - timedelta(days=400)
    assert client.update({number: JobChange(begin_utc=past)}) == {}
    wait_for(lambda: job(client, number).active, what="the job that may start now")


@pytest.mark.parametrize(
    "text",
    ["green:v1 id=abc start=2027-01-01T00:00:00Z", "a,b=c;d", 'quo"te \'s\' \\ back', "caf\u00e9",
     "JobId=1 StartTime=now", "$(x) `y` | & > <", " leading and trailing ", "x" * 5000],
)  # fmt: skip
def test_admin_comments_survive_as_they_are(
    client: SlurmClient, cluster: Cluster, text: str
) -> None:
    # Four, so that the ones that can go through one scontrol's stdin do.
    numbers = [submit(cluster, "--hold") for _ in range(4)]
    assert client.update(dict.fromkeys(numbers, JobChange(admin_comment=text))) == {}
    assert {job(client, number).admin_comment for number in numbers} == {text}


def test_an_admin_comment_can_be_emptied(client: SlurmClient, cluster: Cluster) -> None:
    number = submit(cluster, "--hold")
    for text in ("something", ""):
        assert client.update({number: JobChange(admin_comment=text)}) == {}
        assert job(client, number).admin_comment == text


def test_refusals_are_told_job_by_job_and_cost_the_others_nothing(
    client: SlurmClient, cluster: Cluster, wait_for: WaitFor
) -> None:
    running = submit(cluster)
    waiting = [submit(cluster, "--begin=now+1hour") for _ in range(5)]
    wait_for(lambda: job(client, running).state == "RUNNING", what="a running job")
    when = MOMENTS[0]
    changes = dict.fromkeys(
        [*waiting[:2], 999_999, running, *waiting[2:]], JobChange(begin_utc=when)
    )
    refused = client.update(changes)
    assert set(refused) == {999_999, running}
    assert "Invalid job id" in refused[999_999]
    assert "no longer pending" in refused[running]
    assert {job(client, number).eligible_utc for number in waiting} == {when}


def test_site_factors_are_read_and_written(client: SlurmClient, cluster: Cluster) -> None:
    number = submit(cluster, "--begin=now+1hour")
    for factor in (1234, 0):
        assert client.update({number: JobChange(site_factor=factor)}) == {}
        assert job(client, number).site_factor == factor


def test_a_waiting_array_is_one_record_and_changes_as_one(
    client: SlurmClient, cluster: Cluster
) -> None:
    number = submit(cluster, "--begin=now+1hour", "--array=1-399:2%7", "--gres=gpu:1")
    one = job(client, number)
    assert (one.tasks, one.max_running_tasks, one.gpus) == (200, 7, 1)
    assert one.array_job_id == number
    assert client.update({number: JobChange(begin_utc=MOMENTS[3])}) == {}
    assert [one.eligible_utc for one in client.jobs() if one.array_job_id == number] == [MOMENTS[3]]


def test_of_a_started_array_only_the_waiting_part_changes(
    client: SlurmClient, cluster: Cluster, wait_for: WaitFor
) -> None:
    number = submit(cluster, "--array=0-9%2")

    def parts(active: bool) -> list[Job]:
        mine = [one for one in client.jobs() if one.array_job_id == number]
        return [one for one in mine if one.active is active and one.state != "COMPLETED"]

    wait_for(lambda: len(parts(active=True)) == 2, what="two running tasks")
    assert client.update({number: JobChange(begin_utc=MOMENTS[3])}) == {}
    (rest,) = parts(active=False)
    assert (rest.tasks, rest.eligible_utc) == (8, MOMENTS[3])
    assert len(parts(active=True)) == 2


def test_a_task_with_a_begin_time_of_its_own_keeps_it(
    client: SlurmClient, cluster: Cluster
) -> None:
    """By the array's number Slurm changes it, too, and squeue shows it as one of the others."""
    number = submit(cluster, "--begin=now+1hour", "--array=1-4")
    cluster.run("scontrol", "update", f"jobid={number}_2", f"starttime={to_slurm_time(MOMENTS[2])}")
    # This one is a job of its own, too, but waits like the others.
    cluster.run("scontrol", "update", f"jobid={number}_3", "nice=7")
    change = JobChange(begin_utc=MOMENTS[3], admin_comment="two words", array=True)
    assert client.update({number: change}) == {}
    cluster.run("scontrol", "update", f"jobid={number}_[1,4]", "name=renamed")
    # Of another name, they are records of their own.
    found = {one.array_task: one for one in client.jobs() if one.array_job_id == number}
    assert {tasks: (one.eligible_utc, one.admin_comment) for tasks, one in found.items()} == {
        "2": (MOMENTS[2], ""),
        "3": (MOMENTS[3], "two words"),
        "1,4": (MOMENTS[3], "two words"),
    }


def test_components_of_a_heterogeneous_job(client: SlurmClient, cluster: Cluster) -> None:
    number = submit(cluster, "--begin=now+1hour", "-n1", ":", "-n2", "--gres=gpu:1")
    mine = [one for one in client.jobs() if one.het_job_id == number]
    assert [(one.job_id - number, one.gpus) for one in mine] == [(0, 0), (1, 1)]


def test_dependency_deadline_and_requeue(
    client: SlurmClient, cluster: Cluster, wait_for: WaitFor
) -> None:
    first = submit(cluster)
    after = job(client, submit(cluster, f"--dependency=afterok:{first}"))
    assert str(first) in after.dependency and after.reason == "Dependency"
    due = job(client, submit(cluster, "--hold", "--time=10", "--deadline=now+5hours")).deadline_utc
    assert due is not None
    assert timedelta(hours=4.9) < due - datetime.now(UTC) < timedelta(hours=5.1)
    wait_for(lambda: job(client, first).state == "RUNNING", what="a running job")
    cluster.run("scontrol", "requeuehold", str(first))
    wait_for(lambda: job(client, first).pending, what="the requeued job")
    assert job(client, first).restarts == 1 and job(client, first).held


def test_stray_variables_of_the_caller_change_nothing(cluster: Cluster) -> None:
    number = submit(cluster, "--hold")
    stray = {**cluster.env, "SQUEUE_STATES": "RUNNING", "SQUEUE_USERS": "nobody",
             "SLURM_TIME_FORMAT": "relative", "TZ": "Asia/Kolkata"}  # fmt: skip
    one = job(CommandClient(env=stray), number)
    assert one.submit_utc is not None
    assert abs(one.submit_utc - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_dead_slurmctld_is_an_error_and_no_empty_queue(make_cluster: MakeCluster) -> None:
    mortal = make_cluster(stem="d", nodes=1, extra_conf=("MessageTimeout=2",))
    client = CommandClient(env=mortal.env, timeout_s=60)
    number = submit(mortal, "--hold")
    mortal.stop_slurmctld(kill=True)
    with pytest.raises(SlurmError):
        client.jobs()
    with pytest.raises(SlurmError):
        client.nodes()
    # One change: its words; it may also be the time-out's.
    assert client.update({number: JobChange(begin_utc=MOMENTS[0])})[number]


@pytest.mark.skipif(bool(missing(["accounting"])), reason="slurmdbd or MariaDB missing")
def test_ended_jobs_come_from_accounting(make_cluster: MakeCluster, wait_for: WaitFor) -> None:
    site = make_cluster(stem="a", nodes=1, gpus=2, accounting=True, timezone="America/New_York")
    client = CommandClient(env=site.env)
    begin = datetime.now(UTC) - timedelta(seconds=5)
    note = 'green:v1 id=x start=2027-01-01T00:00:00Z "q" |@'
    number = submit(site, "--hold", "--gres=gpu:1", "--job-name=a|b\nc@", "--time=3", wrap="true")
    submit(site, "--hold", "--job-name=waits")
    assert client.update({number: JobChange(admin_comment=note)}) == {}
    site.run("scontrol", "release", str(number))

    def ended() -> list[Job]:
        return client.finished(begin) or []

    # slurmdbd writes a row in two steps: for a moment it has no name yet.
    wait_for(lambda: [one.name for one in ended()] == ["a|b\nc@"], 30, "sacct's row")
    (one,) = ended()
    assert (one.job_id, one.state) == (number, "COMPLETED")
    assert (one.admin_comment, one.gpus, one.time_limit_s) == (note, 1, 180)
    assert one.start_utc is not None and one.end_utc is not None
    assert begin <= one.start_utc <= one.end_utc <= datetime.now(UTC) + timedelta(seconds=1)
    assert client.finished(datetime.now(UTC) + timedelta(hours=1)) == []
    assert client.finished(begin - timedelta(days=366), job_id=number) == [one]
    assert client.finished(begin, job_id=number + 1) == []
    again = submit(site, "--requeue", wrap="sleep 60")
    wait_for(lambda: client.requeue([again]) == {}, 30, "a run to requeue")

    def runs() -> list[tuple[int, str]]:
        return sorted((run.job_id, run.state) for run in client.finished(begin, runs=True) or [])

    wait_for(lambda: runs() == [(number, "COMPLETED"), (again, "REQUEUED")], 30, "its row")
    assert client.finished(begin) == [one]
