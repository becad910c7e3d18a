# SPDX-License-Identifier: Apache-2.0
"""What the recent past teaches: how long jobs queued, and how much of their limit they used. Pure.

Both are kept as plain samples, newest last, bounded, so that memory stays flat.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["History", "RunSample", "WaitSample"]

_KEEP = 2000
_ENOUGH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitSample:
    """How long one job queued once it was eligible."""

    partition: str
    qos: str
    gpus: int
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSample:
    """What share of its time limit one finished job used, 0..1."""

    partition: str
    user: str
    name: str
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Samples of waits and run times; questions fall back from the specific to the general."""

    waits: tuple[WaitSample, ...] = field(default=())
    runs: tuple[RunSample, ...] = field(default=())

    def with_samples(
        self, *, waits: Iterable[WaitSample] = (), runs: Iterable[RunSample] = ()
    ) -> "History":
        """A history that knows these too, the oldest forgotten."""
        return History(
            waits=(*self.waits, *waits)[-_KEEP:],
            runs=(*self.runs, *runs)[-_KEEP:],
        )

    def wait_quantile_s(
        self, quantile: float, *, partition: str, qos: str, gpus: int
    ) -> float | None:
        """The wait that this share of similar jobs stayed under; None without any sample."""
        samples = self._waits_like(partition, qos, gpus)
        if not samples:
            return None
        ordered = sorted(samples)
        return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]

    def chance_of_waiting_over(
        self, wait_s: float, *, partition: str, qos: str, gpus: int
    ) -> float | None:
        """Share of similar jobs that queued longer than this; None with too few to say."""
        samples = self._waits_like(partition, qos, gpus)
        if len(samples) < _ENOUGH:
            return None
        return sum(sample > wait_s for sample in samples) / len(samples)

    def run_fraction(self, *, partition: str, user: str, name: str) -> float:
        """A cautious (80 %) share of the limit a job like this uses; 1 when nothing is known."""
        same_name = [r.fraction for r in self.runs if r.user == user and r.name == name]
        same_user = [r.fraction for r in self.runs if r.user == user and r.partition == partition]
        for samples in (same_name, same_user):
            if len(samples) >= _ENOUGH:
                return sorted(samples)[min(int(0.8 * len(samples)), len(samples) - 1)]
        return 1.0

    def _waits_like(self, partition: str, qos: str, gpus: int) -> list[float]:
        here = [w for w in self.waits if w.partition == partition]
        size = _size_class(gpus)
        alike = [w.wait_s for w in here if w.qos == qos and _size_class(w.gpus) == size]
        return alike if len(alike) >= _ENOUGH else [w.wait_s for w in here]


def _size_class(gpus: int) -> int:
    """0 for none, then 1, 2, 3-4, 5-8 ... GPUs: waits grow with the power of two."""
    return 0 if gpus <= 0 else 1 + (gpus - 1).bit_length()
