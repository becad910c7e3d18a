# SPDX-License-Identifier: Apache-2.0
"""GPUs under a sweep: sets their clocks by lease, runs a workload, and looks at them meanwhile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from profiling.device.apply import Applied, Setting
from profiling.device.gpu import Gpu, RefusedError, Why
from profiling.device.journal import Journal
from profiling.device.lease import Lease
from profiling.errors import DeviceError
from profiling.sweep.meter import Meter
from profiling.sweep.times import Time
from profiling.sweep.window import Sample, Seen, seen, steady
from profiling.workload.protocol import Steps, Workload

__all__ = ["Rig", "total_w"]

HOLDER = "sgreen profile run"
_FINAL = {Why.NO_PERMISSION, Why.NOT_SUPPORTED, Why.LOST}
_MOST_WARM_S = 20.0


@dataclass
class Rig:
    """The GPUs of a sweep. As a context it gives back every clock, whatever ends it.

    `owed` is where it is written what is owed to the GPUs; without it no clock is ever set.
    """

    gpus: Sequence[Gpu]
    time: Time
    owed: Journal | None
    default: Setting

    def __post_init__(self) -> None:
        self._leases = [
            Lease(gpu, self.owed, default=self.default, holder=HOLDER)
            for gpu in self.gpus
            if self.owed is not None
        ]
        self._clock_mhz: dict[int, int | None] = {}

    def __enter__(self) -> "Rig":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Every GPU back to its default; RefusedError after all were tried."""
        failed: list[DeviceError] = []
        self._clock_mhz.clear()
        for lease in self._leases:
            try:
                lease.release()
            except DeviceError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def try_clock(self, gpu: int, clock_mhz: int) -> Applied:
        """Lock one GPU's clock; what came of it. RefusedError for who has no journal for it."""
        if self.owed is None:
            raise RefusedError(Why.NO_PERMISSION, "the sweep was begun with clocks set")
        self._clock_mhz[gpu] = None
        applied = self._leases[gpu].set(Setting(clock_mhz=clock_mhz))
        self._clock_mhz[gpu] = clock_mhz if applied.took else None
        return applied

    def set_clock(self, gpus: int, clock_mhz: int | None) -> bool:
        """Lock the first `gpus`, or leave them to the driver; whether anything changed.

        Raises DeviceError where a GPU refuses for good: the sweep cannot go on then.
        """
        if clock_mhz is None:
            changed = bool(self._clock_mhz)
            self.release()
            return changed
        changed = False
        for at in range(gpus):
            if self._clock_mhz.get(at) == clock_mhz:
                continue
            changed = True
            applied = self.try_clock(at, clock_mhz)
            if not applied.took and set(applied.refused) & _FINAL:
                raise RefusedError(
                    applied.refused[0],
                    f"GPU {self.gpus[at].identity.index}: {clock_mhz} MHz not set",
                )
        return changed

    def run(self, workload: Workload, gpus: int, at_least_s: float) -> tuple[list[Seen], Steps]:
        """Run the load that is up, and what the first `gpus` showed meanwhile."""
        with self._meter(gpus).watching() as taken:
            steps = workload.run(at_least_s)
        return _seen(taken, steps.begin_s, steps.end_s), steps

    def idle(self, at_least_s: float) -> list[Seen]:
        """What all GPUs show while nothing runs."""
        with self._meter(len(self.gpus)).watching() as taken:
            begin_s = self.time.now_s()
            self.time.sleep(at_least_s)
            end_s = self.time.now_s()
        return _seen(taken, begin_s, end_s)

    def settled(self, look: Callable[[], Sequence[Seen]]) -> float | None:
        """Look until power has settled, for a bounded time; W of all GPUs in the last look."""
        ends_s = self.time.now_s() + _MOST_WARM_S
        now_w = total_w(look())
        while True:
            before_w, now_w = now_w, total_w(look())
            if steady(before_w, now_w) or self.time.now_s() >= ends_s:
                break
        return now_w

    def _meter(self, gpus: int) -> Meter:
        return Meter(self.gpus[:gpus], self.time)


def total_w(gpus: Sequence[Seen]) -> float | None:
    """Power of all of them; None where one of them does not tell."""
    powers = [one.power_w for one in gpus]
    known = [one for one in powers if one is not None]
    return sum(known) if len(known) == len(powers) else None


def _seen(taken: Sequence[Sequence[Sample]], begin_s: float, end_s: float) -> list[Seen]:
    return [seen(samples, begin_s, end_s) for samples in taken]
