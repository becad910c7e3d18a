# SPDX-License-Identifier: Apache-2.0
"""What sets the clock of a replica's GPUs. Pure.

The trap: a lock that nobody renews must go away by itself, for its holder may be killed at any
time.
"""

from typing import Protocol

__all__ = ["ClocksError", "NoClocks", "SetsClocks"]


class ClocksError(Exception):
    """The clock was not set; what it is now is not known. The text is fit for a log."""


class SetsClocks(Protocol):
    """One replica's GPUs, all at one clock; every method may block."""

    renew_s: float | None  # a setting is to be repeated within this time; None: it stays

    def set(self, clock_mhz: int) -> int | None:
        """Allow the GPUs no more than this; what holds now, None where nobody can tell.

        Raises ClocksError.
        """
        ...

    def release(self) -> None:
        """Give the GPUs back, at whatever clock they have without us. Raises ClocksError."""
        ...

    def close(self) -> None:
        """Give up the connection; what was set goes with its lease."""
        ...


class NoClocks:
    """Sets nothing: observe only."""

    renew_s: float | None = None

    def set(self, clock_mhz: int) -> int | None:
        """Nobody can tell."""
        return None

    def release(self) -> None:
        """Nothing was set."""

    def close(self) -> None:
        """Nothing is open."""
