# SPDX-License-Identifier: Apache-2.0
"""What is expected at each moment of a replay: the newest forecast, then what is usual. Pure.

Where no forecast says anything it is, with each slot anew, what a short past lets expect. Of the
signal itself only slots that ended, and the current one, are looked at.
"""

from dataclasses import replace

import numpy as np

from slurm_green.plan.policy.protocol import Outlook
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats, Site
from slurm_green.replay.forecasts import Forecasts
from slurm_green.signals.forecast.cold import expected as expected_after

__all__ = ["AHEAD_S", "Outlooks", "usual"]

AHEAD_S = 14 * 86_400.0
_DAY_S = 86_400.0
_WEEKS = 8
# One week says little of an hour of the week alone: so many of its hour of day join it.
_SHRINKAGE = 6.0


def usual(past: Floats, per_day: int, count: int) -> Floats:
    """What is usual in `count` slots after a past, by hour of the week of its last eight weeks.

    With less than a week by hour of day, with less than a day the mean; the past is not empty.
    """
    days = min(len(past) // per_day, 7 * _WEEKS) if per_day else 0
    if days == 0:
        return np.full(count, past.mean())
    slot = np.arange(count)
    by_day = past[-days * per_day :].reshape(days, per_day).mean(axis=0)[slot % per_day]
    weeks = days // 7
    if weeks == 0:
        return np.asarray(by_day)
    per_week = 7 * per_day
    by_week = past[-weeks * per_week :].reshape(weeks, per_week).mean(axis=0)[slot % per_week]
    return np.asarray((weeks * by_week + _SHRINKAGE * by_day) / (weeks + _SHRINKAGE))


def _short(seen: Floats, count: int, step_s: float) -> Floats:
    """What a short past lets expect of its last slot, which is known, and those after it."""
    slots = max(1, round(SECONDS_PER_HOUR / step_s))  # told by the hour, back from now
    whole = len(seen) // slots * slots
    if not whole or seen.min() == seen.max():
        return np.full(count, seen.mean())
    hours = -(-count // slots)
    past = seen[len(seen) - whole :].reshape(-1, slots).mean(axis=1)
    mean, _ = expected_after(past, hours, slots * step_s / SECONDS_PER_HOUR)
    mean = np.maximum(mean, seen.min() / 2)
    return np.concatenate([seen[-1:], np.repeat(mean, slots)])[:count]


class Outlooks:
    """Makes outlooks, one for each slot and issue that is asked for, in order of time."""

    def __init__(self, site: Site, forecasts: Forecasts) -> None:
        self._site = site
        self._forecasts = forecasts
        self._per_day = round(_DAY_S / site.step_s)
        if abs(self._per_day * site.step_s - _DAY_S) > 1.0:
            self._per_day = 0
        self._ahead = max(1, round(AHEAD_S / site.step_s))
        self._fresh = max(1, self._per_day)  # so many slots later what is usual is looked up again
        self._expected: tuple[int, int] | None = None
        self._from = 0  # the slot that the arrays below begin with
        self._arrays: dict[str, Floats | None] = {}
        self._key: tuple[int, int] | None = None
        self._outlook: Outlook | None = None

    @property
    def issues_s(self) -> Floats:
        """When something new is known; not before the first slot, not after the last."""
        issued = self._forecasts.issued_s
        return np.asarray(issued[(issued > 0) & (issued < self._site.horizon_s)])

    def at(self, now_s: float) -> Outlook:
        """What is expected then."""
        site = self._site
        slot = min(int((now_s + 1e-6) / site.step_s), site.slots - 1)
        issue = int(np.searchsorted(self._forecasts.issued_s, now_s + 1e-6, "right")) - 1
        if self._outlook is not None and self._key == (slot, issue):
            return self._outlook
        since_s = max(float(self._forecasts.issued_s[issue]), 0.0) if issue >= 0 else 0.0
        first = int((since_s + 1e-6) / site.step_s)
        nothing = self._says_nothing(issue)
        begin = slot if nothing else first + (slot - first) // self._fresh * self._fresh
        if (issue, begin) != self._expected:
            self._expect(issue, begin)
        self._key = (slot, issue)
        self._outlook = self._made(slot, issue)
        return self._outlook

    def _says_nothing(self, issue: int) -> bool:
        return issue < 0 or self._forecasts.first[issue] == self._forecasts.first[issue + 1]

    def _expect(self, issue: int, begin: int) -> None:
        """All that is said from a slot on, for a day of slots and what lies ahead of each."""
        site = self._site
        self._expected, self._from = (issue, begin), begin
        end = min(begin + self._fresh + self._ahead, site.slots)
        middle_s = np.asarray((np.arange(begin, end) + 0.5) * site.step_s, dtype=np.float64)
        arrays = self._arrays = {}
        for name, real, low, high in (
            ("carbon_g_per_kwh", site.carbon_g_per_kwh, "p10", "p90"),
            ("renewable_w", site.renewable_w, "renewable_p10", "renewable_p90"),
        ):
            if self._says_nothing(issue):
                arrays[name] = _short(real[: begin + 1], end - begin, site.step_s)
                arrays[low] = arrays[high] = None
                continue
            past = real[: max(begin, 1)]  # of an empty past the current slot, which is known
            expected = usual(past, self._per_day, end - begin)
            said = self._forecasts.at(issue, name, middle_s)
            if said is not None:
                expected = np.where(np.isnan(said), expected, said)
            arrays[name] = expected
            for share in (low, high):
                band = self._forecasts.at(issue, share, middle_s)
                arrays[share] = None if band is None else self._continued(band, expected)

    def _continued(self, band: Floats, expected: Floats) -> Floats | None:
        """Past its end as far from what is expected as on its last day."""
        known = np.flatnonzero(~np.isnan(band))
        if not len(known):
            return None
        last = known[-max(self._per_day, 1) :]
        away = float((band - expected)[last].mean())
        return np.asarray(np.where(np.isnan(band), np.maximum(expected + away, 0.0), band))

    def _made(self, slot: int, issue: int) -> Outlook:
        site = self._site
        end = min(slot + self._ahead, site.slots)
        cut = slice(slot - self._from, end - self._from)

        def seen(name: str, real: Floats) -> Floats | None:
            array = self._arrays[name]
            if array is None:
                return None
            array = array[cut].copy()
            array[0] = real[slot]
            return array

        carbon = seen("carbon_g_per_kwh", site.carbon_g_per_kwh)
        renewable = seen("renewable_w", site.renewable_w)
        assert carbon is not None
        assert renewable is not None
        price = site.price_per_kwh
        return Outlook(
            site=replace(
                site,
                start_s=slot * site.step_s,
                carbon_g_per_kwh=carbon,
                renewable_w=renewable,
                base_power_w=site.base_power_w[slot:end],
                price_per_kwh=None if price is None else price[slot:end],
            ),
            issued_s=(
                slot * site.step_s
                if self._says_nothing(issue)
                else float(self._forecasts.issued_s[issue])
            ),
            carbon_p10=seen("p10", site.carbon_g_per_kwh),
            carbon_p90=seen("p90", site.carbon_g_per_kwh),
            renewable_p10_w=seen("renewable_p10", site.renewable_w),
            renewable_p90_w=seen("renewable_p90", site.renewable_w),
        )
