# SPDX-License-Identifier: Apache-2.0
"""Clocks by a real sgreen-noded, and by NVML itself, on emulated GPUs."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from profiling.device.nvml import Nvml
from serving.clocks.direct import DirectClocks
from serving.clocks.noded import NodedClocks
from serving.clocks.protocol import ClocksError
from serving.clocks.setter import Setter
from tests.slurm_green.node.live_node import LiveNode

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks"),
]
JOB = 60_000_021


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.create(tmp_path / "gpus", [load_model("h100-sxm")] * 2) as one:
        yield one


@pytest.fixture
def node(tmp_path: Path, bench: Bench) -> Iterator[LiveNode]:
    one = LiveNode(tmp_path, bench).start()
    begin(one)
    yield one
    if one.up:
        one.kill()


def begin(node: LiveNode) -> None:
    answer = node.ask(op="begin", job=JOB, uid=0, gpus="0,1", at_s=time.monotonic())
    assert answer["ok"], answer


def leased(node: LiveNode, ttl_s: float = 30.0) -> closing[NodedClocks]:
    """A lease that outlives a stall of this process, asked for with patience for noded's."""
    socket = node.user_socket
    return closing(NodedClocks(socket, job_id=JOB, gpus="0,1", ttl_s=ttl_s, answer_s=60))


def locks(node: LiveNode) -> list[float | None]:
    return [node.lock_mhz(gpu) for gpu in (0, 1)]


def test_a_lease_for_all_gpus_of_a_replica_and_its_release(node: LiveNode) -> None:
    with leased(node) as clocks:
        assert clocks.set(1095) == 1095
        assert locks(node) == [1095, 1095]
        assert clocks.set(1500) == 1500
        clocks.release()
        assert locks(node) == [None, None]
        with pytest.raises(ClocksError, match="sgreen-noded refuses: clock_mhz 50"):
            clocks.set(50)


def test_plan_and_cap_hold_and_are_told(node: LiveNode) -> None:
    node.order({JOB: {"clock_mhz": 1200}})
    begin(node)
    with leased(node) as clocks:
        assert clocks.set(1800) == 1200


def test_a_divided_gpu_is_not_claimed_to_be_set(node: LiveNode) -> None:
    node.bench.set_mig(1, on=True)
    with leased(node) as clocks, pytest.raises(ClocksError, match=r"GPU 1: .*divided"):
        clocks.set(1095)


def test_renewed_it_lasts_and_unrenewed_it_goes_by_itself(node: LiveNode) -> None:
    with leased(node, ttl_s=0.5) as clocks:
        setter = Setter(clocks)
        setter.ask(1095)
        node.wait(lambda: locks(node) == [1095, 1095], "the wish")
        since_s = time.monotonic()

        def lasted() -> bool:
            nonlocal since_s
            if locks(node) != [1095, 1095]:  # one of the two has lost its core for a while
                since_s = time.monotonic()
            return time.monotonic() > since_s + 1.5

        node.wait(lasted, "three times the lease")
        setter.close(60)
        node.wait(lambda: locks(node) == [None, None], "its release")
    with leased(node, ttl_s=0.5) as clocks:
        clocks.set(1200)  # and is heard of no more
        node.wait(lambda: locks(node) == [None, None], "the end of the lease")


def test_noded_goes_and_comes_back(node: LiveNode) -> None:
    with leased(node, ttl_s=1.0) as clocks:
        setter = Setter(clocks)
        try:
            setter.ask(1095)
            node.wait(lambda: setter.holds_mhz == 1095, "the wish")
            node.stop()
            node.wait(lambda: setter.failures > 0 and setter.holds_mhz is None, "the loss")
            node.start()
            begin(node)
            node.wait(lambda: setter.holds_mhz == 1095, "the lease again", timeout_s=60)
            node.wait(lambda: locks(node) == [1095, 1095], "the clocks again")
        finally:
            setter.close()


def test_straight_through_nvml(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(bench.path))
    with Nvml(bench.library) as nvml:
        clocks = DirectClocks(nvml.gpus(), tmp_path / "journal")
        assert clocks.set(1095) == 1095
        assert bench.read(1).lock_high_mhz == 1095
        assert len(list((tmp_path / "journal").glob("*.owed"))) == 2
        bench.lose(1)
        with pytest.raises(ClocksError, match="lost"):
            clocks.set(1200)
        bench.lose(1, lost=False)
        clocks.release()
        assert bench.read(0).lock_high_mhz == float("inf")
        assert list((tmp_path / "journal").glob("*.owed")) == []
