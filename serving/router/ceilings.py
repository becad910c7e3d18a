# SPDX-License-Identifier: Apache-2.0
"""Hands clock ceilings to the governors of a site's replicas, by a file that they read.

`{"clock_mhz", "until_utc"}`, as `sgreen serve --ceiling` wants it. It ends on its own: when no
router renews it, the clocks are the replicas' own again.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from profiling.whole import whole_file

__all__ = ["Ceilings"]

_LIFE_S = 120.0
_RENEW_S = 30.0


class Ceilings:
    """One file per site; where several models share one, the lowest of their ceilings counts."""

    def __init__(self, files: Mapping[str, Path], now_s: Callable[[], float]) -> None:
        self.files = files
        self.faults: dict[str, str] = {}
        self._now_s = now_s
        self._told: dict[str, tuple[float | None, float]] = {}  # site -> MHz, when

    def hold(self, wanted: Mapping[str, float | None]) -> None:
        """Sites and their ceilings in MHz; None: none. Writes what is new or due."""
        now_s = self._now_s()
        for site, clock_mhz in wanted.items():
            path = self.files.get(site)
            before = self._told.get(site)
            if path is None or (
                before is not None
                and before[0] == clock_mhz
                and (clock_mhz is None or now_s - before[1] < _RENEW_S)
            ):
                continue
            try:
                self._write(path, clock_mhz)
            except OSError as error:
                self.faults[site] = f"site {site}: {path}: no ceiling written: {error.strerror}"
            else:
                self._told[site] = clock_mhz, now_s
                self.faults.pop(site, None)

    def _write(self, path: Path, clock_mhz: float | None) -> None:
        if clock_mhz is None:
            path.unlink(missing_ok=True)
            return
        until = datetime.now(UTC) + timedelta(seconds=_LIFE_S)
        with whole_file(path) as file:
            file.write(
                json.dumps({"clock_mhz": clock_mhz, "until_utc": f"{until:%Y-%m-%dT%H:%M:%SZ}"})
            )
