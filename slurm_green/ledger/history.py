# SPDX-License-Identifier: Apache-2.0
"""What the signal said for each slot of the past, put together from its rows."""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import numpy as np

from slurm_green.ledger.rows import utc
from slurm_green.signals.series import Series

__all__ = ["SignalRow", "assemble"]

_MAX_STEPS = 1_000_000


class SignalRow(NamedTuple):
    """One slot as signal_history holds it, times in POSIX seconds."""

    start_utc: float
    step_s: float
    value: float
    provider: str
    region: str
    unit: str
    basis: str
    scope: str
    time_scale: float
    issued_utc: float

    @property
    def kind(self) -> tuple[str, str, str, str, float]:
        """What must agree before two slots may stand in one series."""
        return (self.region, self.unit, self.basis, self.scope, self.time_scale)


def assemble(rows: Iterable[SignalRow], start_utc: datetime, end_utc: datetime) -> Series | None:
    """A series that covers [start, end], later issues over earlier ones; None where one is missing.

    Average and marginal, or two regions, never mix: it is of the kind issued last that covers all.
    """
    kinds: dict[tuple[object, ...], list[SignalRow]] = {}
    for row in sorted(rows, key=lambda row: row.issued_utc):
        kinds.setdefault(row.kind, []).append(row)
    by_last_issue = sorted(kinds.values(), key=lambda ordered: -ordered[-1].issued_utc)
    found = (_of_one_kind(ordered, start_utc, end_utc) for ordered in by_last_issue)
    return next((series for series in found if series is not None), None)


def _of_one_kind(ordered: list[SignalRow], start_utc: datetime, end_utc: datetime) -> Series | None:
    # Whole milliseconds, so that steps of different lengths have a common grid.
    spans = [(round(row.start_utc * 1000), round(row.step_s * 1000)) for row in ordered]
    origin = min(start for start, _ in spans)
    step = math.gcd(*(step for _, step in spans), *(start - origin for start, _ in spans))
    first = origin + (int(start_utc.timestamp() * 1000) - origin) // step * step
    count = max(1, -(-(math.ceil(end_utc.timestamp() * 1000) - first) // step))
    if first < origin or count > _MAX_STEPS:
        return None
    values = np.full(count, np.nan)
    # Time-scaled steps are rarely whole milliseconds: first each slot with the 2 ms that rounding
    # may have cost it at its end, then all as they are. A coarser grid has lost nothing.
    for lost in (2 // step, 0):
        for (begin, length), row in zip(spans, ordered, strict=True):
            low = max(0, (begin - first) // step)
            values[low : max(0, (begin + length - first) // step + lost)] = row.value
    if np.isnan(values).any():
        return None
    region, _, basis, scope, time_scale = ordered[0].kind
    return Series(
        start_utc=utc(first / 1000),
        step_s=step / 1000,
        values=values,
        issued_utc=utc(ordered[-1].issued_utc),
        provider="+".join(sorted({row.provider for row in ordered})),
        region=region,
        basis=basis,
        scope=scope,
        time_scale=time_scale,
    )
