# SPDX-License-Identifier: Apache-2.0
"""Profiles, prices and the cap from files: new ones hold at once, wrong ones change nothing."""

import json
import os
from pathlib import Path

import pytest

from slurm_green.config.node import NodesSection
from slurm_green.controller.nodes.files import NodeFiles, read_cap
from slurm_green.errors import BadInputError

HEAD = 'provenance = "simulated"\n'
ROWS = "workers,gpus_per_worker,clock_mhz,rate,power_w\n1,1,900,0.5,310\n1,1,1980,1,620\n"


def write(place: Path, name: str = "p", rows: str = ROWS) -> Path:
    path = place / name
    path.mkdir(exist_ok=True)
    (path / "profile.toml").write_text(HEAD)
    (path / "training.csv").write_text(rows)
    return path


def files(place: Path, **settings: object) -> NodeFiles:
    given = {"profiles": place, "shipped_profiles": False, **settings}
    return NodeFiles(NodesSection(**given))  # type: ignore[arg-type]


def test_profiles_come_and_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = files(tmp_path)
    assert source.read().profiles == {}
    path = write(tmp_path)
    assert [len(one.training) for one in source.read().profiles.values()] == [2]
    write(tmp_path, rows=ROWS + "1,1,1500,0.9,450\n")
    assert len(source.read().profiles["p"].training) == 3

    write(tmp_path, rows="nonsense\n")
    for _ in range(3):
        assert len(source.read().profiles["p"].training) == 3
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1
    (path / "profile.toml").unlink()
    assert source.read().profiles == {}


def test_the_sites_profile_goes_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    shipped.mkdir()
    own.mkdir()
    monkeypatch.setattr("slurm_green.controller.nodes.files._SHIPPED", shipped)
    write(shipped, "a")
    write(shipped, "b")
    write(own, "a", ROWS + "1,1,1500,0.9,450\n")
    found = files(own, shipped_profiles=True).read().profiles
    assert {name: len(one.training) for name, one in found.items()} == {"a": 3, "b": 2}
    assert set(files(own).read().profiles) == {"a"}


def test_the_lower_cap_holds(tmp_path: Path) -> None:
    cap = tmp_path / "cap.json"
    source = files(tmp_path, cap_file=cap, cap_clock_mhz=1500)
    assert source.read().cap == {"clock_mhz": 1500}
    cap.write_text('{"clock_mhz": 1200, "power_limit_w": 400}')
    assert source.read().cap == {"clock_mhz": 1200, "power_limit_w": 400}
    cap.write_text('{"clock_mhz": 1800}')
    assert source.read().cap == {"clock_mhz": 1500}
    cap.write_text('{"clock_mhz": "1"}')
    assert source.read().cap == {"clock_mhz": 1500}
    cap.unlink()
    assert source.read().cap == {"clock_mhz": 1500}


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"clock": 1}', '{"clock_mhz": 0}', '{"clock_mhz": true}', '{"clock_mhz": 1.5}',
     '{"power_limit_w": NaN}', '{"power_limit_w": 1e9}', "[" * 100_000],
)  # fmt: skip
def test_a_wrong_cap_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cap.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"cap\.json: "):
        read_cap(path)


def test_a_cap_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cap.json"
    path.write_text("{}")
    path.chmod(0o666)
    with pytest.raises(BadInputError, match="chmod o-w"):
        read_cap(path)


def test_a_file_counts_as_soon_as_its_mode_is_right(tmp_path: Path) -> None:
    cap = tmp_path / "cap.json"
    cap.write_text('{"clock_mhz": 1200}')
    cap.chmod(0o666)
    source = files(tmp_path, cap_file=cap)
    assert source.read().cap == {}
    cap.chmod(0o644)
    assert source.read().cap == {"clock_mhz": 1200}


def test_prices(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    source = files(tmp_path, prices=path)
    assert source.read().prices is None
    lists = {key: [1.0] for key in ("mu_g_per_kwh", "lam_g_per_gpu_hour", "nu_g_per_kwh")}
    path.write_text(
        json.dumps(
            {
                "format": "slurm-green prices 1", "start_s": 0, "step_s": 3600, "gpus": 8,
                "objective": "performance-constrained",
                "weights": {"carbon": 1, "performance_g": 0},
                **lists, "made_utc": "2026-11-28T00:00:00Z",
            }
        )
    )  # fmt: skip
    prices = source.read().prices
    assert prices is not None
    path.write_text("{")
    os.utime(path, (1, 1))
    assert source.read().prices is prices
