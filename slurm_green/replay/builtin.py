# SPDX-License-Identifier: Apache-2.0
"""The built-in forecaster on a replay's own past, issued at a fixed pace. Pure.

With less than four weeks of past an issue is empty: the outlook says what a short past lets expect.
All issues are made in one go, each from the hours before it alone; that is what the models promise.
"""

from datetime import UTC, datetime

import numpy as np

from slurm_green.plan.problem import Floats, Site
from slurm_green.replay.forecasts import Forecasts
from slurm_green.signals.forecast.builtin import LEAST_H, BuiltIn
from slurm_green.signals.forecast.live import HOUR_S, LONGEST_H, hourly_of
from slurm_green.signals.measured import Measured

__all__ = ["EVERY_S", "built_in"]

EVERY_S = 6 * HOUR_S


def built_in(site: Site, every_s: float = EVERY_S) -> Forecasts:
    """Forecasts of carbon and renewable supply, 96 h ahead, with quantiles.

    From the first slot on something is issued every `every_s`; before there are four weeks of past
    an issue has no rows.
    """
    hours = int(site.horizon_s // HOUR_S)
    every = max(1, round(every_s / HOUR_S))
    issues = np.arange(0, hours + 1, every, dtype=np.int64)
    learned = issues[issues >= LEAST_H]
    columns: dict[str, Floats] = {}
    for name, real, low, high in (
        ("carbon_g_per_kwh", site.carbon_g_per_kwh, "p10", "p90"),
        ("renewable_w", site.renewable_w, "renewable_p10", "renewable_p90"),
    ):
        if not len(learned) or real.min() == real.max():
            continue
        # The trap: weekdays of a trace without dates are told from its past alone.
        past = hourly_of(
            Measured(
                start_utc=datetime.fromtimestamp(site.start_s, UTC),
                step_s=HOUR_S,
                values=_hourly(site, real, hours),
                provider="replay",
                quantity=name,
            ),
            hours + LONGEST_H,
            None,
            weekdays_until=LEAST_H,
        )
        bands = BuiltIn().bands(past, learned, LONGEST_H)
        columns |= {name: bands.mean.ravel(), low: bands.p10.ravel(), high: bands.p90.ravel()}
    rows = np.where(issues >= LEAST_H, LONGEST_H, 0) if columns else np.zeros_like(issues)
    ahead = np.arange(LONGEST_H)
    return Forecasts(
        issued_s=np.asarray(issues * HOUR_S, dtype=np.float64),
        first=np.concatenate([[0], np.cumsum(rows)]).astype(np.int64),
        start_s=np.asarray(((learned[:, None] + ahead) * HOUR_S).ravel(), dtype=np.float64),
        step_s=HOUR_S,
        columns=columns,
    )


def _hourly(site: Site, values: Floats, hours: int) -> Floats:
    """The mean of each hour from the first slot's start on."""
    total = np.concatenate([[0.0], np.cumsum(values)]) * site.step_s
    return np.asarray(
        np.diff(np.interp(np.arange(hours + 1) * HOUR_S, site.edges_s, total)) / HOUR_S
    )
