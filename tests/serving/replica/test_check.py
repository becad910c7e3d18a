# SPDX-License-Identifier: Apache-2.0
"""Profiles against the GPU that is there, and clocks that a killed server left behind."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from profiling.device.journal import Journal
from profiling.device.nvml import Nvml
from serving.replica.check import give_back, gpus_here, gpus_named, profile_here
from serving.vllm.settings import Settings
from slurm_green.errors import BadInputError

# A server that sets clocks itself and is killed at once.
KILLED = """
import os, signal, sys
from pathlib import Path
from profiling.device.nvml import Nvml
from serving.clocks.direct import DirectClocks
with Nvml(Path(sys.argv[1])) as nvml:
    DirectClocks(nvml.gpus(), Path(sys.argv[2])).set(900)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with Bench.create(tmp_path / "gpus", [load_model("a100-sxm4-80gb")] * 2) as one:
        monkeypatch.setenv(STATE_VARIABLE, str(one.path))
        yield one


def settings(bench: Bench | None, **values: object) -> Settings:
    library = Path("/no/such/library.so") if bench is None else bench.library
    return Settings(nvml_library=library, **values)  # type: ignore[arg-type]


def test_its_own_profile_fits_and_another_gpus_is_refused(bench: Bench) -> None:
    assert profile_here(settings(bench, profile=Path("a100-sxm-8b")), (0,)) is None
    with pytest.raises(BadInputError, match=r"is of NVIDIA H100.*nothing was started"):
        profile_here(settings(bench, profile=Path("h100-sxm-8b")), ())


def test_without_a_profile_nothing_is_governed_and_it_says_why(bench: Bench) -> None:
    assert profile_here(settings(bench), ()) == "no --profile"
    assert "no such directory" in str(profile_here(settings(bench, profile=Path("/x")), ()))
    training = settings(bench, profile=Path("a100-sxm-training"))
    assert "no inference.csv" in str(profile_here(training, ()))
    one = settings(bench, profile=Path("a100-sxm-8b"))
    assert "--profile a100-sxm-8b: " in str(profile_here(one, (), tp=3))


def test_a_clock_that_the_profile_has_not_is_refused(bench: Bench) -> None:
    for policy in ("static:99999", "static:"):
        wrong = settings(bench, profile=Path("a100-sxm-8b"), policy=policy)
        with pytest.raises(BadInputError, match=rf"--policy {policy}: .* wanted 510 to 1230 MHz"):
            profile_here(wrong, ())


def test_gpus_are_those_that_nvml_shows(bench: Bench) -> None:
    assert gpus_here(settings(bench)) == (0, 1)
    assert gpus_here(settings(None)) == ()
    assert profile_here(settings(None, profile=Path("h100-sxm-8b")), ()) is None


def test_gpus_are_found_by_their_uuids_or_what_tells_them_apart(bench: Bench) -> None:
    with Nvml(bench.library) as nvml:
        uuids = [one.identity.uuid for one in nvml.gpus()]
    apart = next(n for n in range(99) if len({one[:n] for one in uuids}) == 2)
    assert gpus_named(settings(bench), [uuids[1], uuids[0][:apart]]) == (1, 0)
    for wrong, said in (
        (["GPU-x"], "no further GPUs here have a UUID GPU-x"),
        ([uuids[0][: apart - 1]], "2 further"),
        ([uuids[0]] * 2, "no further"),
    ):
        with pytest.raises(BadInputError, match=said):
            gpus_named(settings(bench), wrong)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks")
def test_clocks_of_a_killed_server_are_given_back(bench: Bench, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    argv = [sys.executable, "-c", KILLED, str(bench.library), str(journal)]
    subprocess.run(argv, check=False, timeout=60)
    for clocks, locked in (("none", 900.0), ("nvml", math.inf)):
        give_back(settings(bench, clocks=clocks, journal=journal))
        assert [bench.read(gpu).lock_high_mhz for gpu in (0, 1)] == [locked, locked]


def test_what_cannot_be_given_back_now_is_left_for_others_and_tried_again(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    (journal / "GPU-gone.owed").touch()
    for times in (1, 2):
        give_back(settings(bench, clocks="nvml", journal=journal))
        assert caplog.text.count("this machine has no such GPU now") == times
    with closing(Journal(journal)) as other:
        assert [one.uuid for one in other.take_over()] == ["GPU-gone"]
