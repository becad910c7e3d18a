# SPDX-License-Identifier: Apache-2.0
"""What takers cost and are expected to use at some prices, by the kernel or without. Pure.

Each takes its starts by odds that fall with their cost (logit), so that both are smooth.
"""

from ctypes import byref
from functools import cached_property

import numpy as np

from slurm_green.plan.kernel import address
from slurm_green.plan.policy.kernel import CRolling, library
from slurm_green.plan.policy.rolling_ways import Ways
from slurm_green.plan.problem import Floats, Ints

__all__ = ["Uses"]


class Uses:
    """Ways over some slots, each taker with its heat: as much dearer starts are 1/e as likely."""

    def __init__(self, ways: Ways, slots: int, heat_g: Floats, *, compiled: bool = True) -> None:
        self._ways = ways
        self._slots = slots
        self._heat_g = heat_g
        self._kernel = library() if compiled else None
        self._all = np.zeros(len(ways), dtype=np.int64)
        if self._kernel is not None:
            starts = np.append(0, np.cumsum(ways.between + 3))[ways.first]
            self._room = np.zeros(int(np.diff(starts).max(initial=0)))
            self._arrays = {
                name: np.ascontiguousarray(array)
                for name, array in (
                    *(("first", ways.first), ("weight", ways.weight), ("heat", heat_g)),
                    *(("gpus", ways.gpus), ("power", ways.power_w), ("length", ways.length)),
                    *(("begin", ways.begin), ("last", ways.last)),
                    *(("border", ways.border), ("between", ways.between), ("cost", self._room)),
                )
            }
            self._addresses = {name: address(array) for name, array in self._arrays.items()}

    def at(
        self, per_w: Floats, per_gpu: Floats, *, watts: bool = True
    ) -> tuple[float, Floats, Floats]:
        """The soft minimum of all costs in g, and GPUs and watts used in each slot.

        `per_w` is what a watt costs for a slot, `per_gpu` what a GPU does. Without `watts` those
        are 0.
        """
        value, gpus, used_w = self.by(per_w, per_gpu, self._all, 1, watts=watts)
        return value, gpus[0], used_w[0]

    def by(
        self, per_w: Floats, per_gpu: Floats, row: Ints, rows: int, *, watts: bool = True
    ) -> tuple[float, Floats, Floats]:
        """The same, with what is used in the given row for each taker."""
        found = np.zeros((2, rows, self._slots + 2))
        prices = np.zeros((4, self._slots + 1))
        prices[0, :-1], prices[2, :-1] = per_w, per_gpu
        np.cumsum(per_w, out=prices[1, 1:])
        np.cumsum(per_gpu, out=prices[3, 1:])
        if self._kernel is None:
            value = self._slowly(prices, row, found)
        else:
            names = ("per_w", "per_w_sum", "per_gpu", "per_gpu_sum")
            arguments = CRolling(
                slots=self._slots,
                takers=len(self._ways),
                target=address(row),
                **self._addresses,
                **{name: address(one) for name, one in zip(names, prices, strict=True)},
            )
            tables = address(found[0]), address(found[1]) if watts else None
            value = self._kernel.sr_use(byref(arguments), *tables)
        gpus, used_w = np.cumsum(found, axis=2)[:, :, : self._slots]
        return value, gpus, used_w

    def _slowly(self, prices: Floats, row: Ints, found: Floats) -> float:
        ways, slots = self._ways, self._slots
        if not len(ways):
            return 0.0
        of, taker, begin, end, first = self._starts
        spans = [(moment.astype(np.int64), moment) for moment in (begin, end)]

        def between(value: Floats, total: Floats) -> Floats:
            low, high = (total[at] + (moment - at) * value[at] for at, moment in spans)
            return np.asarray(high - low)

        per_w, per_gpu = between(prices[0], prices[1]), between(prices[2], prices[3])
        cost = ways.power_w[of] * per_w + ways.gpus[of] * per_gpu
        least = np.minimum.reduceat(cost, first)
        odds = np.exp((least[taker] - cost) / self._heat_g[taker])
        total = np.add.reduceat(odds, first)
        share = odds * (ways.weight / total)[taker]
        size = slots + 2
        to = row[taker] * size
        for amount, table in (
            (share * ways.gpus[of], found[0]),
            (share * ways.power_w[of], found[1]),
        ):
            flat = table.reshape(-1)
            for (at, moment), sign in zip(spans, (1.0, -1.0), strict=True):
                part = moment - at
                flat += sign * np.bincount(to + at, amount * (1 - part), len(flat))
                flat += sign * np.bincount(to + at + 1, amount * part, len(flat))
        return float(ways.weight @ (least - self._heat_g * np.log(total)))

    @cached_property
    def _starts(self) -> tuple[Ints, Ints, Floats, Floats, Ints]:
        """Of each start its row, its taker, begin and end; and where each taker's begin."""
        ways = self._ways
        count = ways.between + 2
        of = np.repeat(np.arange(len(count)), count)
        place = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
        begin = (ways.border[of] + place - 1).astype(np.float64)
        begin = np.where(place == 0, ways.begin[of], begin)
        begin = np.where(place == count[of] - 1, ways.last[of], begin)
        end = np.minimum(begin + ways.length[of], float(self._slots))
        first = np.append(0, np.cumsum(count))[ways.first[:-1]]
        taker = np.repeat(np.arange(len(ways)), np.diff(np.append(first, len(of))))
        return of, taker, begin, end, first
