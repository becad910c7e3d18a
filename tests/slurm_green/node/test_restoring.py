# SPDX-License-Identifier: Apache-2.0
"""`sgreen restore` gives back what the dead left, and nothing that somebody alive holds."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import load_model
from slurm_green.cli.root import root
from tests.slurm_green.node.live_node import ROOT, LiveNode

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks")
JOB = 60_000_011  # no job of a real Slurm that runs beside these tests


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LiveNode]:
    """A node that has set GPU 0 for a job."""
    with Bench.create(tmp_path / "gpus", [load_model("h100-sxm")] * 2) as bench:
        bench.load(0, 1.0, 0.5)
        one = LiveNode(tmp_path, bench).start()
        one.order({JOB: {"clock_mhz": 1095}})
        one.hook(one.prolog, JOB, "0")
        assert one.lock_mhz() == 1095
        yield one
        if one.up:
            one.kill()


def sgreen_restore(node: LiveNode, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from slurm_green.cli.root import main; main()"
    command = [sys.executable, "-c", program, "restore", "--config", str(node.config), *arguments]
    return subprocess.run(
        command, env=node.env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90
    )


def answer(node: LiveNode) -> tuple[int, dict[str, Any]]:
    done = sgreen_restore(node, "--json")
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
@needs_root
def test_what_the_dead_left_is_given_back_once(node: LiveNode) -> None:
    uuid = node.bench.uuid(0)
    node.kill()

    done = sgreen_restore(node)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{uuid} restored\n", "")
    assert (node.lock_mhz(), node.owed) == (None, [])
    assert "Nothing to give back" in sgreen_restore(node).stdout
    assert answer(node) == (0, {"restored": [], "held": [], "failed": []})


@pytest.mark.slow
@needs_root
def test_what_a_live_noded_holds_stays_and_is_explained(node: LiveNode) -> None:
    status, said = answer(node)
    (held,) = said["held"]
    assert (status, said["restored"], said["failed"]) == (1, [], [])
    assert (held["uuid"], held["holder"]) == (node.bench.uuid(0), "sgreen-noded")
    assert node.lock_mhz() == 1095

    assert "systemctl stop slurm-green-noded" in sgreen_restore(node).stdout
    node.stop()
    assert answer(node) == (0, {"restored": [], "held": [], "failed": []})
    assert node.lock_mhz() is None


@pytest.mark.slow
@needs_root
def test_a_lost_gpu_stays_owed_until_it_answers(node: LiveNode) -> None:
    node.kill()
    node.bench.lose(0)
    status, said = answer(node)
    (words,) = said["failed"]
    assert status == 1
    assert words.startswith(node.bench.uuid(0))
    assert node.owed == [f"{node.bench.uuid(0)}.owed"]

    node.bench.lose(0, lost=False)
    assert answer(node)[1]["restored"] == [node.bench.uuid(0)]
    assert (node.lock_mhz(), node.owed) == (None, [])


@pytest.mark.slow
@needs_root
def test_without_a_driver_it_says_what_is_owed(node: LiveNode) -> None:
    node.kill()
    text = node.config.read_text().replace(str(node.bench.library), "/nowhere/libnvidia-ml.so.1")
    node.config.write_text(text)

    done = sgreen_restore(node)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{node.bench.uuid(0)}: still to be given back" in done.stderr


def test_others_than_root_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any file is read: theirs would be the wrong one."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(root, ["restore"])

    assert done.exit_code == 2
    assert "sudo sgreen restore" in done.output
