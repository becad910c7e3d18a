# SPDX-License-Identifier: Apache-2.0
"""From observation to view: signal, rooms, budget, what is kept free."""

from dataclasses import replace

import pytest
from builders import DAY, NOW, at, days, fresh, info, job, nodes, observed, rules

from slurm_green.controller.arrivals import Load
from slurm_green.controller.observed import Observed
from slurm_green.controller.occupancy import occupancy
from slurm_green.controller.rules import Rules
from slurm_green.controller.views import copy_view, keep_free, take_watts, view_of
from slurm_green.hook.view import View
from slurm_green.plan.history import History


def made(seen: Observed, site: Rules | None = None) -> View:
    site = site or rules()
    found = occupancy(seen, horizon_s=site.horizon_s)
    return view_of(seen, found, History(), site)


def test_a_fresh_signal_is_used_and_a_stale_one_is_not() -> None:
    assert made(observed()).signal is not None
    stale = made(observed(now=at(7), signal=fresh(days(), NOW)))
    assert stale.signal is None
    assert "stale" in stale.signal_problem
    lost = made(observed(signal=None, signal_problem="no route"))
    assert (lost.signal, lost.signal_problem) == (None, "no route")


def test_a_share_of_the_gpus_may_be_planned_for() -> None:
    shown = made(observed(), rules(budget_gpus_percent=50.0)).partitions["gpu"]
    assert (shown.planned.free[0] == 4).all()
    assert (shown.room.free[0] == 8).all()
    assert shown.room.free is not shown.queue.free


def test_resume_time_counts_where_a_node_sleeps() -> None:
    slow = info(resume_timeout_s=77)
    assert made(observed(info=slow)).partitions["gpu"].resume_s == 0
    sleepy = nodes(powered_down=True)
    assert made(observed(info=slow, nodes=sleepy)).partitions["gpu"].resume_s == 77


def test_what_usually_arrives_is_kept_free_beside_what_runs() -> None:
    busy = job(1, state="RUNNING", gpus=3, end_utc=at(4), node_names=("n0", "n1"))
    seen = observed(busy)
    shown, found = made(seen), occupancy(seen, horizon_s=2 * DAY)
    load = Load(mean=(1.0, 8.0), variance=(0.25, 4.0))
    keep_free(shown, found, {"gpu": load}, 2.0)
    partition = shown.partitions["gpu"]
    # Three run now; two (one and twice a half) are kept free when they have ended.
    assert partition.room.free[0, 0] == 5
    assert partition.room.free[0, -1] == 6
    assert partition.room.free[1, -1] == 64 - 12
    assert partition.planned.free[0, -1] == 6
    assert partition.queue.free[0, -1] == 8


def test_deferred_starts_that_run_count_in_the_watt_budget() -> None:
    site = rules(budget_w=1000.0)
    mine = job(1, state="RUNNING", end_utc=at(4), node_names=("n0",))
    waiting = job(2)
    seen = observed(mine, waiting)
    shown, found = made(seen, site), occupancy(seen, horizon_s=2 * DAY)
    assert (shown.watts.free == 1000).all()
    take_watts(shown, found, [mine, waiting, job(3)])
    assert shown.watts.free[0, 0] == 1000 - 2 * 420
    assert shown.watts.free[0, -1] == 1000
    take_watts(made(seen), found, [mine])


def test_a_copy_is_booked_alone() -> None:
    shown = made(observed(), rules(budget_w=1000.0))
    copy = copy_view(shown)
    partition = copy.partitions["gpu"]
    partition.room.take((1.0, 1.0), NOW.timestamp(), at(1).timestamp())
    partition.planned.take((1.0, 1.0), NOW.timestamp(), at(1).timestamp())
    copy.watts.take((1.0,), NOW.timestamp(), at(1).timestamp())
    assert (shown.partitions["gpu"].room.free[0] == 8).all()
    assert (shown.partitions["gpu"].planned.free[0] == 8).all()
    assert (shown.watts.free == 1000).all()


@pytest.mark.parametrize("off", [False, True])
def test_the_rest_is_carried_over(off: bool) -> None:
    site = replace(rules(), comment_prefix="eco:", prompt_s=5.0)
    shown = made(observed(off=off), site)
    assert (shown.off, shown.comment_prefix, shown.prompt_s) == (off, "eco:", 5.0)
    assert (shown.taken_utc, shown.default_partition) == (NOW, "gpu")
