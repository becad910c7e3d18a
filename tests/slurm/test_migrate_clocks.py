# SPDX-License-Identifier: Apache-2.0
"""Moves between clusters whose clocks are minutes apart: all of one's daemons run on another time.

By libfaketime, which `make slurm-tests` installs.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.machine import Machine
from slurm_green.migration.execute.record import Limits, Step
from tests.slurm.move_sites import TwoSites

MakeCluster = Callable[..., Cluster]

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user"),
    pytest.mark.skipif(LIBRARY is None, reason="no libfaketime here (apt-get install faketime)"),
]


def ahead(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """From now on daemons are started with a clock that is so far ahead."""
    start = Machine.start

    def skewed(
        self: Machine, argv: list[str], *, environment: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        clock = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": f"{seconds:+d}s"}
        start(self, argv, environment={**(environment or {}), **clock}, **more)

    monkeypatch.setattr(Machine, "start", skewed)


@pytest.mark.parametrize("seconds", [-240, 240])
def test_there_and_back_between_clocks_that_are_apart(
    make_cluster: MakeCluster, tmp_path: Path, seconds: int
) -> None:
    """The job moves to the site on another time and back, and waits at neither for its clock."""
    shape = {"nodes": 1, "gpus": 2}
    a = make_cluster(stem="cla", **shape)
    with pytest.MonkeyPatch.context() as patch:
        ahead(patch, seconds)
        b = make_cluster(stem="clb", **shape)
    sites = TwoSites(a, b, tmp_path / "journal", user="nobody")
    job = sites.twin("a", steps=9000)
    sites.await_said("begins_at")
    there = sites.move(job, "a", "b", lease_s=Limits().lease_s)
    assert there.step is Step.DONE, there
    sites.goes_on("b")
    assert there.new_job is not None
    back = sites.move(there.new_job, "b", "a", lease_s=Limits().lease_s)
    assert back.step is Step.DONE, back
    sites.goes_on("a")

    # Given up, it starts where it was: at once, or when a clock that is behind has come so far.
    tried = sites.twin("b", steps=9000)
    sites.await_said("begins_at")
    left = sites.move(tried, "b", "a", copy_s=0, lease_s=Limits().lease_s)
    assert left.step is Step.STAYED, left
    if seconds > 0:
        sites.goes_on("b")
    seen = sites.access("b").look(tried)
    assert seen is not None
    assert seen.soon or seen.active
    sites.close()
