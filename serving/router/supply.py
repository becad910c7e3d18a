# SPDX-License-Identifier: Apache-2.0
"""What power a site has, from a file or an address that somebody keeps fresh.

A JSON object: `supply_w`, and where known `age_s` (when it was written), `draw_w`, `low_w`,
`mu_g_per_kwh`, `outlook` (a list of `{"in_s", "supply_w", "low_w"}`). The trap: clocks of sites
differ, so a file is as old as the time since it was seen to change, plus the age it tells itself.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from serving.router.policy.protocol import Outlook, SiteView
from serving.router.settings import Site
from slurm_green.errors import BadInputError

if TYPE_CHECKING:
    import httpx

__all__ = ["Fetcher", "Supply"]

_TIMEOUT_S = 5.0
_MAX_BYTES = 2**20
_MAX = 1e12


class Fetcher:
    """Asks addresses with one client, made when it is first needed.

    The trap: a client reads all certificates of the system when it is made, which takes longer than
    a token may be late.
    """

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def get(self, url: str) -> bytes:
        """What the address answers; raises OSError or TimeoutError."""
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_TIMEOUT_S)
        try:
            parts = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise OSError(f"supply_url is no address: {error}") from error
        # For the log: a name, a password or a key may be in the rest.
        where = f"{parts.scheme}://{parts.netloc.decode()}{parts.path}"
        async with asyncio.timeout(_TIMEOUT_S):
            try:
                answer = await self._client.get(parts)
            except httpx.HTTPError as error:
                raise OSError(f"{where}: {error}") from error
        if answer.status_code != 200:
            raise OSError(f"{where}: answers {answer.status_code}")
        return answer.content

    async def close(self) -> None:
        """End its connections."""
        if self._client is not None:
            await self._client.aclose()


class Supply:
    """One site's; `fault` says what is wrong with the last reading, `price_fault` with its prices;
    `fetch` asks an address."""

    def __init__(
        self,
        site: Site,
        now_s: Callable[[], float],
        fetch: Callable[[str], Awaitable[bytes]],
    ) -> None:
        self.site = site
        self.fault: str | None = None
        self.price_fault: str | None = None
        self.assumed = True  # the low quantile stands in
        self._now_s, self._fetch = now_s, fetch
        self._told: dict[str, Any] = {}
        self._outlook: tuple[Outlook, ...] = ()
        self._fresh_s = -math.inf  # when what it told was true
        self._seen: object = None
        self._prices: tuple[object, Any] = (None, None)

    async def read(self) -> None:
        """Look again; what cannot be read leaves the old reading to grow stale."""
        try:
            if self.site.supply_file is not None:
                self._read_file(self.site.supply_file)
            elif self.site.supply_url is not None:
                self._take(await self._fetch(self.site.supply_url))
            self.fault = None
        except (OSError, ValueError, TimeoutError) as error:
            self.fault = f"site {self.site.name}: supply: {str(error) or type(error).__name__}"

    def now(self) -> tuple[float | None, float | None]:
        """Watts that there are, and watts that are drawn; None: nobody knows, or no limit."""
        site = self.site
        if site.supply_file is None and site.supply_url is None:
            self.assumed = False
            return None, None
        self.assumed = self._now_s() - self._fresh_s > site.supply_stale_s
        if self.assumed:
            return site.supply_low_w, None
        return self._told["supply_w"], self._told.get("draw_w")

    def fill(self, view: SiteView) -> None:
        """Put it into what the policies see."""
        view.supply_w, view.draw_w = self.now()
        view.supply_low_w = self._told.get("low_w", self.site.supply_low_w)
        view.outlook = self._outlook
        view.mu_g_per_kwh = self._mu()

    def _read_file(self, path: Path) -> None:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
            stat = path.stat()
        seen = stat.st_mtime_ns, stat.st_ino, data
        if seen != self._seen:
            self._take(data)
            self._seen = seen

    def _take(self, data: bytes) -> None:
        raw = orjson.loads(data)
        if not isinstance(raw, dict):
            raise ValueError("is no JSON object")
        told = {}
        for name in ("supply_w", "age_s", "draw_w", "low_w", "mu_g_per_kwh"):
            if raw.get(name) is not None:
                told[name] = _number(raw[name], name)
        if "supply_w" not in told:
            raise ValueError("supply_w is missing")
        now_s = self._now_s()
        rows = raw.get("outlook") or []
        if not isinstance(rows, list):
            raise ValueError("outlook: wanted a list")
        self._outlook = tuple(
            Outlook(
                now_s + _number(row["in_s"], "in_s"),
                _number(row["supply_w"], "supply_w"),
                _number(row.get("low_w", row["supply_w"]), "low_w"),
            )
            for row in rows
            if isinstance(row, dict) and "in_s" in row and "supply_w" in row
        )
        self._told, self._fresh_s = told, now_s - told.get("age_s", 0.0)

    def _mu(self) -> float | None:
        """What a kWh costs at this site now: as telemetry says, else by the price file."""
        told: float | None = self._told.get("mu_g_per_kwh")
        path = self.site.price_file
        if told is not None or path is None:
            return told
        from slurm_green.plan.price_file import read_prices

        try:
            stat = path.stat()
            stamp = stat.st_ino, stat.st_ctime_ns  # of which chmod changes one, too
            if stamp != self._prices[0]:
                self._prices = stamp, None  # what is none is read once
                self._prices = stamp, read_prices(path)
        except (OSError, BadInputError) as error:
            if isinstance(error.__cause__, OSError):
                self._prices = None, None  # it could not be read now: look again
            self.price_fault = f"site {self.site.name}: price_file: {error}"
            return None
        file = self._prices[1]
        if file is None:
            return None
        slot = (time.time() - file.start_s) // file.step_s
        if not 0 <= slot < file.slots:
            self.price_fault = f"site {self.site.name}: price_file: {path} says nothing of now"
            return None
        self.price_fault = None
        return float(file.prices.mu[int(slot)])


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX:
        raise ValueError(f"{name}: wanted a number from 0 on, not {str(value)[:40]!r}")
    return float(value)
