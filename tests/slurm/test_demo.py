# SPDX-License-Identifier: Apache-2.0
"""`make demo` as a person runs it: the story happens, and nothing of it is left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from slurm_green.cluster import processes
from slurm_green.cluster.layout import clusters_directory

pytestmark = pytest.mark.skipif(
    "SLURM_GREEN_TEST_SLURM_ROOT" in os.environ, reason="the demo shows this machine's own Slurm"
)

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "demo.py"
AT_ONCE_S = 12


def demo(*arguments: str) -> list[str]:
    return [sys.executable, str(DEMO), *arguments]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def demos_left() -> list[str]:
    """Directories of demo clusters, and every process that works for one."""
    base = clusters_directory()
    left = [str(path) for path in base.glob("demo-*")]
    # A daemon names its configuration, which lies below the cluster's directory.
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if f"{base}/demo-".encode() in words:
            left.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return left


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    output = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        demo("--json", "--output", str(output)),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return json.loads(done.stdout), output


def jobs(ran: tuple[dict[str, Any], Path], *, waited: bool) -> list[dict[str, Any]]:
    return [job for job in ran[0]["jobs"] if job["meant_to_wait"] is waited]


def test_takes_less_than_three_minutes(ran: tuple[dict[str, Any], Path]) -> None:
    assert ran[0]["wall_s"] < 180


def test_deferred_jobs_ran_in_a_cleaner_hour(ran: tuple[dict[str, Any], Path]) -> None:
    deferred = jobs(ran, waited=True)
    assert {job["name"] for job in deferred} >= {"train-llm", "sweep", "finetune", "embed-corpus"}
    for job in deferred:
        assert job["deferred"], job
        assert job["run_g_per_kwh"] < 0.6 * job["submit_g_per_kwh"], job
        assert job["saved_g"] > 0, job
        assert "becomes eligible by" in job["said"], job


def test_no_job_started_after_its_latest_start(ran: tuple[dict[str, Any], Path]) -> None:
    for job in jobs(ran, waited=True):
        assert moment(job["last_start_utc"]) <= moment(job["latest_utc"]), job


def test_jobs_without_slack_started_at_once(ran: tuple[dict[str, Any], Path]) -> None:
    alone = jobs(ran, waited=False)
    assert {job["name"] for job in alone} >= {"paper-plots", "urgent", "impossible", "jupyter-lab"}
    for job in alone:
        waited_s = (moment(job["start_utc"]) - moment(job["submit_utc"])).total_seconds()
        assert waited_s <= AT_ONCE_S, job
        assert not job["deferred"], job


def test_all_jobs_completed_and_the_array_as_a_whole(ran: tuple[dict[str, Any], Path]) -> None:
    assert {job["state"] for job in ran[0]["jobs"]} == {"done"}
    assert {job["name"]: job["tasks"] for job in ran[0]["jobs"]}["sweep"] == 6


def test_the_site_saved_carbon_and_no_promise_was_broken(
    ran: tuple[dict[str, Any], Path],
) -> None:
    result = ran[0]
    assert result["receipts_saved_g"] > 0
    assert result["site"]["saved_g"] > 0
    assert result["promises"]["made"] > 0
    assert result["promises"]["broken"] == 0
    assert set(result["energy_sources"]) == {"emulated"}
    assert result["problems"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks")
def test_jobs_with_a_profile_had_a_clock_and_took_fewer_joules(
    ran: tuple[dict[str, Any], Path],
) -> None:
    """Per work: they also took longer, which their own joules hide nothing of."""
    clocks = {one["name"]: one for one in ran[0]["clocks"]}
    assert {name for name, one in clocks.items() if one["set_mhz"]} == {
        job["name"] for job in jobs(ran, waited=True)
    }
    assert {one["source"] for one in clocks.values()} == {"emulated"}
    joules = ran[0]["joules_per_gpu_work_s"]
    assert joules["clocked"] < 0.95 * joules["full_clock"]


def test_the_picture_and_the_page_are_whole(ran: tuple[dict[str, Any], Path]) -> None:
    png = (ran[1] / "demo.png").read_bytes()
    assert png.startswith(b"\x89PNG") and png.rstrip(b"\0").endswith(b"IEND\xaeB`\x82")
    page = (ran[1] / "demo.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page and "train-llm" in page
    assert 'src="http' not in page and 'href="http' not in page


def test_nothing_is_left_behind(ran: tuple[dict[str, Any], Path]) -> None:
    name = ran[0]["cluster"]
    assert not [left for left in demos_left() if f"/{name}" in left]
    assert not processes.find(clusters_directory() / name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_takes_everything_down(
    tmp_path: Path, wait_for: Callable[..., None], number: signal.Signals
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            demo("--output", str(tmp_path)),
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        cluster = f"{clusters_directory()}/demo-{running.pid:x}"
        wait_for(
            lambda: b"planned" in log.read_bytes() or running.poll() is not None,
            timeout_s=60,
            what="a deferred job",
        )
        assert running.poll() is None, log.read_text()
        assert any(cluster in left for left in demos_left())
        running.send_signal(number)
        assert running.wait(timeout=60) == 130, log.read_text()
    finally:
        running.kill()
        running.wait()
    assert not [left for left in demos_left() if cluster in left]
