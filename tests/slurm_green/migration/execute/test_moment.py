# SPDX-License-Identifier: Apache-2.0
"""The moment by signals as they are when it is asked, and whether a window is still open."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from slurm_green.errors import BadInputError
from slurm_green.migration.execute.commands import CommandAccess
from slurm_green.migration.execute.moment import Scene, scene_now, window_closed
from slurm_green.migration.execute.sites_file import SitesFile, read_sites
from tests.slurm_green.migration.execute.test_words import SITES
from tests.slurm_green.migration.execute.world import World

HEAD = "start_s,carbon_g_per_kwh,renewable_w,base_power_w\n"
NOW_S = 1.8e9


@pytest.fixture
def file(tmp_path: Path) -> SitesFile:
    path = tmp_path / "sites.toml"
    path.write_text(
        SITES.replace("/a.conf", '/a.conf"\nsignal = "a.csv').replace(
            "/b.conf", '/b.conf"\nsignal = "b.csv'
        )
    )
    (tmp_path / "a.csv").write_text(f"{HEAD}{NOW_S},300,0,10\n{NOW_S + 3600},300,0,10\n")
    (tmp_path / "b.csv").write_text(f"{HEAD}{NOW_S},400,20,10\n{NOW_S + 3600},400,5,10\n")
    return read_sites(path)


def test_a_window_closes_when_the_signal_says_so(file: SitesFile) -> None:
    move = replace(World().journal.records["m1-abc"], window_end_s=NOW_S + 7200)
    assert window_closed(file, move, NOW_S + 10) == ""
    assert "400 g/kWh there, 300 here" in window_closed(file, move, NOW_S + 3700)
    # Nobody moved it for a window; nobody knows.
    assert window_closed(file, replace(move, window_end_s=None), NOW_S + 3700) == ""
    assert window_closed(file, move, NOW_S + 9e6) == ""


def empty(file: SitesFile, now_s: float) -> Scene:
    """Sites without a job."""
    site = SimpleNamespace(whoami=lambda: "me", jobs=list, client=SimpleNamespace(nodes=list))
    return scene_now(file, dict.fromkeys("ab", cast("CommandAccess", site)), (), now_s)


def test_signals_may_end_at_different_times_and_not_be_of_different_slots(
    file: SitesFile, tmp_path: Path
) -> None:
    rows = "".join(f"{NOW_S + 3600 * at},300,0,10\n" for at in range(5))
    (tmp_path / "a.csv").write_text(HEAD + rows)
    moment = empty(file, NOW_S + 10).moment
    assert [len(site.outlook) for site in moment.sites] == [2, 2]
    (tmp_path / "a.csv").write_text(f"{HEAD}{NOW_S},300,0,10\n{NOW_S + 900},300,0,10\n")
    with pytest.raises(BadInputError, match="900 s at a, 3600 s at b"):
        empty(file, NOW_S + 10)


def test_a_signal_of_another_time_says_of_which(file: SitesFile) -> None:
    with pytest.raises(BadInputError, match=r"nothing of now, 1800099999: .* 1800000000 to"):
        empty(file, NOW_S + 99_999)
