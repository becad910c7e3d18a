# SPDX-License-Identifier: Apache-2.0
"""What a view says about a job: margin, extent, watts, and what booking does to its rooms."""

import pytest
from builders import HOUR, NOW_S, partition_view, policy, request, room, view

from slurm_green.hook.options import Options
from slurm_green.plan.history import History, RunSample, WaitSample
from slurm_green.plan.power import PowerModel


def waits(*seconds: float, gpus: int = 1, qos: str = "normal") -> tuple[WaitSample, ...]:
    return tuple(WaitSample(partition="gpu", qos=qos, gpus=gpus, wait_s=s) for s in seconds)


def test_the_margin_has_a_floor_follows_waits_and_counts_waking_nodes() -> None:
    site = policy(margin_floor_s=600.0)
    assert partition_view().margin_s(request(), site) == 600.0
    busy = History(waits=waits(*range(0, 10_000, 100)))
    assert partition_view(history=busy).margin_s(request(), site) == 1.5 * 9500
    assert partition_view(resume_s=90.0).margin_s(request(), site) == 690.0


def test_the_chance_of_being_late_is_unknown_with_few_samples() -> None:
    few = partition_view(history=History(waits=waits(0.0, 900.0)))
    assert few.late_chance(request(), 600.0) is None
    many = partition_view(history=History(waits=waits(*([0.0] * 9 + [900.0]))))
    assert many.late_chance(request(), 600.0) == 0.1


def test_how_long_a_job_runs_is_the_users_word_then_learned_then_the_limit() -> None:
    half = RunSample(partition="gpu", user="ada", name="train", fraction=0.5)
    learned = partition_view(history=History(runs=(half,) * 10))
    for partition, words, expected in (
        (partition_view(), Options(), 7200.0),
        (learned, Options(), 3600.0),
        (learned, Options(runtime_s=600.0), 600.0),
        (learned, Options(runtime_s=9e9), 7200.0),
    ):
        extent = partition.extent(request(), words)
        assert (extent.expected_s, extent.run_s) == (expected, 7200.0)


@pytest.mark.parametrize(
    ("own", "default", "most", "expected"),
    [(60.0, 120.0, 180.0, 60.0), (None, 120.0, 180.0, 120.0), (None, None, 180.0, 180.0)],
)
def test_a_jobs_limit_is_its_own_or_the_partitions(
    own: float | None, default: float | None, most: float, expected: float
) -> None:
    partition = partition_view(default_time_s=default, max_time_s=most)
    assert partition.extent(request(time_limit_s=own), Options()).limit_s == expected


def test_a_job_nothing_limits_has_no_extent() -> None:
    assert partition_view().extent(request(time_limit_s=None), Options()) is None


def test_of_a_partition_list_the_first_known_counts() -> None:
    site = view(partition_view("a"), partition_view("b"))
    assert site.partition("x,b,a").name == "b"
    assert site.partition("").name == "a"
    assert site.partition("x") is None


def test_watts_are_those_of_one_wave() -> None:
    site = view(power=PowerModel(gpu_w=300.0, cpu_core_w=5.0, pue=1.5))
    asked = request(tasks=8, max_running_tasks=2)
    extent = partition_view().extent(asked, Options())
    assert site.power_w(asked, extent) == 1.5 * (2 * 300 + 8 * 5)


def test_watts_are_those_of_where_it_runs() -> None:
    power = PowerModel(
        gpu_w=300.0, cpu_core_w=0.0, node_base_w=100.0, gpu_w_by_partition={"b": 700.0}
    )
    site = view(partition_view("a"), partition_view("b"), power=power)
    for partition, watts in (("", 300.0), ("x,b", 700.0), ("x", 300.0)):
        asked = request(partition=partition)
        assert site.power_w(asked, partition_view().extent(asked, Options())) == watts
    nodes = request(gpus=0, nodes=2, tasks=9, max_running_tasks=3)
    assert site.power_w(nodes, partition_view().extent(nodes, Options())) == 3 * 2 * 100


def test_booking_takes_the_room_at_the_latest_and_the_plan_at_the_planned_start() -> None:
    both = frozenset({"gpu", "all"})
    mine = partition_view("gpu", shares_with=both)
    other = partition_view("all", shares_with=both)
    apart = partition_view("cpu")
    site = view(mine, other, apart, watts=room(5000.0))
    extent = mine.extent(request(gpus=3), Options(runtime_s=HOUR))
    site.book(mine, extent, power_w=900.0, start_s=NOW_S + HOUR, latest_s=NOW_S + 6 * HOUR)
    for one in (mine, other):
        assert one.room.free[0].tolist() == [8.0] * 36 + [5.0] * 12 + [8.0] * 240
        assert one.planned.free[0].tolist() == [8.0] * 6 + [5.0] * 6 + [8.0] * 276
        assert (one.queue.free[0] == 8).all()
    assert (apart.room.free[0] == 8).all()
    assert site.watts.free[0].tolist() == [5000.0] * 6 + [4100.0] * 6 + [5000.0] * 276


def test_a_released_job_is_booked_where_the_queue_has_room() -> None:
    mine = partition_view()
    mine.queue.take((8.0, 0.0), NOW_S, NOW_S + HOUR)
    site = view(mine, watts=room(5000.0))
    extent = mine.extent(request(), Options())
    site.queue_up(mine, extent, power_w=400.0)
    assert mine.queue.free[0, 6:18].tolist() == [7.0] * 12
    assert mine.room.free[0, :20].tolist() == [8.0] * 6 + [7.0] * 12 + [8.0] * 2
    assert mine.planned.free[0, 6:18].tolist() == [7.0] * 12
    assert site.watts.free[0, 5:19].tolist() == [5000.0] + [4600.0] * 12 + [5000.0]
