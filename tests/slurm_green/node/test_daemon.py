# SPDX-License-Identifier: Apache-2.0
"""sgreen-noded as a process, its hooks as slurmd runs them, on the emulated NVML."""

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import load_model
from slurm_green.node.books import Books
from tests.slurm_green.node.live_node import LiveNode
from tests.timing import fastest_s

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks"),
]
PLAN = {"clock_mhz": 1095}
JOB = 60_000_007  # no job of a real Slurm that runs beside these tests


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Two busy emulated H100, in real time."""
    with Bench.create(tmp_path / "gpus", [load_model("h100-sxm")] * 2) as one:
        for gpu in (0, 1):
            one.load(gpu, 1.0, 0.5)
        yield one


@pytest.fixture
def node(tmp_path: Path, bench: Bench) -> Iterator[LiveNode]:
    one = LiveNode(tmp_path, bench).start()
    yield one
    if one.up:
        one.kill()


def _locks(node: LiveNode) -> list[float | None]:
    return [node.lock_mhz(gpu) for gpu in (0, 1)]


def _energies(node: LiveNode) -> list[dict[str, object]]:
    return list(Books(node.directory / "state", "none").unreported().values())


def test_prolog_and_epilog(node: LiveNode) -> None:
    node.order({JOB: PLAN})
    first_j = node.bench.read(0).energy_j
    node.hook(node.prolog, JOB, "0")
    assert _locks(node) == [1095, None]
    begin_j = node.bench.read(0).energy_j
    node.wait(lambda: node.bench.read(0).energy_j > begin_j + 60, "some energy")
    end_j = node.bench.read(0).energy_j
    node.hook(node.epilog, JOB, "0")
    last_j = node.bench.read(0).energy_j

    assert _locks(node) == [None, None]
    assert node.owed == []
    (energy,) = _energies(node)
    assert (energy["job_id"], energy["source"], energy["why"]) == (JOB, "emulated", "")
    # The counter moves every 100 ms: at most 70 J at a time.
    assert end_j - begin_j - 70 <= float(str(energy["energy_j"])) <= last_j - first_j + 70


def test_an_epilog_without_a_prolog(node: LiveNode) -> None:
    node.hook(node.epilog, JOB, "0")

    assert _energies(node) == []


def test_a_cap_reaches_running_jobs(node: LiveNode) -> None:
    node.order({JOB: {"clock_mhz": 1500}})
    node.hook(node.prolog, JOB, "0,1")
    node.order({JOB: {"clock_mhz": 1500}}, clock_mhz=900)

    node.wait(lambda: _locks(node) == [900, 900], "the cap")


def test_sigterm_gives_everything_back(node: LiveNode) -> None:
    node.order({JOB: {"clock_mhz": 1095, "power_limit_w": 300}})
    node.hook(node.prolog, JOB, "0,1")
    assert node.bench.read(1).limit_w == 300

    assert node.stop() == 0
    assert _locks(node) == [None, None]
    assert node.bench.read(1).limit_w == 700
    assert node.owed == []
    assert not node.socket.exists()


def test_sighup_ends_nothing(node: LiveNode) -> None:
    node.order({JOB: PLAN})
    node.hook(node.prolog, JOB, "0")
    node.tell(signal.SIGHUP)
    node.wait(lambda: "SIGHUP" in node.words, "a word about it")

    assert node.ask(op="ping")["ok"]
    assert _locks(node) == [1095, None]


def test_killed_and_not_restarted(node: LiveNode) -> None:
    """What the unit's ExecStopPost does."""
    node.order({JOB: PLAN})
    node.hook(node.prolog, JOB, "0")
    node.kill()
    assert _locks(node) == [1095, None]
    node.hook(node.epilog, JOB, "0")

    assert node.run("--restore").returncode == 0
    assert _locks(node) == [None, None]
    assert node.owed == []


def test_killed_and_restarted(node: LiveNode) -> None:
    """No process of the job is left: its clock goes at once, whatever is still ordered."""
    node.order({JOB: PLAN})
    node.hook(node.prolog, JOB, "0")
    node.kill()
    node.start()

    assert _locks(node) == [None, None]
    assert node.owed == []


def test_a_gpu_lost_during_a_job(node: LiveNode) -> None:
    node.order({JOB: PLAN})
    node.hook(node.prolog, JOB, "0,1")
    node.bench.lose(0)
    node.hook(node.epilog, JOB, "0,1")
    assert _locks(node)[1] is None
    assert [one["energy_j"] for one in _energies(node)] == [None]

    # It comes back when the machine or the driver is restarted, and so are we.
    node.bench.lose(0, lost=False)
    assert node.stop() == 0
    assert _locks(node) == [None, None]


def test_a_hanging_driver_delays_a_prolog_by_seconds_at_most(node: LiveNode) -> None:
    node.order({JOB: PLAN})
    node.bench.slow_call("nvmlDeviceSetGpuLockedClocks", 4.0)
    took_s = node.hook(node.prolog, JOB, "0")

    assert took_s < 20
    # The job's end is not lost although nobody could answer it.
    node.hook(node.epilog, JOB, "0")
    node.bench.clear_calls()
    node.wait(lambda: node.lock_mhz() is None and node.owed == [], "the restore")


def test_a_user_and_a_stranger(node: LiveNode) -> None:
    for one in (node.directory, *list(node.directory.parents)[:-2]):
        if one.stat().st_uid == 0:
            one.chmod(0o755)
    node.hook(node.prolog, JOB, "0", uid=65534)
    line = f'{{"op":"set","job":{JOB},"gpus":"%d","clock_mhz":1095,"ttl_s":%d}}'

    assert '"clock_mhz": 1095' in _as(65534, node.user_socket, line % (0, 60))
    assert _locks(node) == [1095, None]
    assert "is not yours" in _as(65534, node.user_socket, line % (1, 60))
    assert _as(65533, node.user_socket, line % (0, 60)) == ""
    assert _as(65534, node.socket, line % (0, 60)) == "PermissionError"
    assert '"clock_mhz": 1095' in _as(65534, node.user_socket, line % (0, 1))
    # Its heartbeat ends.
    node.wait(lambda: _locks(node) == [None, None], "the end of the lease")


def test_floods_on_the_users_socket_delay_no_prolog(node: LiveNode) -> None:
    node.order({JOB: PLAN})
    flood = []
    for _ in range(200):
        peer = socket.socket(socket.AF_UNIX)
        peer.setblocking(False)
        try:
            peer.connect(str(node.user_socket))
            peer.send(b"x" * 3000)
        except OSError:
            pass  # cut off, or nobody comes to the door any more
        flood.append(peer)
    took_s = node.hook(node.prolog, JOB, "0")
    for peer in flood:
        peer.close()

    assert took_s < 10
    assert _locks(node) == [1095, None]


def test_only_one_at_a_time(node: LiveNode) -> None:
    second = node.run()

    assert second.returncode == 1
    assert second.stderr.strip().endswith(
        "another sgreen-noded uses " + str(node.directory / "state")
    )


def test_metrics(tmp_path: Path, bench: Bench) -> None:
    """Also where another held the address while the node started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        node = LiveNode(tmp_path, bench, metrics=f"127.0.0.1:{port}").start()
        node.wait(lambda: "no metrics on" in node.words, "a word about it")
    try:
        node.wait(lambda: _metrics(port) is not None, "metrics")
        text = str(_metrics(port))
    finally:
        node.stop()

    assert text.count("DCGM_FI_DEV_SM_CLOCK{") == 2
    assert "emulated" in text


def _metrics(port: int) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
            return str(response.read().decode())
    except OSError:
        return None


def test_no_gpu_and_bad_settings_are_one_line(tmp_path: Path, bench: Bench) -> None:
    node = LiveNode(tmp_path, bench, interval=-1)
    wrong = node.run()
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "node.interval = -1" in wrong.stderr

    node = LiveNode(tmp_path, bench)
    bench.path.unlink()
    missing = node.run()
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "NVML does not start" in missing.stderr


@pytest.mark.parametrize(
    "wrong", ["state", "state/noded.lock", "state/journal", "state/jobs", "run"]
)
def test_files_that_cannot_be_made_are_one_line(tmp_path: Path, bench: Bench, wrong: str) -> None:
    """On a disk that turned read-only, for somebody who is not root, or by a slip in a path."""
    path = tmp_path / wrong
    if wrong == "run":
        path = path / ("x" * 100)  # no socket's name is as long
    else:
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if path.suffix else path.write_text("")
    done = LiveNode(tmp_path, bench, run=str(path if wrong == "run" else tmp_path / "run")).run()

    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("sgreen-noded: ")
    assert str(path) in done.stderr


def test_prolog_and_epilog_are_quick(node: LiveNode) -> None:
    """The bar is 150 ms for both; busy machines get some room here, benchmarks have the number."""
    jobs = range(JOB, JOB + 30)
    node.order(dict.fromkeys(jobs, PLAN))
    number = iter(jobs)

    def both() -> None:
        job = next(number)
        node.hook(node.prolog, job, "0,1")
        node.hook(node.epilog, job, "0,1")

    # Where to start a Python takes long, so do they.
    plain_s = fastest_s(lambda: subprocess.run(["/usr/bin/python3", "-IS", "-c", ""]), 0.02)
    enough_s = max(0.5, 20 * plain_s)
    assert fastest_s(both, enough_s, tries=len(jobs)) < enough_s


_CLIENT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
    s.sendall(sys.argv[2].encode() + b"\\n")
    print(s.recv(4096).decode())
except ConnectionError:
    pass
except OSError as error:
    print(type(error).__name__)
"""


def _as(uid: int, path: Path, line: str) -> str:
    """What a user gets for a line."""
    argv = ["/usr/bin/python3", "-IS", "-c", _CLIENT, str(path), line]
    done = subprocess.run(argv, user=uid, cwd="/", capture_output=True, text=True, check=True)
    return done.stdout.strip()
