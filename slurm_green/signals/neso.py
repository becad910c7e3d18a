# SPDX-License-Identifier: Apache-2.0
"""Great Britain's carbon intensity forecast from the keyless NESO API, national or by region.

The API documents its values as CO2 of electricity generation only, averaged over the mix: basis
average, scope direct. It is known to cut its horizon or answer 500 for hours, so an answer is
checked slot by slot before it is believed.
"""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np

from slurm_green.errors import SignalError
from slurm_green.signals.provider import MAX_G_PER_KWH, RateLimitedError
from slurm_green.signals.series import Series

__all__ = ["BASE_URL", "Neso"]

BASE_URL = "https://api.carbonintensity.org.uk"
_STEP_S = 1800.0
_MAX_BYTES = 4 * 2**20
_OUTWARD = re.compile(r"[A-Z]{1,2}[0-9][0-9A-Z]?")


class Neso:
    """Provider over the forecast 48 hours ahead, in half hours.

    Give `region_id` (1 to 17) or `postcode` (outward part, "RG10") for a region; neither asks for
    the nation. `client` is injected and carries time-outs and proxies.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        region_id: int | None = None,
        postcode: str | None = None,
        base_url: str = BASE_URL,
        min_horizon_s: float = 24 * 3600.0,
        total_timeout_s: float = 30.0,
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
        self._client = client
        self._region_id = region_id
        self._postcode = postcode
        self._base_url = base_url.rstrip("/")
        self._min_horizon_s = min_horizon_s
        self._total_timeout_s = total_timeout_s
        self._clock = clock

    def fetch(self, now_utc: datetime) -> Series:
        """The forecast from now on; raises SignalError with one sentence when it is unusable."""
        raw = self._get(f"{self._base_url}{self._path(now_utc)}", now_utc)
        start_utc, values = _slots(self._rows(raw))
        series = Series(
            start_utc=start_utc,
            step_s=_STEP_S,
            values=np.array(values, dtype=np.float64),
            issued_utc=now_utc,  # the API does not say when it computed its forecast
            provider=self.name,
            region=self._region(),
            basis="average",
            scope="direct",
        )
        ahead_s = (series.end_utc - now_utc).total_seconds()
        if series.start_utc > now_utc or ahead_s < self._min_horizon_s:
            raise SignalError(
                f"neso: the forecast reaches from {series.start_utc:%Y-%m-%dT%H:%M}Z to "
                f"{series.end_utc:%Y-%m-%dT%H:%M}Z; wanted from now to "
                f"{self._min_horizon_s / 3600:g} h ahead"
            )
        return series

    def _path(self, now_utc: datetime) -> str:
        start = f"{now_utc.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
        if self._region_id is not None:
            return f"/regional/intensity/{start}/fw48h/regionid/{self._region_id}"
        if self._postcode is not None:
            return f"/regional/intensity/{start}/fw48h/postcode/{self._postcode}"
        return f"/intensity/{start}/fw48h"

    def _region(self) -> str:
        if self._region_id is not None:
            return f"GB-{self._region_id}"
        return f"GB-{self._postcode}" if self._postcode is not None else "GB"

    def _get(self, url: str, now_utc: datetime) -> Any:
        deadline = self._clock() + self._total_timeout_s
        body = bytearray()
        try:
            with self._client.stream(
                "GET", url, headers={"Accept": "application/json"}
            ) as response:
                _check_status(response, now_utc)
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > _MAX_BYTES:
                        raise SignalError("neso: the answer is larger than 4 MiB, refused")
                    # The client's time-outs are per read; a server may drip for ever.
                    if self._clock() > deadline:
                        raise SignalError(
                            f"neso: no whole answer within {self._total_timeout_s:g} s"
                        )
        except httpx.TimeoutException as exc:
            raise SignalError(f"neso: no answer in time ({type(exc).__name__})") from exc
        except httpx.HTTPError as exc:
            raise SignalError(f"neso: cannot be reached: {exc or type(exc).__name__}") from exc
        try:
            return json.loads(bytes(body))
        except (ValueError, RecursionError) as exc:
            raise SignalError("neso: the answer is not JSON, or cut") from exc

    def _rows(self, raw: Any) -> list[Any]:
        data = raw.get("data") if isinstance(raw, dict) else None
        if self._region_id is None and self._postcode is None:
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


def _check_status(response: httpx.Response, now_utc: datetime) -> None:
    if response.status_code == httpx.codes.OK:
        return
    if response.status_code in {429, 503} and "retry-after" in response.headers:
        wait_s = _retry_after_s(response.headers["retry-after"], now_utc)
        when = "later" if wait_s is None else f"after {wait_s:.0f} s"
        raise RateLimitedError(
            f"neso: answered {response.status_code} and asks to come back {when}",
            retry_after_s=wait_s,
        )
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise RateLimitedError("neso: answered 429, too many requests", retry_after_s=None)
    raise SignalError(f"neso: answered {response.status_code} {response.reason_phrase}".rstrip())


def _retry_after_s(text: str, now_utc: datetime) -> float | None:
    if text.strip().isdecimal() and len(text) < 9:
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now_utc).total_seconds())


def _slots(rows: list[Any]) -> tuple[datetime, list[float]]:
    if not rows:
        raise SignalError("neso: the answer holds no slots")
    first: datetime | None = None
    values: list[float] = []
    for number, row in enumerate(rows):
        try:
            start_utc = _time(row["from"])
            end_utc = _time(row["to"])
            forecast = row["intensity"]["forecast"]
        except (KeyError, TypeError, ValueError) as exc:
            raise SignalError(
                f"neso: slot {number} lacks from, to or intensity.forecast; did the API change?"
            ) from exc
        first = first or start_utc
        if start_utc != first + timedelta(seconds=_STEP_S * number) or (
            end_utc - start_utc
        ) != timedelta(seconds=_STEP_S):
            raise SignalError(
                f"neso: slot {number} ({row['from']} to {row['to']}) leaves a gap or overlaps; "
                "wanted half hours in a row"
            )
        if forecast is None:
            raise SignalError(f"neso: slot {number} ({row['from']}) has no forecast")
        if isinstance(forecast, bool) or not isinstance(forecast, int | float):
            raise SignalError(f"neso: slot {number}: forecast {str(forecast)[:20]!r} is no number")
        if not 0 <= forecast <= MAX_G_PER_KWH:
            raise SignalError(f"neso: slot {number}: forecast {forecast} gCO2/kWh is out of range")
        values.append(float(forecast))
    assert first is not None
    return first, values


def _time(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError("no time zone")
    return when.astimezone(UTC)
