# SPDX-License-Identifier: Apache-2.0
"""Emulated GPUs of a cluster's nodes, without Slurm: their load, their clocks, their files."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from profiling.device.emulated.bench import Bench
from slurm_green.cluster.clocks import clocks_of
from slurm_green.cluster.gpus import bench_of, make_gpus
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.load_hook import MEM_ACTIVITY, SM_ACTIVITY
from slurm_green.cluster.machine import Machine
from slurm_green.cluster.noded import node_config, start_nodeds, write_node_files
from slurm_green.cluster.ports import Ports
from slurm_green.cluster.record import Record
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.errors import ClusterError
from slurm_green.node.settings import read_settings

SPEC = ClusterSpec(name="alpha", nodes=2, gpus=2, gpu_model="h100-sxm")
NODE = "alpha-n2"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    one = Layout(directory=tmp_path / "alpha")
    one.etc.mkdir(parents=True)
    make_gpus(one, SPEC)
    return one


@pytest.fixture
def bench(layout: Layout) -> Iterator[Bench]:
    with bench_of(layout, NODE) as one:
        yield one


def run_hooks(layout: Layout, name: str, node: str, gpus: str) -> None:
    """As slurmd does: with its variables and no others."""
    environment = {"SLURMD_NODENAME": node, "SLURM_JOB_GPUS": gpus}
    for path in layout.hooks(name).glob("*.sh"):
        done = subprocess.run([path], env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def loads(bench: Bench) -> list[tuple[float, float, bool]]:
    found = [bench.read(gpu) for gpu in range(len(bench))]
    return [(one.sm_activity, one.mem_activity, one.context) for one in found]


def test_a_job_loads_its_own_gpus_of_its_own_node(layout: Layout, bench: Bench) -> None:
    idle, busy = (0.0, 0.0, False), (SM_ACTIVITY, MEM_ACTIVITY, True)
    run_hooks(layout, "prolog", NODE, "1")
    assert loads(bench) == [idle, busy]
    with bench_of(layout, "alpha-n1") as other:
        assert loads(other) == [idle, idle]

    run_hooks(layout, "epilog", NODE, "1")
    assert loads(bench) == [idle, idle]


@pytest.mark.parametrize(("node", "gpus"), [("nobody", "0"), (NODE, "7"), (NODE, "x"), (NODE, "")])
def test_a_load_that_cannot_be_stops_no_job(layout: Layout, node: str, gpus: str) -> None:
    run_hooks(layout, "prolog", node, gpus)


def test_gpus_of_a_kept_cluster_keep_their_counters(layout: Layout, bench: Bench) -> None:
    energy_j = bench.read(0).energy_j
    make_gpus(layout, SPEC)

    assert bench.read(0).energy_j >= energy_j
    with bench_of(layout, NODE) as again:
        assert again.read(0).energy_j >= energy_j


def test_gpus_nobody_can_read_are_made_anew(layout: Layout) -> None:
    layout.gpus(NODE).write_bytes(b"not a bench")
    assert clocks_of(layout, SPEC) is None
    make_gpus(layout, SPEC)

    assert len(clocks_of(layout, SPEC) or []) == 4


def test_the_holder_is_read_from_what_noded_keeps(layout: Layout, bench: Bench) -> None:
    state = layout.nodes / NODE / "state"
    (state / "jobs").mkdir(parents=True)
    (state / "journal").mkdir()
    (state / "journal" / f"{bench.uuid(1)}.owed").touch()
    (state / "jobs" / "12.json").write_text(
        json.dumps({"job_id": 12, "energy_j": {bench.uuid(1): 1}})
    )
    (state / "jobs" / "13.json").write_text('{"job_id": 13, "ene')

    found = clocks_of(layout, SPEC)
    assert found is not None
    held = [(one.node, one.gpu, one.job_id) for one in found if one.owed]
    assert held == [(NODE, 1, 12)]
    assert {one.lock_mhz for one in found} == {None}


def test_counted_devices_have_no_clocks(tmp_path: Path) -> None:
    assert clocks_of(Layout(directory=tmp_path), ClusterSpec(name="alpha")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_everybody_may_read_the_library_and_the_gpus(layout: Layout) -> None:
    assert layout.gpu_library.stat().st_mode & 0o004
    assert layout.gpus(NODE).stat().st_mode & 0o006 == 0o004


def test_an_ordinary_user_has_gpus_and_no_noded(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only root sets clocks; and a hook that finds nobody would only complain."""
    record = Record(spec=SPEC, ports=Ports(first=21000, count=5), slurm_version="22.05.8")
    machine = Machine(layout=layout, record=record)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    write_node_files(machine)
    assert [path.name for path in layout.hooks("prolog").iterdir()] == ["40-load.sh"]
    assert not node_config(layout, NODE).exists()

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    write_node_files(machine)
    names = sorted(path.name for path in layout.hooks("prolog").iterdir())
    assert names == ["40-load.sh", "50-slurm-green.sh"]


@pytest.mark.skipif(os.geteuid() != 0, reason="others have no noded")
@pytest.mark.parametrize("hook", [False, True])
def test_its_configuration_is_one_that_noded_reads(layout: Layout, hook: bool) -> None:
    """Orders come from a file, or from the cluster's sgreend."""
    spec = replace(SPEC, hook=hook)
    record = Record(spec=spec, ports=Ports(first=21000, count=5), slurm_version="22.05.8")
    write_node_files(Machine(layout=layout, record=record))
    node, nvml = read_settings(node_config(layout, NODE), named=True)

    assert (node.name, nvml.library) == (NODE, layout.gpu_library)
    assert node.orders == (None if hook else layout.orders)
    assert node.sgreend == ("http://127.0.0.1:21004" if hook else "")


@pytest.mark.skipif(os.geteuid() != 0, reason="others have no noded")
def test_a_noded_that_ends_at_once_is_one_message_with_its_words(layout: Layout) -> None:
    record = Record(spec=SPEC, ports=Ports(first=21000, count=5), slurm_version="22.05.8")
    machine = Machine(layout=layout, record=record)
    write_node_files(machine)
    layout.log.mkdir()
    node_config(layout, NODE).write_text("[node]\nno_such_key = 1\n")

    with pytest.raises(ClusterError, match=f"{NODE} ended right after its start(?s:.*)no_such_key"):
        start_nodeds(machine, (NODE,))
