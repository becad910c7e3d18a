# SPDX-License-Identifier: Apache-2.0
"""GPUs, time and a workload in memory for sweeps, with a process that can die at any call.

What died makes no call any more, so it cleans nothing up; what it had set stays on the hardware.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from profiling.device.apply import Setting
from profiling.device.gpu import Events
from profiling.device.journal import Journal
from profiling.device.lease import restore_left
from profiling.errors import ProfileError
from profiling.sweep.journal import SweepJournal
from profiling.sweep.result import profile_of
from profiling.sweep.rig import Rig
from profiling.sweep.run import Options, Swept, sweep
from profiling.sweep.times import VirtualTime
from profiling.workload.protocol import Load, Steps
from tests.profiling.device.fake_gpu import FakeGpu, Killed

__all__ = ["Work", "World", "WorldGpu"]

IDLE_W = 70.0
SWITCH_S = 0.03


@dataclass
class WorldGpu(FakeGpu):
    """Its power follows clock and load; its counter moves every 100 ms."""

    world: "World" = field(default=None, repr=False)  # type: ignore[assignment]
    load: float = 0.0
    true_j: float = 0.0
    shown_j: float = 0.0
    reached: tuple[float, float] = (0.0, 1980.0)  # when which clock runs
    event: Events = field(default_factory=lambda: Events(0))
    readings_w: float | None = None

    def clock_mhz(self) -> int | None:
        self._call("clock_mhz")
        return round(self.runs_mhz)

    @property
    def runs_mhz(self) -> float:
        """The clock that truly runs."""
        wanted = 1980.0 if self.lock is None or self.ignores_locks else float(self.lock[1])
        if self.clamp_mhz is not None:
            wanted = min(wanted, self.clamp_mhz)
        if self.reached[1] != wanted and self.world.now_s >= self.reached[0] + SWITCH_S:
            self.reached = (self.world.now_s, wanted)
        return self.reached[1]

    @property
    def true_w(self) -> float:
        """Its power now."""
        clock = self.runs_mhz / 1980
        return IDLE_W + 300 * self.load * clock**2.5 + 40 * clock

    def lock_clocks(self, min_mhz: int, max_mhz: int) -> None:
        running = self.runs_mhz
        super().lock_clocks(min_mhz, max_mhz)
        self.reached = (self.world.now_s, running)

    def energy_j(self) -> float | None:
        self._call("energy_j")
        return None if self.joules is None else self.shown_j

    def power_w(self) -> float | None:
        self._call("power_w")
        return self.true_w if self.readings_w is None else self.readings_w

    def events(self) -> Events | None:
        self._call("events")
        return self.event

    def _call(self, name: str) -> None:
        self.world.burn()
        super()._call(name)


class World:
    """Virtual time, GPUs, and a fuse: after so many calls the process dies."""

    def __init__(self, gpus: int = 1) -> None:
        self.now_s = 0.0
        self.ticks = 0
        self.fuse: int | None = None
        self.gpus = [WorldGpu(uuid=f"GPU-{at}", index=at, world=self) for at in range(gpus)]
        self.time = VirtualTime(self)  # type: ignore[arg-type]

    def burn(self) -> None:
        """One call of the process; Killed where it is dead."""
        if self.fuse is not None:
            if self.fuse <= 0:
                raise Killed
            self.fuse -= 1

    def read(self, _: int) -> SimpleNamespace:
        """As a bench."""
        return SimpleNamespace(now_s=self.now_s)

    def advance(self, seconds: float) -> None:
        """As a bench; in pieces that no tick of a counter falls into."""
        ends_s = self.now_s + seconds
        while self.now_s < ends_s:
            upto_s = min((self.ticks + 1) / 10, ends_s)
            for gpu in self.gpus:
                gpu.true_j += gpu.true_w * (upto_s - self.now_s)
            self.now_s = upto_s
            if upto_s >= (self.ticks + 1) / 10:
                self.ticks += 1
                for gpu in self.gpus:
                    gpu.shown_j = gpu.true_j

    def swept(self, place: Path, work: "Work", options: Options, *, resume: bool = False) -> Swept:
        """One process: as `profile run`, until it ends or dies."""
        for gpu in self.gpus:
            gpu.load = 0.0
        owed = Journal(place / "owed")
        journal = None
        try:
            journal = SweepJournal(place / "sweep.jsonl", {"seed": options.seed}, resume=resume)
            assert restore_left(owed, self.gpus, Setting()) == ()
            with Rig(self.gpus, self.time, owed, Setting()) as rig:
                return sweep(rig, lambda: work, options, journal)
        finally:
            # The kernel closes what a process had open, and lets go of its locks.
            for descriptor, _ in owed._ours.values():
                os.close(descriptor)
            if journal is not None:
                os.close(journal._file)

    def profile(self, swept: Swept):
        """What comes of it."""
        return profile_of(swept, self.gpus[0].identity, date="2026-01-01", command="test")


@dataclass
class Work:
    """Decode-like loads: longer with the batch, half of it by the clock."""

    world: World
    names: tuple[Load, ...] = (
        Load(phase="decode", batch=1, context_tokens=512),
        Load(phase="decode", batch=8, context_tokens=512),
    )
    most: int = 100  # a larger batch does not fit
    up: Load | None = None
    runs: int = 0
    facts: dict[str, str] = field(default_factory=lambda: {"model": "none", "dtype": "bf16"})
    limits: dict[str, int] = field(default_factory=dict)
    before_run: object = None

    def loads(self) -> tuple[Load, ...]:
        return self.names

    def start(self, load: Load) -> None:
        self.world.burn()
        if (load.batch or 0) > self.most:
            raise ProfileError(f"batch {load.batch} does not fit")
        self.up = load

    def run(self, at_least_s: float) -> Steps:
        self.world.burn()
        assert self.up is not None
        self.runs += 1
        if callable(self.before_run):
            self.before_run(self)
        used = self.world.gpus[: self.up.gpus]
        size = self.up.batch or 1
        begin_s, count = self.world.now_s, 0
        for gpu in used:
            gpu.load = 0.5 + size / 32
        while self.world.now_s - begin_s < at_least_s:
            clock = min(gpu.runs_mhz for gpu in used) / 1980
            self.world.time.sleep(0.005 + 0.0005 * size / clock)
            count += 1
        end_s = self.world.now_s
        for gpu in used:
            gpu.load = 0.0
        units = count * (self.up.workers or 1)
        return Steps(count=count, units=float(units), begin_s=begin_s, end_s=end_s)

    def stop(self) -> None:
        self.up = None

    def close(self) -> None:
        self.up = None
