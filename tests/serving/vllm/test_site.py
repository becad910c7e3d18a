# SPDX-License-Identifier: Apache-2.0
"""What a replica believes of prices and ceilings, also when their files are old or broken."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from serving.governor.engine import EngineModel
from serving.vllm.site import SiteWord
from slurm_green.plan.outcome import Objective, Prices
from slurm_green.plan.price_file import PriceFile, write_prices
from tests.serving.made import CLOCKS, profile

ENGINE = EngineModel(profile())
TOP = len(CLOCKS) - 1
NOW_S = 1_800_000_000.0


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.s = NOW_S

    def __call__(self) -> float:
        return self.s


def prices(path: Path, made_s: float = NOW_S) -> Path:
    mu = np.array([0.0, 300.0, 600.0])
    file = PriceFile(
        start_s=NOW_S, step_s=600.0, gpus=1, objective=Objective.PPC,
        prices=Prices(mu=mu, lam=np.zeros(3), nu=np.array([0.0, 50.0, 0.0])),
        made_utc=datetime.fromtimestamp(made_s, UTC),
    )  # fmt: skip
    write_prices(path, file)
    return path


def word(clock: Clock, *, at: Path | None = None, ceiling: Path | None = None) -> SiteWord:
    return SiteWord(
        ENGINE, prices=at, ceiling=ceiling, max_age_s=1000.0, span_s=1200.0, now_s=clock
    )


def test_the_price_of_now_is_taken_and_that_of_a_cap_with_it(tmp_path: Path) -> None:
    clock = Clock()
    site = word(clock, at=prices(tmp_path / "p"))
    assert (site.mu(), site.mean_mu) == (0.0, 175.0)
    clock.s += 700.0
    site.refresh()
    assert (site.mu(), site.mean_mu) == (350.0, 475.0)


@pytest.mark.parametrize("passed_s", [1001.0, 1800.0, -1000.0])
def test_an_old_file_and_one_that_says_nothing_of_now_are_none(
    tmp_path: Path, passed_s: float
) -> None:
    clock = Clock()
    site = word(clock, at=prices(tmp_path / "p"))
    clock.s += passed_s
    site.refresh()
    assert site.mu() is None
    clock.s = NOW_S
    site.refresh()
    assert site.mu() == 0.0


def test_a_broken_or_missing_price_file_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "p"
    with caplog.at_level(logging.WARNING, "slurm_green.serving"):
        site = word(Clock(), at=path)
        site.refresh()
        assert site.mu() is None
        path.write_text("{")
        site.refresh()
        site.refresh()
    assert len([one for one in caplog.records if str(path) in one.getMessage()]) == 1
    prices(path)
    site.refresh()
    assert site.mu() == 0.0


def test_a_file_that_could_not_be_read_is_read_again_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    ceiling, at = tmp_path / "c", prices(tmp_path / "p")
    ceiling.write_text('{"clock_mhz": 1250}')
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        site = word(Clock(), at=at, ceiling=ceiling)
        assert (site.most(), site.mu()) == (TOP, None)
    site.refresh()
    assert (CLOCKS[site.most()], site.mu()) == (1200.0, 0.0)


def test_a_ceiling_holds_until_it_ends_or_goes_and_while_it_cannot_be_read(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "c"
    site = word(clock, ceiling=path)
    assert site.most() == TOP
    ends = datetime.fromtimestamp(NOW_S + 60, UTC).isoformat()
    path.write_text(json.dumps({"clock_mhz": 1250, "until_utc": ends}))
    site.refresh()
    assert CLOCKS[site.most()] == 1200.0
    path.write_text('{"clock_mhz": "fast"}')
    site.refresh()
    assert CLOCKS[site.most()] == 1200.0
    clock.s += 61
    site.refresh()
    assert site.most() == TOP
    path.write_text('{"power_w": 1}')
    site.refresh()
    assert site.most() == 0
    path.unlink()
    site.refresh()
    assert site.most() == TOP
