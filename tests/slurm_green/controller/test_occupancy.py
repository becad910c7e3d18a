# SPDX-License-Identifier: Apache-2.0
"""Rooms from what runs, queues and is reserved."""

from dataclasses import replace

import pytest
from builders import DAY, HOUR, NOW, NOW_S, at, job, nodes, observed

from slurm_green.controller.occupancy import Occupancy, occupancy
from slurm_green.slurm.records import Job, Node, Partition, Reservation

HORIZON_S = 2 * DAY


def gpu(*jobs: Job, **fields: object) -> Occupancy:
    return occupancy(observed(*jobs, **fields), horizon_s=HORIZON_S)["gpu"]


def free(one: Occupancy, hours: float, *, resource: int = 0) -> float:
    """Free GPUs (or CPUs) so many hours from NOW."""
    index = int((hours * HOUR + NOW_S - one.queue.start_s) // one.queue.step_s)
    return float(one.queue.free[resource, index])


def running(job_id: int, hours: float | None, **fields: object) -> Job:
    end = None if hours is None else at(hours)
    return job(job_id, state="RUNNING", start_utc=at(-1), end_utc=end, **fields)


def test_an_empty_partition_is_all_free() -> None:
    one = gpu()
    assert (one.gpus, one.cpus) == (8, 64)
    assert (one.queue.free[0] == 8).all()
    assert (one.queue.free[1] == 64).all()


def test_a_running_job_holds_its_nodes_until_its_limit() -> None:
    one = gpu(running(1, 3, gpus=2, node_names=("n0",)))
    assert [free(one, h) for h in (0, 2.9, 3.1)] == [6, 6, 8]
    assert free(one, 0, resource=1) == 60


@pytest.mark.parametrize(("hours", "then"), [(None, 7.0), (-5, 8.0)])
def test_without_an_end_it_runs_on_and_past_it_it_ends_any_moment(
    hours: float | None, then: float
) -> None:
    one = gpu(running(1, hours))
    assert [free(one, h) for h in (0, 1, 40)] == [7, then, then]


@pytest.mark.parametrize("hours", [None, -1, 9])
def test_one_that_is_completing_ends_any_moment(hours: float | None) -> None:
    """Of one that a requeue ends Slurm shows when its next run would end."""
    one = gpu(replace(running(1, hours), state="COMPLETING"))
    assert [free(one, h) for h in (0, 1, 40)] == [7, 8, 8]


def test_queued_jobs_are_packed_by_priority_with_backfill() -> None:
    one = gpu(
        running(1, 2, gpus=4, node_names=("n0", "n1")),
        job(2, gpus=8, priority=9, time_limit_s=3600),
        job(3, gpus=4, priority=1, time_limit_s=7200),
        job(4, gpus=4, priority=2, time_limit_s=10800),
    )
    begins = {i: (placed.begin_s - NOW_S) / HOUR for i, placed in one.placed.items()}
    assert begins == {1: 0, 2: 2, 4: 3, 3: 0}


@pytest.mark.parametrize(
    "fields",
    [
        {"held": True},
        {"dependency": "afterok:9"},
        {"eligible_utc": at(1)},
        {"state": "COMPLETED"},
        {"partition": "other"},
    ],
)
def test_what_does_not_queue_here_takes_nothing(fields: dict) -> None:
    assert (gpu(job(1, **fields)).queue.free[0] == 8).all()


def test_an_array_takes_its_waves() -> None:
    one = gpu(job(1, tasks=9, max_running_tasks=3, time_limit_s=3600))
    assert [free(one, h) for h in (0, 2.9, 3.2)] == [5, 5, 8]


def test_reservations_take_their_nodes() -> None:
    maintenance = Reservation(
        name="m", start_utc=at(5), end_utc=at(9), node_names=("n0", "n1", "gone"), maintenance=True
    )
    one = gpu(reservations=(maintenance,))
    assert [free(one, h) for h in (4.9, 5, 8.9, 9.1)] == [8, 4, 4, 8]


def test_what_runs_in_a_reservation_is_not_taken_twice() -> None:
    """The reservation has the nodes already; a job that outlasts it has them from then on."""
    course = Reservation(name="c", start_utc=at(-2), end_utc=at(9), node_names=("n0", "n1"))
    short = running(1, 3, gpus=4, node_names=("n0", "n1"), reservation="c")
    long = running(2, 12, gpus=4, node_names=("n1", "n2"), reservation="c,d")
    assert [free(gpu(short, reservations=(course,)), h) for h in (0, 8.9, 9.1)] == [4, 4, 8]
    assert [free(gpu(long, reservations=(course,)), h) for h in (0, 9.1, 12.1)] == [2, 4, 8]
    assert free(gpu(short), 0) == 4


def test_who_outlasts_a_reservation_that_is_repeated_has_its_place() -> None:
    """Its times are tomorrow's by then."""
    daily = Reservation(name="c", start_utc=at(5), end_utc=at(9), node_names=("n0", "n1"))
    short = running(1, 3, gpus=4, node_names=("n0", "n1"), reservation="c")
    long = running(1, 12, gpus=4, node_names=("n1", "n2"), reservation="c")
    assert [free(gpu(short, reservations=(daily,)), h) for h in (0, 3.1, 5.1, 9.1)] == [4, 8, 4, 8]
    found = [free(gpu(long, reservations=(daily,)), h) for h in (0, 4.9, 5.1, 9.1, 12.1)]
    assert found == [4, 4, 2, 4, 8]


def test_what_waits_for_a_reservation_takes_nothing_beside_it() -> None:
    course = Reservation(name="c", start_utc=at(5), end_utc=at(9), node_names=("n0", "n1"))
    waits = job(1, gpus=4, reservation="c")
    assert [free(gpu(waits, reservations=(course,)), h) for h in (0, 5, 9.1)] == [8, 4, 8]
    # One whose nodes nobody knows, as of licences alone.
    assert free(gpu(waits, reservations=(replace(course, node_names=()),)), 0) == 4


def test_jobs_of_a_flexible_reservation_start_before_it_and_beside_it() -> None:
    course = Reservation(
        name="c", start_utc=at(5), end_utc=at(9), node_names=("n0", "n1"), flex=True
    )
    runs = running(1, 3, gpus=4, node_names=("n0", "n1"), reservation="c")
    assert [free(gpu(runs, reservations=(course,)), h) for h in (0, 3.1, 5)] == [4, 8, 4]
    assert free(gpu(job(1, gpus=4, reservation="c"), reservations=(course,)), 0) == 4


def test_nodes_that_are_down_do_not_count_nor_do_jobs_on_them() -> None:
    some = (replace(nodes(1)[0], available=False), *nodes(4)[1:])
    one = gpu(running(1, 3, gpus=2, node_names=("n0",)), nodes=some)
    assert one.gpus == 6
    assert (one.queue.free[0] == 6).all()


def test_a_partition_that_is_down_has_no_room() -> None:
    down = Partition(name="gpu", node_names=("n0",), up=False)
    assert occupancy(observed(partitions=(down,)), horizon_s=HORIZON_S) == {}


def test_partitions_that_share_nodes_share_their_jobs() -> None:
    parts = (
        Partition(name="gpu", node_names=("n0", "n1")),
        Partition(name="all", node_names=("n0", "n1", "n2", "n3")),
        Partition(name="apart", node_names=("c0",)),
    )
    machines = (*nodes(), Node(name="c0", cpus=8))
    seen = observed(
        running(1, 3, gpus=2, partition="all", node_names=("n1", "n2")),
        job(2, partition="gpu", gpus=1, time_limit_s=3600),
        nodes=machines,
        partitions=parts,
    )
    found = occupancy(seen, horizon_s=HORIZON_S)
    assert found["gpu"].shares_with == {"gpu", "all"}
    assert found["apart"].shares_with == {"apart"}
    assert [free(found[name], 0) for name in ("gpu", "all", "apart")] == [2, 5, 0]
    assert free(found["apart"], 0, resource=1) == 8


def test_a_job_may_name_several_partitions() -> None:
    parts = (
        Partition(name="gpu", node_names=("n0", "n1")),
        Partition(name="b", node_names=("n2", "n3")),
    )
    seen = observed(job(1, partition="b,gpu"), partitions=parts)
    found = occupancy(seen, horizon_s=HORIZON_S)
    assert [free(found[name], 0) for name in ("gpu", "b")] == [3, 3]


def test_edges_do_not_slide_from_cycle_to_cycle() -> None:
    first = gpu().queue
    later = gpu(now=at(0.013)).queue
    assert (later.start_s - first.start_s) % first.step_s == 0
    assert later.start_s <= at(0.013).timestamp() < later.start_s + later.step_s


def test_a_demo_of_minutes_has_a_finer_grid() -> None:
    found = occupancy(observed(now=NOW), horizon_s=240.0)["gpu"]
    assert found.queue.step_s == 0.5
