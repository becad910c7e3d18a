# SPDX-License-Identifier: Apache-2.0
"""What may be asked for, where it lives, on which ports, and what is written down."""

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from profiling.device.emulated.models import model_names
from slurm_green.cluster.down import down, down_all
from slurm_green.cluster.hook import job_submit
from slurm_green.cluster.layout import Layout, clusters_directory
from slurm_green.cluster.lock import PORTS
from slurm_green.cluster.ports import Ports, pick_ports
from slurm_green.cluster.record import Owner, Record, all_records, load, save
from slurm_green.cluster.spec import GPU_TYPES, ClusterSpec
from slurm_green.cluster.up import up
from slurm_green.errors import BadInputError, ClusterError


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a_b", "a/b", "..", "x" * 25, "a\n", PORTS])
def test_names_slurm_or_a_path_would_trip_over_are_refused(name: str) -> None:
    """A name becomes a directory, a node prefix and a database table; and a lock, beside PORTS."""
    with pytest.raises(BadInputError, match="lower-case"):
        ClusterSpec(name=name)


@pytest.mark.parametrize(
    "shape",
    [
        *({"nodes": 0}, {"gpus": -1}, {"cpus": 0}, {"accounting_of": "alpha"}),
        *({"gpu_model": "h100"}, {"gpu_model": "h200", "gpus": 0}),
    ],
)
def test_impossible_shapes_are_refused(shape: dict[str, object]) -> None:
    """Before anything is started."""
    with pytest.raises(BadInputError):
        ClusterSpec(name="alpha", **shape)  # type: ignore[arg-type]


def test_every_emulated_model_has_a_type_that_slurm_calls_it_by() -> None:
    """And a wrong one is answered with those there are."""
    assert sorted(GPU_TYPES) == model_names()
    with pytest.raises(BadInputError, match="allowed are a100-sxm4-80gb, h100-sxm"):
        ClusterSpec(name="alpha", gpu_model="gtx")


def test_own_and_joined_accounting_exclude_each_other() -> None:
    """One of them is meant."""
    with pytest.raises(BadInputError, match="one of them"):
        ClusterSpec(name="alpha", accounting=True, accounting_of="beta")


def test_a_directory_too_long_for_sockets_is_refused_by_name(tmp_path: Path) -> None:
    """The kernel cuts socket paths at 108 bytes, and Slurm's own message does not say so."""
    with pytest.raises(BadInputError, match="too long for unix sockets"):
        Layout.of("alpha", tmp_path / ("d" * 60))


def test_the_directory_comes_from_option_then_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And is absolute, since daemons change their directory."""
    monkeypatch.setenv("SLURM_GREEN_CLUSTERS", str(tmp_path / "env"))

    assert clusters_directory() == tmp_path / "env"
    assert clusters_directory(Path("here")) == Path.cwd() / "here"


def test_a_port_that_is_listened_on_is_not_picked() -> None:
    """Nor any block that another cluster has written down."""
    first = pick_ports(4, [], random.Random(7))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", first.slurmd(3)))
        listener.listen()
        busy = pick_ports(4, [], random.Random(7))
    taken = pick_ports(4, [first], random.Random(7))

    assert first.slurmd(3) not in range(busy.first, busy.first + busy.count)
    assert not set(range(first.first, first.first + first.count)) & set(
        range(taken.first, taken.first + taken.count)
    )


def test_ports_run_out_with_a_message() -> None:
    """Instead of a loop without end."""
    with pytest.raises(ClusterError, match="take a cluster down"):
        pick_ports(4, [Ports(first=1, count=65000)])


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    """`down` in another process relies on it."""
    layout = Layout(directory=tmp_path / "alpha")
    layout.directory.mkdir()
    record = Record(
        spec=ClusterSpec(
            name="alpha",
            gpu_model="h200",
            extra_conf=("A=1",),
            slurm_root=Path("/c"),
            accounting_of="beta",
        ),
        ports=Ports(first=20000, count=6),
        slurm_version="22.05.8",
        owner=Owner.this_process(),
    )
    save(layout, record)

    assert load(layout) == record
    assert list(all_records(tmp_path)) == [(layout, record)]


def test_an_unknown_and_a_broken_record_say_what_to_do(tmp_path: Path) -> None:
    """The first is the caller's mistake, the second can still be taken down."""
    layout = Layout(directory=tmp_path / "alpha")
    with pytest.raises(BadInputError, match="status"):
        load(layout)
    layout.directory.mkdir()
    layout.record.write_text('{"spec": {"name"')
    with pytest.raises(ClusterError, match="still stops"):
        load(layout)
    assert list(all_records(tmp_path)) == []


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    with TemporaryDirectory() as name:
        yield Path(name)


def test_what_is_no_cluster_is_never_removed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of that name below --directory may be anybody's."""
    monkeypatch.setattr("slurm_green.cluster.up.ensure", lambda *_, **__: None)
    theirs = base / "thesis" / "thesis.tex"
    theirs.parent.mkdir()
    theirs.write_text("all of it")
    for refused in (
        lambda: down("thesis", base),
        lambda: up(ClusterSpec(name="thesis", nodes=1), base),
    ):
        with pytest.raises(BadInputError, match="no cluster's directory"):
            refused()
    assert down_all(base) == []
    assert theirs.read_text() == "all of it"


def test_neither_is_what_has_a_file_of_that_name_nor_what_a_link_leads_to(base: Path) -> None:
    """Terraform and others have a cluster.json, too; a name that is none stops nothing."""
    ours = Layout(directory=base / "bbb")
    for name, record in (("thesis", '{"nodes": 3}'), ("Terraform", "{}"), ("bbb", '{"spec": {}')):
        (base / name).mkdir()
        (base / name / "cluster.json").write_text(record)
        (base / name / "kept").write_text("all of it")
    (base / "aaa").symlink_to(ours.directory)
    for name in ("thesis", "aaa"):
        with pytest.raises(BadInputError, match="no cluster's directory"):
            down(name, base)
    assert (ours.directory / "kept").read_text() == "all of it"
    assert down_all(base) == ["bbb"]
    assert sorted(path.name for path in base.glob("*/kept")) == ["kept", "kept"]


def test_what_comes_while_a_directory_is_removed_goes_too(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(directory=base / "alpha")
    layout.log.mkdir(parents=True)
    layout.record.write_text('{"spec": {}')
    rmtree, late = shutil.rmtree, iter(["core", "log"])

    def slowly(path: Path) -> None:
        rmtree(path)
        for name in late:
            (layout.directory / name).write_text("")
            break

    monkeypatch.setattr(shutil, "rmtree", slowly)
    down("alpha", base)
    assert not layout.directory.exists()


@pytest.mark.parametrize("left", ["", "cluster.new", "cluster.json"])
def test_what_a_killed_up_or_down_leaves_can_be_taken_down(base: Path, left: str) -> None:
    """Of a `down` that is killed the record is there to the end."""
    layout = Layout(directory=base / "alpha")
    layout.directory.mkdir()
    others = base / "others"
    others.write_text("")
    if left:
        (layout.directory / left).write_text('{"spec": {"name"')
    if layout.record.exists():
        layout.log.mkdir()
        (layout.directory / "link").symlink_to(others)
    down("alpha", base)
    assert [path.name for path in base.iterdir()] == ["others"]


def test_an_owner_is_a_process_not_a_pid() -> None:
    """A pid comes again; its start time does not."""
    me = Owner.this_process()
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert me.alive
        assert not Owner(pid=os.getpid(), started_ticks=me.started_ticks - 1).alive
    finally:
        child.kill()
        child.wait()
    assert not Owner(pid=child.pid, started_ticks=0).alive


def test_paths_in_the_hook_file_cannot_end_their_string(tmp_path: Path) -> None:
    """A directory's name is a person's choice."""
    layout = Layout(directory=tmp_path / 'a"b')

    assert 'a\\034b/run/sgreend.sock"' in job_submit(layout)
