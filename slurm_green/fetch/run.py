# SPDX-License-Identifier: Apache-2.0
"""Runs refreshes: builds the chains, writes the signal files, says what changed.

A file that cannot be written stays as it was: its age then tells.
"""

import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx

from slurm_green.config.chains import CHAINS, signal_path
from slurm_green.config.settings import Config
from slurm_green.errors import ConfigError, SignalError
from slurm_green.fetch.build import build_sources
from slurm_green.fetch.refresh import Forecaster, refresh
from slurm_green.fetch.store import Store
from slurm_green.fetch.work import Source
from slurm_green.signals.bundle import Bundle, write_bundle

__all__ = ["Fetch", "new_client", "refreshed"]

_LOG = logging.getLogger(__name__)
_NUMBERS = re.compile(r"\d[\d.:T-]*( (s|min|h|d)\b)?")


def new_client() -> httpx.Client:
    """What providers are asked with: time-outs, and proxies from the environment."""
    return httpx.Client(timeout=httpx.Timeout(10.0, connect=5.0))


def refreshed(
    config: Config,
    sources: Sequence[Source],
    quantity: str,
    store: Store,
    forecaster: Forecaster,
    now_utc: datetime,
) -> Bundle:
    """One refresh as the site's settings want it."""
    signal = config.signal
    return refresh(
        sources,
        quantity=quantity,
        store=store,
        forecaster=forecaster,
        now_utc=now_utc,
        horizon_s=signal.horizon_s,
        forecast_s=signal.forecast_s,
        cache_max_age_s=signal.cache_max_age_s,
        regressors=signal.regressors,
    )


@dataclass(kw_only=True)
class Fetch:
    """The fetching process; `client` carries time-outs and proxies."""

    config: Config
    client: httpx.Client
    forecaster: Forecaster
    now: Callable[[], datetime]
    _said: dict[tuple[str, str, str], tuple[str, str]] = field(default_factory=dict)
    _telling: bool = False

    def once(self) -> dict[str, Bundle]:
        """Refresh every quantity that has a chain; raises ConfigError when none has one."""
        signal = self.config.signal
        wanted = [quantity for quantity, key in CHAINS.items() if getattr(signal, key)]
        if not wanted:
            raise ConfigError(
                "signal.carbon names no provider: there is nothing to fetch. Add a [provider.NAME] "
                "table and name it there; `sgreen config reference` lists their types"
            )
        chains = {one: build_sources(self.config, one, self.client) for one in wanted}
        store = Store(directory=self.config.paths.signals)
        with _alone(self.config.paths.signals):
            found = {}
            problems = []
            for quantity, sources in chains.items():
                bundle = refreshed(
                    self.config, sources, quantity, store, self.forecaster, self.now()
                )
                found[quantity] = bundle
                if self._telling:
                    self._tell(quantity, bundle)
                try:
                    write_bundle(signal_path(self.config, quantity), bundle)
                except SignalError as error:
                    # The other files are written all the same.
                    problems.append(str(error))
        if problems:
            raise SignalError("; ".join(problems))
        return found

    def forever(self, *, every_s: float, sleep: Callable[[float], None]) -> None:
        """Refresh at once and then every so often."""
        self._telling = True
        while True:
            try:
                self.once()
            except SignalError as error:
                _LOG.error("%s", error)
            sleep(every_s)

    def _tell(self, quantity: str, bundle: Bundle) -> None:
        """Log what became different, once: a link's status, or why it fails."""
        for one in bundle.links:
            key = (quantity, one.name, one.kind)
            # Ages and times move at every refresh; they are no news.
            why = _NUMBERS.sub("", one.said) if one.status == "failed" else ""
            if self._said.get(key) != (one.status, why):
                self._said[key] = (one.status, why)
                bad = one.status == "failed"
                _LOG.log(
                    logging.WARNING if bad else logging.INFO,
                    "%s %s %s: %s: %s",
                    CHAINS[quantity],
                    one.kind,
                    one.name,
                    one.status,
                    one.said,
                )


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One refresh at a time; a second waits for the first, which is bounded by time-outs."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SignalError(
            f"{directory}: cannot be written: {error.strerror}; it belongs to the fetching user"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
