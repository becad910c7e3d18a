# SPDX-License-Identifier: Apache-2.0
"""One GPU, whoever made it: what can be asked of it and set on it, in SI units and MHz.

The trap: a setting that was accepted need not be in effect. Set through `apply`, which reads back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import Protocol

from profiling.errors import DeviceError

__all__ = ["Events", "Gpu", "Identity", "PowerRange", "RefusedError", "Why", "snapped"]


class Why(Enum):
    """Why a GPU or its driver refused a call."""

    NOT_SUPPORTED = "this GPU or its driver cannot do that"
    NO_PERMISSION = "only root may do that"
    LOST = "the GPU is lost: it no longer answers its driver"
    INVALID = "a value it does not take"
    OTHER = "the driver failed"


class RefusedError(DeviceError):
    """A GPU refused one call, or failed in it; `why` says whether to ask again makes sense."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(f"{text}: {why.value}")
        self.why = why


class Events(IntFlag):
    """What holds the clock where it is; the bits are NVML's clock event reasons."""

    IDLE = 0x1
    SETTING = 0x2
    POWER_CAP = 0x4
    HW_SLOWDOWN = 0x8
    SYNC_BOOST = 0x10
    SW_THERMAL = 0x20
    HW_THERMAL = 0x40
    POWER_BRAKE = 0x80
    DISPLAY = 0x100

    @property
    def words(self) -> str:
        """The events set, as people read them."""
        names = [one.name or "" for one in Events if one & self]
        return ", ".join(names).lower().replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which GPU this is; `index` is its place in the driver's own order (Slurm's, too)."""

    uuid: str
    name: str
    vendor: str
    driver: str
    index: int

    @property
    def emulated(self) -> bool:
        """Whether there is no such GPU: nothing that comes from it may be called measured."""
        return "emulated" in self.driver


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRange:
    """What the power limit may be, and what it is after the driver was loaded."""

    min_w: float
    default_w: float
    max_w: float


class Gpu(Protocol):
    """One GPU. Every method may raise RefusedError; None is what the GPU does not tell."""

    @property
    def identity(self) -> Identity:
        """Who it is; known without asking it again."""
        ...

    def supported_clocks_mhz(self) -> Sequence[int]:
        """Clocks of its cores that a lock may name, ascending; empty when it has none."""
        ...

    def lock_clocks(self, min_mhz: int, max_mhz: int) -> None:
        """Keep the clock of its cores within a range until it is reset."""
        ...

    def reset_clocks(self) -> None:
        """Let the driver choose the clock again."""
        ...

    def power_range(self) -> PowerRange | None:
        """Limits of its power limit; None where it cannot be set."""
        ...

    def power_limit_w(self) -> float | None:
        """The power limit it has now."""
        ...

    def set_power_limit(self, limit_w: float) -> None:
        """Limit its power."""
        ...

    def energy_j(self) -> float | None:
        """Energy since its driver was loaded: a counter, moving about every 100 ms."""
        ...

    def power_w(self) -> float | None:
        """Its power as the driver reports it: on most GPUs an average of the last second."""
        ...

    def clock_mhz(self) -> int | None:
        """The clock of its cores now; an idle GPU runs below what it was allowed."""
        ...

    def events(self) -> Events | None:
        """What holds its clock where it is."""
        ...

    def divided(self) -> bool:
        """Whether it is cut into parts (MIG, partitions) that share one clock and one limit."""
        ...

    def processes(self) -> Sequence[int] | None:
        """Process ids that compute on it."""
        ...


def snapped(clocks_mhz: Sequence[int], clock_mhz: int) -> int:
    """The highest supported clock that is not above; the lowest one if all are."""
    return max((one for one in clocks_mhz if one <= clock_mhz), default=min(clocks_mhz))
