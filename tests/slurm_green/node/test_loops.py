# SPDX-License-Identifier: Apache-2.0
"""What sgreen-noded does again and again goes on, whatever one round meets."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slurm_green.config.node import NodeSection
from slurm_green.node import daemon
from slurm_green.node.books import Books
from slurm_green.node.daemon import Daemon
from slurm_green.node.energy import JobEnergy
from slurm_green.node.sgreend import NoSgreend


def lost() -> None:
    raise OSError(errno.EIO, "Input/output error")


class Node:
    """Counts its rounds."""

    def __init__(self, hurt: Callable[[], None]) -> None:
        self.state = SimpleNamespace(jobs={}, asks={"a": 1})
        self.ticks = self.looks = 0
        self._hurt = hurt

    def tick(self, orders: object) -> None:
        self.ticks += 1
        self._hurt()

    def look(self) -> None:
        self.looks += 1
        self._hurt()


def made(tmp_path: Path, node: Node) -> Daemon:
    settings = NodeSection(interval_s=0.01, metrics="", run=tmp_path)
    return Daemon(cast("Any", node), settings, NoSgreend(), Books(tmp_path, boot="b"))


def rounds(loop: Callable[[], Awaitable[None]], count: Callable[[], int]) -> None:
    """Until it went on for three more."""

    async def run() -> None:
        task = asyncio.ensure_future(loop())
        while count() < 3 and not task.done():
            await asyncio.sleep(0.01)
        assert not task.done(), task.exception()
        task.cancel()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_disk_that_fails_for_a_moment_ends_no_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(lambda: None)
    one = made(tmp_path, node)
    for times in (1, 2):
        with monkeypatch.context() as failing:
            failing.setattr(one._books, "unreported", lost)
            node.ticks = 0
            rounds(one._ticks, lambda: node.ticks)
        assert caplog.text.count("energies are not reported yet") == times, "once each time"
        asyncio.run(one._report())


def test_an_address_that_makes_no_sense_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[object] = []

    async def wrong(*asked: object) -> None:
        tries.append(asked)
        raise OverflowError("port must be 0-65535.")

    one = made(tmp_path, Node(lambda: None))
    one._settings = NodeSection(interval_s=0.01, metrics="127.0.0.1:99999", run=tmp_path)
    monkeypatch.setattr(daemon, "serve_metrics", wrong)
    rounds(one._keep_metrics, lambda: len(tries))
    assert caplog.text.count("no metrics on") == 1


def test_a_round_that_fails_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon, "_LEASES_S", 0.01)
    node = Node(lost)
    one = made(tmp_path, node)
    rounds(one._ticks, lambda: node.ticks)
    rounds(one._leases, lambda: node.looks)
    assert caplog.text.count("leases cannot be looked at") == 1
    assert "this look failed" in caplog.text


def test_a_look_writes_the_energies_that_a_full_disk_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tmp_path, Node(lambda: None))
    at = datetime(2026, 11, 24, tzinfo=UTC)
    energy = JobEnergy(
        job_id=7, node="n1", begin_utc=at, end_utc=at, gpus=(), energy_j=5.0, source="emulated"
    )
    with monkeypatch.context() as failing:
        failing.setattr("slurm_green.node.books._write", lambda *_: lost())
        with pytest.raises(OSError, match="Input/output"):
            one._books.account(energy)
        asyncio.run(one._look())
    assert not Books(tmp_path, boot="b").unreported()
    asyncio.run(one._look())
    assert len(Books(tmp_path, boot="b").unreported()) == 1
