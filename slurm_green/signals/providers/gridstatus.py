# SPDX-License-Identifier: Apache-2.0
"""North America's grid operators by the hosted API of GridStatus.io: the mix, as intensity.

Documented endpoint `/datasets/{operator}_fuel_mix/query` of API v1, in arrays and by cursor; the
key goes into the header `x-api-key`. Plans meter rows: a day in steps of five minutes is 288, and
the free one has 500,000 a month. There is no forecast: the built-in forecaster works on the past.

The trap: every operator has columns of its own; one without a factor is refused, not left out.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.measured import Measured
from slurm_green.signals.providers.mix import check_scope, mix_history
from slurm_green.signals.times import parse_utc

__all__ = ["BASE_URL", "OPERATORS", "GridStatus"]

BASE_URL = "https://api.gridstatus.io/v1"
OPERATORS = ("aeso", "caiso", "ercot", "ieso", "isone", "miso", "nyiso", "pjm", "spp")
_HINT = "see gridstatus.io/settings/api"
_PART = timedelta(days=14)
_LEAD = timedelta(days=1)  # of history before what was asked, to know which types there are
_MOST_PAGES = 100
_TIMES = ("interval_start_utc", "time_utc")  # the first of these that there is
_NO_GENERATION = ("interval_", "time_", "publish_time", "load", "net_load", "total")
_Points = list[tuple[datetime, float | None]]


class GridStatus:
    """Historian of hourly intensity by what an operator's area generates; imports are not in it."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        key: str,
        operator: str,
        scope: str = "life-cycle",
        base_url: str = BASE_URL,
    ) -> None:
        """Refuse operators that the API does not have before anything is asked."""
        self.name = "gridstatus"
        check_scope(scope, self.name)
        if operator not in OPERATORS:
            raise SignalError(
                f"{self.name}: operator {operator[:20]!r} is none of {', '.join(OPERATORS)}"
            )
        self._dataset = f"{operator}_fuel_mix"
        self._region = operator.upper()
        self._scope = scope
        self._key = key
        self._base_url = base_url.rstrip("/")
        self._http = Http(client, name=self.name, key_hint=_HINT)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """Whole hours of the past; those without a big type of generation are gaps."""
        types: dict[str, _Points] = {}
        at = start_utc - _LEAD
        while at < end_utc:
            until = min(at + _PART, end_utc)
            for names, rows in self._pages(at, until, end_utc):
                self._sort_in(types, names, rows)
            at = until
        # One stray row of another century would stretch the table of hours to gigabytes.
        return mix_history(
            {
                name: [one for one in points if start_utc - _LEAD <= one[0] < end_utc]
                for name, points in types.items()
            },
            provider=self.name,
            region=self._region,
            scope=self._scope,
            start_utc=start_utc,
            end_utc=end_utc,
        )

    def _pages(
        self, start: datetime, end: datetime, now_utc: datetime
    ) -> Iterator[tuple[list[str], list[list[Any]]]]:
        """Columns and rows of each page, as long as the API says that there are more."""
        cursor = ""  # the empty one asks for the first page
        for _ in range(_MOST_PAGES):
            answer = self._http.json(
                f"{self._base_url}/datasets/{self._dataset}/query",
                now_utc,
                params={
                    "start_time": _text(start),
                    "end_time": _text(end),
                    "json_schema": "array-of-arrays",
                    "cursor": cursor,
                },
                headers={"x-api-key": self._key},
            )
            try:
                got = answer["dataset_metadata"]["id"]
                more, cursor = answer["meta"]["hasNextPage"], answer["meta"].get("cursor")
                names, *rows = answer["data"] or [[]]
                names = [str(name) for name in names]
            except (KeyError, TypeError, AttributeError) as exc:
                raise SignalError(
                    f"{self.name}: the answer lacks data, meta or dataset_metadata.id; did the API "
                    "change?"
                ) from exc
            if got != self._dataset:
                raise SignalError(
                    f"{self.name}: asked for {self._dataset}, the answer is for {str(got)[:40]!r}"
                )
            if rows:
                yield names, rows
            if not more:
                return
            if not cursor:
                raise SignalError(f"{self.name}: more pages, but no cursor; did the API change?")
        raise SignalError(f"{self.name}: more than {_MOST_PAGES} pages, given up")

    def _sort_in(self, types: dict[str, _Points], names: list[str], rows: list[list[Any]]) -> None:
        stamp = next((one for one in _TIMES if one in names), None)
        if stamp is None:
            raise SignalError(f"{self.name}: no column {' or '.join(_TIMES)}; did the API change?")
        for number, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != len(names):
                raise SignalError(f"{self.name}: row {number} is no row of {len(names)} columns")
            values = dict(zip(names, row, strict=True))
            at = parse_utc(values[stamp], f"{self.name}: row {number}")
            for name, value in values.items():
                if name.startswith(_NO_GENERATION):
                    continue
                if isinstance(value, bool) or not isinstance(value, int | float | None):
                    raise SignalError(
                        f"{self.name}: row {number}: {str(value)[:40]!r} is no number of MW"
                    )
                types.setdefault(name, []).append((at, value))


def _text(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
