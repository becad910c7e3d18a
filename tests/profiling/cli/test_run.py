# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile run` as people call it: on emulated GPUs, with kills, signals and refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from profiling.cli.root import command
from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.build import build_library, find_compiler
from profiling.device.emulated.models import load_model
from profiling.errors import DeviceError, ProfileError
from profiling.files import read_profile
from profiling.profile import Provenance

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PROGRAM = "from slurm_green.cli.root import main; main()"
SMALL = ("--window-s", "0.5", "--repeats", "1")


@pytest.fixture(scope="module", autouse=True)
def library():
    try:
        find_compiler()
    except DeviceError as error:
        pytest.skip(str(error))
    return build_library()


def _may_set() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return bool(int(status.split("CapEff:")[1].split()[0], 16) & 1 << 21)


needs_cap = pytest.mark.skipif(not _may_set(), reason="needs root: CAP_SYS_ADMIN")


def started(*args, **environment):
    """The command in a process of its own: nvidia-ml-py keeps one library for a process."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "profile", "run", *map(str, args)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(*args, **environment):
    """Its output, and its one line of complaint where it fails."""
    process = started(*args, **environment)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def emulated(tmp_path, *more):
    return (
        "--emulate", "a100-sxm4-80gb", "--workload", "simulated-inference", "--batches", "8,128",
        "--contexts", "512", "--out", tmp_path / "p", *SMALL, *more,
    )  # fmt: skip


@needs_cap
def test_an_emulated_gpu_gives_a_simulated_profile(tmp_path):
    status, out, err = done(*emulated(tmp_path))
    assert (status, err) == (0, "")
    assert "held back: power cap; clock 12" in out
    assert "prefill, batch 128, context 512, tp 1: needs max_batched_tokens 65536" in out
    assert "best MHz" in out
    found = read_profile(tmp_path / "p")
    assert found.provenance is Provenance.SIMULATED
    assert found.driver == "580.0.emulated"
    assert {one.phase for one in found.inference} == {"prefill", "decode"}
    assert found.gpu.switch_latency_s == pytest.approx(0.15, abs=0.003)
    assert found.gpu.idle_w > found.gpu.parked_w > 50
    assert sorted(one.name for one in tmp_path.iterdir()) == ["p"]
    said = json.loads((tmp_path / "p" / "sweep.json").read_text())
    assert said["bare_w"] < said["preflight_idle_w"]
    windows = (tmp_path / "p" / "windows.jsonl").read_text().splitlines()
    assert sum(1 for one in windows if json.loads(one)["kind"] == "window") == said["windows"]


def test_read_only_sweeps_batches_at_one_clock(tmp_path):
    status, out, err = done(*emulated(tmp_path, "--read-only", "--json"))
    assert (status, err) == (0, "")
    said = json.loads(out)
    assert said["preflight_observes"] == "--read-only"
    found = read_profile(tmp_path / "p")
    assert len({(one.phase, one.batch) for one in found.inference}) == len(found.inference)
    assert "clocks were not set (--read-only)" in (found.source or "")


@needs_cap
def test_stopped_and_killed_it_gives_back_and_goes_on(tmp_path, library):
    owed, journal = tmp_path / "owed", tmp_path / "p.sweep.jsonl"
    args = (
        "--nvml", library, "--owed", owed, "--workload", "simulated-training", "--workers", "1",
        "--clocks", "1005,1500,1980", "--out", tmp_path / "p", "--window-s", "0.4", "--resume",
    )  # fmt: skip
    environment = {STATE_VARIABLE: str(tmp_path / "gpus")}
    with Bench.create(tmp_path / "gpus", [load_model("h100-sxm")]) as bench:

        def windows():
            return journal.read_text().count('"kind": "window"') if journal.exists() else 0

        def locked():
            return bench.read(0).lock_high_mhz < 1e6

        def cut_off(number, after):
            process = started(*args, **environment)
            while process.poll() is None and windows() < after:
                time.sleep(0.05)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
            return process.returncode, err

        assert cut_off(signal.SIGTERM, after=1) == (
            143,
            "sgreen: stopped by SIGTERM; clocks are put back, and --resume goes on\n",
        )
        assert not locked()
        assert list(owed.iterdir()) == []
        assert cut_off(signal.SIGKILL, after=windows() + 1)[0] == -signal.SIGKILL
        assert locked()
        assert len(list(owed.iterdir())) == 1
        before = windows()
        status, _, err = done(*args, "--seed", "1", **environment)
        assert (status, locked()) == (2, True)
        assert "begun with seed 0, now it is 1" in err
        status, _, err = done(*args, **environment)
        assert (status, err) == (0, "")
        assert not locked()
        assert list(owed.iterdir()) == []
    kept = (tmp_path / "p" / "windows.jsonl").read_text()
    assert kept.count('"kind": "window"') > before
    found = read_profile(tmp_path / "p")
    assert [one.clock_mhz for one in found.training] == [1005, 1500, 1980]
    assert found.provenance is Provenance.SIMULATED


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--gpu", "x"), "--gpu 'x': wanted numbers such as 0 or 0,1, or amd:0"),
        (("--gpu", "0,0"), "wanted numbers"),
        (("--gpu", "amd:0"), "amdsmi does not start"),
        (("--emulate", "h1000"), "GPU model 'h1000': known are"),
        (("--emulate", "h100-sxm", "--model", "gpt-5"), "there are llama-3.1-8b"),
        (("--emulate", "h100-sxm", "--clocks", "1", "--full-grid"), "give one"),
        (("--emulate", "h100-sxm", "--batches", "0"), "wanted whole numbers from 1"),
        (("--emulate", "h100-sxm", "--batches", "1,1_0"), "wanted whole numbers from 1"),
        (("--nvml", "/nowhere.so"), "nvml.library /nowhere.so: cannot be loaded"),
        (("--emulate", "h100-sxm", "--workload", "inference", "--model", "no"), "--model 'no'"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, args, said):
    status, out, err = done("--workload", "simulated-inference", "--out", tmp_path / "p", *args)
    assert status in (1, 2)
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_a_taken_place_is_refused_before_anything_is_done(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "file").touch()
    with pytest.raises(ProfileError, match="is there already"):
        CliRunner().invoke(
            command,
            ["run", "--workload", "training", "--out", str(tmp_path / "p")],
            catch_exceptions=False,
        )
