# SPDX-License-Identifier: Apache-2.0
"""The moment by signals as they are when it is asked, and whether a window is still open."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from slurm_green.errors import BadInputError, SlurmError
from slurm_green.migration.execute.commands import CommandAccess
from slurm_green.migration.execute.moment import Scene, scene_now, window_closed
from slurm_green.migration.execute.sites_file import SitesFile, read_sites
from slurm_green.slurm.records import Job
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


def empty(
    file: SitesFile,
    now_s: float,
    there: Sequence[Job] = (),
    finished: Callable[[datetime], list[Job] | None] = lambda since: None,
) -> Scene:
    """Sites without a job of the caller."""
    client = SimpleNamespace(nodes=list, finished=finished)
    site = SimpleNamespace(whoami=lambda: "me", jobs=lambda: there, client=client)
    return scene_now(file, dict.fromkeys("ab", cast("CommandAccess", site)), (), now_s)


def test_how_long_jobs_take_is_told_by_those_of_the_last_week(file: SitesFile) -> None:
    def at(hours: float) -> datetime:
        return datetime.fromtimestamp(NOW_S + 3600 * hours, UTC)

    def away(since: datetime) -> list[Job]:
        raise SlurmError("no database")

    runs = {"state": "RUNNING", "time_limit_s": 7200, "user": "other"}
    there = [
        Job(job_id=1, submit_utc=at(-2), start_utc=at(-1), **runs),
        Job(job_id=2, submit_utc=at(-200), start_utc=at(-1), **runs),
    ]
    ended = [
        Job(job_id=3, submit_utc=at(-9), start_utc=at(-8), end_utc=at(-7), time_limit_s=14_400),
        Job(job_id=5, submit_utc=at(-9), start_utc=at(-8), name="sgreen-migrate"),
        Job(job_id=4, submit_utc=at(-9), end_utc=at(-7), time_limit_s=60),  # it never began
    ]

    def took_h(finished: Callable[[datetime], list[Job] | None]) -> list[float]:
        times_s = empty(file, NOW_S, there, finished).moment.everybody_s
        return sorted(time_s / 3600 for time_s in times_s)

    assert took_h(lambda since: ended) == [3.0, 3.0, 5.0, 5.0]
    # Without accounting, those that are there; a long one is seen 67 times as often.
    assert took_h(lambda since: None) == took_h(away) == [3.0] * 4


@pytest.mark.parametrize(("count", "busy", "looks"), [(2, 1, 2), (6, 6, 2)])
def test_a_job_that_cannot_be_looked_at_keeps_no_other(
    file: SitesFile, count: int, busy: int, looks: int
) -> None:
    """No node is free for the small job that would read its checkpoint; on a full site it never is.

    Each look waits half a minute for one.
    """
    jobs = [
        Job(
            job_id=number, state="RUNNING", user="me", batch=True, requeue=True, time_limit_s=7200,
            start_utc=datetime.fromtimestamp(NOW_S, UTC), comment=f"green:checkpoint=run{number}",
        )
        for number in range(1, 1 + count)
    ]  # fmt: skip
    asked = []

    def shell(script: str, directory: str) -> str:
        asked.append(directory)
        if len(asked) <= busy:
            raise SlurmError("a: srun failed: Requested nodes are busy")
        return "Welcome to this node\n5\n"

    client = SimpleNamespace(nodes=list, finished=lambda since: None)
    there = SimpleNamespace(whoami=lambda: "me", jobs=list, client=client)
    here = SimpleNamespace(
        whoami=lambda: "me", jobs=lambda: jobs, client=client, shell=shell,
        call=lambda *words: f"JobId={words[-1]} JobName=x\n   WorkDir=/home/me\n",
    )  # fmt: skip
    scene = scene_now(
        file, {"a": cast("CommandAccess", here), "b": cast("CommandAccess", there)}, (), NOW_S
    )
    assert len(asked) == looks
    moving = [(job.id, job.checkpoint_bytes) for job in scene.moment.jobs]
    assert moving == ([("a/2", 5.0)] if busy == 1 else [])
    assert [job for job, _ in scene.fixed] == [f"a/{number}" for number in range(1, 1 + busy)]
    why = scene.fixed[0][1]
    assert all("not looked at, since 2" in words for _, words in scene.fixed[2:])
    assert "size of /home/me/run1 cannot be read: a: srun failed: Requested nodes are busy" in why


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
