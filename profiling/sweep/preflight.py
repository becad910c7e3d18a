# SPDX-License-Identifier: Apache-2.0
"""Before a sweep: is the GPU ours alone, does a lock take effect, what does it draw idle.

The trap: a driver may accept a lock and ignore it, or hold less than it lists. Only a clock read
under load tells, so the first load runs here once at both ends.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from profiling.device.apply import TOLERANCE_MHZ, obstacle
from profiling.device.gpu import Events, Gpu, RefusedError, Why, snapped
from profiling.errors import DeviceError, ProfileError
from profiling.sweep.asks import swept_clocks
from profiling.sweep.rig import Rig
from profiling.workload.protocol import Load, Workload

__all__ = ["Preflight", "check_alone", "check_clocks", "preflight"]

_SHARES = (
    0.0,
    0.7,
    0.85,
    1.0,
)  # targets of the switches, of the highest clock; 0: the lowest swept
_LOOK_S = 0.002
_SWITCHES = 3
_SWITCHES_WITHIN_S = 30.0  # with steps of seconds one switch to each must do
_SWITCH_WITHIN_S = 0.75  # the slowest switch known takes 0.5
_SAFE = Events.IDLE | Events.SETTING | Events.SYNC_BOOST | Events.DISPLAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What was found; `observes` says why clocks are left alone, None where they can be set."""

    observes: str | None
    clocks_mhz: tuple[int, ...] = ()  # what it supports and, the highest ones, holds
    idle_w: float | None = None  # per GPU, with a context, at default clocks
    parked_w: float | None = None  # the same at the lowest clock
    switch_s: dict[str, float] = field(default_factory=dict)  # by target clock, MHz
    lowest_w: float | None = None  # under load at the lowest clock that is swept
    highest_w: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "Preflight":
        """From the journal."""
        values = {name: entry[name] for name in cls.__slots__}
        return cls(**{**values, "clocks_mhz": tuple(values["clocks_mhz"])})


def check_alone(gpus: Sequence[Gpu]) -> None:
    """Before anything of ours runs; DeviceError where a GPU is divided or somebody computes."""
    for gpu in gpus:
        if why := obstacle(gpu, ours=lambda _: False):
            raise DeviceError(
                f"GPU {gpu.identity.index} cannot be profiled: {why}; a profile needs it whole "
                "and alone"
            )


def check_clocks(gpu: Gpu, asked_mhz: Sequence[int]) -> None:
    """Before anything runs; ProfileError for a clock that is none of the GPU's, if it lists any."""
    clocks = gpu.supported_clocks_mhz() if asked_mhz else ()
    for one in asked_mhz if clocks else ():
        if one not in clocks:
            nearest = min(clocks, key=lambda clock: abs(clock - one))
            raise ProfileError(
                f"--clocks {one}: the GPU has no such clock; the nearest is {nearest} MHz"
            )


def preflight(
    rig: Rig, workload: Workload, load: Load, *, window_s: float, warm_s: float, read_only: bool
) -> Preflight:
    """Look at the first GPU and try its lock; `load` is up, and is so afterwards.

    Raises DeviceError where a GPU is lost.
    """
    clocks = tuple(rig.gpus[0].supported_clocks_mhz())
    idle_w = _per_gpu(rig.settled(lambda: rig.idle(warm_s)), rig)
    if read_only:
        return Preflight(observes="--read-only", clocks_mhz=clocks, idle_w=idle_w)
    if why := _obstacle(rig, clocks):
        return Preflight(observes=why, clocks_mhz=clocks, idle_w=idle_w)
    parked_w = _per_gpu(rig.settled(lambda: rig.idle(warm_s)), rig)
    lowest = swept_clocks(clocks)[0]
    low_w, low_mhz, _ = _under_load(rig, workload, load, lowest, window_s)
    high_w, high_mhz, events = _under_load(rig, workload, load, clocks[-1], window_s)
    if low_mhz is None or high_mhz is None or low_mhz > lowest + TOLERANCE_MHZ:
        rig.release()
        shown = "an unknown clock" if low_mhz is None else f"{low_mhz:g} MHz"
        return Preflight(
            observes=f"a lock at {lowest} MHz was accepted, and it ran at {shown}",
            clocks_mhz=clocks,
            idle_w=idle_w,
        )
    if high_mhz < clocks[-1] - TOLERANCE_MHZ and not events & ~_SAFE:
        clocks = tuple(one for one in clocks if one <= snapped(clocks, round(high_mhz)))
    return Preflight(
        observes=None,
        clocks_mhz=clocks,
        idle_w=idle_w,
        parked_w=parked_w,
        switch_s=_switches(rig, workload, load, clocks),
        lowest_w=low_w,
        highest_w=high_w,
    )


def _obstacle(rig: Rig, clocks: Sequence[int]) -> str | None:
    """Why no clock can be set; None where the lowest one now is on all GPUs."""
    if rig.owed is None:
        return "only root may do that"
    if len(clocks) < 2:
        return "it lists no clocks"
    for at, gpu in enumerate(rig.gpus):
        applied = rig.try_clock(at, clocks[0])
        if not applied.took:
            if Why.LOST in applied.refused:
                raise RefusedError(Why.LOST, f"GPU {gpu.identity.index}")
            rig.release()
            return next(iter(applied.reasons), "its driver refuses")
    return None


def _under_load(
    rig: Rig, workload: Workload, load: Load, clock_mhz: int, window_s: float
) -> tuple[float | None, float | None, Events]:
    """Power (W), clock and events of the first GPU once it has settled."""
    rig.set_clock(load.gpus, clock_mhz)
    rig.settled(lambda: rig.run(workload, load.gpus, window_s)[0])
    seen, _ = rig.run(workload, load.gpus, window_s)
    return seen[0].power_w, seen[0].mean_mhz, seen[0].events


def _switches(rig: Rig, workload: Workload, load: Load, clocks: Sequence[int]) -> dict[str, float]:
    """How long until a new clock holds, by target, each from the target before it.

    The target says most of it, not the start (arXiv 2502.20075). Only targets that were reached.
    """
    swept = swept_clocks(clocks)
    taken: dict[int, list[float]] = {
        target: [] for target in sorted({snapped(swept, int(one * swept[-1])) for one in _SHARES})
    }
    ends_s = rig.time.now_s() + _SWITCHES_WITHIN_S
    for _ in range(_SWITCHES):
        for target, found in taken.items():
            switch_s = _switch_s(rig, workload, target)
            found += [] if switch_s is None else [switch_s]
        if rig.time.now_s() >= ends_s:
            break
    return {str(target): median(found) for target, found in taken.items() if found}


def _switch_s(rig: Rig, workload: Workload, target: int) -> float | None:
    begun_s: list[float] = []
    reached_s: list[float] = []

    def look() -> None:
        now_s = rig.time.now_s()
        if not begun_s:
            begun_s.append(now_s)
            rig.try_clock(0, target)
        elif not reached_s:
            clock_mhz = rig.gpus[0].clock_mhz()
            if clock_mhz is not None and abs(clock_mhz - target) <= TOLERANCE_MHZ:
                reached_s.append(now_s - begun_s[0])

    with rig.time.watching(_LOOK_S, look):
        workload.run(_SWITCH_WITHIN_S)
    return reached_s[0] if reached_s else None


def _per_gpu(power_w: float | None, rig: Rig) -> float | None:
    return None if power_w is None else power_w / len(rig.gpus)
