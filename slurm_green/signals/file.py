# SPDX-License-Identifier: Apache-2.0
"""A series in a file: what the fetching process writes and the controller reads.

The controller never talks to the internet; it reads this file, or a CSV that somebody copied in.
"""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from slurm_green.errors import SignalError
from slurm_green.signals.csv_trace import CsvTrace, read_bounded
from slurm_green.signals.quantity import CARBON
from slurm_green.signals.series import Series

__all__ = ["SeriesFile", "dump_series", "load_series", "read_series", "write_series"]

_FORMAT = "slurm-green-series"
_VERSION = 1
# Clocks of two hosts differ by seconds; more means that one of them is wrong.
_FUTURE_TOLERANCE_S = 600.0
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
            **texts,
        )
        series.end_utc  # noqa: B018 - a step that leads beyond year 9999 must fail here, not later
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise SignalError(f"{where}: {type(exc).__name__}: {exc}") from exc
    except SignalError as exc:
        raise SignalError(f"{where}: {exc}") from exc
    if (values > CARBON.most).any():
        raise SignalError(f"{where}: values above {CARBON.most:g} {series.unit}")
    return series


def write_series(path: Path, series: Series) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of one."""
    text = json.dumps(dump_series(series), allow_nan=False) + "\n"
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # another user reads it: nothing in it is secret
        Path(temporary).replace(path)
        temporary = None
    except OSError as exc:
        raise SignalError(f"{path}: cannot write the signal file: {exc.strerror or exc}") from exc
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def read_series(path: Path) -> Series:
    """Read a file that write_series wrote."""
    data = read_bounded(path)
    try:
        raw = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise SignalError(f"{path}: cut or damaged: {exc}") from exc
    return load_series(raw, str(path))


@dataclass(kw_only=True)
class SeriesFile:
    """Provider over the file in which the fetching process leaves its series, or a dated CSV.

    A CSV's age is that of the file, for nothing in it says when it was issued.
    """

    path: Path
    max_age_s: float = 6 * 3600.0
    name: str = "file"
    region: str = ""
    basis: str = "average"
    scope: str = "unknown"

    def fetch(self, now_utc: datetime) -> Series:
        """The series in the file; raises SignalError when it is stale or does not cover now."""
        series = self._read(now_utc)
        age_s = series.age_s(now_utc)
        if age_s > self.max_age_s:
            raise SignalError(
                f"{self.path}: {_hours(age_s)} old, at most {_hours(self.max_age_s)} is allowed; "
                "is the fetching process running?"
            )
        if age_s < -_FUTURE_TOLERANCE_S:
            raise SignalError(f"{self.path}: issued {_hours(-age_s)} in the future; check clocks")
        if not series.covers(now_utc, now_utc):
            raise SignalError(
                f"{self.path}: ends at {series.end_utc:%Y-%m-%dT%H:%M}Z or begins after now"
            )
        return series

    def _read(self, now_utc: datetime) -> Series:
        if read_bounded(self.path)[:64].lstrip().startswith(b"{"):
            return read_series(self.path)
        trace = CsvTrace(
            path=self.path, name=self.name, region=self.region, basis=self.basis, scope=self.scope
        )
        return trace.fetch(now_utc)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{str(value)[:40]!r} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 600 else f"{seconds:.0f} s"
