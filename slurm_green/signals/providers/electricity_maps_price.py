# SPDX-License-Identifier: Apache-2.0
"""Day-ahead prices by Electricity Maps: what exchanges published, for many zones; needs a key.

Asks `/v4/price-day-ahead/{combined,past-range,history}`; there are no prices worth having in v3.
The trap: `combined` goes over from published to modelled prices where the auction is not known
yet, and always ends about 24 hours ahead, also after tomorrow's prices came out.
"""

from datetime import datetime
from typing import Any

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.measured import Measured
from slurm_green.signals.providers.electricity_maps_zone import BASE_URL, Zone
from slurm_green.signals.quantity import PRICE
from slurm_green.signals.series import Series
from slurm_green.signals.slots import amount, must_reach, series_from_slots

__all__ = ["ElectricityMapsPrice"]


class ElectricityMapsPrice:
    """Provider of the price of the coming 24 hours and of the past, per kWh of one currency.

    `currency` is the code the zone's market uses, such as EUR or GBP; an answer in another one is
    refused. Taxes, fees and a supplier's margin are not in it.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        key: str,
        zone: str,
        currency: str,
        granularity: str = "hourly",
        base_url: str = BASE_URL,
        min_horizon_s: float = 8 * 3600.0,
    ) -> None:
        """Refuse what the API does not offer before anything is asked."""
        self.name = "electricity-maps-price"
        currency = currency.strip().upper()
        if not (currency.isascii() and currency.isalpha() and len(currency) == 3):
            raise SignalError(f"{self.name}: currency {currency!r} is no code such as EUR")
        self._zone = Zone(
            client,
            name=self.name,
            signal="price-day-ahead",
            key=key,
            zone=zone,
            version="v4",
            granularity=granularity,
            base_url=base_url,
        )
        self._unit = f"{currency}/MWh"
        self._min_horizon_s = min_horizon_s

    def fetch(self, now_utc: datetime) -> Series:
        """Prices from the current step on; raises SignalError."""
        rows = self._zone.rows(self._zone.ask("combined", now_utc), "data")
        series = series_from_slots(
            [(at, self._price(row, f"row {number}")) for number, (at, row) in enumerate(rows)],
            provider=self.name,
            step_s=self._zone.step_s,
            # Yesterday's auction is not stale: its result is what is paid.
            issued_utc=now_utc,
            region=self._zone.zone,
            quantity=PRICE.name,
        )
        return must_reach(series, now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """Prices of the steps that began and ended in the span."""
        rows = self._zone.past(start_utc, end_utc)
        return Measured.from_points(
            [(at, self._price(row, f"{at:%Y-%m-%dT%H:%MZ}")) for at, row in rows],
            step_s=self._zone.step_s,
            provider=self.name,
            region=self._zone.zone,
            quantity=PRICE.name,
        )

    def _price(self, row: dict[str, Any], where: str) -> float | None:
        """Currency per kWh; None where there is none."""
        if "value" not in row:
            raise SignalError(f"{self.name}: {where} lacks value; did the API change?")
        if row["value"] is None:
            return None
        if row.get("unit") != self._unit:
            raise SignalError(
                f"{self.name}: asked for {self._unit}, {where} is in {str(row.get('unit'))[:20]!r}"
            )
        value = row["value"]
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = value / 1000
        return amount(value, f"{self.name}: {where}", PRICE.name)
