# SPDX-License-Identifier: Apache-2.0
"""Looks at GPUs many times a second while something runs on them.

The trap: the sensors are slow (the energy counter moves every 100 ms, power is an average of the
last second), so one look says little; `window` makes sense of many.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from profiling.device.gpu import Gpu
from profiling.sweep.times import Time
from profiling.sweep.window import Sample

__all__ = ["Meter"]

_PERIOD_S = 0.01


class Meter:
    """Takes samples of some GPUs."""

    def __init__(self, gpus: Sequence[Gpu], time: Time, *, period_s: float = _PERIOD_S) -> None:
        self._gpus = [(gpu, _power_of(gpu)) for gpu in gpus]
        self._time = time
        self._period_s = period_s

    @contextmanager
    def watching(self) -> Iterator[list[list[Sample]]]:
        """Samples of each GPU, growing while the context lasts. Raises RefusedError at its end."""
        taken: list[list[Sample]] = [[] for _ in self._gpus]

        def look() -> None:
            for (gpu, power_w), samples in zip(self._gpus, taken, strict=True):
                energy_j = gpu.energy_j()
                samples.append(
                    Sample(
                        at_s=self._time.now_s(),
                        energy_j=energy_j,
                        power_w=power_w(),
                        clock_mhz=gpu.clock_mhz(),
                        events=gpu.events(),
                    )
                )

        with self._time.watching(self._period_s, look):
            yield taken


def _power_of(gpu: Gpu) -> Callable[[], float | None]:
    """Power now where the GPU tells it, else what its driver averages."""
    instant: Callable[[], float | None] | None = getattr(gpu, "instant_power_w", None)
    return instant if instant is not None and instant() is not None else gpu.power_w
