# SPDX-License-Identifier: Apache-2.0
"""The compiled search of `benchmarks/serve_oracle.py` against the replay."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.governor.engine import EngineModel
from serving.governor.fixed import Fixed
from serving.governor.protocol import Slo
from serving.replay.requests import Request
from serving.replay.run import figures, replay
from tests.serving.made import profile

ROOT = Path(__file__).parents[3]
SLO = Slo(ttft_s=0.3, tpot_s=0.02)
TIGHT = EngineModel(profile(kv_tokens=1600, max_batched_tokens=256, max_num_seqs=6))
HIGH = len(TIGHT.clocks_mhz) - 1

arrivals = st.lists(
    st.tuples(st.floats(0, 0.4), st.integers(1, 600), st.integers(1, 120)),
    min_size=1,
    max_size=14,
)


@pytest.fixture(scope="module")
def bench():
    """The benchmark as a module."""
    sys.path.append(str(ROOT / "benchmarks"))
    try:
        path = ROOT / "benchmarks" / "serve_oracle.py"
        spec = importlib.util.spec_from_file_location("serve_oracle", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["serve_oracle"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def library(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory):
    if shutil.which("cc") is None:
        pytest.skip("the search is compiled, and there is no cc")
    return bench.compiled(tmp_path_factory.mktemp("search"))


def requests_of(drawn: list[tuple[float, int, int]]) -> list[Request]:
    at_s = np.cumsum([gap_s for gap_s, _, _ in drawn]).tolist()
    return [Request(at, prompt, out) for at, (_, prompt, out) in zip(at_s, drawn, strict=True)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=arrivals, clocks=st.lists(st.integers(0, HIGH), min_size=1, max_size=40))
def test_it_simulates_what_the_replay_does(bench, library, drawn, clocks):
    requests = requests_of(drawn)
    searched = bench.Searched(library, TIGHT, SLO, requests)
    schedule = np.resize(np.array(clocks, dtype=np.uint8), searched.cells)
    found = searched.run(schedule)
    policy = bench.Scheduled(TIGHT, requests, schedule)
    run = replay(requests, TIGHT, SLO, lambda: policy)
    told = figures(run, SLO)
    assert found.energy_j == pytest.approx(told.energy_j, rel=1e-9)
    assert found.late == round((1 - told.attainment) * len(requests))
    assert found.changes_per_s * (run.end_s - run.start_s) == pytest.approx(told.clock_changes)


def test_it_saves_energy_and_makes_nobody_late(bench, library):
    requests = [Request(0.5 * k, 100, 60) for k in range(20)]
    searched = bench.Searched(library, TIGHT, SLO, requests)
    most = figures(replay(requests, TIGHT, SLO, lambda: Fixed(HIGH)), SLO)
    found = searched.run(searched.search(1.25e-3 * most.tpot_p50_ms, 6, 1))
    assert found.late <= round((1 - most.attainment) * len(requests))
    assert found.energy_j < 0.95 * most.energy_j
