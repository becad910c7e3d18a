# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() and unset() are dataclass fields, not values shared by mistake
"""The settings of the carbon signal: what sgreend reads, and what the fetching process asks."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from slurm_green.config import kinds
from slurm_green.config.setting import setting, unset

__all__ = ["CsvSignal", "NesoSignal", "SignalSection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvSignal:
    """A carbon trace from a file."""

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
class NesoSignal:
    """Great Britain's forecast by NESO, free and without a key; asked by `sgreen fetch` only."""

    region: int | None = unset(
        kinds.whole(1, 17), "Region number of the API; left out with no postcode: the nation."
    )
    postcode: str = setting(
        kinds.text("the outward part of a postcode, or empty", r"|[A-Za-z]{1,2}\d[A-Za-z\d]?"),
        "",
        "Outward part of the site's postcode (RG10); names the region instead of its number.",
    )
    url: str = setting(
        kinds.text("a web address", r"https?://\S+"),
        "https://api.carbonintensity.org.uk",
        "Base address of the API.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSection:
    """Where the carbon intensity comes from."""

    providers: tuple[str, ...] = setting(
        kinds.names(only=("file", "csv")),
        ("file",),
        """What sgreend reads, in order; the first good answer wins: file is paths.signal, which
        `sgreen fetch` keeps, csv is the trace of [signal.csv]. sgreend itself meets no network.""",
    )
    region: str = setting(kinds.text(), "", "Name of the region, as it is to appear in reports.")
    csv: CsvSignal = field(default_factory=CsvSignal)
    neso: NesoSignal = field(default_factory=NesoSignal)
