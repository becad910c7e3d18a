# SPDX-License-Identifier: Apache-2.0
"""What is run for a replica, and what is not let through."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from serving.replica.command import (
    Ask,
    Place,
    engine_argv,
    engine_env,
    gpus_per_replica,
    served_name,
)
from serving.replica.script import RUNTIMES, container, sbatch_script
from serving.vllm.settings import Settings
from slurm_green.cli.root import root
from slurm_green.errors import BadInputError

PLACE = Place(host="n1", port=8001, metrics_port=8002, key="secret", gpus=(2, 3))
SLOS = ("--slo-ttft-ms", "500", "--slo-tpot-ms", "30")


def run(*args: str, env: dict[str, str] | None = None) -> Result:
    own = {"SLURM_JOB_ID": None, **(env or {})}
    return CliRunner().invoke(root, ["serve", "org/model", *SLOS, *args], env=own)


def test_options_are_passed_on_and_ours_come_before_them() -> None:
    theirs = ("--max-model-len", "4096", "--shutdown-timeout", "5")
    argv = engine_argv(Ask(model="m", options=theirs, launcher=("nice",)), PLACE)
    assert argv[:4] == ["nice", "vllm", "serve", "m"]
    assert tuple(argv[-4:]) == theirs
    assert argv.index("--scheduler-cls") < len(argv) - 4
    assert "secret" not in argv


def test_who_brings_a_scheduler_keeps_it() -> None:
    argv = engine_argv(Ask(model="m", options=("--scheduler-cls=a.B",)), PLACE)
    assert "serving.vllm.scheduler.GovernedScheduler" not in argv


def test_the_environment_is_what_the_scheduler_reads() -> None:
    ask = Ask(model="m", settings={"profile": "p", "slo_tpot_ms": "30"})
    env = engine_env(ask, PLACE, {"PYTHONPATH": "/x", "HOME": "/h"}, "/ours")
    settings = Settings.of({}, env)
    assert (str(settings.profile), settings.slo_tpot_ms, settings.gpus) == ("p", 30.0, "2,3")
    assert settings.metrics == "127.0.0.1:8002"
    assert env["PYTHONPATH"] == "/ours:/x"
    assert (env["VLLM_API_KEY"], env["CUDA_VISIBLE_DEVICES"], env["HOME"]) == (
        "secret",
        "2,3",
        "/h",
    )
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID", "as NVML counts, by which clocks are set"


@pytest.mark.parametrize("option", ["--host", "--port=3", "--api-key", "--api_key"])
def test_what_is_ours_is_refused(option: str) -> None:
    with pytest.raises(BadInputError, match="sets it itself"):
        Ask(model="m", options=(option, "1"))


def test_names_and_sizes_are_read_in_both_spellings() -> None:
    assert served_name(Ask(model="m", options=("--served-model-name=chat",))) == "chat"
    assert served_name(Ask(model="m", options=("--served-model-name", "a", "b"))) == "a"
    assert served_name(Ask(model="m", options=("--served_model_name", "a_b"))) == "a_b"
    assert gpus_per_replica(("-tp", "2", "--pipeline-parallel-size=3")) == 6
    assert gpus_per_replica(("--tensor_parallel_size=2", "--data_parallel_size", "2")) == 4
    assert gpus_per_replica(()) == 1
    assert gpus_per_replica(("-tp", "2", "--tensor-parallel-size=4")) == 4
    for wrong in ("all", "²"):
        with pytest.raises(BadInputError, match=f"-size {wrong}"):
            gpus_per_replica(("--tensor-parallel-size", wrong))


def test_a_script_is_the_supervisor_itself_and_waits_for_no_clean_power() -> None:
    text = sbatch_script(
        ["sgreen", "serve", "a b"], gpus=2, lead_s=600.0, log="/l/%j", options=["--gres=x"]
    )
    assert text.startswith("#!/bin/sh\n#SBATCH ")
    assert text.endswith("\nexec sgreen serve 'a b'\n")
    for line in ("--signal=B:USR1@600", "--comment=green:off", "--gpus-per-node=2", "--gres=x"):
        assert f"#SBATCH {line}\n" in text


def test_the_log_of_a_script_may_have_a_blank_in_its_name() -> None:
    """sbatch takes a directive apart as a shell does, and refuses the script for a further word."""
    log = "/data/it's my #1 dir/%j.log"
    text = sbatch_script(["sgreen"], gpus=1, lead_s=600.0, log=log)
    (line,) = (one for one in text.splitlines() if "--output" in one)
    assert shlex.split(line)[1:] == [f"--output={log}"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_container_sees_our_code_and_the_socket(runtime: str) -> None:
    launcher, inside = container(runtime, "i.sif", code="/ours", binds=["/run/g"])
    words = " ".join(launcher)
    for package in ("profiling", "serving", "slurm_green"):
        assert f"/ours/{package}:{inside}/{package}" in words
    # A site-packages as a whole would put its libraries before the image's.
    assert "/ours:" not in words
    assert "/run/g:/run/g" in words
    assert "i.sif" in words


def test_dry_run_prints_what_would_run() -> None:
    here = run("--local", "--dry-run", "--json", "--", "--enforce-eager")
    assert here.exit_code == 0, here.output
    assert json.loads(here.stdout)["command"][-1] == "--enforce-eager"
    assert "nothing is governed" in here.stderr


def test_directories_that_cannot_be_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for option in ("--state", "--registrations"):
        own = ("--state", str(tmp_path), option, str(tmp_path / "file" / "x"))
        result = run("--local", "--vllm", "false", *own)
        assert (result.exit_code, option in result.stderr) == (2, True), result.output


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--policy", "turbo"), "no such policy"),
        (("--objective", "speed"), "allowed are"),
        (("--objective", "carbon-constrained"), "go together"),
        (("--gpus", "0,1,2", "--replicas", "4"), "want 4 GPUs"),
        (("--gpus", "first"), "numbers with commas"),
        (("--gpus", "0,0"), "there twice"),
        (("--site", "a b"), "--site 'a b'"),
        (("--site", ""), "--site ''"),
        (("--vllm", ""), "names no command"),
        (("--", "--port", "1"), "sets it itself"),
        (("--slo-tpot-ms", "0"), "--slo-tpot-ms"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(more: tuple[str, ...], why: str) -> None:
    result = run("--local", "--dry-run", *more)
    assert result.exit_code == 2
    assert why in result.stderr
