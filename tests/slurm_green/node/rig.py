# SPDX-License-Identifier: Apache-2.0
"""A node on GPUs in memory, with its real journal and books, that can be killed and started."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from profiling.device.apply import Setting
from profiling.device.journal import Journal, Owed
from slurm_green.config.node import NodeSection
from slurm_green.node.actuator import Actuator
from slurm_green.node.books import Books
from slurm_green.node.hardware import allowed_of
from slurm_green.node.service import Node
from slurm_green.node.settings import default_of
from slurm_green.node.state import Job, Orders, Plan
from tests.profiling.device.fake_gpu import FakeGpu, Killed

__all__ = ["START_UTC", "Rig"]

START_UTC = datetime(2026, 11, 24, tzinfo=UTC)


class FakeSight:
    """Jobs and processes as the test says."""

    def __init__(self) -> None:
        self.live: set[int] = set()
        self.jobs_of: dict[int, int] = {}

    def live_jobs(self) -> frozenset[int]:
        return frozenset(self.live)

    def job_of(self, pid: int) -> int | None:
        return self.jobs_of.get(pid)

    def ours(self, job: Job) -> Callable[[int], bool]:
        return lambda pid: self.jobs_of.get(pid, job.job_id) == job.job_id


class Rig:
    """stopped -> up (start) -> stopped (stop, kill); the GPUs and the disk stay."""

    def __init__(self, directory: Path, gpus: int = 2, settings: NodeSection | None = None) -> None:
        self.gpus = [FakeGpu(uuid=f"GPU-{index}", index=index) for index in range(gpus)]
        self.sight = FakeSight()
        self.now_s = 1000.0
        self.boot = "boot-1"
        self.orders = Orders()
        self._directory = directory
        self._settings = settings or NodeSection()
        self._node: Node | None = None
        self._journal: Journal | None = None
        self._left: int | None = None

    @property
    def node(self) -> Node:
        assert self._node is not None, "it is not up"
        return self._node

    @property
    def up(self) -> bool:
        return self._node is not None

    @property
    def books(self) -> Books:
        return Books(self._directory, self.boot)

    @property
    def owed(self) -> set[str]:
        """What the disk says is owed."""
        return {path.stem for path in (self._directory / "journal").glob("*")}

    def start(self) -> Node:
        """As sgreen-noded starts."""
        journal = _KillableJournal(self._directory / "journal", self._around)
        gpus = {gpu.uuid: gpu for gpu in self.gpus}
        for gpu in self.gpus:
            gpu.around = self._around
        self._journal = journal
        self._node = Node(
            Actuator(
                gpus,
                journal=journal,
                books=self.books,
                default=default_of(self._settings),
                node="n1",
                now=lambda: START_UTC + timedelta(seconds=self.now_s),
            ),
            journal,
            allowed={uuid: allowed_of(gpu, self._settings) for uuid, gpu in gpus.items()},
            sight=self.sight,  # type: ignore[arg-type]
            clock=lambda: self.now_s,
        )
        self._node.resume()
        self.tick()
        return self._node

    def kill(self) -> None:
        """SIGKILL: the kernel closes its files."""
        assert self._journal is not None
        for descriptor, _ in self._journal._ours.values():
            os.close(descriptor)
        self._node = self._journal = None
        self._left = None

    def stop(self) -> tuple[str, ...]:
        """SIGTERM."""
        owed = self.node.stop()
        self.kill()
        return owed

    def killed_after(self, steps: int, call: Callable[[], object]) -> bool:
        """Call, and be killed at that many steps of hardware and journal; whether it was."""
        self._left = steps
        try:
            call()
        except Killed:
            self.kill()
            return True
        finally:
            self._left = None
        return False

    def begin(self, job_id: int, *gpus: int, uid: int = 1000, **plan: int) -> dict[str, Any]:
        """A prolog; the plan's values by name."""
        self.sight.live.add(job_id)
        return self.node.begin(job_id, uid, gpus, Plan(**plan) if plan else None, self.now_s)  # type: ignore[arg-type]

    def end(self, job_id: int) -> None:
        """An epilog."""
        self.sight.live.discard(job_id)
        self.node.end(job_id, self.now_s)

    def ask(self, job_id: int, gpu: int, clock_mhz: int, **options: float) -> dict[str, Any]:
        """A lease of the job's user on one GPU, and what holds for it."""
        values = {"ttl_s": 2.0, "uid": 1000, "pid": 4242, **options}
        setting = Setting(clock_mhz=clock_mhz)
        return self.node.ask(job_id, (gpu,), setting, **values)[str(gpu)]  # type: ignore[arg-type]

    def tick(self, seconds: float = 0.0) -> None:
        """Time passes, and the node looks."""
        self.now_s += seconds
        plans = {job_id: self.orders.plans.get(job_id) for job_id in self.node.state.jobs}
        self.node.tick(Orders(plans, self.orders.cap))

    def _around(self, _: str) -> None:
        if self._left is not None:
            if self._left == 0:
                raise Killed
            self._left -= 1


class _KillableJournal(Journal):
    def __init__(self, directory: Path, around: Callable[[str], None]) -> None:
        super().__init__(directory)
        self._around = around

    def write(self, owed: Owed) -> None:
        self._around("write")
        super().write(owed)
        self._around("written")

    def forget(self, uuid: str) -> None:
        self._around("forget")
        super().forget(uuid)
        self._around("forgotten")
