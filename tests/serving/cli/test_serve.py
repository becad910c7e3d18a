# SPDX-License-Identifier: Apache-2.0
"""`sgreen serve` as a person calls it, before a job is submitted."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from profiling.device.nvml import Nvml
from serving.replica.local import Local
from serving.vllm.settings import PREFIX
from slurm_green.cli.root import root


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm that takes every job, and the file that says that it did."""
    taken = tmp_path / "taken"
    command = tmp_path / "bin" / "sbatch"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\necho 7\ntouch '{taken}'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return taken


def submitted(tmp_path: Path, *args: str, model: str = "org/model") -> Result:
    own = ("--slo-ttft-ms", "500", "--slo-tpot-ms", "30", "--state", str(tmp_path), "--no-wait")
    return CliRunner().invoke(root, ["serve", model, *own, *args])


def test_a_profile_that_is_nowhere_is_told_at_submission(sbatch: Path, tmp_path: Path) -> None:
    result = submitted(tmp_path, "--profile", "h100-sxm-8")
    assert result.exit_code == 0, result.output
    assert sbatch.exists()
    assert "sgreen: --profile h100-sxm-8: no such directory here" in result.stderr
    assert "h100-sxm-8b" in result.stderr


@pytest.mark.parametrize("profile", ["h100-sxm-8b", ".", None])
def test_a_profile_that_is_there_is_not(sbatch: Path, tmp_path: Path, profile: str | None) -> None:
    result = submitted(tmp_path, *(() if profile is None else ("--profile", profile)))
    assert result.exit_code == 0, result.output
    assert sbatch.exists()
    assert "no such directory" not in result.stderr


def test_a_name_that_routers_cannot_use_is_refused_before_a_job_waits_for_it(
    sbatch: Path, tmp_path: Path
) -> None:
    result = submitted(tmp_path, model="/data/my models/m")
    assert result.exit_code == 2
    assert "--served-model-name" in result.stderr
    assert not sbatch.exists()
    for name, more in (("/data/models/m", ()), ("/my models/m", ("--served_model_name=m",))):
        result = submitted(tmp_path, "--", *more, model=name)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("vllm", "said"),
    [("", "names no command"), ("sh -c 'vllm serve", "sh -c 'vllm serve: No closing quotation")],
)
def test_what_is_no_command_is_refused(sbatch: Path, tmp_path: Path, vllm: str, said: str) -> None:
    result = submitted(tmp_path, "--vllm", vllm)
    assert result.exit_code == 2
    assert f"--vllm{' ' if vllm else ': '}{said}" in result.stderr
    assert not sbatch.exists()


def test_a_directory_of_logs_is_no_pattern_of_sbatch(sbatch: Path, tmp_path: Path) -> None:
    """Its % would be the user, say, and with a backslash %j would be no number."""
    result = submitted(tmp_path / "50%jobs", "--dry-run")
    assert f"--output={tmp_path}/50%%jobs/logs/" in result.stdout
    assert "-job%j.log\n" in result.stdout
    result = submitted(tmp_path / "a\\b")
    assert result.exit_code == 2
    assert "sbatch cannot name logs" in result.stderr
    assert not sbatch.exists()


@pytest.mark.parametrize(("minutes", "lead_s"), [("10", 300), ("600", 1800)])
def test_a_replacement_is_asked_for_within_the_second_half_of_a_short_job(
    sbatch: Path, tmp_path: Path, minutes: str, lead_s: int
) -> None:
    result = submitted(tmp_path, "--minutes", minutes, "--dry-run")
    assert f"#SBATCH --signal=B:USR1@{lead_s}\n" in result.stdout
    assert f" --lead-s {lead_s}.0 " in result.stdout
    assert not sbatch.exists()


def test_replicas_of_one_kind_share_what_they_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Local] = []
    monkeypatch.setattr("serving.replica.local.run_local", lambda one: told.append(one) or 0)

    def learned(*args: str) -> Path:
        own = ("--local", "--gpus", "0", "--profile", "h100-sxm-8b")
        result = submitted(tmp_path, *own, *args)
        assert result.exit_code == 0, result.output
        return Path(told[-1].ask.settings["learned"])

    first = learned()
    assert learned() == first
    assert first.parent == tmp_path / "learned"
    assert first.parent.is_dir()
    others = [learned("--site", "north"), learned("--", "--max-model-len", "4096")]
    assert len({first, *others}) == 3
    monkeypatch.setenv(f"{PREFIX}LEARNED", str(tmp_path / "mine"))
    submitted(tmp_path, "--local", "--gpus", "0", "--profile", "h100-sxm-8b")
    assert "learned" not in told[-1].ask.settings
    assert told[-1].settings.learned == tmp_path / "mine"


@pytest.mark.parametrize("options", [(), ("--profile", "h100-sxm-8b", "--policy", "max")])
def test_nothing_is_kept_where_nothing_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    told: list[Local] = []
    monkeypatch.setattr("serving.replica.local.run_local", lambda one: told.append(one) or 0)
    result = submitted(tmp_path, "--local", "--gpus", "0", *options)
    assert result.exit_code == 0, result.output
    assert "learned" not in told[-1].ask.settings
    assert not (tmp_path / "learned").exists()


def test_a_replica_starts_where_nothing_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Local] = []
    monkeypatch.setattr("serving.replica.local.run_local", lambda one: told.append(one) or 0)
    (tmp_path / "learned").touch()  # as a full disk: no directory can be made
    result = submitted(tmp_path, "--local", "--gpus", "0", "--profile", "h100-sxm-8b")
    assert result.exit_code == 0, result.output
    assert "learned" not in told[-1].ask.settings
    assert told[-1].settings.learned is None


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("UUID", "2 replicas want 2 GPUs, here are 1"),
        ("GPU-x", "CUDA_VISIBLE_DEVICES GPU-x: no further GPUs here have a UUID GPU-x; wanted num"),
        ("MIG-x", "CUDA_VISIBLE_DEVICES MIG-x: wanted numbers with commas, as --gpus 0,1"),
        ("0,0", "CUDA_VISIBLE_DEVICES 0,0: one is there twice"),
    ],
)
def test_gpus_that_the_environment_shows_are_those_to_share_out(
    sbatch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str, said: str
) -> None:
    with Bench.create(tmp_path / "gpus", [load_model("a100-sxm4-80gb")] * 2) as bench:
        monkeypatch.setenv(STATE_VARIABLE, str(bench.path))
        monkeypatch.setenv("SLURM_GREEN_SERVE_NVML_LIBRARY", str(bench.library))
        with Nvml(bench.library) as nvml:
            shown = shown.replace("UUID", nvml.gpus()[1].identity.uuid)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        result = submitted(tmp_path, "--local", "--dry-run", "--replicas", "2")
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(("shown", "gpus"), [("", ()), (None, (0, 1)), ("1, 0", (1, 0))])
def test_gpus_that_the_environment_hides_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str | None, gpus: tuple[int, ...]
) -> None:
    told: list[Local] = []
    monkeypatch.setattr("serving.replica.local.run_local", lambda one: told.append(one) or 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    with Bench.create(tmp_path / "gpus", [load_model("a100-sxm4-80gb")] * 2) as bench:
        monkeypatch.setenv(STATE_VARIABLE, str(bench.path))
        monkeypatch.setenv("SLURM_GREEN_SERVE_NVML_LIBRARY", str(bench.library))
        result = submitted(tmp_path, "--local", "--replicas", "2")
    assert result.exit_code == 0, result.output
    assert told[0].gpus == gpus
