# SPDX-License-Identifier: Apache-2.0
"""A carbon trace from a CSV file: dated, or anchored at an instant, repeated and time-scaled.

The trap: a file cut in its last line still parses ("250" becomes "2"), so a last line without a
line end is refused.
"""

import csv
import io
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiling.number import number_of
from slurm_green.errors import SignalError
from slurm_green.signals.quantity import CARBON
from slurm_green.signals.series import Series

__all__ = ["MAX_BYTES", "CsvTrace", "Trace", "decoded", "parse_trace", "read_bounded", "read_trace"]

MAX_BYTES = 16 * 2**20
_STEP_TOLERANCE_S = 1e-3
_SINGLE_ROW_STEP_S = 3600.0
_MAX_STEPS = 200_000  # a repeated trace of tiny steps must not fill the memory
_MAX_ABS_S = 1e10  # three centuries; what lies beyond is not seconds
_DAY_S = 86_400.0
_VALUE = "carbon_g_per_kwh"


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a file holds, before it is placed in time."""

    start_s: float  # seconds from the trace's own zero, or POSIX seconds when dated
    dated: bool
    step_s: float
    values: NDArray[np.float64]


@dataclass(kw_only=True)
class CsvTrace:
    """Provider over one CSV file; the file is read again when it changes.

    `anchor_utc` places second 0 of an undated trace, or the first row of a dated one, at a real
    instant. `repeat` plays the trace again and again, before the anchor too. `time_scale` N lets
    N seconds of the trace pass in one real second; the series comes in real time.
    """

    path: Path
    name: str = "csv"
    anchor_utc: datetime | None = None
    repeat: bool = False
    time_scale: float = 1.0
    region: str = ""
    basis: str = "average"
    scope: str = "unknown"
    # How much of a repeated trace is delivered around now, in seconds of the trace.
    behind_s: float = 2 * _DAY_S
    ahead_s: float = 7 * _DAY_S
    _read: tuple[tuple[int, int, int], Trace] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse settings that cannot place a trace in time."""
        if not (math.isfinite(self.time_scale) and self.time_scale > 0):
            raise SignalError(f"time_scale {self.time_scale} must be a number above 0")
        if self.anchor_utc is not None and self.anchor_utc.tzinfo is None:
            raise SignalError("anchor_utc must carry a time zone")
        if self.anchor_utc is None and (self.repeat or self.time_scale != 1.0):
            raise SignalError(
                f"{self.path}: repeat and time_scale need anchor_utc, the instant at which "
                "the trace begins"
            )

    def fetch(self, now_utc: datetime) -> Series:
        """The trace in real time, covering now."""
        trace, mtime_utc = self._trace()
        try:
            series = self._placed(trace, mtime_utc, now_utc)
            covered = series.covers(now_utc, now_utc)
        except (OverflowError, ValueError) as exc:
            raise SignalError(
                f"{self.path}: its times, anchor_utc and time_scale {self.time_scale:g} lead "
                "beyond what a calendar holds"
            ) from exc
        if not covered:
            raise SignalError(
                f"{self.path} covers {series.start_utc:%Y-%m-%dT%H:%M}Z to "
                f"{series.end_utc:%Y-%m-%dT%H:%M}Z, not now ({now_utc:%Y-%m-%dT%H:%M}Z)"
            )
        return series

    def _placed(self, trace: Trace, mtime_utc: datetime, now_utc: datetime) -> Series:
        if self.anchor_utc is not None:
            return self._anchored(trace, self.anchor_utc, now_utc)
        if not trace.dated:
            raise SignalError(
                f"{self.path}: column start_s has no dates: set anchor_utc, or give a column "
                "start_utc"
            )
        return self._series(trace.start_s, trace.step_s, trace.values, mtime_utc)

    def _anchored(self, trace: Trace, anchor_utc: datetime, now_utc: datetime) -> Series:
        step_s = trace.step_s / self.time_scale
        offset_s = 0.0 if trace.dated else trace.start_s / self.time_scale
        start_s = anchor_utc.timestamp() + offset_s
        values = trace.values
        if self.repeat:
            count = len(values)
            steps_to_now = math.floor((now_utc.timestamp() - start_s) / step_s)
            first = steps_to_now - min(math.ceil(self.behind_s / trace.step_s), _MAX_STEPS)
            ahead = max(1, math.ceil(self.ahead_s / trace.step_s))
            last = steps_to_now + min(ahead, _MAX_STEPS) + 1
            values = values[np.arange(first, last) % count]
            start_s += first * step_s
        # A fixture does not age, but it should not look newly issued more than once a step.
        issued_s = math.floor(now_utc.timestamp() / step_s) * step_s
        return self._series(start_s, step_s, values, datetime.fromtimestamp(issued_s, UTC))

    def _series(
        self, start_s: float, step_s: float, values: NDArray[np.float64], issued_utc: datetime
    ) -> Series:
        return Series(
            start_utc=datetime.fromtimestamp(start_s, UTC),
            step_s=step_s,
            values=values,
            issued_utc=issued_utc,
            provider=self.name,
            region=self.region,
            basis=self.basis,
            scope=self.scope,
            time_scale=self.time_scale,
        )

    def _trace(self) -> tuple[Trace, datetime]:
        try:
            stat = self.path.stat()
        except OSError as exc:
            raise SignalError(f"{self.path}: {exc.strerror or exc}") from exc
        key = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self._read is None or self._read[0] != key:
            self._read = (key, read_trace(self.path))
        return self._read[1], datetime.fromtimestamp(stat.st_mtime, UTC)


def read_trace(path: Path) -> Trace:
    """Read and check a CSV trace; errors name file, line and column."""
    return parse_trace(read_bounded(path), str(path))


def read_bounded(path: Path) -> bytes:
    """The file's bytes, refused above MAX_BYTES; never blocks on a pipe or device."""
    try:
        if not path.is_file():
            why = "is not a plain file" if path.exists() else "no such file"
            raise SignalError(f"{path}: {why}")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise SignalError(f"{path}: {exc.strerror or exc}") from exc
    if len(data) > MAX_BYTES:
        raise SignalError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, no signal is that long")
    return data


def parse_trace(data: bytes, path: str) -> Trace:
    """Check and parse the bytes of a CSV trace; `path` is for the messages."""
    text = decoded(data, path, wanted=_header_wanted())
    rows = csv.reader(io.StringIO(text), strict=True)
    try:
        header = [cell.strip() for cell in next(rows)]
        time_column, value_column, dated = _columns(header, path)
        starts: list[float] = []
        values: list[float] = []
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            where = f"{path}: line {rows.line_num}"
            if len(row) <= max(time_column, value_column):
                raise SignalError(f"{where}: {len(row)} columns where the header has {len(header)}")
            at = _time(row[time_column], where, dated)
            if starts:
                _check_step(starts, at, where, header[time_column])
            starts.append(at)
            values.append(_value(row[value_column], where))
    except csv.Error as exc:
        raise SignalError(f"{path}: line {rows.line_num}: {exc}") from exc
    if not values:
        raise SignalError(f"{path}: has a header but no rows")
    step_s = (starts[-1] - starts[0]) / (len(starts) - 1) if len(starts) > 1 else 0.0
    return Trace(
        start_s=starts[0],
        dated=dated,
        step_s=step_s or _SINGLE_ROW_STEP_S,
        values=np.array(values, dtype=np.float64),
    )


def decoded(data: bytes, path: str, *, wanted: str = "") -> str:
    """A CSV's text; refused when empty (`wanted` is for that message), not UTF-8, or cut."""
    if not data.strip():
        raise SignalError(f"{path}: is empty; wanted a header line {wanted}".rstrip())
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise SignalError(f"{path}: line {line}: not UTF-8 text") from exc
    if not text.endswith(("\n", "\r")):
        line = data.count(b"\n") + 1
        raise SignalError(
            f"{path}: line {line}: does not end in a newline, the file looks cut; copy it again, "
            "or end the last line"
        )
    return text


def _header_wanted() -> str:
    return f"start_s,{_VALUE} or start_utc,{_VALUE}"


def _columns(header: list[str], path: str) -> tuple[int, int, bool]:
    times = [name for name in ("start_utc", "start_s") if name in header]
    if _VALUE not in header or not times:
        shown = ",".join(header)[:80]
        raise SignalError(f"{path}: line 1: header {shown!r}; wanted {_header_wanted()}")
    return header.index(times[0]), header.index(_VALUE), times[0] == "start_utc"


def _check_step(starts: list[float], at: float, where: str, column: str) -> None:
    step_s = at - starts[-1]
    if step_s <= 0:
        raise SignalError(f"{where}: column {column}: not after the line before it")
    # Against the whole run so far, so that small errors cannot add up.
    expected = starts[0] + len(starts) * (starts[1] - starts[0]) if len(starts) > 1 else at
    if abs(at - expected) > _STEP_TOLERANCE_S:
        raise SignalError(
            f"{where}: column {column}: a step of {step_s:g} s where all before are "
            f"{starts[1] - starts[0]:g} s; steps must be uniform"
        )


def _time(cell: str, where: str, dated: bool) -> float:
    text = cell.strip()
    if not dated:
        seconds = _number(text, f"{where}: column start_s", "seconds")
        if abs(seconds) > _MAX_ABS_S:
            raise SignalError(f"{where}: column start_s: {seconds:g} is too large for seconds")
        return seconds
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)  # the column's name says so
        # Rounding to UTC now also refuses the years an offset pushes out of range.
        return (when - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
    except (ValueError, OverflowError) as exc:
        raise SignalError(
            f"{where}: column start_utc: {text[:40]!r} is not a time like 2026-01-31T12:00:00Z"
        ) from exc


def _value(cell: str, where: str) -> float:
    place = f"{where}: column {_VALUE}"
    value = _number(cell.strip(), place, "gCO2e per kWh")
    if not 0 <= value <= CARBON.most:
        raise SignalError(f"{place}: {value:g} is not between 0 and {CARBON.most:g}")
    return value


def _number(text: str, place: str, unit: str) -> float:
    try:
        value = number_of(text)
    except ValueError as exc:
        raise SignalError(f"{place}: {text[:40]!r} is not a number of {unit}") from exc
    if not math.isfinite(value):
        raise SignalError(f"{place}: {text[:40]!r} is not a finite number of {unit}")
    return value
