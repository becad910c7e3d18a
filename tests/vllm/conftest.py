# SPDX-License-Identifier: Apache-2.0
"""Tests with the real vLLM and torch, on the CPU build that .ci/vllm installs (`make test-vllm`).

One engine after the other: each takes half a minute to come up. GPUs are emulated.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from profiling.device.gpu import Gpu
from profiling.device.nvml import Nvml

_HERE = Path(__file__).parent
if str(_HERE) not in sys.path:
    sys.path.append(str(_HERE))
_MISSING = [name for name in ("torch", "vllm") if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            if _MISSING and os.environ.get("SLURM_GREEN_REQUIRE_VLLM") != "1":
                reason = f"needs {' and '.join(_MISSING)}: make test-vllm"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of half a million parameters."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    subprocess.run([sys.executable, "-m", "profiling.workload.tiny_model", path], check=True)
    return path


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Two emulated A100s, which the environment names."""
    path = tmp_path_factory.mktemp("bench") / "gpus"
    with (
        Bench.create(path, [load_model("a100-sxm4-80gb")] * 2) as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv(STATE_VARIABLE, str(path))
        yield made


@pytest.fixture(scope="session")
def gpus(bench: Bench) -> Iterator[tuple[Gpu, ...]]:
    """The same through NVML."""
    with Nvml(bench.library) as nvml:
        yield nvml.gpus()
