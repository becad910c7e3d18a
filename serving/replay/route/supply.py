# SPDX-License-Identifier: Apache-2.0
"""Power of each site over time, and what is known of its future. Pure.

Power holds from one row to the next; the last row holds as long as the one before.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from profiling.law import Floats
from serving.router.policy.protocol import Outlook

__all__ = ["Forecast", "Persistence", "Supply"]

_LOW = 0.1  # the low quantile
_STEPS = 12  # that persistence looks ahead
_LEAST = 24  # steps of past before their changes are believed
_PAST = 2016  # steps that are looked back at
_MOST_STEPS = 48  # of a forecast


@dataclass(frozen=True, kw_only=True)
class Supply:
    """`watts` has a row for each site and a column for each entry of `start_s`."""

    start_s: Floats
    watts: Floats

    @property
    def end_s(self) -> float:
        """Until when it is known."""
        last_s = self.start_s[-1] - self.start_s[-2] if len(self.start_s) > 1 else 3600.0
        return float(self.start_s[-1] + last_s)

    def step_at(self, now_s: float) -> int:
        """The column that holds at a time; the first one also before."""
        return max(bisect_right(self.start_s, now_s) - 1, 0)

    def used_wh(self, begin_s: float, end_s: float) -> float:
        """Watt-hours that all sites have between two times; the last row goes on."""
        edges_s = np.clip(np.append(self.start_s, np.inf), begin_s, end_s)
        return float((self.watts * np.diff(edges_s)).sum() / 3600)


class Persistence:
    """What is now goes on; its low quantile by how much power fell before, within such a time."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._falls: dict[tuple[int, int], Sequence[float]] = {}

    def outlook(self, site: int, now_s: float) -> Sequence[Outlook]:
        """Steps from now on; rests on nothing later than now."""
        supply = self._supply
        step = supply.step_at(now_s)
        now_w = float(supply.watts[site, step])
        gap_s = float(supply.start_s[step] - supply.start_s[0]) / step if step else 300.0
        falls_w = self._falls_w(site, step)
        first_s = float(supply.start_s[step])
        return [
            Outlook(now_s, now_w, now_w),
            *(
                Outlook(start_s, now_w, max(now_w + fall_w, 0.0))
                for ahead, fall_w in enumerate(falls_w, 1)
                if (start_s := first_s + ahead * gap_s) > now_s
            ),
        ]

    def _falls_w(self, site: int, step: int) -> Sequence[float]:
        """By steps ahead, the low quantile of what changed within so many steps, never above 0."""
        key = (site, step)
        if key not in self._falls:
            watts = self._supply.watts[site]
            past = watts[max(0, step + 1 - _PAST) : step + 1]
            found = []
            for ahead in range(1, _STEPS + 1):
                fall_w = -0.5 * float(past[-1])
                if len(past) >= _LEAST + ahead:
                    fall_w = min(float(np.quantile(past[ahead:] - past[:-ahead], _LOW)), 0.0)
                found.append(fall_w)
            self._falls = {old: value for old, value in self._falls.items() if old[1] == step}
            self._falls[key] = found
        return self._falls[key]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Issued forecasts; `issues` rise, each with rows of (start_s, watts by site, low by site)."""

    supply: Supply
    issued_s: Sequence[float]
    rows: Sequence[Sequence[tuple[float, Sequence[float], Sequence[float]]]] = field(repr=False)

    def outlook(self, site: int, now_s: float) -> Sequence[Outlook]:
        """The newest forecast issued by now, from the step that holds now on; else persistence."""
        number = bisect_right(self.issued_s, now_s) - 1
        if number < 0:
            return Persistence(self.supply).outlook(site, now_s)
        rows = self.rows[number]
        now_w = float(self.supply.watts[site, self.supply.step_at(now_s)])
        first = bisect_right(rows, now_s, key=lambda one: one[0])
        later = [
            Outlook(start_s, watts[site], low[site])
            for start_s, watts, low in rows[first : first + _MOST_STEPS]
        ]
        return [Outlook(now_s, now_w, now_w), *later]
