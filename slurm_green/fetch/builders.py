# SPDX-License-Identifier: Apache-2.0
"""From the settings of each type of provider to its object; modules are imported when named.

A new type is a settings class in config/providers.py and a function here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from slurm_green.config import providers as kinds
from slurm_green.config.chains import CHAINS
from slurm_green.errors import ConfigError, SignalError
from slurm_green.fetch.keys import read_key
from slurm_green.fetch.work import Source
from slurm_green.signals.quantity import CARBON, PRICE

__all__ = ["BUILDERS", "PLUGINS", "Wanted"]

# Entry points of other packages: called with the options, the quantity and an HTTP client.
PLUGINS = "slurm_green.providers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of a builder."""

    name: str
    quantity: str
    client: httpx.Client

    def only(self, *allowed: str) -> None:
        """Refuse a provider in the chain of a quantity it does not have."""
        if self.quantity not in allowed:
            keys = ", ".join(CHAINS[one] for one in allowed)
            raise ConfigError(
                f"signal.{CHAINS[self.quantity]} names {self.name!r}, which only gives what "
                f"signal.{keys} wants"
            )

    def given(self, setting: str, value: str) -> str:
        """A setting that must not be left out; raises ConfigError."""
        if not value:
            raise ConfigError(f"provider.{self.name}.{setting} is not set, and none is assumed")
        return value

    def key(self, settings: Any, setting: str = "key_file") -> str:
        """The key in the file that a setting names; raises ConfigError."""
        return read_key(getattr(settings, setting), name=f"provider.{self.name}.{setting}")

    def source(self, provider: object, *, forecasts: bool = True, measures: bool = True) -> Source:
        """A provider under its name."""
        return Source(name=self.name, provider=provider, forecasts=forecasts, measures=measures)


def _neso(settings: kinds.NesoSettings, wanted: Wanted) -> Source:
    from slurm_green.signals.providers.neso import Neso

    wanted.only(CARBON.name)
    return wanted.source(
        Neso(
            wanted.client,
            region_id=settings.region,
            postcode=settings.postcode or None,
            base_url=settings.url,
        )
    )


def _electricity_maps(settings: kinds.ElectricityMapsSettings, wanted: Wanted) -> Source:
    from slurm_green.signals.providers.electricity_maps import ElectricityMaps
    from slurm_green.signals.providers.electricity_maps_price import ElectricityMapsPrice

    wanted.only(CARBON.name, PRICE.name)
    zone, key = wanted.given("zone", settings.zone), wanted.key(settings)
    if wanted.quantity == PRICE.name:
        currency = wanted.given("currency", settings.currency)
        return wanted.source(
            ElectricityMapsPrice(
                wanted.client, key=key, zone=zone, currency=currency, base_url=settings.url
            )
        )
    return wanted.source(
        ElectricityMaps(
            wanted.client,
            key=key,
            zone=zone,
            version=settings.version,
            emission_factor_type=settings.emission_factors,
            horizon_hours=settings.horizon_h,
            refuse_estimated=settings.refuse_estimated,
            min_horizon_s=_least_s(settings.horizon_h),
            base_url=settings.url,
        ),
        forecasts=settings.emission_factors == "lifecycle",
    )


def _watttime(settings: kinds.WattTimeSettings, wanted: Wanted) -> Source:
    from slurm_green.signals.providers.watttime import WattTime

    wanted.only(CARBON.name)
    return wanted.source(
        WattTime(
            wanted.client,
            user=wanted.given("user", settings.user),
            password=wanted.key(settings, "password_file"),
            region=wanted.given("region", settings.region),
            horizon_hours=settings.horizon_h,
            min_horizon_s=_least_s(settings.horizon_h),
            base_url=settings.url,
        )
    )


def _entsoe(settings: kinds.EntsoeSettings, wanted: Wanted) -> Source:
    from slurm_green.signals.providers.entsoe import DayAheadPrices, Entsoe

    wanted.only(CARBON.name, PRICE.name)
    area, key = wanted.given("area", settings.area), wanted.key(settings)
    if wanted.quantity == PRICE.name:
        return wanted.source(
            DayAheadPrices(
                wanted.client,
                key=key,
                area=area,
                currency=settings.currency,
                base_url=settings.url,
            )
        )
    return wanted.source(
        Entsoe(wanted.client, key=key, area=area, scope=settings.scope, base_url=settings.url)
    )


def _energy_charts(settings: kinds.EnergyChartsSettings, wanted: Wanted) -> Source:
    from slurm_green.signals.providers.energy_charts import EnergyCharts
    from slurm_green.signals.providers.energy_charts_price import EnergyChartsPrices

    wanted.only(CARBON.name, PRICE.name)
    if wanted.quantity == PRICE.name:
        zone = wanted.given("bidding_zone", settings.bidding_zone)
        return wanted.source(
            EnergyChartsPrices(wanted.client, bidding_zone=zone, base_url=settings.url)
        )
    country = wanted.given("country", settings.country)
    return wanted.source(
        EnergyCharts(wanted.client, country=country, scope=settings.scope, base_url=settings.url)
    )


def _gridstatus(settings: kinds.GridStatusSettings, wanted: Wanted) -> Source:
    from slurm_green.signals.providers.gridstatus import GridStatus

    wanted.only(CARBON.name)
    return wanted.source(
        GridStatus(
            wanted.client,
            key=wanted.key(settings),
            operator=wanted.given("operator", settings.operator),
            scope=settings.scope,
            base_url=settings.url,
        ),
        forecasts=False,
    )


def _http_json(settings: kinds.HttpJsonSettings, wanted: Wanted) -> Source:
    from slurm_green.signals.json_rows import JsonRows
    from slurm_green.signals.providers.http_json import HttpJson

    fields = [
        _field(one)
        for one in (
            settings.time_field,
            settings.value_field,
            settings.p10_field,
            settings.p90_field,
        )
    ]
    time_field, value_field = fields[:2]
    if time_field is None or value_field is None:
        raise ConfigError(f"provider.{wanted.name}: time_field and value_field must be set")
    rows = JsonRows(
        time_field=time_field,
        value_field=value_field,
        p10_field=fields[2],
        p90_field=fields[3],
        columns=settings.columns,
        time_kind=settings.time_kind,
        time_zone=_zone(settings.time_zone, wanted),
        factor=settings.factor,
        quantity=wanted.quantity,
    )
    if settings.key_file is not None and not settings.key_header:
        raise ConfigError(
            f"provider.{wanted.name}.key_header is not set: the key would not be sent"
        )
    key = settings.key_prefix + wanted.key(settings) if settings.key_header else ""
    return wanted.source(
        HttpJson(
            wanted.client,
            rows=rows,
            path=settings.path,
            region=wanted.given("region", settings.region),
            url=settings.url,
            history_url=settings.history_url,
            history_path=settings.history_path,
            step_s=settings.step_s,
            region_path=settings.region_path,
            region_expected=settings.region_expected,
            issued_path=settings.issued_path,
            basis=settings.basis,
            scope=settings.scope,
            key_header=settings.key_header,
            key=key,
            ahead_s=settings.horizon_s,
            min_horizon_s=settings.horizon_s / 2,
            name=wanted.name,
        ),
        forecasts=bool(settings.url),
        measures=bool(settings.history_url),
    )


def _prometheus(settings: kinds.PrometheusSettings, wanted: Wanted) -> Source:
    from slurm_green.signals.providers.prometheus import Prometheus

    secret = wanted.key(settings) if settings.key_file or settings.user else ""
    return wanted.source(
        Prometheus(
            wanted.client,
            url=wanted.given("url", settings.url),
            query=wanted.given("query", settings.query),
            region=wanted.given("region", settings.region),
            forecast_query=settings.forecast_query,
            quantity=wanted.quantity,
            step_s=settings.step_s,
            sample_s=settings.sample_s,
            factor=settings.factor,
            clamp=settings.clamp,
            basis=settings.basis,
            scope=settings.scope,
            token="" if settings.user else secret,
            user=settings.user,
            password=secret if settings.user else "",
            name=wanted.name,
        ),
        forecasts=bool(settings.forecast_query),
    )


def _file(settings: kinds.FileSettings, wanted: Wanted) -> Source:
    from slurm_green.signals.providers.table_file import TableFile

    if settings.path is None:
        raise ConfigError(f"provider.{wanted.name}.path is not set")
    return wanted.source(
        TableFile(
            settings.path,
            region=wanted.given("region", settings.region),
            quantity=wanted.quantity,
            basis=settings.basis,
            scope=settings.scope,
            name=wanted.name,
        )
    )


def _plugin(settings: kinds.PluginSettings, wanted: Wanted) -> Source:
    from importlib.metadata import entry_points

    name = wanted.given("name", settings.name)
    found = [one for one in entry_points(group=PLUGINS) if one.name == name]
    if not found:
        known = ", ".join(one.name for one in entry_points(group=PLUGINS)) or "none"
        raise ConfigError(
            f"provider.{wanted.name}: no package installed here has an entry point {name!r} in "
            f"{PLUGINS}; there are: {known}"
        )
    try:
        provider = found[0].load()(dict(settings.options), wanted.quantity, wanted.client)
    except SignalError:
        raise
    except Exception as error:
        raise ConfigError(f"provider.{wanted.name}: {type(error).__name__}: {error}") from error
    return wanted.source(
        provider, forecasts=hasattr(provider, "fetch"), measures=hasattr(provider, "history")
    )


def _least_s(horizon_h: int) -> float:
    """What an answer must reach to be believed: a day, or most of a shorter horizon."""
    return min(24.0, max(horizon_h - 1.0, 0.5)) * 3600.0


def _field(text: str) -> str | int | None:
    """A field's name, or its number in a list."""
    if not text:
        return None
    return int(text) if text.isdecimal() else text


def _zone(text: str, wanted: Wanted) -> ZoneInfo | None:
    try:
        return ZoneInfo(text) if text else None
    except (KeyError, OSError, ValueError) as error:
        raise ConfigError(f"provider.{wanted.name}.time_zone: {text!r} is no zone") from error


_Builder = Callable[[Any, Wanted], Source]
BUILDERS: dict[type[kinds.ProviderSettings], _Builder] = {
    kinds.NesoSettings: _neso,
    kinds.ElectricityMapsSettings: _electricity_maps,
    kinds.WattTimeSettings: _watttime,
    kinds.EntsoeSettings: _entsoe,
    kinds.EnergyChartsSettings: _energy_charts,
    kinds.GridStatusSettings: _gridstatus,
    kinds.HttpJsonSettings: _http_json,
    kinds.PrometheusSettings: _prometheus,
    kinds.FileSettings: _file,
    kinds.PluginSettings: _plugin,
}
