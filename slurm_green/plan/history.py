# SPDX-License-Identifier: Apache-2.0
"""What the recent past teaches: how long jobs queued, and how much of their limit they used. Pure.

Both are kept as plain samples, newest last, bounded, so that memory stays flat.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

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


@dataclass(frozen=True, kw_only=True)
class History:
    """Samples of waits and run times; questions fall back from the specific to the general.

    Sorted indexes are made at the first question: a decision must not read all samples.
    """

    waits: tuple[WaitSample, ...] = field(default=())
    runs: tuple[RunSample, ...] = field(default=())

    def with_samples(
        self, *, waits: Iterable[WaitSample] = (), runs: Iterable[RunSample] = ()
    ) -> "History":
        """A history that knows these too, the oldest forgotten."""
        more_waits, more_runs = tuple(waits), tuple(runs)
        if not more_waits and not more_runs:
            return self
        return History(
            waits=(*self.waits, *more_waits)[-_KEEP:],
            runs=(*self.runs, *more_runs)[-_KEEP:],
        )

    def wait_quantile_s(
        self, quantile: float, *, partition: str, qos: str, gpus: int
    ) -> float | None:
        """The wait that this share of similar jobs stayed under; None without any sample."""
        samples = self._waits_like(partition, qos, gpus)
        return _quantile(samples, quantile) if samples else None

    def chance_of_waiting_over(
        self, wait_s: float, *, partition: str, qos: str, gpus: int
    ) -> float | None:
        """Share of similar jobs that queued longer than this; None with too few to say."""
        samples = self._waits_like(partition, qos, gpus)
        if len(samples) < _ENOUGH:
            return None
        return (len(samples) - bisect_right(samples, wait_s)) / len(samples)

    def run_fraction(self, *, partition: str, user: str, name: str) -> float:
        """A cautious (80 %) share of the limit a job like this uses; 1 when nothing is known."""
        samples = self._runs_like(partition, user, name)
        return _quantile(samples, 0.8) if samples else 1.0

    def mean_run_fraction(self, *, partition: str, user: str, name: str) -> float:
        """The mean of those shares, for sums over many jobs; 1 when nothing is known."""
        samples = self._runs_like(partition, user, name)
        return sum(samples) / len(samples) if samples else 1.0

    def longest_run_fraction(self, *, user: str, name: str) -> float | None:
        """The longest share of its limit that any such job used; None with too few to say."""
        samples = self._runs_by.get(("name", user, name), [])
        return samples[-1] if len(samples) >= _ENOUGH else None

    def _runs_like(self, partition: str, user: str, name: str) -> Sequence[float]:
        for key in (("name", user, name), ("partition", user, partition)):
            samples = self._runs_by.get(key, ())
            if len(samples) >= _ENOUGH:
                return samples
        return ()

    def _waits_like(self, partition: str, qos: str, gpus: int) -> Sequence[float]:
        alike = self._waits_by.get((partition, qos, _size_class(gpus)), ())
        return alike if len(alike) >= _ENOUGH else self._waits_by.get((partition,), ())

    @cached_property
    def _waits_by(self) -> dict[tuple[object, ...], list[float]]:
        return _sorted_by(
            (key, one.wait_s)
            for one in self.waits
            for key in ((one.partition,), (one.partition, one.qos, _size_class(one.gpus)))
        )

    @cached_property
    def _runs_by(self) -> dict[tuple[object, ...], list[float]]:
        return _sorted_by(
            (key, one.fraction)
            for one in self.runs
            for key in (("name", one.user, one.name), ("partition", one.user, one.partition))
        )


def _sorted_by(
    samples: Iterable[tuple[tuple[object, ...], float]],
) -> dict[tuple[object, ...], list[float]]:
    found: dict[tuple[object, ...], list[float]] = {}
    for key, sample in samples:
        found.setdefault(key, []).append(sample)
    for values in found.values():
        values.sort()
    return found


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _size_class(gpus: int) -> int:
    """0 for none, then 1, 2, 3-4, 5-8 ... GPUs: waits grow with the power of two."""
    return 0 if gpus <= 0 else 1 + (gpus - 1).bit_length()
