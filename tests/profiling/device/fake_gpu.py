# SPDX-License-Identifier: Apache-2.0
"""A GPU in memory, with every fault a real one has, and a process that can be killed at any call.

Not the emulated library: no physics, and nothing outlives the test.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from profiling.device.gpu import Events, Identity, PowerRange, RefusedError, Why

__all__ = ["CLOCKS_MHZ", "FakeGpu", "Killed"]

CLOCKS_MHZ = tuple(range(210, 1981, 15))


class Killed(BaseException):
    """The process ended here."""


@dataclass
class FakeGpu:
    """See `profiling.device.gpu.Gpu`; what is public here is the hardware, for tests to look at."""

    uuid: str = "GPU-0"
    index: int = 0
    driver: str = "580.0.emulated"
    lock: tuple[int, int] | None = None
    limit_w: float = 700.0
    joules: float | None = 1000.0
    watts: float = 100.0
    busy: bool = True
    clamp_mhz: int | None = None  # accepted, and then no faster than this
    ignores_locks: bool = False
    cut: bool = False
    pids: tuple[int, ...] | None = ()
    refuses: dict[str, Why] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    # Called before and after whatever changes the hardware.
    around: Callable[[str], None] = lambda _: None

    @property
    def identity(self) -> Identity:
        return Identity(
            uuid=self.uuid, name="Fake", vendor="nvidia", driver=self.driver, index=self.index
        )

    @property
    def at_default(self) -> bool:
        """As it was before anybody touched it."""
        return self.lock is None and self.limit_w == 700.0

    def supported_clocks_mhz(self) -> Sequence[int]:
        self._call("supported_clocks_mhz")
        return CLOCKS_MHZ

    def lock_clocks(self, min_mhz: int, max_mhz: int) -> None:
        self._call("lock_clocks")
        self.around("lock_clocks")
        self.lock = (min_mhz, max_mhz)
        self.around("locked")

    def reset_clocks(self) -> None:
        self._call("reset_clocks")
        self.around("reset_clocks")
        self.lock = None
        self.around("reset")

    def power_range(self) -> PowerRange | None:
        self._call("power_range")
        return PowerRange(min_w=200.0, default_w=700.0, max_w=700.0)

    def power_limit_w(self) -> float | None:
        self._call("power_limit_w")
        return self.limit_w

    def set_power_limit(self, limit_w: float) -> None:
        self._call("set_power_limit")
        if not 200 <= limit_w <= 700:
            raise RefusedError(Why.INVALID, f"power limit {limit_w:g} W")
        self.around("set_power_limit")
        self.limit_w = limit_w
        self.around("limited")

    def energy_j(self) -> float | None:
        self._call("energy_j")
        return self.joules

    def power_w(self) -> float | None:
        self._call("power_w")
        return self.watts

    def clock_mhz(self) -> int | None:
        self._call("clock_mhz")
        low, high = (210, 1980) if self.lock is None or self.ignores_locks else self.lock
        clock = high if self.busy else low
        return clock if self.clamp_mhz is None else min(clock, self.clamp_mhz)

    def events(self) -> Events | None:
        self._call("events")
        return Events(0) if self.busy else Events.IDLE

    def divided(self) -> bool:
        self._call("divided")
        return self.cut

    def processes(self) -> Sequence[int] | None:
        self._call("processes")
        return self.pids

    def _call(self, name: str) -> None:
        self.calls.append(name)
        why = self.refuses.get(name) or self.refuses.get("*")
        if why is not None:
            raise RefusedError(why, name)
