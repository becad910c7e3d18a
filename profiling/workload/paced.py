# SPDX-License-Identifier: Apache-2.0
"""Makes steps that ran on a CPU last as long as an emulated GPU's clock says.

A step is taken to last at the highest clock what such steps lasted on the CPU when their load was
brought up; at a lower one it is stretched by T(f) / T(f_max) of the emulator's law. Which parts of
it are compute and memory is assumed from the tokens in it. What comes of it is simulated, never
measured.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiling.device.emulated import physics
from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import (
    GpuModel,
    load_model,
    model_names,
    model_of_product,
)
from profiling.errors import DeviceError

__all__ = ["Mix", "Pacer", "activities", "mix_of", "model_called", "stretch"]

# Where a GPU's compute takes as long as its memory: 2 FLOPs per token and weight of 2 bytes,
# A100 312 TFLOPS / 2.0 TB/s = 153, H100 989 / 3.35 = 295.
_RIDGE_TOKENS = 200.0
_HOST_SHARE = 0.05  # assumed
# Of full switching, assumed: while computing, for no step is matrix products only, and while
# waiting for memory.
_COMPUTING_SHARE = 0.7
_STALLED_SHARE = 0.3
_HOLD_S = 10.0  # beyond some steps: after a kill the load lapses


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What a step spends at the highest clock on compute, memory and host; shares of its time."""

    compute: float
    memory: float
    host: float


def mix_of(tokens: float) -> Mix:
    """The mix of a step that puts so many tokens through a model: a roofline. Assumed.

    Compute and memory add up as physics.time_s adds them, and to 1 with the host.
    """
    compute = min(tokens / _RIDGE_TOKENS, 1.0)
    memory = min(_RIDGE_TOKENS / max(tokens, 1.0), 1.0)
    whole = (compute**4 + memory**4) ** 0.25 / (1.0 - _HOST_SHARE)
    return Mix(compute=compute / whole, memory=memory / whole, host=_HOST_SHARE)


def stretch(clock_mhz: float, mix: Mix, model: GpuModel) -> float:
    """How many times longer than at the model's highest clock a step of this mix takes."""
    top = physics.time_s(model.max_clock_mhz, mix.compute, mix.memory, model, host_s=mix.host)
    here = physics.time_s(clock_mhz, mix.compute, mix.memory, model, host_s=mix.host)
    return float(here / top)


def activities(clock_mhz: float, mix: Mix, model: GpuModel) -> tuple[float, float]:
    """How busy compute and memory are at that clock, each 0..1: their time over the step's.

    Compute never switches all it could, and somewhat while it waits for memory.
    """
    whole = float(physics.time_s(clock_mhz, mix.compute, mix.memory, model, host_s=mix.host))
    compute = mix.compute * model.max_clock_mhz / clock_mhz
    stalled = max(whole - mix.host - compute, 0.0)
    switching = _COMPUTING_SHARE * compute + _STALLED_SHARE * stalled
    memory = mix.memory / float(physics.bandwidth_share(clock_mhz, model))
    return min(switching / whole, 1.0), min(memory / whole, 1.0)


def model_called(product: str) -> GpuModel:
    """The shipped model that NVML calls so; raises DeviceError where there is none."""
    model = model_of_product(product)
    if model is None:
        known = ", ".join(sorted(load_model(name).product for name in model_names()))
        raise DeviceError(
            f"emulated GPU {product!r}: no model of that name to pace by; known: {known}"
        )
    return model


class Pacer:
    """Tells a bench what runs on some of its GPUs, and stretches each step to their clocks.

    The slowest of the GPUs sets the pace. Raises DeviceError where the bench's time is virtual: a
    real engine takes real time.
    """

    def __init__(
        self,
        bench: Bench,
        gpus: Sequence[tuple[int, GpuModel]],
        *,
        sleep: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if _is_virtual(bench):
            raise DeviceError(
                f"emulated GPUs {bench.path}: their time is virtual, and a real engine takes real "
                "time; make the bench without `virtual`, or run a simulated workload"
            )
        self._bench = bench
        self._all = self._gpus = tuple(gpus)
        self._sleep = sleep
        self._now_s = now_s
        self._mix: Mix | None = None
        self._step_s = self._due_s = 0.0
        self._known: dict[tuple[int, float, Mix], tuple[float, float, float]] = {}

    def use(self, count: int) -> None:
        """From now on only the first so many GPUs run steps; the others rest."""
        self.rest()
        self._gpus = self._all[:count]

    def begin(self, mix: Mix, step_s: float = 0.0) -> None:
        """Steps of this mix run from now on; each lasts `step_s` at the highest clock.

        0: as long as it lasts on the CPU.
        """
        self._mix, self._step_s = mix, step_s
        self._due_s = self._now_s()
        self._stretched()

    def after(self) -> None:
        """Wait until the step that just ended on the CPU is over at the clock of now.

        A step that was late makes the next ones wait less, so a stretch of them lasts what it
        should unless the CPU is slower than `step_s` on average.
        """
        self._due_s += self._step_s * self._stretched()
        early_s = self._due_s - self._now_s()
        if early_s > 0.0:
            self._sleep(early_s)

    def rest(self) -> None:
        """Nothing runs; the context stays."""
        self._mix = None
        for device, _ in self._gpus:
            self._bench.load(device, 0.0, 0.0)

    def _stretched(self) -> float:
        """Say to the bench what runs; returns how many times longer than at the highest clock."""
        assert self._mix is not None
        slowest = 1.0
        for at, (device, model) in enumerate(self._gpus):
            # Without a context a GPU shows its idle clock, at which no step runs.
            clock_mhz = max(self._bench.read(device).clock_mhz, model.min_clock_mhz)
            key = (at, clock_mhz, self._mix)
            if key not in self._known:
                busy = activities(clock_mhz, self._mix, model)
                self._known[key] = (stretch(clock_mhz, self._mix, model), *busy)
            factor, sm, mem = self._known[key]
            slowest = max(slowest, factor)
            self._bench.load(device, sm, mem, hold_s=_HOLD_S + 4.0 * self._step_s * factor)
        return slowest

    def close(self) -> None:
        """Nothing runs, no context is held, and the bench is let go of."""
        for device, _ in self._all:
            self._bench.idle(device)
        self._bench.close()


def _is_virtual(bench: Bench) -> bool:
    try:
        bench.advance(0.0)
    except DeviceError:
        return False
    return True
