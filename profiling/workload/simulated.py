# SPDX-License-Identifier: Apache-2.0
"""Inference and training as physics alone, on a bench of emulated GPUs.

Nothing is computed: a step loads the bench for as long as the emulator's law says it takes at the
clock that runs, so power and clock follow as for a real load.
"""

from collections.abc import Sequence
from itertools import product

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import GpuModel, model_names, model_of_product
from profiling.device.emulated.physics import bandwidth_share, time_s
from profiling.device.gpu import Gpu
from profiling.errors import ProfileError
from profiling.sweep.times import Time
from profiling.workload.protocol import Load, Steps
from profiling.workload.simulated_cost import Cost, Roofline

__all__ = ["MODELS", "Simulated", "inference_loads", "model_of", "training_loads"]

MODELS = {"inference": "llama-3.1-8b", "training": "gpt-350m"}
_HOLD_S = 1.0  # beyond a step: after a kill the load lapses


def inference_loads(batches: Sequence[int], contexts: Sequence[int]) -> list[Load]:
    """Decode and prefill at every batch and context."""
    return [
        Load(phase=phase, batch=batch, context_tokens=context)
        for phase, context, batch in product(("decode", "prefill"), contexts, batches)
    ]


def training_loads(workers: Sequence[int]) -> list[Load]:
    """Data parallel over so many GPUs."""
    return [Load(workers=count) for count in workers]


def model_of(gpu: Gpu) -> GpuModel:
    """The emulator's model of an emulated GPU; ProfileError where it is none of ours."""
    model = model_of_product(gpu.identity.name) if gpu.identity.emulated else None
    if model is None:
        raise ProfileError(
            f"{gpu.identity.name}: simulated workloads need an emulated GPU; name one by "
            f"--emulate, such as {model_names()[0]}"
        )
    return model


class Simulated:
    """See `protocol.Workload`; the GPUs must be the bench's own."""

    def __init__(
        self, bench: Bench, time: Time, gpus: Sequence[Gpu], costs: Roofline, loads: Sequence[Load]
    ) -> None:
        self._bench, self._time, self._costs = bench, time, costs
        self._devices = [gpu.identity.index for gpu in gpus]
        self._gpu = model_of(gpus[0])
        self._loads = list(loads)
        self._up: list[int] = []
        self._cost: Cost | None = None
        self._at_clock: dict[float, tuple[float, float, float]] = {}

    @property
    def facts(self) -> dict[str, str]:
        """Nothing but a roofline ran."""
        return {
            "engine_name": "simulated",
            "engine_version": "roofline",
            "model": self._costs.model,
            "dtype": "bfloat16",
        }

    @property
    def limits(self) -> dict[str, int]:
        """Of the engine that is simulated."""
        return self._costs.limits

    def loads(self) -> Sequence[Load]:
        """All that were asked for, whether they fit or not."""
        return self._loads

    def start(self, load: Load) -> None:
        """Contexts on its GPUs; ProfileError where it does not fit."""
        self.stop()
        self._cost = self._costs.cost(load)
        self._at_clock.clear()
        self._up = self._devices[: load.gpus]
        self._rest()

    def run(self, at_least_s: float) -> Steps:
        """Whole steps, each as long as the slowest GPU's clock says."""
        if self._cost is None:
            raise ProfileError("no load is up")
        begin_s = now_s = self._time.now_s()
        count = 0
        while count == 0 or now_s - begin_s < at_least_s:
            clock_mhz = min(self._bench.read(at).clock_mhz for at in self._up)
            step_s, sm, memory = self._step(clock_mhz, self._cost)
            for at in self._up:
                self._bench.load(at, sm, memory, hold_s=step_s + _HOLD_S)
            self._time.sleep(step_s)
            now_s = self._time.now_s()
            count += 1
        self._rest()
        return Steps(count=count, units=count * self._cost.units, begin_s=begin_s, end_s=now_s)

    def stop(self) -> None:
        """No context is left."""
        for at in self._up:
            self._bench.idle(at)
        self._up, self._cost = [], None

    def close(self) -> None:
        """As `stop`."""
        self.stop()

    def _rest(self) -> None:
        for at in self._up:
            self._bench.load(at, 0.0, 0.0)

    def _step(self, clock_mhz: float, cost: Cost) -> tuple[float, float, float]:
        """Time (s) of a step at a clock, and the activity of SMs and memory over it."""
        if clock_mhz not in self._at_clock:
            whole_s = float(
                time_s(clock_mhz, cost.compute_s, cost.memory_s, self._gpu, host_s=cost.host_s)
            )
            computing_s = cost.compute_s * self._gpu.max_clock_mhz / clock_mhz
            stalled_s = max(whole_s - cost.host_s - computing_s, 0.0)
            sm = (computing_s + self._costs.stalled_share * stalled_s) / whole_s
            memory = cost.memory_s / float(bandwidth_share(clock_mhz, self._gpu)) / whole_s
            self._at_clock[clock_mhz] = (whole_s, min(sm, 1.0), min(memory, 1.0))
        return self._at_clock[clock_mhz]
