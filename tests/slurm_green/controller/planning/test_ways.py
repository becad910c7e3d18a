# SPDX-License-Identifier: Apache-2.0
"""Widths: what a worker is, who may be given more or fewer, and what Slurm is told then."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import DAY, HOUR, NOW_S, at, job, nodes, partition_view, rules
from clock_points import point, profile
from hypothesis import given
from hypothesis import strategies as st
from simulator import Site, Slurm

from slurm_green.controller.nodes.site import NodeSite
from slurm_green.controller.planning.advice import Advice, Place
from slurm_green.controller.planning.ways import ways_of
from slurm_green.controller.planning.width import width_of
from slurm_green.hook.options import Options
from slurm_green.hook.record import parse
from slurm_green.hook.request import request_of
from slurm_green.hook.view import View
from slurm_green.slurm.gres import gpu_count
from slurm_green.slurm.records import Job, JobChange, NodeSize
from slurm_green.slurm.update import change_arguments

# Two GPUs are 1.8, four 3.0 times as fast as one.
POINTS = (
    point(1980, 1.0, 600), point(1200, 0.9, 350), point(1980, 1.8, 1200, workers=2),
    point(1200, 1.6, 700, workers=2), point(1980, 3.0, 2400, workers=4),
    point(1200, 2.7, 1400, workers=4),
)  # fmt: skip
SITE = NodeSite(profiles={"p": profile(*POINTS)})
WISH = "green:profile=p,runtime=30m,workers=1-4"


def wide(**fields: Any) -> Job:
    """Two GPUs on a node, two hours, half an hour expected."""
    given_: dict[str, Any] = {"gpus": 2, "gres_per_node": "gres:gpu:2", "comment": WISH}
    return job(1, **(given_ | fields))


def site_of_four() -> Site:
    """Two nodes of four GPUs."""
    return Site(slurm=Slurm(nodes=nodes(2, gpus=4)))


def ways(one: Job, site: NodeSite | None = SITE) -> list[tuple[int, int, float]]:
    shown = site_of_four()
    shown.cycle()
    view = shown.view
    assert isinstance(view, View)
    asked = request_of(one, begin_set=False)
    assert asked is not None
    extent = view.partitions["gpu"].extent(asked, Options(runtime_s=1800.0))
    assert extent is not None
    found = ways_of(one, extent, 820.0, 0, site, view, rules())
    return [(way.workers, way.clock_mhz, way.speed) for way in found]


def test_all_widths_and_clocks_that_fit_the_limit() -> None:
    assert ways(wide()) == [
        (2, 0, 1.0),
        (1, 0, 0.555556), (1, 1200, 0.5),
        (2, 1200, 0.888889),
        (4, 0, 1.666667), (4, 1200, 1.5),
    ]  # fmt: skip


def test_another_clock_needs_no_other_nodes() -> None:
    """Of nodes with two types of GPU it is not known which of them it gets."""
    asked = wide(gres_per_node="gres:gpu:h100:2")
    assert ways(asked) == [(2, 0, 1.0), (2, 1200, 0.888889)]


@pytest.mark.parametrize(
    ("change", "site"),
    [
        ({"comment": "green:profile=p,runtime=30m"}, SITE),
        ({"comment": "green:profile=q,runtime=30m,workers=1-4"}, SITE),
        ({"comment": "green:runtime=30m,workers=1-4"}, SITE),
        ({"comment": "green:profile=p,runtime=30m,workers=4-8"}, SITE),
        ({"gpu_freq": "gpu:low"}, SITE),
        ({"gres_per_node": ""}, SITE),
        ({"tasks": 3}, SITE),
        ({"restarts": 1}, SITE),
        ({"ntasks": 3}, SITE),
        ({}, None),
    ],
)
def test_who_keeps_the_width_that_was_asked_for(
    change: dict[str, Any], site: NodeSite | None
) -> None:
    assert len(ways(wide(**change), site)) == 1


def test_without_a_known_run_time_no_job_is_slowed() -> None:
    found = ways(wide(comment="green:profile=p,workers=1-4"))
    assert all(speed >= 1.0 for _, _, speed in found)
    assert len(found) > 1


def test_what_slurm_is_told() -> None:
    nodes = job(7, nodes=4, ntasks=8, cpus=16, gpus=8, gres_per_node="gres/gpu:h100:2")
    width = width_of(nodes)
    assert width is not None
    assert change_arguments(7, width.change(nodes, 2)) == [
        "update", "JobId=7", "NumTasks=4", "NumCPUs=8", "NumNodes=2-2",
    ]  # fmt: skip
    one = job(8, gpus=4, cpus=8, ntasks=4, gres_per_node="gres/gpu:h100:4")
    width = width_of(one)
    assert width is not None
    assert change_arguments(8, width.change(one, 3)) == [
        "update", "JobId=8", "NumTasks=3", "NumCPUs=6", "Gres=gpu:h100:3",
    ]  # fmt: skip
    # Else four tasks were to be on a node that may have two, which Slurm never starts.
    said = replace(one, tasks_per_node=4)
    assert change_arguments(8, width.change(said, 3)) == [
        "update", "JobId=8", "NumTasks=3", "NumCPUs=6", "TasksPerNode=3", "Gres=gpu:h100:3",
    ]  # fmt: skip
    assert width.reshaped(said, 3).tasks_per_node == 3
    assert width.change(replace(said, ntasks=1), 3).tasks_per_node is None
    assert not JobChange(begin_utc=at(1)).reshapes


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("gres:gpu:h100", "gpu:h100:2"),
        ("gres/gpu:a100", "gpu:a100:2"),
        ("gres:gpu:rtx_4090:1", "gpu:rtx_4090:2"),
        ("gres/gpu:2080ti:1", "gpu:2080ti:2"),
        ("gres:gpu", "gpu:2"),
        ("gres:gpu:1", "gpu:2"),
        ("gres/gpu=1", "gpu:2"),
    ],
)
def test_a_single_gpu_becomes_two_of_its_type(asked: str, told: str) -> None:
    """One is asked for with or without its number, and most types end in digits."""
    one = job(9, gpus=1, gres_per_node=asked)
    width = width_of(one)
    assert width is not None
    assert width.change(one, 2).gres == told
    assert width.reshaped(one, 2).gpus == gpu_count(told) == 2


FOUR, EIGHT = NodeSize(4, 32, 64_000), NodeSize(8, 64, 128_000)


@pytest.mark.parametrize(
    ("asked", "workers", "given_", "fits"),
    [
        # A worker is a GPU of one node.
        ({"gpus": 2}, 4, {"sizes": {FOUR: 2}}, True),
        ({"gpus": 2}, 5, {"sizes": {FOUR: 2}}, False),
        ({"gpus": 2}, 8, {"sizes": {EIGHT: 1}}, True),
        ({"gpus": 2}, 8, {"sizes": {FOUR: 9, EIGHT: 1}}, False),
        ({"gpus": 5}, 8, {"sizes": {FOUR: 9, EIGHT: 1}}, True),
        ({"gpus": 2, "ntasks": 2, "cpus": 20}, 4, {"sizes": {FOUR: 2}}, False),
        ({"gpus": 1, "cpus": 1, "cpus_per_gpu": 8}, 4, {"sizes": {FOUR: 2}}, True),
        ({"gpus": 1, "cpus": 1, "cpus_per_gpu": 9}, 4, {"sizes": {FOUR: 2}}, False),
        # As much memory for each of four, unless it has all of a node, or nobody says.
        ({"gpus": 1, "memory_mb": 16_000}, 4, {"sizes": {FOUR: 2}}, True),
        ({"gpus": 1, "memory_mb": 16_001}, 4, {"sizes": {FOUR: 2}}, False),
        ({"gpus": 1, "memory_mb": 64_000}, 4, {"sizes": {FOUR: 2}}, True),
        ({"gpus": 1, "memory_mb": 16_001}, 4, {"sizes": {NodeSize(4, 32): 2}}, True),
        ({"gpus": 4, "memory_mb": 60_000}, 1, {"sizes": {FOUR: 1}}, True),
        ({"nodes": 2, "gpus": 2, "memory_mb": 100_000}, 4, {"sizes": {FOUR: 4}}, True),
        ({"gpus": 4}, 1, {"sizes": {FOUR: 1}}, True),
        ({"gpus": 2}, 4, {}, False),
        # A worker is a node.
        ({"nodes": 2, "gpus": 2}, 4, {"sizes": {FOUR: 4}}, True),
        ({"nodes": 2, "gpus": 2}, 5, {"sizes": {FOUR: 4}}, False),
        ({"nodes": 2, "gpus": 12}, 3, {"sizes": {FOUR: 9, EIGHT: 2}}, False),
        ({"nodes": 2, "gpus": 2}, 4, {"sizes": {FOUR: 9}, "max_nodes": 3}, False),
        ({"nodes": 2, "gpus": 2}, 3, {"sizes": {FOUR: 9}, "max_nodes": 3}, True),
        ({"nodes": 4, "gpus": 4}, 1, {"sizes": {FOUR: 9}, "min_nodes": 2}, False),
        # Which nodes have its features is not known, only that so many have.
        ({"nodes": 2, "gpus": 2, "choosy": True}, 3, {"sizes": {FOUR: 9}}, False),
        ({"nodes": 2, "gpus": 2, "choosy": True}, 1, {"sizes": {FOUR: 9}}, True),
        ({"gpus": 2, "choosy": True}, 4, {"sizes": {FOUR: 9}}, True),
    ],
)
def test_no_job_is_made_wider_than_nodes_can_hold(
    asked: dict[str, int], workers: int, given_: dict[str, Any], fits: bool
) -> None:
    """However many GPUs there are: Slurm takes it, and never starts it (BadConstraints)."""
    filled = {"nodes": 1, "cpus": 8, "ntasks": asked.get("nodes", 1)} | asked
    text = f"gres:gpu:{filled['gpus'] // filled['nodes']}"
    one = job(1, gres_per_node=text, **filled)
    width = width_of(one)
    assert width is not None
    assert width.fits(one, workers, partition_view(gpus=72, **given_)) is fits


@pytest.mark.parametrize(("kind", "most"), [("h100", 3), ("a100", 8), ("", 11), ("v100", 0)])
def test_only_nodes_with_its_type_of_gpu_count(kind: str, most: int) -> None:
    sizes = {NodeSize(4, 32, 0, "h100"): 3, NodeSize(8, 64, 0, "a100"): 8}
    text = f"gres:gpu:{kind}:4" if kind else "gres:gpu:4"
    one = job(1, nodes=2, gpus=8, ntasks=2, gres_per_node=text)
    width = width_of(one)
    assert width is not None
    here = partition_view(sizes=sizes)
    assert [n for n in range(1, 15) if width.fits(one, n, here)] == list(range(1, most + 1))


def test_a_site_of_small_nodes_has_no_wide_ways() -> None:
    """Four nodes of two GPUs: none runs four workers of one node."""
    site = Site()
    held = site.deferred(gpus=2, gres_per_node="gres:gpu:2", comment=WISH)
    site.slurm.run_until(at(1))
    places = {held.job_id: Place(start_s=NOW_S + HOUR, workers=4, clock_mhz=1200)}
    site.cycle(advice=Advice(at_s=NOW_S, until_s=NOW_S + DAY, places=places), nodes_site=SITE)
    assert site.kinds(held.job_id) == ["confirmed", "released"]
    assert site.slurm.jobs[held.job_id].gpus == 2


@given(
    nodes=st.integers(1, 6), per_node=st.integers(1, 8), tasks=st.integers(1, 12),
    cpus=st.integers(1, 64), workers=st.integers(1, 9),
)  # fmt: skip
def test_a_reshaped_job_has_the_gpus_of_its_workers(
    nodes: int, per_node: int, tasks: int, cpus: int, workers: int
) -> None:
    one = job(
        1, nodes=nodes, gpus=nodes * per_node, ntasks=tasks, cpus=cpus,
        gres_per_node=f"gres:gpu:{per_node}",
    )  # fmt: skip
    width = width_of(one)
    if width is None:
        return
    assert width.workers * width.gpus_per_worker == one.gpus
    there = width.reshaped(one, workers)
    assert there.gpus == workers * width.gpus_per_worker
    if width.by_node or tasks > 1:
        # As many processes and CPUs for each of them as before.
        assert there.ntasks * width.workers == tasks * workers
        assert there.cpus * width.workers == cpus * workers


def let_go(place: Place, **fields: Any) -> tuple[Site, int]:
    """A moldable job whose place in the plan has come."""
    site = site_of_four()
    held = site.deferred(gpus=2, gres_per_node="gres:gpu:2", comment=WISH, **fields)
    site.slurm.run_until(at(1))
    advice = Advice(at_s=NOW_S, until_s=NOW_S + DAY, places={held.job_id: place})
    site.cycle(advice=advice, nodes_site=SITE)
    return site, held.job_id


def test_a_released_job_gets_its_planned_width_and_clock() -> None:
    site, job_id = let_go(Place(start_s=NOW_S + HOUR, workers=4, clock_mhz=1200))
    outcome_kinds = site.kinds(job_id)
    assert "reshaped" in outcome_kinds
    record = parse(site.slurm.jobs[job_id].admin_comment)
    assert (record.workers, record.clock_mhz) == (4, 1200)
    assert (site.slurm.jobs[job_id].gpus, site.slurm.jobs[job_id].cpus) == (4, 4)
    # It changed its size by our doing, and keeps its place.
    site.cycle(nodes_site=SITE)
    assert "credit-dropped" not in site.kinds(job_id)


def test_a_width_nobody_allowed_is_not_taken() -> None:
    for place in (
        Place(start_s=NOW_S + HOUR, workers=3, clock_mhz=0),
        Place(start_s=NOW_S + HOUR, workers=4, clock_mhz=777),
        Place(start_s=NOW_S + HOUR, workers=-1, clock_mhz=0),
    ):
        site, job_id = let_go(place)
        assert site.kinds(job_id) == ["confirmed", "released"]
        assert parse(site.slurm.jobs[job_id].admin_comment).workers is None


def test_a_wider_shape_needs_room_now() -> None:
    site = site_of_four()
    held = site.deferred(gpus=2, gres_per_node="gres:gpu:2", comment=WISH)
    # Somebody else has all but three GPUs from now on.
    site.slurm.submit(gpus=5, time_limit_s=10 * 3600)
    site.slurm.run_until(at(1))
    places = {held.job_id: Place(start_s=NOW_S + HOUR, workers=4, clock_mhz=0)}
    site.cycle(advice=Advice(at_s=NOW_S, until_s=NOW_S + DAY, places=places), nodes_site=SITE)
    assert site.kinds(held.job_id)[-1] == "released"
    assert parse(site.slurm.jobs[held.job_id].admin_comment).workers is None


def test_what_slurm_refused_is_not_tried_again() -> None:
    site = site_of_four()
    held = site.deferred(gpus=2, gres_per_node="gres:gpu:2", comment=WISH)
    site.slurm.run_until(at(1))
    places = {held.job_id: Place(start_s=NOW_S + HOUR, workers=1, clock_mhz=0)}
    advice = Advice(at_s=NOW_S, until_s=NOW_S + DAY, places=places)
    site.memory = replace(site.memory, rigid=frozenset({held.job_id}))
    outcome = site.cycle(advice=advice, nodes_site=SITE)
    assert not outcome.changes[held.job_id].reshapes
    assert outcome.changes[held.job_id].begin_utc <= site.slurm.now + timedelta(seconds=1)
