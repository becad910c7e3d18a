# SPDX-License-Identifier: Apache-2.0
"""Carbon intensity by Electricity Maps: some 350 zones, average, imports traced; needs a key.

Asks `/{v3,v4}/carbon-intensity/{forecast,past-range,history}`, and `latest` to tell a refused key
from a plan that lacks one of them.
The trap: the forecast does not say which emissions it counts; the rows of the past do.
"""

from datetime import datetime
from typing import Any

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.measured import Measured
from slurm_green.signals.providers.electricity_maps_zone import BASE_URL, Zone
from slurm_green.signals.series import Series
from slurm_green.signals.slots import amount, must_reach, series_from_slots
from slurm_green.signals.times import parse_utc

__all__ = ["ElectricityMaps"]

_HORIZONS_H = (6, 24, 48, 72)
_SCOPES = {"lifecycle": "life-cycle", "direct": "direct"}


class ElectricityMaps:
    """Provider of the forecast (6 to 72 hours) and the past of one zone, in gCO2e/kWh.

    The past is `past-range` where the key's plan has it, else the last 24 hours. Forecasts are of
    life-cycle emissions: with `emission_factor_type` "direct" there is a past only, unless an
    answer says that it is direct.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        key: str,
        zone: str,
        version: str = "v4",
        emission_factor_type: str = "lifecycle",
        granularity: str = "hourly",
        horizon_hours: int = 72,
        refuse_estimated: bool = False,
        base_url: str = BASE_URL,
        min_horizon_s: float = 24 * 3600.0,
    ) -> None:
        """Refuse what the API does not offer before anything is asked."""
        self.name = "electricity-maps"
        if emission_factor_type not in _SCOPES:
            raise SignalError(
                f"{self.name}: emission_factor_type {emission_factor_type!r} is neither "
                "lifecycle nor direct"
            )
        if horizon_hours not in _HORIZONS_H:
            raise SignalError(
                f"{self.name}: horizon_hours {horizon_hours} is none of "
                f"{', '.join(map(str, _HORIZONS_H))}"
            )
        if min_horizon_s > horizon_hours * 3600:
            raise SignalError(
                f"{self.name}: min_horizon of {min_horizon_s / 3600:g} h is more than the "
                f"{horizon_hours} h that horizon_hours asks for"
            )
        self._zone = Zone(
            client,
            name=self.name,
            signal="carbon-intensity",
            key=key,
            zone=zone,
            version=version,
            granularity=granularity,
            base_url=base_url,
        )
        self._factors = emission_factor_type
        self._horizon_hours = horizon_hours
        self._refuse_estimated = refuse_estimated
        self._min_horizon_s = min_horizon_s

    def fetch(self, now_utc: datetime) -> Series:
        """The forecast from the current hour on; raises SignalError."""
        # The factors are documented as a parameter of the past only; life-cycle is the default.
        factors = {} if self._factors == "lifecycle" else {"emissionFactorType": self._factors}
        horizon = {"horizonHours": str(self._horizon_hours)}
        raw = self._zone.ask("forecast", now_utc, **horizon, **factors)
        rows = self._zone.rows(raw, "forecast", "data")
        self._must_be_asked_factors([raw, *(row for _, row in rows)], "forecast")
        series = series_from_slots(
            [(at, self._forecast(at, row, n)) for n, (at, row) in enumerate(rows)],
            provider=self.name,
            step_s=self._zone.step_s,
            issued_utc=self._issued(raw, now_utc),
            region=self._zone.zone,
            scope=_SCOPES[self._factors],
        )
        return must_reach(series, now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """The steps that began and ended in the span; estimated ones are gaps where refused."""
        rows = self._zone.past(start_utc, end_utc, emissionFactorType=self._factors)
        if rows:
            self._must_be_asked_factors([row for _, row in rows], "past")
        return Measured.from_points(
            [
                (at, amount(row["carbonIntensity"], f"{self.name}: {at:%Y-%m-%dT%H:%MZ}"))
                for at, row in rows
                if self._value(at, row) is not None and not self._refused(row)
            ],
            step_s=self._zone.step_s,
            provider=self.name,
            region=self._zone.zone,
            scope=_SCOPES[self._factors],
        )

    def _refused(self, row: dict[str, Any]) -> bool:
        # A row that does not say so may be estimated.
        return self._refuse_estimated and row.get("isEstimated") is not False

    def _forecast(self, at: datetime, row: dict[str, Any], number: int) -> float | None:
        value = self._value(at, row)
        return None if value is None else amount(value, f"{self.name}: row {number}")

    def _value(self, at: datetime, row: dict[str, Any]) -> Any:
        if "carbonIntensity" not in row:
            raise SignalError(
                f"{self.name}: {at:%Y-%m-%dT%H:%MZ} lacks carbonIntensity; did the API change?"
            )
        return row["carbonIntensity"]

    def _issued(self, raw: dict[str, Any], now_utc: datetime) -> datetime:
        if raw.get("updatedAt") is None:
            return now_utc
        # Their clock may run ahead of ours, but nothing is issued in the future.
        return min(parse_utc(raw["updatedAt"], f"{self.name}: updatedAt"), now_utc)

    def _must_be_asked_factors(self, answers: list[dict[str, Any]], what: str) -> None:
        stated = [one["emissionFactorType"] for one in answers if one.get("emissionFactorType")]
        for one in stated:
            if one != self._factors:
                raise SignalError(
                    f"{self.name}: asked for {self._factors} emissions, the {what} is of "
                    f"{str(one)[:20]!r}"
                )
        if not stated and self._factors != "lifecycle":
            # A parameter that an endpoint does not know is ignored without a word.
            raise SignalError(
                f"{self.name}: the {what} does not say that it is of {self._factors} emissions; "
                "use lifecycle, or leave the forecast to the built-in one"
            )
