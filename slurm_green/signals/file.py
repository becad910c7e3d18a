# SPDX-License-Identifier: Apache-2.0
"""A series in a JSON file, whole or not at all."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiling.whole import whole_file
from slurm_green.errors import SignalError
from slurm_green.signals.csv_trace import read_bounded
from slurm_green.signals.series import Series, Stretch

__all__ = ["dump_series", "load_series", "read_json", "read_series", "write_series", "write_text"]

_FORMAT = "slurm-green-series"
_VERSION = 2
_TEXTS = ("provider", "region", "quantity", "basis", "scope")


def dump_series(series: Series) -> dict[str, Any]:
    """The series as plain JSON values."""
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "start_utc": series.start_utc.astimezone(UTC).isoformat(),
        "step_s": series.step_s,
        "issued_utc": series.issued_utc.astimezone(UTC).isoformat(),
        "time_scale": series.time_scale,
        **{name: getattr(series, name) for name in _TEXTS},
        "values": [float(value) for value in series.values],
        "quantiles": {str(share): _listed(one) for share, one in series.quantiles.items()},
        "provenance": [
            {
                "steps": one.steps,
                "provider": one.provider,
                "issued_utc": one.issued_utc.astimezone(UTC).isoformat(),
                "kind": one.kind,
            }
            for one in series.provenance
        ],
    }


def load_series(raw: object, where: str) -> Series:
    """The series from plain JSON values; `where` is for the message."""
    if not isinstance(raw, Mapping) or raw.get("format") != _FORMAT:
        raise SignalError(f"{where}: not a {_FORMAT} file")
    if raw.get("version") != _VERSION:
        raise SignalError(f"{where}: version {raw.get('version')!r}, this release reads {_VERSION}")
    try:
        texts = {name: raw[name] for name in _TEXTS}
        if not all(isinstance(text, str) for text in texts.values()):
            raise TypeError(f"one of {', '.join(_TEXTS)} is not text")
        values = np.array([_number(value) for value in raw["values"]], dtype=np.float64)
        series = Series(
            start_utc=datetime.fromisoformat(raw["start_utc"]),
            step_s=_number(raw["step_s"]),
            values=values,
            issued_utc=datetime.fromisoformat(raw["issued_utc"]),
            time_scale=_number(raw["time_scale"]),
            quantiles={
                float(share): np.array([_unknown(value) for value in one], dtype=np.float64)
                for share, one in raw["quantiles"].items()
            },
            provenance=tuple(
                Stretch(
                    steps=int(one["steps"]),
                    provider=str(one["provider"]),
                    issued_utc=datetime.fromisoformat(one["issued_utc"]),
                    kind=str(one["kind"]),
                )
                for one in raw["provenance"]
            ),
            **texts,
        )
        series.end_utc  # noqa: B018 - a step that leads beyond year 9999 must fail here, not later
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as exc:
        raise SignalError(f"{where}: {type(exc).__name__}: {exc}") from exc
    except SignalError as exc:
        raise SignalError(f"{where}: {exc}") from exc
    return series


def write_series(path: Path, series: Series) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of one."""
    write_text(path, json.dumps(dump_series(series), allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """The same for any text; the file is world-readable: nothing of a signal is secret."""
    try:
        with whole_file(path, sync=True) as file:
            file.write(text)
    except OSError as exc:
        raise SignalError(f"{path}: cannot write the signal file: {exc.strerror or exc}") from exc


def read_series(path: Path) -> Series:
    """Read a file that write_series wrote."""
    return load_series(read_json(path), str(path))


def read_json(path: Path) -> object:
    """A bounded JSON file without NaN; raises SignalError."""
    data = read_bounded(path)
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise SignalError(f"{path}: cut or damaged: {exc}") from exc


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{str(value)[:40]!r} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _listed(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _unknown(value: object) -> float:
    return math.nan if value is None else _number(value)
