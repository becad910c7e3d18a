# SPDX-License-Identifier: Apache-2.0
"""What a source of signals offers, whatever stands behind it."""

from datetime import datetime
from typing import Protocol, runtime_checkable

from slurm_green.errors import SignalError
from slurm_green.signals.measured import Measured
from slurm_green.signals.series import Series

__all__ = ["Historian", "KeyRefusedError", "Provider", "RateLimitedError"]


class Provider(Protocol):
    """A named source that gives one series, or says in one sentence why it cannot."""

    @property
    def name(self) -> str:
        """Short label, as it appears in `sig=` and in reports."""

    def fetch(self, now_utc: datetime) -> Series:
        """The newest series, covering `now_utc`; raises SignalError."""


@runtime_checkable
class Historian(Protocol):
    """A named source of measured values, with or without forecasts."""

    @property
    def name(self) -> str:
        """Short label, as it appears in `sgreen signal check`."""

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """What was measured in [start, end), as far as it is known; raises SignalError.

        It may begin later than asked (sources keep a day, or years) and have gaps.
        """


class RateLimitedError(SignalError):
    """The provider asks us to come back later; `retry_after_s` is None if it did not say when."""

    def __init__(self, message: str, *, retry_after_s: float | None) -> None:
        """Keep what the provider asked for beside the sentence."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class KeyRefusedError(SignalError):
    """The provider refused our key: expired, wrong, or without the right to this."""
