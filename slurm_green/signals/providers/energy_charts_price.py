# SPDX-License-Identifier: Apache-2.0
"""Day-ahead prices of Europe's bidding zones by Energy-Charts of Fraunhofer ISE, without a key.

Documented endpoint `/v2/price`. Most zones' prices are CC BY 4.0 of Bundesnetzagentur | SMARD.de,
those of others are for private and internal use only: the answer's `license` says.

The trap: two questions a minute are allowed, so a long past takes several fetches.
"""

import re
from datetime import datetime, timedelta

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.measured import Measured
from slurm_green.signals.providers.energy_charts_api import (
    BASE_URL,
    Points,
    checked,
    column,
    hour_text,
    parts,
)
from slurm_green.signals.providers.mix import in_quarters
from slurm_green.signals.quantity import PRICE
from slurm_green.signals.series import Series
from slurm_green.signals.slots import amount, must_reach, series_from_slots
from slurm_green.signals.times import rounded_down

__all__ = ["EnergyChartsPrices"]

_QUARTER_S = 900.0


class EnergyChartsPrices:
    """Provider of day-ahead prices of a bidding zone in EUR/kWh: as far as they are published.

    In quarter hours, which the market has traded since October 2025; the hours of before are
    repeated. Negative prices are prices.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        bidding_zone: str,
        base_url: str = BASE_URL,
        min_horizon_s: float = 3600.0,
    ) -> None:
        """`bidding_zone` is a code of the API such as "DE-LU", "NO2" or "IT-North"."""
        self.name = "energy-charts-prices"
        if not re.fullmatch(r"[A-Z]{2}[A-Za-z0-9-]{0,18}", bidding_zone):
            raise SignalError(
                f"{self.name}: bidding_zone {bidding_zone[:20]!r} is no code such as 'DE-LU'"
            )
        self._zone = bidding_zone
        self._base_url = base_url.rstrip("/")
        self._min_horizon_s = min_horizon_s
        self._http = Http(client, name=self.name)

    def fetch(self, now_utc: datetime) -> Series:
        """The prices from now on; raises SignalError with one sentence when unusable."""
        rows = self._ask(now_utc, now_utc + timedelta(hours=48), now_utc)
        first = rounded_down(now_utc, _QUARTER_S)
        series = series_from_slots(
            [(at, self._price(at, value)) for at, value in rows if at >= first],
            step_s=_QUARTER_S,
            provider=self.name,
            issued_utc=now_utc,
            region=self._zone,
            quantity=PRICE.name,
        )
        return must_reach(series, now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """Prices of the past, in quarter hours; nulls are gaps."""
        return Measured.from_points(
            [
                one
                for at, until in parts(start_utc, end_utc)
                for one in self._ask(at, until, end_utc)
                if at <= one[0] < until and start_utc <= one[0] < end_utc
            ],
            step_s=_QUARTER_S,
            provider=self.name,
            region=self._zone,
            quantity=PRICE.name,
        )

    def _price(self, at: datetime, value: float | None) -> float | None:
        """None is what of tomorrow is not yet published."""
        where = f"{self.name}: {at:%Y-%m-%dT%H:%MZ}"
        return None if value is None else amount(value, where, PRICE.name)

    def _ask(self, start: datetime, end: datetime, now_utc: datetime) -> Points:
        params = {"bzn": self._zone, "start": hour_text(start), "end": hour_text(end)}
        raw = self._http.json(f"{self._base_url}/v2/price", now_utc, params=params)
        answer = checked(raw, self.name, "bidding_zone", self._zone)
        if str(answer.get("unit")).replace(" ", "") != "EUR/MWh":
            raise SignalError(f"{self.name}: wanted EUR/MWh, got {str(answer.get('unit'))[:20]!r}")
        minutes = answer.get("interval_minutes")
        if minutes not in (15, 30, 60, None):  # None: a span over a change of steps
            raise SignalError(f"{self.name}: steps of {str(minutes)[:20]} minutes are not known")
        points = column(answer, "day_ahead_price", self.name)
        rows = [(at, None if value is None else value / 1000) for at, value in points]
        return in_quarters(rows, minutes)
