# SPDX-License-Identifier: Apache-2.0
"""Great Britain's carbon intensity by NESO: free, without a key, national or regional.

Shapes are those of the public documentation of the Carbon Intensity API v2: `/intensity`,
`/regional/intensity/.../regionid|postcode`. Outages with 500s, cut horizons and slots without a
forecast are known, so every answer is checked before it is believed.
"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.measured import Measured
from slurm_green.signals.series import Series
from slurm_green.signals.slots import amount, must_reach, series_from_slots
from slurm_green.signals.times import parse_utc

__all__ = ["BASE_URL", "Neso"]

BASE_URL = "https://api.carbonintensity.org.uk"
_STEP_S = 1800.0
_STEP = timedelta(seconds=_STEP_S)
_SPAN = timedelta(days=14)  # the API answers at most this much of the past at once
_OUTWARD = re.compile(r"[A-Z]{1,2}[0-9][0-9A-Z]?")


class Neso:
    """Provider over the forecast 48 hours ahead, in half hours, and of the past.

    Give `region_id` (1 to 17) or `postcode` (outward part, "RG10") for a region; neither asks for
    the nation. Only the nation has measured values; a region's past is what was forecast for it.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        region_id: int | None = None,
        postcode: str | None = None,
        base_url: str = BASE_URL,
        min_horizon_s: float = 24 * 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Refuse regions that do not exist before anything is asked."""
        if region_id is not None and postcode is not None:
            raise SignalError("neso: give region_id or postcode, not both")
        if region_id is not None and not 1 <= region_id <= 17:
            raise SignalError(f"neso: region_id {region_id} is not between 1 and 17")
        if postcode is not None:
            postcode = postcode.strip().upper()
            if not _OUTWARD.fullmatch(postcode):
                raise SignalError(
                    f"neso: postcode {postcode!r} is not an outward code such as RG10 or SW1A"
                )
        self.name = "neso"
        self._region_id = region_id
        self._postcode = postcode
        self._base_url = base_url.rstrip("/")
        self._min_horizon_s = min_horizon_s
        self._http = Http(client, name=self.name, clock=clock)

    def fetch(self, now_utc: datetime) -> Series:
        """The forecast from now on; raises SignalError with one sentence when it is unusable."""
        start = _minute(now_utc)
        rows = self._rows(self._http.json(self._url(f"{start}/fw48h"), now_utc))
        series = series_from_slots(
            [(at, _forecast(row, number)) for number, at, row in _slots(rows)],
            step_s=_STEP_S,
            provider=self.name,
            issued_utc=now_utc,  # the API does not say when it computed its forecast
            region=self._region(),
            scope="direct",
        )
        return must_reach(series, now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """Half hours of the past: measured for the nation, as last forecast for a region."""
        points: list[tuple[datetime, float]] = []
        at = start_utc
        while at < end_utc:
            until = min(at + _SPAN, end_utc)
            raw = self._http.json(self._url(f"{_minute(at)}/{_minute(until)}"), end_utc)
            points += [
                (when, amount(value, f"neso: slot {number}"))
                for number, when, row in _slots(self._rows(raw))
                if (value := self._past(row)) is not None and start_utc <= when < end_utc
            ]
            at = until
        return Measured.from_points(
            points, step_s=_STEP_S, provider=self.name, region=self._region(), scope="direct"
        )

    def _past(self, row: dict[str, Any]) -> Any:
        return row["intensity"].get("actual" if self._national else "forecast")

    @property
    def _national(self) -> bool:
        return self._region_id is None and self._postcode is None

    def _url(self, span: str) -> str:
        if self._region_id is not None:
            return f"{self._base_url}/regional/intensity/{span}/regionid/{self._region_id}"
        if self._postcode is not None:
            return f"{self._base_url}/regional/intensity/{span}/postcode/{self._postcode}"
        return f"{self._base_url}/intensity/{span}"

    def _region(self) -> str:
        if self._region_id is not None:
            return f"GB-{self._region_id}"
        return f"GB-{self._postcode}" if self._postcode is not None else "GB"

    def _rows(self, raw: Any) -> list[Any]:
        data = raw.get("data") if isinstance(raw, dict) else None
        if self._national:
            if not isinstance(data, list):
                raise SignalError("neso: the answer has no list `data`; did the API change?")
            return data
        # Documented as an object here; the same API wraps it in a list elsewhere.
        if isinstance(data, list) and len(data) == 1:
            data = data[0]
        if not isinstance(data, dict) or not isinstance(data.get("data"), list):
            raise SignalError("neso: the answer has no `data.data` list; did the API change?")
        self._check_region(data)
        rows: list[Any] = data["data"]
        return rows

    def _check_region(self, data: dict[str, Any]) -> None:
        if self._region_id is not None:
            asked, got = str(self._region_id), str(data.get("regionid"))
        else:
            asked, got = str(self._postcode), str(data.get("postcode")).strip().upper()
        if asked != got:
            raise SignalError(f"neso: asked for region {asked}, the answer is for {got[:20]!r}")


def _minute(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def _slots(rows: list[Any]) -> Iterator[tuple[int, datetime, dict[str, Any]]]:
    """Each half hour with its number and start; raises SignalError where one is no half hour."""
    if not rows:
        raise SignalError("neso: the answer holds no slots")
    for number, row in enumerate(rows):
        try:
            start_utc = parse_utc(row["from"], "neso")
            end_utc = parse_utc(row["to"], "neso")
            row["intensity"].get("forecast")
        except (KeyError, TypeError, AttributeError, SignalError) as exc:
            raise SignalError(
                f"neso: slot {number} lacks from, to or intensity.forecast; did the API change?"
            ) from exc
        if end_utc - start_utc != _STEP:
            raise SignalError(
                f"neso: slot {number} ({row['from']} to {row['to']}) leaves a gap or overlaps; "
                "wanted half hours in a row"
            )
        yield number, start_utc, row


def _forecast(row: dict[str, Any], number: int) -> float | None:
    if "forecast" not in row["intensity"]:
        raise SignalError(
            f"neso: slot {number} lacks from, to or intensity.forecast; did the API change?"
        )
    value = row["intensity"]["forecast"]
    return None if value is None else amount(value, f"neso: slot {number}")
