# SPDX-License-Identifier: Apache-2.0
"""Europe's countries by Energy-Charts of Fraunhofer ISE: free, without a key, CC BY 4.0.

Documented endpoints of API v2: `/v2/public_power` (MW by type) and `/v2/signal` (renewable share
of load, as far as it is foreseen). The API's own `/co2eq` is not documented, nor is what it counts:
it is not used.

The trap: only a few questions a minute are allowed, so a forecast must do with two.
"""

import re
from datetime import datetime, timedelta
from typing import Any

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
    ids,
    parts,
)
from slurm_green.signals.providers.mix import HOUR_S, check_scope, derived, hourly, mix_history
from slurm_green.signals.series import Series
from slurm_green.signals.slots import must_reach
from slurm_green.signals.times import rounded_down

__all__ = ["BASE_URL", "EnergyCharts"]

_LEAD = timedelta(days=1)  # of history before what was asked, to know which types there are
_LEAST_DAYS = 4  # of history to learn from
_SHARE = "renewable_share_of_load"
_NO_GENERATION = re.compile(r"load|share|consumption|trading|import|export|balance|inertia")


class EnergyCharts:
    """Provider of hourly intensity of a country's own generation: measured, and today and on.

    The forecast is DERIVED, not Fraunhofer's: intensity = a + b x (100 % - renewable share of
    load), learnt from the last `learn_days` and applied to the published prognosis of that share.
    Where the API only had a guess from the usual (`substitute`), its steps say "climatology", or
    it is refused if `refuse_substitute`.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        country: str,
        scope: str = "life-cycle",
        learn_days: int = 14,
        refuse_substitute: bool = False,
        base_url: str = BASE_URL,
        min_horizon_s: float = 3600.0,
    ) -> None:
        """`country` is a code of the API such as "de" or "uk"; what cannot be one is refused."""
        self.name = "energy-charts"
        check_scope(scope, self.name)
        if not re.fullmatch(r"[a-z]{2,3}", country):
            raise SignalError(f"{self.name}: country {country[:20]!r} is no code such as 'de'")
        if learn_days < _LEAST_DAYS:
            raise SignalError(f"{self.name}: learn_days {learn_days} is less than {_LEAST_DAYS}")
        self._country = country
        self._scope = scope
        self._learn = timedelta(days=learn_days)
        self._refuse_substitute = refuse_substitute
        self._base_url = base_url.rstrip("/")
        self._min_horizon_s = min_horizon_s
        self._http = Http(client, name=self.name)

    def fetch(self, now_utc: datetime) -> Series:
        """The derived forecast from this hour on; raises SignalError when it is unusable."""
        start = rounded_down(now_utc, HOUR_S) - self._learn
        types = self._mix(start - _LEAD, now_utc, now_utc)
        past = self._intensity(types, start, now_utc)
        answer = self._ask("signal", now_utc)
        said = answer.get("attributes")
        substitute = isinstance(said, dict) and str(said.get("substitute")).lower() == "true"
        if substitute and self._refuse_substitute:
            raise SignalError(f"{self.name}: the prognosis is a guess from the usual, refused")
        foreseen = hourly(column(answer, "share", self.name))
        shares = foreseen | hourly(types.get(_SHARE, []))
        if bad := [share for share in shares.values() if not 0 <= share <= 1000]:
            raise SignalError(f"{self.name}: a renewable share of {bad[0]:g} % is out of range")
        series = derived(
            past, {at: (1.0, 1 - share / 100) for at, share in shares.items()}, now_utc,
            kind="climatology" if substitute else "forecast",
        )  # fmt: skip
        return must_reach(series, now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """Intensity of the country's own generation; imports are not in it."""
        return self._intensity(self._mix(start_utc - _LEAD, end_utc, end_utc), start_utc, end_utc)

    def _intensity(
        self, types: dict[str, Points], start_utc: datetime, end_utc: datetime
    ) -> Measured:
        return mix_history(
            {name: one for name, one in types.items() if not _NO_GENERATION.search(name)},
            provider=self.name,
            region=self._country.upper(),
            scope=self._scope,
            start_utc=start_utc,
            end_utc=end_utc,
        )

    def _mix(self, start: datetime, end: datetime, now_utc: datetime) -> dict[str, Points]:
        types: dict[str, Points] = {}
        for at, until in parts(start, end):
            answer = self._ask("public_power", now_utc, start=hour_text(at), end=hour_text(until))
            if answer.get("unit") != "MW":
                raise SignalError(f"{self.name}: wanted MW, got {str(answer.get('unit'))[:20]!r}")
            for name in ids(answer, self.name):
                points = column(answer, name, self.name, required=False)
                types.setdefault(name, []).extend(one for one in points if at <= one[0] < until)
        return types

    def _ask(self, endpoint: str, now_utc: datetime, **params: str) -> dict[str, Any]:
        answer = self._http.json(
            f"{self._base_url}/v2/{endpoint}", now_utc, params={"country": self._country, **params}
        )
        return checked(answer, self.name, "country", self._country)
