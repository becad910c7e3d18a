# SPDX-License-Identifier: Apache-2.0
"""The torch example moved there and back: it ends with the very weights of one that stayed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.migration.execute.record import Step
from tests.slurm.move_sites import IGNORE, TwoSites

MakeCluster = Callable[..., Cluster]

pytestmark = pytest.mark.campaign

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_checkpoint.py"
PYTHON = "SLURM_GREEN_TORCH_PYTHON"
STEPS = 150


def python_with_torch() -> str | None:
    """$SLURM_GREEN_TORCH_PYTHON, ours, or that of `make test-vllm`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slurm-green"
    given = os.environ.get(PYTHON)
    found = [given] if given else [sys.executable, *map(str, cache.glob("vllm-*/bin/python"))]
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    for one in found:
        if Path(one).exists() and not subprocess.run([one, "-c", code], check=False).returncode:
            return one
    return None


def test_the_weights_are_those_of_a_training_that_stayed(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    """Bit for bit; what is lost is at most what was computed since the signal."""
    python = python_with_torch()
    if python is None:
        pytest.skip(f"no torch: `make test-vllm` installs one, or {PYTHON} names a Python with it")
    shape = {"nodes": 1, "gpus": 2}
    sites = TwoSites(
        make_cluster(stem="miga", **shape), make_cluster(stem="migb", **shape), tmp_path / "journal"
    )
    command = f"{IGNORE}exec {python} {EXAMPLE} --checkpoint run --steps {STEPS}"
    sites.submit("a", command)
    stayed = sites.await_said("weights", timeout_s=90)

    job = sites.submit("a", f"{command} --pause-s 0.1")
    sites.await_said("begins_at", timeout_s=60)
    there = sites.move(job, "a", "b", other_s=60)
    assert there.step is Step.DONE
    assert there.new_job is not None
    sites.await_said("begins_at", 2, timeout_s=60)
    assert sites.move(there.new_job, "b", "a", other_s=60).step is Step.DONE
    assert sites.await_said("weights", timeout_s=90) == stayed

    begun = sorted(line["begins_at"] for line in sites.said() if "begins_at" in line)
    saved = sorted(line["saved_at"] for line in sites.said() if "saved_at" in line)
    assert len(begun) == 3
    assert all(0 < at < STEPS and at in saved for at in begun[1:])


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """The one before it is taken, and the end is the same."""
    python = python_with_torch()
    if python is None:
        pytest.skip(f"no torch: `make test-vllm` installs one, or {PYTHON} names a Python with it")

    def train(directory: str, steps: int) -> list[str]:
        argv = [python, EXAMPLE, "--checkpoint", tmp_path / directory, "--every", "10"]
        done = subprocess.run(
            [*argv, "--steps", str(steps)], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    whole = train("whole", 40)
    train("hurt", 30)
    newest = max((tmp_path / "hurt").glob("step-*.pt"))
    os.truncate(newest, newest.stat().st_size // 2)
    hurt = train("hurt", 40)
    assert '{"damaged": "step-000000030.pt"}' in hurt
    assert '"begins_at": 20' in hurt[1]
    assert hurt[-1] == whole[-1]
