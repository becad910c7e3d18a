# SPDX-License-Identifier: Apache-2.0
"""The signal as sgreend reads it: the file the fetching process keeps, or a CSV copied in.

sgreend never talks to the internet. When the fetching process has been silent for too long, the
file's forecasts are no longer believed; what is usual at that hour still is, for weeks.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from slurm_green.errors import SignalError
from slurm_green.signals.bundle import Bundle, Link, read_bundle
from slurm_green.signals.climatology import MAX_AGE_S
from slurm_green.signals.csv_trace import CsvTrace, read_bounded
from slurm_green.signals.series import Series

__all__ = ["SignalFile"]

# Clocks of two hosts differ by seconds; more means that one of them is wrong.
_FUTURE_TOLERANCE_S = 600.0
_DAY_S = 86_400.0


@dataclass(kw_only=True)
class SignalFile:
    """Provider over the signal file.

    `max_age_s` is how long after it was written its forecasts hold, `horizon_s` how far ahead the
    usual reaches, `usual_max_age_s` how old the past behind it may be. A CSV's age is that of the
    file, for nothing in it says when it was issued.
    """

    path: Path
    max_age_s: float = 6 * 3600.0
    horizon_s: float = 14 * _DAY_S
    usual_max_age_s: float = MAX_AGE_S
    name: str = "file"
    region: str = ""
    basis: str = "average"
    scope: str = "unknown"
    # What the fetching process said of each link of its chain when it last wrote.
    links: tuple[Link, ...] = ()
    _read: tuple[tuple[int, int, int], Bundle | CsvTrace] | None = field(default=None, repr=False)

    def fetch(self, now_utc: datetime) -> Series:
        """The series now; raises SignalError when nothing in the file may be believed."""
        self.links = ()
        bundle = self._file()
        if isinstance(bundle, CsvTrace):
            return self._csv(bundle, now_utc)
        self.links = bundle.links
        written_s = (now_utc - bundle.written_utc).total_seconds()
        if written_s < -_FUTURE_TOLERANCE_S:
            raise _ahead(self.path, -written_s)
        problem = self._problem(bundle, written_s, now_utc)
        if not problem and bundle.series is not None:
            return replace(bundle.series, vouched_utc=bundle.written_utc)
        if bundle.series is not None:
            silent = Link(name=self.name, kind="file", status="failed", said=problem)
            # What the old file rests on is used no longer; what failed then has not come back.
            rest = (
                replace(one, status="spare") if one.status == "used" else one
                for one in bundle.links
            )
            self.links = (silent, *rest)
        usual = self._usual(bundle, now_utc)
        if usual is None:
            raise SignalError(problem)
        return usual

    def _file(self) -> Bundle | CsvTrace:
        """What is in the file, read again when it changes."""
        try:
            stat = self.path.stat()
        except FileNotFoundError as exc:
            raise SignalError(f"{self.path}: no such file") from exc
        except OSError as exc:
            raise SignalError(f"{self.path}: {exc.strerror or exc}") from exc
        key = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self._read is None or self._read[0] != key:
            if read_bounded(self.path)[:64].lstrip().startswith(b"{"):
                self._read = (key, read_bundle(self.path))
            else:
                self._read = (
                    key,
                    CsvTrace(
                        path=self.path,
                        name=self.name,
                        region=self.region,
                        basis=self.basis,
                        scope=self.scope,
                    ),
                )
        return self._read[1]

    def _problem(self, bundle: Bundle, written_s: float, now_utc: datetime) -> str:
        if bundle.series is None:
            return bundle.problem
        if written_s > self.max_age_s:
            return (
                f"{self.path}: {_hours(written_s)} old, at most {_hours(self.max_age_s)} is "
                "allowed; is the fetching process running?"
            )
        if not bundle.series.covers(now_utc, now_utc):
            end = bundle.series.end_utc
            return f"{self.path}: ends at {end:%Y-%m-%dT%H:%M}Z or begins after now"
        return ""

    def _usual(self, bundle: Bundle, now_utc: datetime) -> Series | None:
        usual = bundle.climatology
        if usual is None:
            return None
        if (now_utc - usual.made_utc).total_seconds() > self.usual_max_age_s:
            return None
        series = usual.series(now_utc, now_utc + timedelta(seconds=self.horizon_s))
        return replace(series, vouched_utc=now_utc)

    def _csv(self, trace: CsvTrace, now_utc: datetime) -> Series:
        series = trace.fetch(now_utc)
        age_s = series.age_s(now_utc)
        if age_s > self.max_age_s:
            raise SignalError(
                f"{self.path}: {_hours(age_s)} old, at most {_hours(self.max_age_s)} is allowed; "
                "copy a newer one in"
            )
        if age_s < -_FUTURE_TOLERANCE_S:
            raise _ahead(self.path, -age_s)
        return series


def _ahead(path: Path, seconds: float) -> SignalError:
    return SignalError(f"{path}: issued {_hours(seconds)} in the future; check clocks")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 600 else f"{seconds:.0f} s"
