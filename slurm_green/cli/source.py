# SPDX-License-Identifier: Apache-2.0
"""The configured signal, as sgreend reads it: files only, no network."""

from datetime import datetime

from slurm_green.config.settings import Config
from slurm_green.controller.build import build_provider
from slurm_green.signals.series import Series

__all__ = ["read_signal"]


def read_signal(config: Config, now_utc: datetime) -> Series:
    """The signal now; raises SignalError."""
    return build_provider(config).fetch(now_utc)
