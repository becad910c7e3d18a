# SPDX-License-Identifier: Apache-2.0
"""The configured signals, as sgreend reads them: files only, no network."""

from datetime import datetime

from slurm_green.config.settings import Config
from slurm_green.controller.build import build_provider
from slurm_green.errors import SignalError
from slurm_green.signals.provider import Provider
from slurm_green.signals.quantity import CARBON
from slurm_green.signals.series import Series
from slurm_green.signals.signal_file import SignalFile

__all__ = ["read_signal", "reader_of"]


def read_signal(config: Config, now_utc: datetime, quantity: str = CARBON.name) -> Series:
    """The signal of a quantity now; raises SignalError."""
    series = reader_of(config, quantity).fetch(now_utc)
    if series.quantity != quantity:
        raise SignalError(f"the signal file of {quantity} holds {series.quantity}")
    return series


def reader_of(config: Config, quantity: str) -> Provider:
    """What reads a quantity: for carbon as `signal.read` says, else its own signal file."""
    if quantity == CARBON.name:
        return build_provider(config)
    from slurm_green.config.chains import signal_path

    return SignalFile(
        path=signal_path(config, quantity),
        max_age_s=config.controller.stale_signal_s,
        horizon_s=config.signal.horizon_s,
        region=config.signal.region,
    )
