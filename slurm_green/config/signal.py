# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() and unset() are dataclass fields, not values shared by mistake
"""The settings of the signals: what sgreend reads, and what the fetching process asks."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from slurm_green.config import kinds
from slurm_green.config.setting import setting, unset

__all__ = ["CsvSignal", "SignalSection"]

_HOUR_S = 3_600.0
_DAY_S = 24 * _HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvSignal:
    """A carbon trace from a file that sgreend reads itself, for demos and tests."""

    path: Path | None = unset(
        kinds.path(), "CSV file with start_s or start_utc and carbon_g_per_kwh in uniform steps."
    )
    time_scale: float = setting(
        kinds.number(1e-3, 1e6),
        1.0,
        "Seconds of the trace that pass in one real second; above 1 only for demos and tests.",
    )
    anchor_utc: datetime | None = unset(
        kinds.utc_time(), "When second 0 of the trace is; left out, the file must carry dates."
    )
    repeat: bool = setting(kinds.flag(), False, "Start the trace again when it ends.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSection:
    """Carbon, price and renewable supply: what is asked, what is read, how far it is trusted."""

    read: tuple[str, ...] = setting(
        kinds.names(only=("file", "csv"), once=True),
        ("file",),
        """What sgreend reads, in order; the first good answer wins: file is paths.signal, which
        `sgreen fetch` keeps, csv is the trace of [signal.csv]. sgreend itself meets no network.""",
    )
    carbon: tuple[str, ...] = setting(
        kinds.names(once=True),
        (),
        """Names of [provider.NAME] tables that `sgreen fetch` asks for the carbon intensity, in
        order of trust. There is no default: nobody gets another region's carbon by accident.""",
    )
    price: tuple[str, ...] = setting(
        kinds.names(once=True), (), "The same for the price of electricity, in currency per kWh."
    )
    renewable: tuple[str, ...] = setting(
        kinds.names(once=True), (), "The same for the site's own renewable supply, in watts."
    )
    base_power: tuple[str, ...] = setting(
        kinds.names(once=True), (), "The same for what the site draws besides its jobs, in watts."
    )
    region: str = setting(kinds.text(), "", "Name of the region, as it is to appear in reports.")
    horizon_s: float = setting(
        kinds.duration(_DAY_S, 60 * _DAY_S),
        14 * _DAY_S,
        """How far ahead the signal reaches: as far as there are forecasts these, beyond them what
        is usual at that hour of the week.""",
        key="horizon",
    )
    forecast_s: float = setting(
        kinds.duration(_HOUR_S, 4 * _DAY_S),
        4 * _DAY_S,
        "How far ahead the built-in forecast goes where the providers' own end earlier.",
        key="forecast",
    )
    cache_max_age_s: float = setting(
        kinds.duration(60),
        12 * _HOUR_S,
        """How old a provider's last good forecast may be to go before the built-in one while no
        provider answers.""",
        key="cache_max_age",
    )
    regressors: Path | None = unset(
        kinds.path(),
        """Table (CSV, also .gz and .xz, or Parquet) of what is known ahead and helps the built-in
        forecast: start_utc, issued_utc, and a column per forecast of weather or generation.""",
    )
    csv: CsvSignal = field(default_factory=CsvSignal)
