# SPDX-License-Identifier: Apache-2.0
"""The build: once per change, one clear line without a compiler; clean under the sanitizers."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from profiling.device.emulated import build
from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.build import build_library, find_compiler
from profiling.device.emulated.models import load_model
from profiling.errors import DeviceError

pytestmark = pytest.mark.slow


def test_it_is_built_again_only_on_change_and_opens_its_default_state(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state a"
    built = build_library(tmp_path / "lib", default_state=state)
    calls: list[object] = []
    monkeypatch.setattr(build, "_compile", lambda *arguments: calls.append(arguments))
    assert build_library(tmp_path / "lib", default_state=state) == built
    assert calls == []
    build_library(tmp_path / "lib")
    assert len(calls) == 1
    assert [one.name for one in built.parent.iterdir()] == ["libnvidia-ml.so.1"]
    monkeypatch.delenv(STATE_VARIABLE, raising=False)
    lib = ctypes.CDLL(str(built))
    assert lib.nvmlInit_v2() == 9
    Bench.create(state, [load_model("h200")], library=library).close()
    assert lib.nvmlInit_v2() == 0


def test_without_a_compiler_or_a_place_it_says_what_to_do(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match=r"emulated GPU library .*: Not a directory"):
        build_library(tmp_path / "file" / "dir")
    monkeypatch.setenv("CC", "false")
    with pytest.raises(DeviceError, match=r"^false could not build .*: exit status 1$"):
        build_library(tmp_path)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=r"no C compiler .* apt-get install gcc"):
        build_library(tmp_path)


def test_hostile_calls_are_clean_under_the_sanitizers(library: Path, tmp_path: Path) -> None:
    compiler = find_compiler()
    asked = [*compiler, "-print-file-name=libasan.so"]
    asan = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if not Path(asan).is_absolute():
        pytest.skip(f"{compiler[0]} has no libasan")
    sanitized = build_library(tmp_path, sanitize=True)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hostile_calls.py")), str(sanitized)],
        env={
            **os.environ,
            "LD_PRELOAD": asan,
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
            "PYTHONMALLOC": "malloc",
            STATE_VARIABLE: str(tmp_path / "state"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert (done.stdout.split()[-1:], done.returncode) == (["survived"], 0)
