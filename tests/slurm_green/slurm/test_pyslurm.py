# SPDX-License-Identifier: Apache-2.0
"""The pyslurm backend: against a fake of its surface, and that surface against the real source."""

import importlib.util
import logging
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from slurm_green.errors import ConfigError, SlurmError, SlurmMissingError
from slurm_green.slurm import pyslurm as backend
from slurm_green.slurm import select
from slurm_green.slurm.fake import FakeSlurm
from slurm_green.slurm.pyslurm import USED_SURFACE, PyslurmClient
from slurm_green.slurm.records import (
    ClusterInfo,
    Job,
    JobChange,
    Node,
    Partition,
    Reservation,
)

pytestmark = pytest.mark.slow

WHEN = datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
RELEASE = "25.11.2"


def _load_fake() -> ModuleType:
    path = Path(__file__).parent / "fake_pyslurm.py"
    spec = importlib.util.spec_from_file_location("fake_pyslurm", path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


FAKE = _load_fake()
JOBS = [
    Job(job_id=1, name="run", user="ann", uid=1000, partition="main", state="RUNNING", gpus=2,
        cpus=4, start_utc=WHEN, end_utc=WHEN + timedelta(minutes=10), time_limit_s=600,
        node_names=("n1",), requeue=True, restarts=2, cluster="fake"),
    Job(job_id=5, name="arr", user="ann", uid=1000, partition="main", array_job_id=5,
        array_task="0-9", tasks=10, max_running_tasks=2, eligible_utc=WHEN, cluster="fake"),
    Job(job_id=6, name="held", user="bob", uid=0, partition="main", held=True, het_job_id=6,
        comment="green:off", admin_comment="x y", extra="e", reservation="r", cluster="fake"),
]  # fmt: skip


@pytest.fixture
def slurm() -> FakeSlurm:
    return FakeSlurm(
        jobs=list(JOBS),
        nodes=[Node(name="n1", cpus=8, gpus=4, partitions=("main", "long")),
               Node(name="n2", cpus=8, gpus=4, available=False, partitions=("main",))],
        partitions=[Partition(name="main", node_names=("n1", "n2"), default=True),
                    Partition(name="long", up=False, max_time_s=7200)],
        reservations=[Reservation(name="m", start_utc=WHEN, end_utc=WHEN + timedelta(hours=1),
                                  node_names=("n1",), maintenance=True)],
    )  # fmt: skip


@pytest.fixture
def client(slurm: FakeSlurm) -> PyslurmClient:
    return PyslurmClient(commands=slurm, module=FAKE.module(slurm), site_factors=lambda: {5: 77})


def test_jobs_come_out_as_from_the_commands(client: PyslurmClient) -> None:
    for seen, wanted in zip(client.jobs(), JOBS, strict=True):
        for field in Job.__dataclass_fields__:
            if field not in {"flags", "priority", "site_factor", "gpu_freq", "gres_per_node"}:
                assert getattr(seen, field) == getattr(wanted, field), field
        assert seen.gpu_freq is None
    assert [job.site_factor for job in client.jobs()] == [0, 77, 0]


def test_the_rest_of_the_cluster(client: PyslurmClient, slurm: FakeSlurm) -> None:
    assert client.nodes() == slurm.node_list
    assert client.partitions() == slurm.partition_list
    assert client.reservations() == slurm.reservation_list
    assert client.info() is slurm.cluster
    assert client.finished(WHEN) == []


def test_changes_reach_slurm_as_epoch_seconds(client: PyslurmClient, slurm: FakeSlurm) -> None:
    change = JobChange(begin_utc=WHEN, admin_comment="a b", site_factor=3)
    assert client.update({5: change, 6: JobChange()}) == {}
    assert slurm.updates == [{5: change}]


def test_a_site_factor_of_zero_is_not_lost(client: PyslurmClient, slurm: FakeSlurm) -> None:
    slurm.change(5, site_factor=9)
    assert client.update({5: JobChange(site_factor=0)}) == {}
    assert slurm.jobs_by_id[5].site_factor == 0


def test_refusals_are_told_job_by_job(client: PyslurmClient) -> None:
    refused = client.update(dict.fromkeys((1, 5, 99), JobChange(begin_utc=WHEN)))
    assert set(refused) == {1, 99} and "no longer pending" in refused[1]


def test_a_failing_rpc_is_our_error(client: PyslurmClient, slurm: FakeSlurm) -> None:
    slurm.broken = "Zero Bytes were transmitted or received"
    for call in (client.jobs, client.nodes, client.partitions, client.reservations):
        with pytest.raises(SlurmError, match="Zero Bytes"):
            call()
    assert client.update({5: JobChange(begin_utc=WHEN)})[5].startswith("Zero Bytes")


def test_a_text_that_is_not_utf8_hides_no_job(
    slurm: FakeSlurm, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(SimpleNamespace):
        @property
        def comment(self) -> str:
            return b"caf\xe9".decode()

        @comment.setter
        def comment(self, value: str) -> None:
            pass

    module = FAKE.module(slurm)
    views = [Odd(**vars(FAKE.job_view(JOBS[0]))), SimpleNamespace(id=3), FAKE.job_view(JOBS[1])]
    module.Jobs.load = lambda: SimpleNamespace(values=lambda: views)
    with caplog.at_level(logging.WARNING):
        jobs = PyslurmClient(commands=slurm, module=module).jobs()
    assert [(job.job_id, job.comment) for job in jobs] == [(1, "caf\ufffd"), (5, "")]
    assert "job 3 left out" in caplog.text


def test_no_job_of_pyslurm_is_given_another_width(slurm: FakeSlurm) -> None:
    """Its type of GPU, memory, features, tasks per node: Slurm never starts what cannot fit."""
    module = FAKE.module(slurm)
    shown = FAKE.job_view(JOBS[0])
    shown.gpus, shown.gres_per_node = {}, {"gpu:h100": 2}
    module.Jobs.load = lambda: SimpleNamespace(values=lambda: [shown])
    (job,) = PyslurmClient(commands=slurm, module=module).jobs()
    assert (job.gpus, job.gres_per_node) == (2 * job.nodes, "")


def test_gpus_in_every_notation_of_pyslurm() -> None:
    count = SimpleNamespace(count=3)
    for gres, total in [({"gpu:h100": 2}, 2), ({"gres/gpu": 1}, 1), ({"gpu": count}, 3), (None, 0),
                        ({"gpu:a": {"count": 2, "indexes": "0-1"}, "gres/gpu:b": 1}, 3),
                        ({"shard": 4}, 0)]:  # fmt: skip
        assert backend._gpus(gres) == total


# Which backend


class Commands(FakeSlurm):
    """Stands in for the commands backend."""

    def site_factors(self) -> dict[int, int]:
        return {}


def choose(name: str, **wanted: Any) -> Any:
    return select.client_from(name, **wanted)


def test_an_unknown_backend_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="commands, pyslurm, auto"):
        choose("rest")


def _missing(_: Any) -> Any:
    raise SlurmMissingError("not here")


def _other_slurm(_: Any) -> Any:
    broken = FakeSlurm()
    broken.broken = "Zero Bytes"
    return broken


@pytest.mark.parametrize("make", [_missing, _other_slurm])
@pytest.mark.parametrize(("name", "warned"), [("pyslurm", True), ("auto", False)])
def test_a_pyslurm_that_does_not_work_is_replaced(
    make: Callable[[Any], Any], name: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    commands = Commands()
    with caplog.at_level(logging.WARNING):
        assert choose(name, commands=lambda: commands, pyslurm=make) is commands
    assert bool(caplog.records) is warned


@pytest.mark.parametrize(
    ("settings", "taken"),
    [({"GresTypes": "gpu", "AccountingStorageTRES": "cpu,gres/gpu"}, True), ({}, True),
     ({"GresTypes": "gpu", "AccountingStorageTRES": "cpu"}, False)],
)  # fmt: skip
def test_pyslurm_is_only_taken_where_it_sees_all_gpus(
    settings: dict[str, str], taken: bool
) -> None:
    commands, other = Commands(), FakeSlurm()
    commands.cluster = ClusterInfo(name="x", version=(25, 11), settings=settings)
    chosen = choose("auto", commands=lambda: commands, pyslurm=lambda _: other)
    assert (chosen is other) is taken


def test_without_pyslurm_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyslurm", None)
    with pytest.raises(SlurmMissingError, match="commands"):
        backend.import_pyslurm()


# The real source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of each class of the published pyslurm, .pyx and .pxd together."""
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
               "pyslurm", "--dest", str(folder), f"pyslurm=={RELEASE}"]  # fmt: skip
    # Not `:all:`: pip makes the metadata, and would compile Cython for it.
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("pyslurm's source distribution did not come within 90 s")
    if done.returncode != 0:
        pytest.skip(f"pyslurm's source distribution cannot be had: {done.stderr[-200:]}")
    (archive,) = folder.glob("*.tar.gz")
    classes: dict[str, str] = {}
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            # The database's classes have the same names and are not ours.
            if not re.search(r"/pyslurm/(core/.*|xcollections)\.(pyx|pxd)$", member.name):
                continue
            handle = files.extractfile(member)
            assert handle is not None
            text = handle.read().decode()
            found = re.finditer(r"^(?:cdef )?class (\w+)(.*?)(?=^[A-Za-z@_]|\Z)", text, re.M | re.S)
            for one in found:
                classes[one[1]] = classes.get(one[1], "") + one[0]
    return classes


def test_everything_we_use_of_pyslurm_is_in_its_source(source: dict[str, str]) -> None:
    for name, members in USED_SURFACE.items():
        assert name in source, f"pyslurm {RELEASE} has no class {name}"
        text = source[name] + (source["MultiClusterMap"] if name.endswith("s") else "")
        for member in members:
            shown = rf"^    def {member}\(|^        {member}$"
            assert re.search(shown, text, re.M), f"pyslurm {RELEASE}: no {name}.{member}"


def test_the_contract_can_fail(source: dict[str, str]) -> None:
    assert not re.search(r"^    def no_such_member\(", source["Job"], re.M)
    assert re.search(r"^    def modify\(self, JobSubmitDescription changes\)", source["Job"], re.M)
    # Begin times: digits are taken as epoch seconds.
    assert re.search(r"^        begin_time$", source["JobSubmitDescription"], re.M)
