# SPDX-License-Identifier: Apache-2.0
"""Forecasts as they were issued: rows by issue, whoever made them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from slurm_green.plan.problem import Floats, Ints

__all__ = ["COLUMNS", "Forecasts"]

COLUMNS = (
    "carbon_g_per_kwh",
    "p10",
    "p90",
    "renewable_w",
    "renewable_p10",
    "renewable_p90",
)


@dataclass(frozen=True, kw_only=True)
class Forecasts:
    """Rows of all issues, one issue after another; issue i has rows first[i] to first[i + 1].

    Times are seconds from the trace's first slot; `issued_s` ascends. A row holds from its start
    for `step_s`. Columns are some of COLUMNS, NaN where nothing is said.
    """

    issued_s: Floats
    first: Ints
    start_s: Floats
    step_s: float
    columns: Mapping[str, Floats] = field(default_factory=dict)

    def at(self, issue: int, name: str, middle_s: Floats) -> Floats | None:
        """What an issue says of these moments, NaN where nothing; None without the column."""
        column = self.columns.get(name)
        if column is None or issue < 0:
            return None
        rows = slice(int(self.first[issue]), int(self.first[issue + 1]))
        start_s, values = self.start_s[rows], column[rows]
        if not len(start_s):
            return None
        at = np.searchsorted(start_s, middle_s, "right") - 1
        covered = (at >= 0) & (middle_s < start_s[at] + self.step_s)
        return np.asarray(np.where(covered, values[at], np.nan))
