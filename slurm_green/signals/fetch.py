# SPDX-License-Identifier: Apache-2.0
"""Fetches a signal and leaves it in a file: the only part of the signals that meets the internet.

Run by a timer, or with --every as a small process of its own, as its own user; the controller
only reads the file. A failed fetch leaves the file as it was: its age then tells.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.file import write_series
from slurm_green.signals.provider import Provider, RateLimitedError
from slurm_green.signals.providers.neso import BASE_URL, Neso
from slurm_green.signals.series import Series

__all__ = ["fetch_forever", "fetch_to", "main"]

_LOG = logging.getLogger(__name__)
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)


def fetch_to(path: Path, provider: Provider, now_utc: datetime) -> Series:
    """Fetch once and write the file atomically; raises SignalError and leaves the file alone."""
    series = provider.fetch(now_utc)
    write_series(path, series)
    return series


def fetch_forever(
    path: Path,
    provider: Provider,
    *,
    every_s: float,
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
) -> None:
    """Fetch at once and then every so often; waits longer where the provider asks for it."""
    while True:
        wait_s = every_s
        try:
            series = fetch_to(path, provider, now())
            _LOG.info("wrote %s: %s to %s", path, series.provider, series.end_utc.isoformat())
        except RateLimitedError as exc:
            wait_s = max(every_s, exc.retry_after_s or 0.0)
            _LOG.error("%s; next try in %.0f s", exc, wait_s)
        except SignalError as exc:
            _LOG.error("%s", exc)
        sleep(wait_s)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: one fetch, exit status 0 or 1; with --every it does not return."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with httpx.Client(timeout=_TIMEOUT) as client:
        try:
            provider = Neso(
                client,
                region_id=options.region_id,
                postcode=options.postcode,
                base_url=options.base_url,
            )
        except SignalError as exc:
            print(exc, file=sys.stderr)
            return 2
        if options.every is not None:
            fetch_forever(options.out, provider, every_s=options.every, now=_now, sleep=time.sleep)
        try:
            fetch_to(options.out, provider, _now())
        except SignalError as exc:
            print(exc, file=sys.stderr)
            return 1
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _seconds(text: str) -> float:
    value = float(text)
    if not value >= 60:
        raise ValueError
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m slurm_green.signals.fetch",
        description="Fetch a carbon forecast and write it to the file that sgreend reads.",
    )
    parser.add_argument("--out", type=Path, required=True, help="the signal file to write")
    parser.add_argument("--provider", choices=["neso"], default="neso")
    parser.add_argument("--region-id", type=int, help="region of Great Britain, 1 to 17")
    parser.add_argument("--postcode", help="outward postcode, such as RG10")
    parser.add_argument("--base-url", default=BASE_URL)
    parser.add_argument("--every", type=_seconds, metavar="SECONDS", help="repeat; 60 or more")
    return parser


if __name__ == "__main__":
    sys.exit(main())
