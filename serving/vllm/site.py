# SPDX-License-Identifier: Apache-2.0
"""What the site says to a replica: the price of energy now, and a ceiling. Read once a second.

Prices come from a plan's price file; one that is too old, or says nothing of now, is as none: then
nobody knows the carbon. A ceiling is a JSON object with `clock_mhz`, `power_w` (of the replica),
`until_utc`, each optional; no file is no ceiling. The trap: a ceiling that cannot be read any more
may still be meant, so the last one stands.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from serving.governor.ceiling import Ceiling, highest_below
from serving.governor.engine import EngineModel
from slurm_green.errors import BadInputError
from slurm_green.plan.price_file import PriceFile, read_prices

__all__ = ["SiteWord", "read_ceiling"]

_LOG = logging.getLogger("slurm_green.serving")
_EARLY_S = 600.0  # a file from the future: clocks of machines differ, by no more than that
_MOST_BYTES = 4096


class SiteWord:
    """The latest word; `refresh` reads, what the engine asks never waits.

    `span_s` is that over which `mean_mu` averages the prices to come.
    """

    def __init__(
        self,
        engine: EngineModel,
        *,
        prices: Path | None,
        ceiling: Path | None,
        max_age_s: float,
        span_s: float = 3600.0,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.mu_g_per_kwh: float | None = None
        self.mean_mu: float | None = None
        self.ceiling = Ceiling()
        self._engine = engine
        self._most = len(engine.clocks_mhz) - 1
        self._paths = {"prices": prices, "ceiling": ceiling}
        self._seen: dict[str, tuple[int, int] | None] = {}
        self._said: dict[str, str] = {}
        self._file: PriceFile | None = None
        self._until_s = math.inf
        self._max_age_s, self._span_s, self._now_s = max_age_s, span_s, now_s
        self.refresh()

    def mu(self, _moment_s: float = 0.0) -> float | None:
        """Grams that one more kWh costs now, its price under a power cap included."""
        return self.mu_g_per_kwh

    def most(self) -> int:
        """The highest clock that the ceiling allows, an index."""
        return self._most

    def refresh(self) -> None:
        """Look at both files; never raises, and says once what is wrong."""
        for name, take in (("prices", self._take_prices), ("ceiling", self._take_ceiling)):
            path = self._paths[name]
            if path is None:
                continue
            try:
                if self._changed(name, path):
                    take(path)
                    self._said.pop(name, None)
            except (BadInputError, OSError, ValueError) as error:
                if isinstance(error.__cause__, OSError):
                    self._seen.pop(name, None)  # it could not be read now: look again
                self._say(name, str(error))
        now_s = self._now_s()
        self.mu_g_per_kwh, self.mean_mu = self._at(now_s)
        if now_s >= self._until_s:
            self._bound(Ceiling(), math.inf)

    def _changed(self, name: str, path: Path) -> bool:
        try:
            found = path.stat()
            seen: tuple[int, int] | None = (found.st_mtime_ns, found.st_ino)
        except FileNotFoundError:
            seen = None
        before = self._seen.get(name, ())
        self._seen[name] = seen
        return seen != before

    def _take_prices(self, path: Path) -> None:
        self._file = None
        self._file = read_prices(path)

    def _take_ceiling(self, path: Path) -> None:
        if self._seen["ceiling"] is None:
            self._bound(Ceiling(), math.inf)
        else:
            self._bound(*read_ceiling(path))

    def _bound(self, ceiling: Ceiling, until_s: float) -> None:
        self.ceiling, self._until_s = ceiling, until_s
        self._most = highest_below(self._engine, ceiling)

    def _at(self, now_s: float) -> tuple[float | None, float | None]:
        """The price of now, and the mean from now on."""
        file = self._file
        if file is None:
            return None, None
        age_s = now_s - file.made_utc.timestamp()
        slot = math.floor((now_s - file.start_s) / file.step_s)
        if not -_EARLY_S <= age_s <= self._max_age_s or not 0 <= slot < file.slots:
            self._say("age", f"{self._paths['prices']}: {age_s:.0f} s old or not of now: not used")
            return None, None
        self._said.pop("age", None)
        price = file.prices.mu + file.prices.nu
        last = slot + max(math.ceil(self._span_s / file.step_s), 1)
        return float(price[slot]), fmean(price[slot:last].tolist())

    def _say(self, name: str, words: str) -> None:
        if name not in self._said:
            _LOG.warning("%s", words)
        self._said[name] = words


def read_ceiling(path: Path) -> tuple[Ceiling, float]:
    """The ceiling, and the POSIX time at which it ends; raises BadInputError."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: no ceiling can be read: {error}") from error
    if not isinstance(told, dict):
        raise BadInputError(f"{path}: wanted an object with clock_mhz, power_w, until_utc")
    ends = told.get("until_utc")
    try:
        when = None if ends is None else datetime.fromisoformat(str(ends))
    except ValueError as error:
        raise BadInputError(f"{path}: until_utc: {ends!r} is no time") from error
    until_s = math.inf
    if when is not None:
        until_s = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    numbers = {name: _number(told.get(name), name, path) for name in ("clock_mhz", "power_w")}
    return Ceiling(**numbers), until_s


def _number(value: object, name: str, path: Path) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise BadInputError(f"{path}: {name}: {value!r}: wanted a number from 0 on")
    return float(value)
