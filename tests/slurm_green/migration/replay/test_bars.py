# SPDX-License-Identifier: Apache-2.0
"""On real wind and carbon intensity, `prices` keeps what docs/migration-replay.md says of it."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from slurm_green.migration.replay.run import replay

ROOT = Path(__file__).parents[4]
DATA = Path(os.environ.get("SLURM_GREEN_DATA") or ROOT.parent / "shared" / "data")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "pgscen_ercot").is_dir(),
        reason=f"the published traces are not in {DATA}; set SLURM_GREEN_DATA",
    ),
]


@pytest.fixture(scope="module")
def bench():
    """The benchmark as a module."""
    sys.path.append(str(ROOT / "benchmarks"))
    try:
        path = ROOT / "benchmarks" / "migrate_replay.py"
        spec = importlib.util.spec_from_file_location("migrate_replay", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["migrate_replay"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


# The week of day 260 is one in which a clean grid and the wind are far apart.
@pytest.mark.parametrize(
    ("gbps", "first_day", "seed"), [("1", 60, 0), ("10", 60, 0), ("1", 260, 32)]
)
def test_prices_beat_what_came_before(bench, gbps, first_day, seed):
    names = ["energy-only", "feasibility", "prices", "oracle"]
    given = bench.inputs_of(bench.Case(gbps=gbps, weeks=1, first_day=first_day, seed=seed))
    found = replay(given, names).json()["policies"]
    energy_only, feasibility, prices, oracle = (found[name] for name in names)
    assert prices["mean_completion_s"] < energy_only["mean_completion_s"]
    assert prices["nonrenewable_j"] < energy_only["nonrenewable_j"]
    assert prices["carbon_g"] < 0.8 * feasibility["carbon_g"]
    assert prices["p95_completion_s"] <= feasibility["p95_completion_s"]
    assert prices["carbon_g"] < 1.05 * oracle["carbon_g"]
    assert prices["late_jobs"] == 0
