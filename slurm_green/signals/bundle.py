# SPDX-License-Identifier: Apache-2.0
"""The signal file: the series that decisions rest on, how it came about, and what is usual.

Written by the fetching process, read by sgreend and by everybody's commands.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from slurm_green.errors import SignalError
from slurm_green.signals.climatology import Climatology
from slurm_green.signals.file import dump_series, load_series, read_json, write_text
from slurm_green.signals.series import Series

__all__ = ["Bundle", "Link", "read_bundle", "write_bundle"]

_STATUSES = ("used", "spare", "failed", "waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What became of one link of the chain, for `sgreen signal check`, the log and the metrics.

    `kind` is provider, history, cache, regressors, forecast, climatology, or file where the reader
    of the file itself has something to say. `status` is used, spare (not needed this time),
    failed, or waiting (not asked: the provider wants to be left alone).
    """

    name: str
    kind: str
    status: str
    said: str

    def __post_init__(self) -> None:
        """Refuse a status nobody knows."""
        if self.status not in _STATUSES:
            raise SignalError(f"link {self.name}: status {self.status[:20]!r} is none")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What one refresh leaves. `series` is None when nothing at all could be said."""

    written_utc: datetime
    series: Series | None
    links: tuple[Link, ...] = ()
    climatology: Climatology | None = None

    @property
    def problem(self) -> str:
        """Why there is no series, from all links, in one line."""
        said = [f"{one.name}: {one.said}" for one in self.links if one.status != "used"]
        return "no usable signal: " + ("; ".join(said) or "no provider is set")


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write atomically; the file also reads as a plain series where it holds one."""
    raw: dict[str, Any] = {} if bundle.series is None else dump_series(bundle.series)
    raw["written_utc"] = bundle.written_utc.astimezone(UTC).isoformat()
    raw["links"] = [
        {"name": one.name, "kind": one.kind, "status": one.status, "said": one.said}
        for one in bundle.links
    ]
    if bundle.climatology is not None:
        raw["climatology"] = _dump_climatology(bundle.climatology)
    write_text(path, json.dumps(raw, allow_nan=False) + "\n")


def read_bundle(path: Path) -> Bundle:
    """Read a signal file; one without links is a series that somebody wrote or copied in."""
    raw = read_json(path)
    if not isinstance(raw, Mapping):
        raise SignalError(f"{path}: not a signal file")
    series = load_series(raw, str(path)) if "values" in raw or "links" not in raw else None
    try:
        written = raw.get("written_utc") or raw["issued_utc"]
        return Bundle(
            written_utc=_utc(written),
            series=series,
            links=tuple(_link(one) for one in raw.get("links", ())),
            climatology=_load_climatology(raw.get("climatology")),
        )
    except SignalError as exc:
        raise SignalError(f"{path}: {exc}") from exc
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        raise SignalError(f"{path}: {type(exc).__name__}: {exc}") from exc


def _utc(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return when


def _link(raw: Mapping[str, Any]) -> Link:
    return Link(**{key: str(raw[key]) for key in ("name", "kind", "status", "said")})


def _dump_climatology(one: Climatology) -> dict[str, Any]:
    return {
        "values": [round(float(value), 4) for value in one.values],
        "quantiles": {
            str(share): [round(float(value), 4) for value in band]
            for share, band in one.quantiles.items()
        },
        "made_utc": one.made_utc.astimezone(UTC).isoformat(),
        "days": one.days,
        **{name: getattr(one, name) for name in _TEXTS},
    }


_TEXTS = ("provider", "region", "quantity", "basis", "scope")


def _load_climatology(raw: Any) -> Climatology | None:
    if raw is None:
        return None
    return Climatology(
        values=np.array(raw["values"], dtype=np.float64),
        quantiles={
            float(share): np.array(band, dtype=np.float64)
            for share, band in raw["quantiles"].items()
        },
        made_utc=_utc(raw["made_utc"]),
        days=int(raw["days"]),
        **{name: str(raw[name]) for name in _TEXTS},
    )
