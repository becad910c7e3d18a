# SPDX-License-Identifier: Apache-2.0
"""What a site could expect at each moment of a replay, from what was known by then. Pure.

The newest forecast, or without one what was usual at that time of day in the last week, is moved
by its error in the last slot; the error fades as it did in the week before, and what it leaves
uncertain grows to its usual size. `truth` knows what came: it is for the oracle alone.
"""

from collections.abc import Sequence

import numpy as np

from slurm_green.migration.links import Bools
from slurm_green.migration.replay.inputs import Inputs, Issue, ReplaySite
from slurm_green.migration.windows import Outlook
from slurm_green.plan.problem import Floats, Ints

__all__ = ["expected", "truth"]

_DAY_S = 86_400.0
_ISSUES = 4  # the newest may begin hours from now: so many are looked at
_PAST_DAYS = 7
# Before there is a past: the usual error of a day-ahead forecast of wind at a site, as a share of
# the highest supply, and how long errors last. Both weigh as much as two days of past.
_PRIOR_SHARE = 0.14
_PRIOR_LASTS_S = 4 * 3600.0
_PRIOR_DAYS = 2.0


def truth(inputs: Inputs) -> list[list[Outlook]]:
    """Of each cycle, for each site, what really comes."""
    return [
        [
            _outlook(inputs, site, slot, site.supply_w, site.carbon_g_per_kwh)
            for site in inputs.sites
        ]
        for slot in _slots(inputs)
    ]


def expected(inputs: Inputs) -> list[list[Outlook]]:
    """Of each cycle, for each site, what could be expected."""
    by_site = [_of_site(inputs, site) for site in inputs.sites]
    return [list(some) for some in zip(*by_site, strict=True)]


def _slots(inputs: Inputs) -> range:
    return range(0, inputs.slots, round(inputs.cycle_s / inputs.step_s))


def _of_site(inputs: Inputs, site: ReplaySite) -> list[Outlook]:
    supply = _Forecaster(inputs, site.supply_w, site.issues, [one.supply_w for one in site.issues])
    carbon = _Forecaster(
        inputs, site.carbon_g_per_kwh, site.issues, [one.carbon_g_per_kwh for one in site.issues]
    )
    found = []
    for slot in _slots(inputs):
        supply_w, sd_w = supply.at(slot)
        carbon_g, _ = carbon.at(slot)
        found.append(
            Outlook(
                step_s=inputs.step_s,
                supply_w=supply_w,
                supply_sd_w=sd_w,
                carbon_g_per_kwh=carbon_g,
                base_w=_ahead(inputs, site.base_w, slot),
            )
        )
    return found


def _outlook(
    inputs: Inputs, site: ReplaySite, slot: int, supply_w: Floats, carbon: Floats
) -> Outlook:
    supply = _ahead(inputs, supply_w, slot)
    return Outlook(
        step_s=inputs.step_s,
        supply_w=supply,
        supply_sd_w=np.zeros(len(supply)),
        carbon_g_per_kwh=_ahead(inputs, carbon, slot),
        base_w=_ahead(inputs, site.base_w, slot),
    )


def _ahead(inputs: Inputs, values: Floats, slot: int) -> Floats:
    """The slots of an outlook; past the end the last one goes on."""
    count = round(inputs.horizon_s / inputs.step_s)
    return values[np.minimum(np.arange(slot, slot + count), len(values) - 1)]


class _Forecaster:
    """Forecasts of one series, made in the order of time."""

    def __init__(
        self, inputs: Inputs, actual: Floats, issues: Sequence[Issue], said: Sequence[Floats]
    ) -> None:
        self._actual = actual
        self._step_s = inputs.step_s
        self._day = max(round(_DAY_S / inputs.step_s), 1)
        self._ahead = round(inputs.horizon_s / inputs.step_s)
        self._issues, self._said = issues, said
        self._issued_s = np.array([one.issued_s for one in issues])
        self._errors = np.zeros(len(actual))
        self._before = (0, np.zeros(0))  # the last base, and its first slot

    def at(self, slot: int) -> tuple[Floats, Floats]:
        """Mean and standard error of the slots from this one on; sees only those before it."""
        first, said = self._before
        known = slice(first, slot)
        self._errors[known] = self._actual[known] - said[: slot - first]
        base, unsaid = self._base(slot, slot + self._ahead)
        self._before = slot, base
        size, lasts, spread = self._habits(slot, float(np.max(base, initial=0.0)))
        last = self._errors[slot - 1] if slot else 0.0
        fades = lasts ** np.arange(1.0, self._ahead + 1.0)
        mean = np.maximum(base + last * fades, 0.0)
        if unsaid.all():  # errors are those of what was usual, all of them
            spread = size
        return mean, np.where(unsaid, max(spread, size), size) * np.sqrt(1.0 - fades**2)

    def _base(self, first: int, until: int) -> tuple[Floats, Bools]:
        """Each slot by the newest forecast issued by the first one, else what was usual: which."""
        slots = np.arange(first, until)
        found = np.full(len(slots), np.nan)
        newest = int(np.searchsorted(self._issued_s, first * self._step_s, side="right")) - 1
        for issue in range(newest, max(newest - _ISSUES, -1), -1):
            unsaid = np.isnan(found)
            if not unsaid.any():
                break
            rows_s, values = self._issues[issue].middle_s, self._said[issue]
            given = ~np.isnan(values)
            if given.any():
                middle_s = (slots[unsaid] + 0.5) * self._step_s
                found[unsaid] = np.interp(
                    middle_s, rows_s[given], values[given], left=np.nan, right=np.nan
                )
        unsaid = np.isnan(found)
        if unsaid.any():
            found[unsaid] = self._usual(first, slots[unsaid])
        return found, unsaid

    def _usual(self, now: int, slots: Ints) -> Floats:
        """The mean of the same time of day in the week before now."""
        if now == 0:
            return np.full(len(slots), self._actual[0])
        days = np.arange(1, _PAST_DAYS + 1)
        back = now - 1 - (now - 1 - slots) % self._day
        past = back[:, np.newaxis] - (days - 1) * self._day
        values = np.where(past >= 0, self._actual[np.maximum(past, 0)], np.nan)
        some = ~np.isnan(values)
        total = np.where(some, values, 0.0).sum(axis=1)
        mean = total / np.maximum(some.sum(axis=1), 1)
        return np.asarray(np.where(some.any(axis=1), mean, self._actual[now - 1]))

    def _habits(self, slot: int, highest: float) -> tuple[float, float, float]:
        """Usual size of the error, the share of it that a slot leaves, and that of the series."""
        first = max(slot - _PAST_DAYS * self._day, 0)
        errors = self._errors[first:slot]
        highest = max(highest, float(np.max(self._actual[first:slot], initial=0.0)))
        weight = _PRIOR_DAYS * self._day
        prior = (_PRIOR_SHARE * highest) ** 2
        variance = (prior * weight + float(errors @ errors)) / (weight + len(errors))
        fades = np.exp(-self._step_s / _PRIOR_LASTS_S)
        together = prior * weight * fades + float(errors[1:] @ errors[:-1])
        share = together / max(prior * weight + float(errors @ errors), 1e-12)
        spread = float(np.std(self._actual[first:slot])) if slot > first else 0.0
        return float(np.sqrt(variance)), float(np.clip(share, 0.0, 0.999)), spread
