# SPDX-License-Identifier: Apache-2.0
"""Any web API that answers in JSON: where its rows are, and what they mean, is said by arguments.

For sources that have no provider here: a site's own forecast service, a building's meter, a small
API. The trap: only the site can know the unit, the basis and the scope of what it asks for.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.json_rows import Expression, JsonRows, Row
from slurm_green.signals.measured import Measured
from slurm_green.signals.series import Series
from slurm_green.signals.slots import must_reach, series_from_slots
from slurm_green.signals.times import rounded_down

__all__ = ["HttpJson"]

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_HOUR_S = 3600.0


class HttpJson:
    """Provider over `url` for a forecast, `history_url` for a measured past, or both.

    In both URLs {start}, {end} and {now} become times like 2026-01-31T12:00:00Z; {start_s} and
    {start_ms} and so on POSIX seconds and milliseconds. `path` (of a past: `history_path`, where it
    differs) is the JMESPath of what `rows` reads. What `region_path` finds must be
    `region_expected`; what `issued_path` finds is when the forecast was made, written as the rows'
    times are. Without `step_s` the rows tell it.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        rows: JsonRows,
        path: str,
        region: str,
        url: str = "",
        history_url: str = "",
        history_path: str = "",
        step_s: float | None = None,
        region_path: str = "",
        region_expected: str = "",
        issued_path: str = "",
        basis: str = "average",
        scope: str = "unknown",
        key_header: str = "",
        key: str = "",  # the header's whole value, such as "Bearer ..."
        ahead_s: float = 48 * _HOUR_S,  # where {end} of a forecast lies
        history_span_s: float | None = None,  # the most past that one question asks for
        min_horizon_s: float = 24 * _HOUR_S,
        name: str = "http_json",
    ) -> None:
        """Refuse what can never work before anything is asked."""
        if not (url or history_url):
            raise SignalError(f"{name}: give url, history_url, or both")
        for argument, one in (("url", url), ("history_url", history_url)):
            unknown = {*_PLACEHOLDER.findall(one)} - {*_places(*[datetime.now(UTC)] * 3)}
            if unknown:
                raise SignalError(f"{name}: {argument}: there is no {', '.join(sorted(unknown))}")
        if bool(region_path) != bool(region_expected):
            raise SignalError(f"{name}: give region_path and region_expected, or neither")
        for label, length in (("step_s", step_s), ("history_span_s", history_span_s)):
            if length is not None and not length > 0:
                raise SignalError(f"{name}: {label} {length} is not positive")
        self.name = name
        self._rows = rows
        self._url, self._history_url = url, history_url
        self._path = Expression(path, f"{name}: path")
        self._history_path = Expression(history_path or path, f"{name}: history_path")
        self._region_path = _optional(region_path, f"{name}: region_path")
        self._issued_path = _optional(issued_path, f"{name}: issued_path")
        self._region, self._region_expected = region, region_expected
        self._basis, self._scope = basis, scope
        self._step_s, self._span_s = step_s, history_span_s
        self._ahead_s, self._min_horizon_s = ahead_s, min_horizon_s
        self._headers = _headers(name, key_header, key)
        hint = f"check the key of {key_header}" if key else "does it want a key?"
        self._http = Http(client, name=name, key_hint=hint)

    def fetch(self, now_utc: datetime) -> Series:
        """The forecast from the step that holds now; raises SignalError in one sentence."""
        if not self._url:
            raise SignalError(f"{self.name}: has no url, so it gives no forecast")
        start = rounded_down(now_utc, self._step_s or _HOUR_S)
        end = now_utc + timedelta(seconds=self._ahead_s)
        answer = self._ask(self._url, start, end, now_utc)
        rows = self._ahead(list(self._rows.read(self._path.search(answer), self.name)), now_utc)
        issued_utc = now_utc
        if self._issued_path is not None:
            found = self._issued_path.search(answer)
            # Their clock may run ahead of ours, but nothing is issued in the future.
            issued_utc = min(self._rows.time(found, f"{self.name}: issued_path"), now_utc)
        series = series_from_slots(
            [(row.at, self._known(row)) for row in rows],
            step_s=self._step_s,
            provider=self.name,
            issued_utc=issued_utc,
            region=self._region,
            quantity=self._rows.quantity,
            basis=self._basis,
            scope=self._scope,
            quantiles={
                share: [row.quantiles[share] for row in rows] for share in self._rows.shares
            },
        )
        return must_reach(series, now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """What was measured in [start, end): nulls are gaps, rows finer than `step_s` averaged."""
        if not self._history_url:
            raise SignalError(f"{self.name}: has no history_url, so it gives no past")
        rows: list[Row] = []
        at = start_utc
        while at < end_utc:
            span = timedelta(seconds=self._span_s) if self._span_s else end_utc - at
            until = min(at + span, end_utc)
            found = self._history_path.search(self._ask(self._history_url, at, until, end_utc))
            rows += [row for row in self._rows.read(found, self.name) if at <= row.at < until]
            at = until
        return Measured.from_points(
            [(row.at, row.value) for row in rows],
            step_s=self._grid_s(rows),
            provider=self.name,
            region=self._region,
            quantity=self._rows.quantity,
            basis=self._basis,
            scope=self._scope,
        )

    def _ask(self, url: str, start: datetime, end: datetime, now: datetime) -> Any:
        for place, text in _places(start, end, now).items():
            url = url.replace(place, text)
        answer = self._http.json(url, now, headers=self._headers)
        if self._region_path is not None:
            got = str(self._region_path.search(answer))
            if got != self._region_expected:
                raise SignalError(
                    f"{self.name}: asked for {self._region_expected}, the answer is for "
                    f"{got[:40]!r}"
                )
        return answer

    def _ahead(self, rows: list[Row], now_utc: datetime) -> list[Row]:
        """The rows from the one that holds now; nulls at the end are only a shorter forecast."""
        for before, row in pairwise(rows):
            if row.at <= before.at:
                raise SignalError(
                    f"{self.name}: row {row.number} ({row.at:%Y-%m-%dT%H:%MZ}) is not after the "
                    "one before it; JMESPath has reverse() and sort_by()"
                )
        while rows and rows[-1].value is None:
            rows.pop()
        past = sum(row.at <= now_utc for row in rows)
        return rows[max(past - 1, 0) :]

    def _known(self, row: Row) -> float:
        if row.value is None:
            raise SignalError(
                f"{self.name}: row {row.number} ({row.at:%Y-%m-%dT%H:%MZ}) has no value"
            )
        return row.value

    def _grid_s(self, rows: Sequence[Row]) -> float:
        """The step of a past; raises SignalError where the grid would move its rows."""
        times = sorted({row.at.timestamp() for row in rows})
        apart_s = min((later - one for one, later in pairwise(times)), default=None)
        step_s = self._step_s or apart_s
        if step_s is None:
            raise SignalError(f"{self.name}: {len(times)} values in that past have no step")
        if apart_s is not None and apart_s < step_s:
            return step_s  # they are averaged
        for row in rows:
            if abs((row.at.timestamp() + step_s / 2) % step_s - step_s / 2) > 1e-3:
                raise SignalError(
                    f"{self.name}: row {row.number} ({row.at:%Y-%m-%dT%H:%M:%SZ}) does not begin "
                    f"at a multiple of {step_s:g} s"
                )
        return step_s


def _optional(text: str, where: str) -> Expression | None:
    return Expression(text, where) if text else None


def _headers(name: str, header: str, key: str) -> dict[str, str]:
    if bool(key) != bool(header):
        raise SignalError(f"{name}: give key_header and key, or neither")
    if header and not _HEADER.fullmatch(header):
        raise SignalError(f"{name}: key_header {header[:40]!r} is no name of a header")
    return {header: key} if key else {}


def _places(start: datetime, end: datetime, now: datetime) -> dict[str, str]:
    found = {}
    for label, when in (("start", start), ("end", end), ("now", now)):
        found[f"{{{label}}}"] = f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        found[f"{{{label}_s}}"] = f"{when.timestamp():.0f}"
        found[f"{{{label}_ms}}"] = f"{when.timestamp() * 1000:.0f}"
    return found
