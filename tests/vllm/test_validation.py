# SPDX-License-Identifier: Apache-2.0
"""The replay's scheduler against the real vLLM's, by `benchmarks/serve_validate.py`.

vLLM's iterations are taken to last what a made-up profile says, so that only scheduling differs.
"""

import json
import os
import subprocess
import sys

import pytest
from served import ROOT


@pytest.fixture(scope="module")
def errors() -> dict[str, dict[str, float]]:
    own = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        # The worker in the engine's process: it need not import vLLM again, for each cache.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    done = subprocess.run(
        [
            sys.executable, str(ROOT / "benchmarks" / "serve_validate.py"),
            "--requests", "200", "--no-real", "--json",
        ],
        env={**os.environ, **own}, cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_with_room_every_iteration_is_the_same(errors: dict[str, dict[str, float]]) -> None:
    found = errors["model, large cache"]
    assert found["requests"] == 200
    assert found["same iterations"] > 0.98
    assert abs(found["TTFT, mean"]) < 0.02
    assert abs(found["decodes of an iteration, mean"]) < 0.02


def test_with_a_cache_too_small_queues_are_alike(errors: dict[str, dict[str, float]]) -> None:
    found = errors["model, small cache"]
    assert found["requests"] == 200
    assert abs(found["iterations"]) < 0.05
    assert abs(found["TTFT, mean"]) < 0.3
    assert abs(found["decodes of an iteration, mean"]) < 0.1
