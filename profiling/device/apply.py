# SPDX-License-Identifier: Apache-2.0
"""Set a GPU's clock and power limit, and say what came of it.

The trap: drivers accept a lock and then clamp or ignore it, and an idle GPU shows no clock worth
comparing. So what was requested, accepted and observed are three things, with reasons.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from profiling.device.gpu import Events, Gpu, RefusedError, Why, snapped

__all__ = ["TOLERANCE_MHZ", "Applied", "Observed", "Setting", "apply", "obstacle", "restore"]

TOLERANCE_MHZ = 15  # one step of NVIDIA's grids
_TOLERANCE_W = 1.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A clock and a power limit; None leaves it to the driver.

    The clock is kept between `floor_mhz` and `clock_mhz`; without a floor it is exactly the clock.
    """

    clock_mhz: int | None = None
    floor_mhz: int | None = None
    power_limit_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a GPU shows after a setting."""

    clock_mhz: int | None = None
    power_limit_w: float | None = None
    events: Events | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of a setting; `reasons` tell every difference between its three stages."""

    requested: Setting
    accepted: Setting
    observed: Observed
    reasons: tuple[str, ...] = ()
    refused: tuple[Why, ...] = ()

    @property
    def took(self) -> bool:
        """Whether the driver accepted all that was requested, on the clocks that it has."""
        asked, got = self.requested, self.accepted
        return (asked.clock_mhz is None) == (got.clock_mhz is None) and (
            asked.power_limit_w is None
        ) == (got.power_limit_w is None)


def obstacle(gpu: Gpu, *, ours: Callable[[int], bool] | None = None) -> str | None:
    """Why this GPU is only to be observed; `ours` tells whether a process is the caller's own."""
    if gpu.divided():
        return "it is divided (MIG or partitions), and a clock would be its other users' too"
    strangers = () if ours is None else [pid for pid in gpu.processes() or () if not ours(pid)]
    if strangers:
        return f"it is shared: process {strangers[0]} of somebody else computes on it"
    return None


def apply(
    gpu: Gpu,
    setting: Setting,
    *,
    ours: Callable[[int], bool] | None = None,
    settle_s: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Applied:
    """Make a setting and read it back; what the GPU refuses is a reason, never an exception.

    Up to `settle_s` pass until the clock is within the range, as a switch takes 1 to 500 ms.
    """
    reasons: list[str] = []
    refused: list[Why] = []
    accepted = Setting()
    try:
        if why := obstacle(gpu, ours=ours):
            reasons.append(f"observed only: {why}")
        else:
            accepted = _set(gpu, setting, reasons, refused)
        if accepted.clock_mhz is not None:
            ends_s = clock() + settle_s
            while not _within(gpu.clock_mhz(), accepted) and clock() < ends_s:
                sleep(_POLL_S)
        observed = Observed(
            clock_mhz=gpu.clock_mhz(), power_limit_w=gpu.power_limit_w(), events=gpu.events()
        )
    except RefusedError as error:
        reasons.append(str(error))
        refused.append(error.why)
        observed = Observed()
    return Applied(
        requested=setting,
        accepted=accepted,
        observed=observed,
        reasons=(*reasons, *_differences(accepted, observed)),
        refused=tuple(refused),
    )


def restore(gpu: Gpu, default: Setting, *, power: bool = True) -> None:
    """Back to the site's default: None there is the driver's own choice, or its default limit.

    `power=False` leaves the power limit, for who never touched it. What a GPU cannot do at all
    nobody has set. Raises RefusedError after everything was tried.
    """
    failed: list[RefusedError] = []
    for step in (_restore_clock, _restore_power)[: 2 if power else 1]:
        try:
            step(gpu, default)
        except RefusedError as error:
            if error.why is not Why.NOT_SUPPORTED:
                failed.append(error)
    if failed:
        raise failed[0]


def _set(gpu: Gpu, setting: Setting, reasons: list[str], refused: list[Why]) -> Setting:
    clock_mhz = floor_mhz = power_limit_w = None
    if setting.clock_mhz is not None:
        try:
            floor_mhz, clock_mhz = _range(gpu, setting.floor_mhz, setting.clock_mhz)
            gpu.lock_clocks(floor_mhz, clock_mhz)
            if clock_mhz != setting.clock_mhz:
                reasons.append(f"{clock_mhz} MHz is the clock it has for {setting.clock_mhz} MHz")
        except RefusedError as error:
            clock_mhz = floor_mhz = None
            reasons.append(f"clock not set: {error}")
            refused.append(error.why)
    if setting.power_limit_w is not None:
        try:
            gpu.set_power_limit(setting.power_limit_w)
            power_limit_w = setting.power_limit_w
        except RefusedError as error:
            reasons.append(f"power limit not set: {error}")
            refused.append(error.why)
    return Setting(clock_mhz=clock_mhz, floor_mhz=floor_mhz, power_limit_w=power_limit_w)


def _range(gpu: Gpu, floor_mhz: int | None, clock_mhz: int) -> tuple[int, int]:
    clocks = gpu.supported_clocks_mhz()
    if not clocks:
        raise RefusedError(Why.NOT_SUPPORTED, "no list of supported clocks")
    high = snapped(clocks, clock_mhz)
    return high if floor_mhz is None else min(high, snapped(clocks, floor_mhz)), high


def _restore_clock(gpu: Gpu, default: Setting) -> None:
    if default.clock_mhz is None:
        gpu.reset_clocks()
    else:
        gpu.lock_clocks(*_range(gpu, default.floor_mhz, default.clock_mhz))


def _restore_power(gpu: Gpu, default: Setting) -> None:
    limits = gpu.power_range()
    limit_w = default.power_limit_w or (limits.default_w if limits else None)
    if limit_w is None:
        return
    gpu.set_power_limit(limit_w)
    now_w = gpu.power_limit_w()
    if now_w is not None and abs(now_w - limit_w) > _TOLERANCE_W:
        raise RefusedError(Why.OTHER, f"power limit {now_w:g} W after setting {limit_w:g} W")


def _within(clock_mhz: int | None, accepted: Setting) -> bool:
    low, high = accepted.floor_mhz, accepted.clock_mhz
    if clock_mhz is None or low is None or high is None:
        return True
    return low - TOLERANCE_MHZ <= clock_mhz <= high + TOLERANCE_MHZ


def _differences(accepted: Setting, observed: Observed) -> tuple[str, ...]:
    found = []
    if not _within(observed.clock_mhz, accepted):
        by = f" ({observed.events.words})" if observed.events else ""
        found.append(f"runs at {observed.clock_mhz} MHz, accepted {accepted.clock_mhz} MHz{by}")
    limit_w, asked_w = observed.power_limit_w, accepted.power_limit_w
    if limit_w is not None and asked_w is not None and abs(limit_w - asked_w) > _TOLERANCE_W:
        found.append(f"its power limit is {limit_w:g} W, accepted {asked_w:g} W")
    return tuple(found)
