# SPDX-License-Identifier: Apache-2.0
"""`sgreen cluster` with real Slurm: what comes up works, and nothing stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slurm_green.cluster import processes
from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.down import reap_orphans
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.record import Owner, Record, load, save
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.cluster.up import up
from slurm_green.cluster.view import mounts_below
from slurm_green.errors import BadInputError, ClusterError
from tests.slurm.patience import written_down

MakeCluster = Callable[..., Cluster]
WaitFor = Callable[..., None]
Name = Callable[[str], str]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def sbatch_held(cluster: Cluster) -> str:
    """A job that waits; its id."""
    return cluster.run("sbatch", "--parsable", "--hold", "--wrap", "true").stdout.strip()


def nothing_left(layout: Layout) -> bool:
    """Whether no process, mount or file of that cluster is there."""
    return not (
        processes.find(layout.directory)
        or mounts_below(layout.directory)
        or layout.directory.exists()
    )


@pytest.fixture
def sgreen(clusters_base: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line in a process of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "slurm_green.cli.root"]
        code = "from slurm_green.cli.root import main; main()"
        command = [sys.executable, "-c", code, "cluster", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture
def named(clusters_base: Path, cluster_name: Name) -> Iterator[str]:
    """A name for a cluster that the test itself brings up, by whatever way."""
    name = cluster_name("c")
    yield name
    if (clusters_base / name).exists():
        # Whatever is left is the test's failure, and still must go.
        Cluster.find(name, base=clusters_base).down()


def test_a_job_gets_emulated_gpus_of_its_node(slurm_cluster: Cluster) -> None:
    """The devices are counted and handed out as real ones would be."""
    script = 'echo "$SLURMD_NODENAME:$CUDA_VISIBLE_DEVICES"'
    done = slurm_cluster.run("srun", "-N2", "--gres=gpu:3", "sh", "-c", script)

    expected = [f"{node}:0,1,2" for node in slurm_cluster.spec.node_names]
    assert sorted(done.stdout.split()) == expected


def test_the_nodes_say_that_their_gpus_are_emulated(slurm_cluster: Cluster) -> None:
    """Where an admin looks."""
    assert "AvailableFeatures=emulated" in slurm_cluster.run("scontrol", "show", "nodes").stdout


@needs_root
def test_an_ordinary_user_can_submit(slurm_cluster: Cluster, wait_for: WaitFor) -> None:
    """Sockets and configuration can be reached without being root."""
    out = slurm_cluster.layout.work / "who"
    slurm_cluster.run("sbatch", f"--output={out}", "--wrap", "id -un", user="nobody")

    wait_for(lambda: out.exists() and out.read_text() == "nobody\n", 15, "the job's output")


def test_two_names_are_two_sites(make_cluster: MakeCluster) -> None:
    """A job of one is unknown to the other, and a credential of one is no good there."""
    one, two = make_cluster(nodes=1), make_cluster(nodes=1)
    one.run("sbatch", "--hold", "--wrap", "true")

    assert one.run("squeue", "-h").stdout
    assert two.run("squeue", "-h").stdout == ""
    token = one.run("munge", "-n", "-S", str(one.layout.munge_socket)).stdout
    refused = two.run("unmunge", "-S", str(two.layout.munge_socket), input=token, check=False)
    assert refused.returncode != 0


def test_up_again_finds_it_up_and_other_options_are_refused(
    make_cluster: MakeCluster, clusters_base: Path
) -> None:
    """The same words change nothing; other words are never half-applied."""
    cluster = make_cluster(nodes=1)
    before = cluster.slurmctld_pid

    _, started = up(cluster.spec, clusters_base)

    assert (started, cluster.slurmctld_pid) == (False, before)
    with pytest.raises(BadInputError, match=r"is up with other options: nodes 1 \(asked: 3\)"):
        up(
            ClusterSpec(name=cluster.name, nodes=3, slurm_root=cluster.spec.slurm_root),
            clusters_base,
        )
    assert cluster.slurmctld_pid == before


def test_down_ends_jobs_that_do_not_want_to(make_cluster: MakeCluster, wait_for: WaitFor) -> None:
    """Steps, their children, and a child that left its step's tree and ignores SIGTERM."""
    cluster = make_cluster(nodes=1)
    mark = cluster.layout.work / "running"
    # Told from those of another session on this machine.
    nap = f"sleep {100_000 + os.getpid()}"
    script = (
        f"trap '' TERM; setsid sh -c \"trap '' TERM; {nap} & wait\" & {nap} & touch {mark}; wait"
    )
    cluster.run("sbatch", "--wrap", script)
    wait_for(mark.exists, 15, "the job")

    cluster.down()

    assert nothing_left(cluster.layout)
    assert nap not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


def test_down_works_with_the_controller_dead_and_with_it_hanging(
    make_cluster: MakeCluster, wait_for: WaitFor
) -> None:
    """Nobody is left to cancel the job."""
    nap = f"sleep {200_000 + os.getpid()}"
    for broken in ("dead", "hanging"):
        cluster = make_cluster(nodes=1)
        mark = cluster.layout.work / "running"
        cluster.run("sbatch", "--wrap", f"touch {mark}; {nap}")
        wait_for(mark.exists, 15, "the job")
        if broken == "dead":
            cluster.stop_slurmctld(kill=True)
        else:
            cluster.hang_slurmctld()

        cluster.down()

        assert nothing_left(cluster.layout)
        listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert nap not in listing


def test_a_cluster_with_a_dead_part_is_partial_and_up_repairs_it(
    make_cluster: MakeCluster, clusters_base: Path
) -> None:
    """Its jobs survive: the state is Slurm's."""
    cluster = make_cluster(nodes=2)
    written_down(cluster, sbatch_held(cluster))
    cluster.stop_slurmd(cluster.spec.node_names[1], kill=True)
    assert cluster.status().state == "partial"

    _, started = up(cluster.spec, clusters_base)

    assert started
    assert cluster.status().state == "up"
    assert cluster.status().jobs == 1


def test_keep_leaves_the_state_for_the_next_up(
    make_cluster: MakeCluster, clusters_base: Path
) -> None:
    """Same ports, same jobs."""
    cluster = make_cluster(nodes=1)
    port = cluster.status().port
    cluster.run("sbatch", "--hold", "--wrap", "true")

    cluster.down(keep=True)
    assert cluster.status().state == "down"
    assert processes.find(cluster.layout.directory) == []
    up(cluster.spec, clusters_base)

    assert (cluster.status().jobs, cluster.status().port) == (1, port)


def test_a_failed_up_shows_slurms_own_words_and_leaves_nothing(
    clusters_base: Path, cluster_name: Name, slurm_cluster: Cluster
) -> None:
    """A setting that slurmctld refuses."""
    spec = ClusterSpec(
        name=cluster_name("f"),
        nodes=1,
        extra_conf=("SelectType=select/nonsense",),
        slurm_root=slurm_cluster.spec.slurm_root,
    )

    with pytest.raises(ClusterError, match="nonsense"):
        up(spec, clusters_base)

    assert nothing_left(Layout.of(spec.name, clusters_base))


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.3, 0.8])
def test_an_up_that_is_killed_can_be_taken_down_and_repeated(
    named: str, clusters_base: Path, after_s: float, slurm_cluster: Cluster
) -> None:
    """SIGKILL leaves no time to clean up; the next `up` does."""
    code = (
        "import sys; from pathlib import Path\n"
        "from slurm_green.cluster.up import up\n"
        "from slurm_green.cluster.spec import ClusterSpec\n"
        "root = Path(sys.argv[3]) if sys.argv[3] else None\n"
        "spec = ClusterSpec(name=sys.argv[1], nodes=2, slurm_root=root)\n"
        "print('go', flush=True); up(spec, Path(sys.argv[2])); print('up', flush=True)"
    )
    root = slurm_cluster.spec.slurm_root
    arguments = [named, str(clusters_base), "" if root is None else str(root)]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        time.sleep(after_s)  # anywhere on its way: no condition to wait for
        child.send_signal(signal.SIGKILL)

    spec = ClusterSpec(name=named, nodes=2, slurm_root=root)
    machine, _ = up(spec, clusters_base)
    cluster = Cluster(machine)
    assert cluster.status().state == "up"
    assert cluster.status().daemons["slurmd"] == 2
    cluster.down()

    assert nothing_left(cluster.layout)


def test_four_clusters_come_up_and_go_at_once(
    clusters_base: Path, cluster_name: Name, slurm_cluster: Cluster
) -> None:
    """Ports and files do not meet."""
    root = slurm_cluster.spec.slurm_root
    specs = [ClusterSpec(name=cluster_name("p"), nodes=2, slurm_root=root) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda spec: Cluster.up(spec, base=clusters_base), specs))
        try:
            ports = {load(cluster.layout).ports.first for cluster in made}
            states = [cluster.status().state for cluster in made]
        finally:
            list(pool.map(lambda cluster: cluster.down(), made))

    assert (len(ports), states) == (4, ["up"] * 4)
    assert all(nothing_left(cluster.layout) for cluster in made)


def test_clusters_of_a_dead_session_are_reaped_and_others_are_not(
    make_cluster: MakeCluster, clusters_base: Path
) -> None:
    """What conftest does when a session starts."""
    dead, living = make_cluster(nodes=1), make_cluster(nodes=1)
    record = load(dead.layout)
    gone = Owner(pid=os.getpid(), started_ticks=1)
    save(
        dead.layout,
        Record(
            spec=record.spec, ports=record.ports, slurm_version=record.slurm_version, owner=gone
        ),
    )

    assert dead.name in reap_orphans(clusters_base)
    assert nothing_left(dead.layout)
    assert living.status().state == "up"


def test_status_of_a_hanging_controller_says_unknown(make_cluster: MakeCluster) -> None:
    """And does not hang or fail with it."""
    cluster = make_cluster(nodes=1)
    cluster.hang_slurmctld()
    now = cluster.status()

    assert (now.state, now.nodes, now.jobs) == ("up", None, None)


def test_the_controller_restarts_with_its_jobs(make_cluster: MakeCluster) -> None:
    """Politely and not."""
    cluster = make_cluster(nodes=1)
    written_down(cluster, sbatch_held(cluster))
    for kill in (False, True):
        before = cluster.slurmctld_pid
        cluster.restart_slurmctld(kill=kill)
        assert cluster.slurmctld_pid not in (None, before)
        assert cluster.status().jobs == 1


@needs_root
def test_the_backup_takes_over_and_hands_back(make_cluster: MakeCluster, wait_for: WaitFor) -> None:
    """Two controllers on one machine, told apart by name and address."""
    cluster = make_cluster(nodes=1, backup=True)
    written_down(cluster, sbatch_held(cluster))

    cluster.stop_slurmctld(kill=True)
    wait_for(lambda: cluster.status().jobs == 1, 30, "the backup's answer")
    assert "(primary) at" in (ping := cluster.run("scontrol", "ping", check=False).stdout)
    assert ping.count(" is UP") == 1
    cluster.start_slurmctld()

    # For a moment neither may answer.
    pings = partial(cluster.run, "scontrol", "ping", check=False)
    wait_for(lambda: pings().stdout.count(" is UP") == 2, 30, "both")
    assert cluster.status().jobs == 1


def test_a_time_zone_is_the_controllers_alone(make_cluster: MakeCluster) -> None:
    """POSIX words for it need no zone files."""
    cluster = make_cluster(nodes=1, timezone="XYZ+09:30")
    environment = Path(f"/proc/{cluster.slurmctld_pid}/environ").read_bytes().split(b"\0")

    assert b"TZ=XYZ+09:30" in environment
    assert "TZ" not in cluster.env


def test_a_missing_shim_loses_no_job(make_cluster: MakeCluster, wait_for: WaitFor) -> None:
    """The generated hook file passes jobs on when there is nothing to call."""
    cluster = make_cluster(nodes=1, hook=True)
    text = cluster.layout.job_submit.read_text(encoding="utf-8")
    cluster.stop_slurmctld()
    broken = text.replace("slurm_green.lua", "nothing_here.lua")
    cluster.layout.job_submit.write_text(broken, encoding="utf-8")
    cluster.start_slurmctld()

    job = cluster.run("sbatch", "--parsable", "--wrap", "true").stdout.strip()

    def ended() -> bool:
        return "COMPLETED" in cluster.run("scontrol", "show", "job", job).stdout

    wait_for(ended, 15, "the job's end")
    assert "hook off, jobs pass unchanged" in cluster.slurmctld_log.read_text(encoding="utf-8")


def test_the_command_line_end_to_end(
    sgreen: Callable[..., subprocess.CompletedProcess[str]], named: str, clusters_base: Path
) -> None:
    """up, status, env.sh, down, and the same again on what is gone."""

    def answer(*arguments: str) -> dict[str, Any]:
        done = sgreen(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        parsed = json.loads(done.stdout)
        assert isinstance(parsed, dict)
        return parsed

    first = answer("up", named, "--nodes", "1", "--gpus", "2", "--extra-conf", "MinJobAge=7")
    assert (first["state"], first["started"], first["gpus"]) == ("up", True, "emulated")
    assert first["nodes"] == {f"{named}-n1": "idle"}
    assert answer("status", named)["daemons"]["slurmd"] == 1
    assert named in [one["name"] for one in answer("status")["clusters"]]
    shell = f". {first['env_file']} && scontrol show config | grep MinJobAge"
    shown = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["MinJobAge", "=", "7", "sec"]
    assert (
        "was up already"
        in sgreen("up", named, "--nodes", "1", "--gpus", "2", "--extra-conf", "MinJobAge=7").stdout
    )
    assert answer("down", named) == {"down": [named]}
    assert nothing_left(Layout.of(named, clusters_base))
    again = sgreen("down", named)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "no cluster" in again.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "Bad_Name"),
        ("down",),
        ("down", "x", "--all"),
        ("status", "nowhere"),
        ("up", "x", "--extra-conf", "nonsense"),
        ("up", "x", "--accounting-of", "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    sgreen: Callable[..., subprocess.CompletedProcess[str]],
    arguments: tuple[str, ...],
    clusters_base: Path,
) -> None:
    """And starts nothing."""
    done = sgreen(*arguments)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert not (clusters_base / "x").exists()
