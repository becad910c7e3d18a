# SPDX-License-Identifier: Apache-2.0
"""On-site solar, wind, batteries and meters by PromQL, from Prometheus or what speaks its API.

Asks `/api/v1/query_range` (Thanos, Mimir and VictoriaMetrics answer it too). Prometheus stores no
future: by itself this gives a past, from which the built-in forecaster learns. A forecast comes
only from a `forecast_query` that has values at instants to come, because it looks back: an exporter
that records what is forecast for a day ahead, `pv_forecast_day_ahead_w offset 1d`, or simply
yesterday, `pv_w offset 1d`. The trap: a query's value at an instant is the last sample before it,
so means over steps must be asked for, and they end where the instant is.
"""

import json
import math
from datetime import UTC, datetime
from typing import Any

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import RENEWABLE, quantity_named
from slurm_green.signals.series import Series
from slurm_green.signals.slots import amount, must_reach, series_from_slots

__all__ = ["Prometheus"]

_MOST_POINTS = 11_000  # Prometheus refuses more in one answer
_EXPLAINED = {400, 422, 503}  # answers whose body says what is wrong
_HOUR_S = 3600.0


class Prometheus:
    """Provider over `query`, one series in watts (or what `quantity` says, times `factor`).

    `mean` wraps the query into the mean over each `step_s`, of instants every `sample_s`; without
    it the query itself must say what it means at the end of a step. Several series are refused:
    sum() says what they are together. NaN, infinities and missing samples are gaps. `clamp` makes
    every negative value 0, a battery that charges too; without it a negative supply is refused.
    Give `token` (bearer) or `user` and `password`. `region` is the site's name.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        url: str,
        query: str,
        region: str,
        forecast_query: str = "",
        quantity: str = RENEWABLE.name,
        step_s: float = 300.0,
        sample_s: float = 60.0,
        mean: bool = True,
        factor: float = 1.0,
        clamp: bool = False,
        basis: str = "average",
        scope: str = "unknown",
        token: str = "",
        user: str = "",
        password: str = "",
        ahead_s: float = 48 * _HOUR_S,
        min_horizon_s: float = 12 * _HOUR_S,  # what was recorded a day ahead ends short of a day
        name: str = "prometheus",
    ) -> None:
        """Refuse settings that can never work before anything is asked."""
        kind = quantity_named(quantity)
        whole = step_s >= 1 and sample_s >= 1 and step_s % 1 == sample_s % 1 == 0
        if not whole or step_s % sample_s:
            raise SignalError(
                f"{name}: step_s {step_s:g} and sample_s {sample_s:g} must be whole seconds, and "
                "the first a multiple of the second"
            )
        if factor == 0 or not math.isfinite(factor):
            raise SignalError(f"{name}: factor {factor} makes no amounts")
        if clamp and kind.may_be_negative:
            raise SignalError(f"{name}: clamp would falsify {quantity}, which may be negative")
        if (token and (user or password)) or bool(user) != bool(password):
            raise SignalError(f"{name}: give token, or user and password, or none of them")
        self.name = name
        self._url = f"{url.rstrip('/')}/api/v1/query_range"
        self._query, self._forecast_query = query, forecast_query
        self._region, self._quantity = region, quantity
        self._basis, self._scope = basis, scope
        self._step_s, self._sample_s, self._mean = int(step_s), int(sample_s), mean
        self._factor, self._clamp = factor, clamp
        self._ahead_s, self._min_horizon_s = ahead_s, min_horizon_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._auth = (user, password) if user else None
        hint = "check token, or user and password"
        self._http = _Http(client, name=name, key_hint=hint)

    def fetch(self, now_utc: datetime) -> Series:
        """What `forecast_query` says from the step that holds now; raises SignalError."""
        if not self._forecast_query:
            raise SignalError(
                f"{self.name}: stores no future and has no forecast_query, it gives a past only"
            )
        first = math.floor(now_utc.timestamp() / self._step_s)
        last = math.ceil((now_utc.timestamp() + self._ahead_s) / self._step_s)
        values = self._values(self._forecast_query, first, last, now_utc)
        while values and values[-1] is None:
            values.pop()
        rows = []
        for slot, value in enumerate(values, start=first):
            at = datetime.fromtimestamp(slot * self._step_s, UTC)
            if value is None:
                raise SignalError(
                    f"{self.name}: forecast_query has no value at {at:%Y-%m-%dT%H:%MZ}"
                )
            rows.append((at, value))
        series = series_from_slots(
            rows,
            step_s=float(self._step_s),
            provider=self.name,
            issued_utc=now_utc,  # nothing says when the forecast was recorded
            region=self._region,
            quantity=self._quantity,
            basis=self._basis,
            scope=self._scope,
        )
        return must_reach(series, now_utc, self._min_horizon_s)

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """The whole steps in [start, end); Prometheus keeps a fortnight unless told otherwise."""
        first = math.ceil(start_utc.timestamp() / self._step_s)
        last = math.floor(end_utc.timestamp() / self._step_s)
        values = enumerate(self._values(self._query, first, last, end_utc), start=first)
        return Measured.from_points(
            ((datetime.fromtimestamp(slot * self._step_s, UTC), value) for slot, value in values),
            step_s=float(self._step_s),
            provider=self.name,
            region=self._region,
            quantity=self._quantity,
            basis=self._basis,
            scope=self._scope,
        )

    def _values(self, query: str, first: int, last: int, now: datetime) -> list[float | None]:
        """Amounts of the steps [first, last) since 1970; None where nothing is known."""
        values: list[float | None] = [None] * max(last - first, 0)
        labels: set[str] = set()
        for begin in range(first, last, _MOST_POINTS):
            end = min(begin + _MOST_POINTS, last)
            for series in self._series(self._asked(query), begin, end, now):
                labels.add(json.dumps(series.get("metric"), sort_keys=True))
                if len(labels) > 1:
                    shown = ", ".join(sorted(labels)[:2])[:120]
                    raise SignalError(
                        f"{self.name}: the query gives several series ({shown}); say what they "
                        "are together, such as sum(...)"
                    )
                for sample in series["values"]:
                    slot, value = self._sample(sample, begin, end)
                    values[slot - first] = value
        return values

    def _asked(self, query: str) -> str:
        if not self._mean:
            return query
        # A millisecond short, or the instant at which the step before ended would count again. The
        # line end keeps a comment in the query from eating the rest.
        return f"avg_over_time(({query}\n)[{self._step_s * 1000 - 1}ms:{self._sample_s}s])"

    def _series(self, query: str, begin: int, end: int, now: datetime) -> list[dict[str, Any]]:
        """One answer's series, each with its list of values."""
        params = {
            "query": query,
            "start": str((begin + 1) * self._step_s),  # a step's value is known where it ends
            "end": str(end * self._step_s),
            "step": str(self._step_s),
        }
        raw = self._http.json(self._url, now, params=params, headers=self._headers, auth=self._auth)
        if isinstance(raw, dict) and raw.get("status") == "error":
            raise SignalError(f"{self.name}: {_words(raw)}")
        try:
            kind, found = raw["data"]["resultType"], raw["data"]["result"]
            warnings = [str(one) for one in raw.get("warnings") or ()]
            if kind != "matrix" or not all(isinstance(one["values"], list) for one in found):
                raise TypeError
        except (KeyError, TypeError, AttributeError) as exc:
            raise SignalError(
                f"{self.name}: the answer is no matrix of plain values; did the API change?"
            ) from exc
        # Thanos and remote storage warn where a part did not answer; a sum is then too low.
        for warning in warnings:
            if not warning.startswith("PromQL "):
                raise SignalError(f"{self.name}: the answer may be partial: {_one_line(warning)}")
        return list(found)

    def _sample(self, sample: Any, begin: int, end: int) -> tuple[int, float | None]:
        try:
            at_s, text = sample
            if isinstance(at_s, bool) or not isinstance(text, str):
                raise TypeError
            slot, value = round(at_s / self._step_s) - 1, float(text) * self._factor
            if not begin <= slot < end or abs((slot + 1) * self._step_s - at_s) > 1e-3:
                raise ValueError
        except (TypeError, ValueError, OverflowError) as exc:
            raise SignalError(
                f"{self.name}: sample {repr(sample)[:60]} was not asked for; did the API change?"
            ) from exc
        if not math.isfinite(value):
            return slot, None
        if value < 0 and self._clamp:
            value = 0.0
        at = datetime.fromtimestamp(slot * self._step_s, UTC)
        where = f"{self.name}: {at:%Y-%m-%dT%H:%MZ}"
        if value < 0 and not quantity_named(self._quantity).may_be_negative:
            raise SignalError(f"{where}: {value:g} is negative; clamp would make it 0")
        return slot, amount(value, where, self._quantity)


class _Http(Http):
    """Hands on what Prometheus says about a query it refuses; the common one drops the body."""

    def check_status(self, response: httpx.Response, now_utc: datetime) -> None:
        if response.status_code in _EXPLAINED and "retry-after" not in response.headers:
            body = bytearray()
            deadline = self._clock() + self._total_timeout_s
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > 4096 or self._clock() > deadline:
                    break
            try:
                raw = json.loads(body)
            except (ValueError, RecursionError):
                raw = None
            if isinstance(raw, dict) and "error" in raw:
                raise SignalError(f"{self.name}: answered {response.status_code}: {_words(raw)}")
        super().check_status(response, now_utc)


def _words(raw: dict[str, Any]) -> str:
    return f"{_one_line(raw.get('errorType'))}: {_one_line(raw.get('error'))}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]
