# SPDX-License-Identifier: Apache-2.0
"""A move over a link that the kernel limits: it takes its time, and one that gets slow is left."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.migration.execute.record import MoveRecord, Step
from tests.slurm.move_sites import TwoSites
from tests.slurm.move_wan import Wan, wan

MakeCluster = Callable[..., Cluster]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a link")

BALLAST = 3_000_000
MORE = 10_000_000  # so that the link can drop in time on a machine that stalls


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Wan]:
    """To site b."""
    with wan(tmp_path, user="nobody", group="nogroup") as found:
        yield found


@pytest.fixture
def sites(make_cluster: MakeCluster, tmp_path: Path, link: Wan) -> Iterator[TwoSites]:
    """b is behind the link."""
    shape = {"nodes": 1, "gpus": 2}
    clusters = (make_cluster(stem="wana", **shape), make_cluster(stem="wanb", **shape))
    two = TwoSites(*clusters, tmp_path / "journal", user="nobody")
    two.sites["b"] = replace(two.sites["b"], reach=link.reach)
    yield two
    two.close()


def copied_s(move: MoveRecord) -> float:
    """How long the transfer took, its job and all."""
    ended_s = dict(move.history)
    return ended_s[Step.COPY] - ended_s[Step.LIST]


def test_a_link_that_the_kernel_limits(sites: TwoSites, link: Wan) -> None:
    """All of it goes over the link, no faster than that; then the link drops while it is used."""
    link.rate(8)
    job = sites.twin("a", steps=3000, ballast=BALLAST)
    sites.await_said("begins_at")
    before = link.sent_bytes()
    done = sites.move(job, "a", "b")
    assert done.step is Step.DONE, done
    sent = link.sent_bytes() - before
    assert done.bytes is not None
    assert sent > done.bytes
    assert copied_s(done) > 0.9 * done.bytes * 8 / 8e6
    sites.goes_on("b")

    slow = sites.twin("a", steps=3000, ballast=MORE)
    sites.await_said("begins_at")
    before = link.sent_bytes()

    def tell(_: MoveRecord, why: str) -> None:
        if "transfer runs" in why:
            link.rate(0.1)

    left = sites.go(sites.plan(slow, "a", "b", copy_s=20), tell)
    assert left.step is Step.STAYED, left
    assert "too slow" in left.why
    assert copied_s(left) < 20
    assert 0 < link.sent_bytes() - before < MORE
    sites.goes_on("a")
    assert sites.left_over() == []
