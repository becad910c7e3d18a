# SPDX-License-Identifier: Apache-2.0
"""The last series that was good, on disk with its age."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from slurm_green.errors import SignalError
from slurm_green.signals.file import SeriesFile, write_series
from slurm_green.signals.series import Series

__all__ = ["LastKnownGood"]


@dataclass(kw_only=True)
class LastKnownGood:
    """Keeps one series in a JSON file; what comes back says `cache(provider)` and its true age."""

    path: Path
    max_age_s: float = 24 * 3600.0
    name: str = "cache"

    def store(self, series: Series) -> None:
        """Keep a good series; one that came from a cache is not kept again."""
        if not series.provider.startswith("cache("):
            write_series(self.path, series)

    def fetch(self, now_utc: datetime) -> Series:
        """The kept series; raises SignalError when there is none, it is too old or it has ended."""
        try:
            series = SeriesFile(path=self.path, max_age_s=self.max_age_s).fetch(now_utc)
        except SignalError as exc:
            raise SignalError(f"cache: {exc}") from exc
        return series.relabelled(f"cache({series.provider})")
