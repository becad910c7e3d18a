# SPDX-License-Identifier: Apache-2.0
"""Marginal carbon intensity by WattTime v3: what one more kWh causes; needs an account.

Asks `/login` (user and password, HTTP basic) for a token, then `/v3/forecast` and `/v3/historical`
with it. Values are marginal operating emission rates (`co2_moer`), CO2 from the stacks, in pounds
per MWh: never to be mixed with, or compared in level to, the average of other providers.
The trap: a token lasts 30 minutes, so any question may meet an expired one.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.measured import Measured
from slurm_green.signals.provider import KeyRefusedError
from slurm_green.signals.series import Series
from slurm_green.signals.slots import amount, must_reach, series_from_slots
from slurm_green.signals.times import parse_utc

__all__ = ["BASE_URL", "WattTime"]

BASE_URL = "https://api.watttime.org"
_SIGNAL = "co2_moer"
_UNITS = "lbs_co2_per_mwh"
_G_PER_KWH = 0.45359237  # one pound per MWh
_SPAN = timedelta(days=30)  # the API answers 32 days of the past at once
_TOKEN_S = 25 * 60.0  # of the 30 minutes that a token lasts


class WattTime:
    """Provider of the forecast (up to 72 hours) and the past of one region, in gCO2/kWh.

    Region names are WattTime's, such as CAISO_NORTH (which every account may read), DE or FR.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        user: str,
        password: str,
        region: str,
        horizon_hours: int = 72,
        base_url: str = BASE_URL,
        min_horizon_s: float = 24 * 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Refuse what the API does not offer before anything is asked."""
        self.name = "watttime"
        self._region = region.strip()
        if not self._region:
            raise SignalError("watttime: give a region such as CAISO_NORTH; there is no default")
        if not (user and password):
            raise SignalError("watttime: give user and password")
        if not 1 <= horizon_hours <= 72:
            raise SignalError(f"watttime: horizon_hours {horizon_hours} is not between 1 and 72")
        if min_horizon_s >= horizon_hours * 3600:
            # The first step began some minutes ago, so a forecast never reaches its full length.
            raise SignalError(
                f"watttime: min_horizon of {min_horizon_s / 3600:g} h is not less than the "
                f"{horizon_hours} h that horizon_hours asks for"
            )
        self._login = (user, password)
        self._horizon_hours = horizon_hours
        self._base_url = base_url.rstrip("/")
        self._min_horizon_s = min_horizon_s
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0
        self._http = Http(
            client,
            name=self.name,
            key_hint="check user and password at https://watttime.org",
            clock=clock,
        )

    def fetch(self, now_utc: datetime) -> Series:
        """The newest forecast; raises SignalError with one sentence when it is unusable."""
        raw = self._ask("forecast", now_utc, {"horizon_hours": str(self._horizon_hours)})
        meta, rows = self._parts(raw)
        if meta.get("generated_at") is None:
            raise SignalError("watttime: the forecast lacks generated_at; did the API change?")
        issued_utc = parse_utc(meta["generated_at"], "watttime: generated_at")
        series = series_from_slots(
            list(rows),
            provider=self.name,
            step_s=_step_s(meta),
            issued_utc=min(issued_utc, now_utc),  # their clock may run ahead of ours
            region=self._region,
            basis="marginal",
            scope="direct",
        )
        return must_reach(series, now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """The steps that began and ended in the span; values may still be revised later."""
        points: list[tuple[datetime, float | None]] = []
        steps = set()
        at = start_utc
        while at < end_utc:
            until = min(at + _SPAN, end_utc)
            raw = self._ask("historical", end_utc, {"start": _text(at), "end": _text(until)})
            meta, rows = self._parts(raw)
            steps.add(_step_s(meta))
            last = end_utc - timedelta(seconds=_step_s(meta))
            # Both ends are included, and where parts meet a step may come twice, the same.
            points += [(when, value) for when, value in rows if start_utc <= when <= last]
            at = until
        if len(steps) > 1:
            raise SignalError(f"watttime: the past comes in steps of {sorted(steps)} s: not mixed")
        return Measured.from_points(
            points,
            step_s=steps.pop() if steps else 300.0,
            provider=self.name,
            region=self._region,
            basis="marginal",
            scope="direct",
        )

    def _ask(self, what: str, now_utc: datetime, params: dict[str, str]) -> Any:
        """The answer; a token that was refused although it was young is renewed once."""
        fresh = not self._token or self._clock() >= self._renew_at
        if fresh:
            self._renew(now_utc)
        try:
            return self._get(what, now_utc, params)
        except KeyRefusedError as refused:
            if not fresh:
                self._renew(now_utc)
                try:
                    return self._get(what, now_utc, params)
                except KeyRefusedError:
                    pass
            raise KeyRefusedError(
                f"watttime: user and password are good, but may not read the {what} of "
                f"{self._region}; see https://watttime.org for plans, every account may read "
                "CAISO_NORTH"
            ) from refused

    def _get(self, what: str, now_utc: datetime, params: dict[str, str]) -> Any:
        return self._http.json(
            f"{self._base_url}/v3/{what}",
            now_utc,
            params={"region": self._region, "signal_type": _SIGNAL, **params},
            headers={"Authorization": f"Bearer {self._token}"},
        )

    def _renew(self, now_utc: datetime) -> None:
        self._token = ""
        raw = self._http.json(f"{self._base_url}/login", now_utc, auth=self._login)
        token = raw.get("token") if isinstance(raw, dict) else None
        # What is no header's text would be refused by the HTTP library, token and all.
        if not (isinstance(token, str) and token and token.isascii() and token.isprintable()):
            raise SignalError("watttime: the login gave no token; did the API change?")
        self._token, self._renew_at = token, self._clock() + _TOKEN_S

    def _parts(self, raw: Any) -> tuple[dict[str, Any], Iterator[tuple[datetime, float | None]]]:
        """`meta`, checked, and the rows."""
        meta = raw.get("meta") if isinstance(raw, dict) else None
        if not isinstance(meta, dict) or not isinstance(raw.get("data"), list):
            raise SignalError("watttime: the answer lacks meta or data; did the API change?")
        wanted = {"region": self._region, "signal_type": _SIGNAL, "units": _UNITS}
        for field, asked in wanted.items():
            if meta.get(field) != asked:
                raise SignalError(
                    f"watttime: asked for {field} {asked}, the answer is for "
                    f"{str(meta.get(field))[:20]!r}"
                )
        return meta, _rows(raw["data"])


def _rows(data: list[Any]) -> Iterator[tuple[datetime, float | None]]:
    """Start and g/kWh of each row; None where the value is null."""
    for number, row in enumerate(data):
        where = f"watttime: row {number}"
        if not isinstance(row, dict) or "point_time" not in row or "value" not in row:
            raise SignalError(f"{where} lacks point_time or value; did the API change?")
        value = row["value"]
        yield (
            parse_utc(row["point_time"], where),
            None if value is None else amount(value, where) * _G_PER_KWH,
        )


def _step_s(meta: dict[str, Any]) -> float:
    step_s = meta.get("data_point_period_seconds")
    if isinstance(step_s, bool) or not isinstance(step_s, int) or not 60 <= step_s <= 86_400:
        raise SignalError(
            f"watttime: data_point_period_seconds {str(step_s)[:20]!r} is no step; "
            "did the API change?"
        )
    return float(step_s)


def _text(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
