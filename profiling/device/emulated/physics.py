# SPDX-License-Identifier: Apache-2.0
"""Voltage, power and time of an emulated GPU at an SM clock; the law physics.c computes. Pure.

The trap: `voltage` is relative to the voltage floor (1.0 up to the knee), not volts.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from profiling.device.emulated.models import GpuModel

__all__ = ["bandwidth_share", "capped_clock_mhz", "power_w", "time_s", "voltage"]

Floats = NDArray[np.float64]

_SOFTNESS = 4.0


def voltage(clock_mhz: ArrayLike, model: GpuModel) -> Floats:
    """Supply voltage over its floor: 1 up to the knee, then linear to `voltage_ratio` at the top.

    Form and A100 knee: fitted to three public clock sweeps, see docs/emulated-gpu.md.
    """
    above_mhz = np.maximum(np.asarray(clock_mhz, dtype=np.float64) - model.knee_mhz, 0.0)
    span_mhz = model.max_clock_mhz - model.knee_mhz
    return np.asarray(1.0 + (model.voltage_ratio - 1.0) * above_mhz / span_mhz)


def power_w(
    clock_mhz: ArrayLike,
    sm_activity: ArrayLike,
    mem_activity: ArrayLike,
    model: GpuModel,
    *,
    context: bool = True,
    memory_clock_mhz: float | None = None,
) -> Floats:
    """Board power in watts; the arguments broadcast, activities are 0..1.

    P = base + context + (clocked + active * sm) * f * v(f)^2 + memory * mem * f_mem / f_mem_max.
    `memory_clock_mhz` None is the highest.
    """
    clock = np.asarray(clock_mhz, dtype=np.float64)
    per_ghz = model.clocked_w_per_ghz + model.active_w_per_ghz * np.asarray(sm_activity)
    fixed_w = model.base_w + (model.context_w if context else 0.0)
    memory_max_mhz = model.memory_clocks_mhz[-1]
    memory = (memory_max_mhz if memory_clock_mhz is None else memory_clock_mhz) / memory_max_mhz
    v = voltage(clock, model)
    dynamic_w = per_ghz * (clock / 1000.0) * v * v
    return np.asarray(fixed_w + dynamic_w + model.memory_w * np.asarray(mem_activity) * memory)


def capped_clock_mhz(
    limit_w: float,
    sm_activity: float,
    mem_activity: float,
    model: GpuModel,
    *,
    context: bool = True,
) -> float:
    """The highest clock step whose power is within `limit_w`; the lowest step where none is."""
    steps = model.clocks_mhz
    fits = power_w(steps, sm_activity, mem_activity, model, context=context) <= limit_w
    return float(steps[max(int(np.count_nonzero(fits)) - 1, 0)])


def bandwidth_share(clock_mhz: ArrayLike, model: GpuModel) -> Floats:
    """Memory bandwidth at an SM clock over its most: the model's table, linear in between."""
    clock = np.asarray(clock_mhz, dtype=np.float64)
    return np.asarray(np.interp(clock, model.bandwidth_clock_mhz, model.bandwidth_share))


def time_s(
    clock_mhz: ArrayLike,
    compute_s: ArrayLike,
    memory_s: ArrayLike,
    model: GpuModel,
    *,
    host_s: ArrayLike = 0.0,
) -> Floats:
    """How long a piece of work takes whose parts alone take so long at the highest clock.

    T = (compute^4 + memory^4)^(1/4) + host, where compute goes with 1/f and memory with 1/share(f).
    """
    clock = np.asarray(clock_mhz, dtype=np.float64)
    compute = np.asarray(compute_s) * (model.max_clock_mhz / clock)
    memory = np.asarray(memory_s) / bandwidth_share(clock, model)
    soft = (compute**_SOFTNESS + memory**_SOFTNESS) ** (1.0 / _SOFTNESS)
    return np.asarray(soft + np.asarray(host_s))
