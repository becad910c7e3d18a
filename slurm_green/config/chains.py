# SPDX-License-Identifier: Apache-2.0
"""The quantities that are fetched: the setting that names their providers, and their file."""

from pathlib import Path

from slurm_green.config.settings import Config

__all__ = ["CHAINS", "signal_path"]

# Quantity -> the key of [signal] that names its providers.
CHAINS = {
    "carbon_g_per_kwh": "carbon",
    "price_per_kwh": "price",
    "renewable_w": "renewable",
    "base_power_w": "base_power",
}


def signal_path(config: Config, quantity: str) -> Path:
    """The file of a quantity: `paths.signal` for carbon, the others beside it."""
    path = config.paths.signal
    if CHAINS[quantity] == "carbon":
        return path
    return path.with_name(f"{path.stem}-{CHAINS[quantity]}{path.suffix}")
