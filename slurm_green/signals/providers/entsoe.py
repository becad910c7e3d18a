# SPDX-License-Identifier: Apache-2.0
"""Europe by the ENTSO-E Transparency Platform: mix, day-ahead forecasts and prices; free key.

Needs the extra `entsoe` (entsoe-py). Documents: A75 (actual generation by type), A65 and A69
(day-ahead load, and wind and solar), A44 (day-ahead prices).

The trap: two auctions are published for Germany and Austria, and their prices differ.
"""

import re
from datetime import datetime, timedelta

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.measured import Measured
from slurm_green.signals.providers.entsoe_api import (
    BASE_URL,
    KEY_HINT,
    Platform,
    Points,
    points_of,
)
from slurm_green.signals.providers.mix import (
    HOUR_S,
    check_scope,
    derived,
    hourly,
    mix_history,
)
from slurm_green.signals.quantity import PRICE
from slurm_green.signals.series import Series
from slurm_green.signals.slots import amount, must_reach, series_from_slots
from slurm_green.signals.times import rounded_down

__all__ = ["BASE_URL", "DayAheadPrices", "Entsoe"]

_LEAD = timedelta(days=1)  # of history before what was asked, to know which types there are
_LEAST_DAYS = 4  # of history to learn from
_TWO_AUCTIONS = {"DE_LU", "AT"}  # the coupled one is number 1, EXAA's number 2
_QUARTER_S = 900.0
_QUARTER = timedelta(seconds=_QUARTER_S)
# Quarters per step, the finest last: where an hour and its quarters are published, these hold.
_RESOLUTIONS = {"60min": 4, "30min": 2, "15min": 1}


class Entsoe:
    """Provider of hourly intensity: measured by generation, and ahead as far as day-ahead goes.

    The forecast is DERIVED, not the platform's: intensity x load = a + b x load + c x (load - wind
    - sun), by least squares over the last `learn_days` and the day-ahead forecasts made for them,
    applied to those that reach further. It ends at the last hour that load, wind and sun all
    cover: tomorrow's midnight, once the system operators have published (load by 10:00, wind and
    sun by 18:00 Brussels time). It asks the platform nine times for two weeks.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        key: str,
        area: str,
        scope: str = "life-cycle",
        learn_days: int = 14,
        base_url: str = BASE_URL,
        min_horizon_s: float = 3600.0,
    ) -> None:
        """Refuse areas and scopes that do not exist before anything is asked."""
        self.name = "entsoe"
        check_scope(scope, self.name)
        if learn_days < _LEAST_DAYS:
            raise SignalError(f"{self.name}: learn_days {learn_days} is less than {_LEAST_DAYS}")
        http = Http(client, name=self.name, key_hint=KEY_HINT)
        self._platform = Platform(http, key=key, area=area, base_url=base_url)
        self._scope = scope
        self._learn = timedelta(days=learn_days)
        self._min_horizon_s = min_horizon_s

    def fetch(self, now_utc: datetime) -> Series:
        """The derived forecast from this hour on; raises SignalError when it is unusable."""
        platform = self._platform
        hour = rounded_down(now_utc, HOUR_S)
        start, end = hour - self._learn, platform.end_of_tomorrow(now_utc)
        past = self.history(start, hour)
        load = hourly(platform.ask("query_load_forecast", platform.load, start, end, now_utc)[""])
        sources = platform.ask(
            "query_wind_and_solar_forecast", platform.generation, start, end, now_utc
        )
        parts = [hourly(points) for points in sources.values()]
        rows = {
            # Divided by the load, so that what is learnt is the intensity itself.
            at: (1.0, 1e4 / mw, 1 - sum(part[at] for part in parts) / mw)
            for at, mw in load.items()
            if mw > 0 and all(at in part for part in parts)
        }
        return must_reach(derived(past, rows, now_utc), now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """Intensity of the area's own generation; imports are not in it. Hours with gaps stay so.

        The platform lags by an hour to a day, and by more for some areas.
        """
        platform = self._platform
        types = platform.ask(
            "query_generation", platform.generation, start_utc - _LEAD, end_utc, end_utc
        )
        return mix_history(
            types,
            provider=self.name,
            region=platform.area.name,
            scope=self._scope,
            start_utc=start_utc,
            end_utc=end_utc,
        )


class DayAheadPrices:
    """Provider of the day-ahead auction's prices per kWh: to the end of today, or of tomorrow.

    In quarter hours, which the market has traded since October 2025; the hours of before are
    repeated. Negative prices are prices. `sequence` picks one of several auctions; None takes the
    coupled one (SDAC) where there are two.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        key: str,
        area: str,
        currency: str = "EUR",
        sequence: int | None = None,
        base_url: str = BASE_URL,
        min_horizon_s: float = 3600.0,
    ) -> None:
        """Refuse areas that do not exist before anything is asked."""
        self.name = "entsoe-prices"
        http = Http(client, name=self.name, key_hint=KEY_HINT)
        self._platform = Platform(http, key=key, area=area, base_url=base_url)
        if sequence is None and self._platform.area.name in _TWO_AUCTIONS:
            sequence = 1
        self._sequence = sequence
        self._currency = currency
        self._min_horizon_s = min_horizon_s

    def fetch(self, now_utc: datetime) -> Series:
        """The prices from now on; raises SignalError with one sentence when unusable."""
        rows = self._ask(now_utc, self._platform.end_of_tomorrow(now_utc), now_utc)
        series = series_from_slots(
            [(at, amount(value, f"{self.name}: {at:%Y-%m-%dT%H:%MZ}", PRICE.name))
             for at, value in sorted(rows)],
            step_s=_QUARTER_S,
            provider=self.name,
            issued_utc=now_utc,
            region=self._platform.area.name,
            quantity=PRICE.name,
        )  # fmt: skip
        return must_reach(series, now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """Prices of the past, in quarter hours."""
        return Measured.from_points(
            self._ask(start_utc, end_utc, end_utc),
            step_s=_QUARTER_S,
            provider=self.name,
            region=self._platform.area.name,
            quantity=PRICE.name,
        )

    def _ask(self, start_utc: datetime, end_utc: datetime, now_utc: datetime) -> Points:
        start = rounded_down(start_utc, _QUARTER_S)
        return self._platform.ask(
            "query_day_ahead_prices", self._read, start, end_utc, now_utc, sequence=self._sequence
        )[""]

    def _read(self, text: str) -> dict[str, Points]:
        platform = self._platform
        platform.all_are(text, "currency_Unit.name", self._currency)
        platform.all_are(text, "price_Measure_Unit.name", "MWH")
        auctions = set(re.findall(r"classificationSequence[^>]*\.position>\s*(\d+)", text))
        if len(auctions) > 1 or (auctions and self._sequence not in (None, int(min(auctions)))):
            raise SignalError(
                f"{self.name}: the answer holds auctions {', '.join(sorted(auctions))}, wanted "
                f"{self._sequence or 'one'}; set sequence"
            )
        found = platform.library.parsers.parse_prices(text)
        quarters: dict[datetime, float] = {}
        for name, count in _RESOLUTIONS.items():
            points = points_of(found[name])
            if len(dict(points)) < len(set(points)):
                raise SignalError(f"{self.name}: the answer has two prices for one time")
            for at, value in points:
                quarters |= {at + i * _QUARTER: value / 1000 for i in range(count)}
        return {"": list(quarters.items())}
