# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() and unset() are dataclass fields, not values shared by mistake
"""The settings of each kind of provider: one class per `type` of a [provider.NAME] table.

Only `sgreen fetch` asks providers. Keys are never settings: `key_file` names the file that has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm_green.config import kinds
from slurm_green.config.setting import setting, unset

__all__ = [
    "PROVIDERS",
    "ElectricityMapsSettings",
    "EnergyChartsSettings",
    "EntsoeSettings",
    "FileSettings",
    "GridStatusSettings",
    "HttpJsonSettings",
    "NesoSettings",
    "PluginSettings",
    "PrometheusSettings",
    "ProviderSettings",
    "WattTimeSettings",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """What all kinds of providers have in common."""


def _url(default: str) -> str:
    return setting(
        kinds.text("a web address", r"https?://\S+"), default, "Base address of the API."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NesoSettings(ProviderSettings):
    """Great Britain by NESO: carbon, 48 h ahead, free and without a key."""

    region: int | None = unset(
        kinds.whole(1, 17), "Region number of the API; left out with no postcode: the nation."
    )
    postcode: str = setting(
        kinds.text("the outward part of a postcode, or empty", r"|[A-Za-z]{1,2}\d[A-Za-z\d]?"),
        "",
        "Outward part of the site's postcode (RG10); names the region instead of its number.",
    )
    url: str = _url("https://api.carbonintensity.org.uk")


def _key_file(what: str = "the key") -> Any:
    return unset(
        kinds.path(), f"File that holds {what}, one word, readable by the fetching user alone."
    )


def _zone(example: str) -> str:
    return setting(kinds.text(), "", f"Which zone: {example}. Must be given: none is assumed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectricityMapsSettings(ProviderSettings):
    """Electricity Maps: carbon of most of the world, up to 72 h ahead, and prices; needs a key."""

    key_file: Path | None = _key_file()
    zone: str = _zone("DE, US-CAL-CISO")
    version: str = setting(kinds.choice("v3", "v4"), "v4", "Version of the API.")
    emission_factors: str = setting(
        kinds.choice("lifecycle", "direct"),
        "lifecycle",
        "Which emissions count; the provider forecasts lifecycle ones only.",
    )
    horizon_h: int = setting(
        kinds.whole(6, 72), 72, "How far ahead to ask: 6, 24, 48 or 72.", unit="h"
    )
    refuse_estimated: bool = setting(
        kinds.flag(), False, "Learn only from what was measured, not from the provider's estimates."
    )
    currency: str = setting(
        kinds.text("three letters, or empty", r"|[A-Z]{3}"),
        "",
        "For prices: the currency they must come in.",
    )
    url: str = _url("https://api.electricitymaps.com")


@dataclass(frozen=True, slots=True, kw_only=True)
class WattTimeSettings(ProviderSettings):
    """WattTime: marginal carbon, up to 72 h ahead; needs an account."""

    user: str = setting(kinds.text(), "", "Name of the account.")
    password_file: Path | None = _key_file("its password")
    region: str = _zone("CAISO_NORTH")
    horizon_h: int = setting(kinds.whole(1, 72), 72, "How far ahead to ask.", unit="h")
    url: str = _url("https://api.watttime.org")


def _scope() -> str:
    return setting(
        kinds.choice("life-cycle", "direct"),
        "life-cycle",
        "Emission factors of the generation mix: of the whole life cycle, or of burning alone.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EntsoeSettings(ProviderSettings):
    """ENTSO-E: Europe's generation mix as carbon, day-ahead derived forecast, day-ahead prices.

    Needs a token and the extra slurm-green[entsoe].
    """

    key_file: Path | None = _key_file("the security token")
    area: str = _zone("DE_LU, FR, ES as entsoe-py names them")
    scope: str = _scope()
    currency: str = setting(
        kinds.text("three letters", r"[A-Z]{3}"), "EUR", "For prices: the currency they come in."
    )
    url: str = _url("https://web-api.tp.entsoe.eu/api")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyChartsSettings(ProviderSettings):
    """Energy-Charts (Fraunhofer ISE): Europe's generation mix as carbon, and prices; no key."""

    country: str = _zone("de, fr, as the API writes countries; for carbon")
    bidding_zone: str = _zone("DE-LU, NO2; for prices")
    scope: str = _scope()
    url: str = _url("https://api.energy-charts.info")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridStatusSettings(ProviderSettings):
    """GridStatus.io: the generation mix of North American operators as carbon; needs a key.

    Gives a measured past only; the built-in forecast does the rest.
    """

    key_file: Path | None = _key_file()
    operator: str = _zone("caiso, ercot, isone, miso, nyiso, pjm, spp, ieso, aeso")
    scope: str = _scope()
    url: str = _url("https://api.gridstatus.io/v1")


def _basis() -> str:
    return setting(kinds.choice("average", "marginal"), "average", "What its amounts are.")


def _any_scope() -> str:
    return setting(
        kinds.choice("life-cycle", "direct", "unknown"), "unknown", "Which emissions they count."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpJsonSettings(ProviderSettings):
    """Any web API that answers in JSON, read with JMESPath expressions."""

    url: str = setting(
        kinds.text("a web address, or empty", r"|https?://\S+"),
        "",
        "Where its forecast is; {start}, {end} and {now} become times, {start_s} POSIX seconds.",
    )
    history_url: str = setting(
        kinds.text("a web address, or empty", r"|https?://\S+"), "", "Where its measured past is."
    )
    path: str = setting(kinds.text(), "@", "JMESPath of the list of rows.")
    history_path: str = setting(kinds.text(), "", "The same for the past, where it differs.")
    time_field: str = setting(
        kinds.text(), "0", "Field of a row that holds its time: a name, or a number in a list."
    )
    value_field: str = setting(kinds.text(), "1", "Field that holds the expected amount.")
    p10_field: str = setting(kinds.text(), "", "Field that holds the 10 % quantile, if any.")
    p90_field: str = setting(kinds.text(), "", "Field that holds the 90 % quantile, if any.")
    columns: bool = setting(
        kinds.flag(), False, "Whether the answer has one list per field instead of rows."
    )
    time_kind: str = setting(
        kinds.choice("iso", "posix", "posix_ms", "local"),
        "iso",
        "How times are written; local is the wall clock of time_zone.",
    )
    time_zone: str = setting(kinds.text(), "", "Zone of wall-clock times.")
    factor: float = setting(kinds.number(), 1.0, "What turns its amounts into the quantity's unit.")
    step_s: float | None = unset(
        kinds.duration(1), "Length of a row; left out: as the rows tell.", key="step"
    )
    region: str = _zone("a name of your own")
    region_path: str = setting(
        kinds.text(), "", "JMESPath of the region in the answer, which must be region_expected."
    )
    region_expected: str = setting(kinds.text(), "", "What region_path must find.")
    issued_path: str = setting(kinds.text(), "", "JMESPath of when the forecast was made, if told.")
    basis: str = _basis()
    scope: str = _any_scope()
    key_header: str = setting(kinds.text(), "", "Name of the header that carries the key.")
    key_prefix: str = setting(kinds.text(), "", 'What stands before the key there, as "Bearer ".')
    key_file: Path | None = _key_file()
    horizon_s: float = setting(
        kinds.duration(3600), 48 * 3600.0, "How far ahead to ask.", key="horizon"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings(ProviderSettings):
    """A site's own Prometheus: solar, wind, battery, meter, or anything else it records."""

    url: str = setting(
        kinds.text("a web address", r"|https?://\S+"), "", "Base address of the server."
    )
    query: str = setting(kinds.text(), "", "PromQL that gives one series, measured.")
    forecast_query: str = setting(
        kinds.text(), "", "PromQL over forecasts that somebody records with future times, if any."
    )
    step_s: float = setting(
        kinds.duration(1), 300.0, "Steps into which samples are averaged.", key="step"
    )
    sample_s: float = setting(
        kinds.duration(1), 60.0, "How often the server scrapes it.", key="sample"
    )
    factor: float = setting(kinds.number(), 1.0, "What turns samples into the quantity's unit.")
    clamp: bool = setting(
        kinds.flag(), False, "Take what is below zero, as a meter's noise is, for zero."
    )
    region: str = _zone("a name of your own, such as the roof")
    basis: str = _basis()
    scope: str = _any_scope()
    user: str = setting(kinds.text(), "", "User of basic authentication, if any.")
    key_file: Path | None = _key_file("the password of that user, or without one a bearer token")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings(ProviderSettings):
    """A file that somebody copies in: CSV (also .gz, .xz) or Parquet, a past and a future."""

    path: Path | None = unset(
        kinds.path(),
        "start_s or start_utc, and the quantity's column; with issued_s or issued_utc: forecasts.",
    )
    region: str = _zone("a name of your own")
    basis: str = _basis()
    scope: str = _any_scope()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSettings(ProviderSettings):
    """A provider of somebody else's package, by its entry point in slurm_green.providers."""

    name: str = setting(kinds.text(), "", "Name of the entry point.")
    options: Mapping[str, str] = setting(
        kinds.texts(), {}, "Handed to it as they are; a key belongs into a file named here."
    )


# type = "..." of a [provider.NAME] table -> its settings.
PROVIDERS: dict[str, type[ProviderSettings]] = {
    "neso": NesoSettings,
    "electricity-maps": ElectricityMapsSettings,
    "watttime": WattTimeSettings,
    "entsoe": EntsoeSettings,
    "energy-charts": EnergyChartsSettings,
    "gridstatus": GridStatusSettings,
    "http-json": HttpJsonSettings,
    "prometheus": PrometheusSettings,
    "file": FileSettings,
    "plugin": PluginSettings,
}
