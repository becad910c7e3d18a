# SPDX-License-Identifier: Apache-2.0
"""Questions to Electricity Maps about one signal of one zone, for carbon and price alike.

Asks `/{v3,v4}/SIGNAL/...` with the key in the header `auth-token`; the versions differ in the path
and in what there is, not in the answers we read.
The trap: without a zone it knows, the API answers for where the caller's address is.
The other one: 401 is its answer to a wrong key and to a good one whose plan lacks the endpoint.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.provider import KeyRefusedError
from slurm_green.signals.times import parse_utc

__all__ = ["BASE_URL", "Row", "Zone"]

BASE_URL = "https://api.electricitymaps.com"
Row = tuple[datetime, dict[str, Any]]
# How the API names a step, its seconds, and how many days `past-range` is asked for at once. The
# limit is documented for hours (10 days) only; the finer ones keep to about as many rows.
_GRANULARITIES = {"hourly": (3600, 10), "15_minutes": (900, 3), "5_minutes": (300, 1)}


class Zone:
    """Questions about one signal of one zone: the key, the checks, and what a plan leaves open."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        name: str,
        signal: str,
        key: str,
        zone: str,
        version: str,
        granularity: str,
        base_url: str,
    ) -> None:
        """Nothing is asked yet."""
        if version not in {"v3", "v4"}:
            raise SignalError(f"{name}: version {version!r} is neither v3 nor v4")
        if granularity not in _GRANULARITIES:
            raise SignalError(
                f"{name}: granularity {granularity!r} is none of {', '.join(_GRANULARITIES)}"
            )
        self.zone = zone.strip()
        if not self.zone:
            raise SignalError(f"{name}: give a zone such as DE or US-CAL-CISO; there is no default")
        self._key = key.strip()
        # A header with other characters is refused by the HTTP library, key and all, in its text.
        if not (self._key.isascii() and self._key.isprintable() and self._key):
            raise SignalError(f"{name}: the key is empty or holds characters that no key has")
        seconds, days = _GRANULARITIES[granularity]
        self.step_s, self._span = float(seconds), timedelta(days=days)
        self._name = name
        self._granularity = granularity
        self._url = f"{base_url.rstrip('/')}/{version}/{signal}"
        self._http = Http(
            client,
            name=name,
            key_hint="see https://app.electricitymaps.com for the key and what its plan includes",
        )

    def ask(self, endpoint: str, now_utc: datetime, **params: str) -> dict[str, Any]:
        """The answer about our zone; a refusal says whether key or plan is to blame."""
        try:
            return self._ask(endpoint, now_utc, params)
        except KeyRefusedError as refused:
            try:
                self._ask("latest", now_utc, {})
            except SignalError:
                raise refused from None
            asked = f" of {params['horizonHours']} h" if "horizonHours" in params else ""
            raise KeyRefusedError(
                f"{self._name}: the key is good, but its plan does not include {endpoint}{asked} "
                f"for {self.zone}; ask for less, for another plan, or leave it out"
            ) from refused

    def past(self, start_utc: datetime, end_utc: datetime, **params: str) -> list[Row]:
        """Rows whose step lies within the span, from `past-range` or else the last 24 hours."""
        rows: list[Row] = []
        only_a_day = False
        at = start_utc
        try:
            while at < end_utc:
                until = min(at + self._span, end_utc)
                span = {"start": _text(at), "end": _text(until)}
                rows += self.rows(self._ask("past-range", end_utc, params | span), "data")
                at = until
        except KeyRefusedError:
            only_a_day = True
            rows = self.rows(self.ask("history", end_utc, **params), "history", "data")
        # The hour that is still running has a value too, which is no measured one.
        step = timedelta(seconds=self.step_s)
        rows = [(at, row) for at, row in rows if start_utc <= at and at + step <= end_utc]
        if only_a_day and not rows:
            raise SignalError(
                f"{self._name}: the key's plan has the last 24 h only, nothing from "
                f"{_text(start_utc)} to {_text(end_utc)}"
            )
        return rows

    def rows(self, raw: dict[str, Any], *keys: str) -> list[Row]:
        """Start and row of the first list there is under one of the keys."""
        found = next((raw[key] for key in keys if isinstance(raw.get(key), list)), None)
        if found is None:
            raise SignalError(
                f"{self._name}: the answer has no list `{keys[0]}`; did the API change?"
            )
        rows = []
        for number, row in enumerate(found):
            if not isinstance(row, dict) or "datetime" not in row:
                raise SignalError(f"{self._name}: row {number} lacks datetime; did the API change?")
            self._must_be_ours(row, f"row {number}", needed=False)
            rows.append((parse_utc(row["datetime"], f"{self._name}: row {number}"), row))
        return rows

    def _ask(self, endpoint: str, now_utc: datetime, params: dict[str, str]) -> dict[str, Any]:
        raw = self._http.json(
            f"{self._url}/{endpoint}",
            now_utc,
            params={
                "zone": self.zone,
                "temporalGranularity": self._granularity,
                "disableCallerLookup": "true",
                **params,
            },
            headers={"auth-token": self._key},
        )
        if not isinstance(raw, dict):
            raise SignalError(f"{self._name}: the answer is no object; did the API change?")
        self._must_be_ours(raw, "the answer", needed=True)
        return raw

    def _must_be_ours(self, raw: dict[str, Any], what: str, *, needed: bool) -> None:
        zone, step = raw.get("zone"), raw.get("temporalGranularity")
        if zone is None and needed:
            raise SignalError(f"{self._name}: {what} names no zone; did the API change?")
        if zone is not None and zone != self.zone:
            raise SignalError(
                f"{self._name}: asked for zone {self.zone}, {what} is for {str(zone)[:20]!r}"
            )
        if step is not None and step != self._granularity:
            # Where a plan has no finer steps the API coarsens without a word.
            raise SignalError(
                f"{self._name}: asked for {self._granularity}, {what} is {str(step)[:20]!r}"
            )


def _text(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
