# SPDX-License-Identifier: Apache-2.0
"""How long tests wait for a condition: where it comes, nobody waits longer for a larger limit."""

from collections.abc import Callable
from pathlib import Path

from slurm_green.cluster import daemons

__all__ = ["PATIENCE", "wait_until"]

# Limits are what two busy cores need; a machine may be as many times slower as this.
PATIENCE = 3


def wait_until(
    met: Callable[[], bool], *, timeout_s: float, what: str, log: Path | None = None
) -> None:
    """As that of `sgreen cluster`, and more patient."""
    daemons.wait_until(met, timeout_s=PATIENCE * timeout_s, what=what, log=log)
