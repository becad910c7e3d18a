# SPDX-License-Identifier: Apache-2.0
"""What a source of signals offers, whatever stands behind it."""

from datetime import datetime
from typing import Protocol

from slurm_green.errors import SignalError
from slurm_green.signals.series import Series

__all__ = ["MAX_G_PER_KWH", "Provider", "RateLimitedError"]

# No grid comes near it; what lies above is another unit or rubbish, and would overflow sums.
MAX_G_PER_KWH = 100_000.0


class Provider(Protocol):
    """A named source that gives one series, or says in one sentence why it cannot."""

    @property
    def name(self) -> str:
        """Short label, as it appears in `sig=` and in reports."""

    def fetch(self, now_utc: datetime) -> Series:
        """The newest series, covering `now_utc`; raises SignalError."""


class RateLimitedError(SignalError):
    """The provider asks us to come back later; `retry_after_s` is None if it did not say when."""

    def __init__(self, message: str, *, retry_after_s: float | None) -> None:
        """Keep what the provider asked for beside the sentence."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
