# SPDX-License-Identifier: Apache-2.0
"""Keeps linear algebra on one core, where its threads only wait for each other."""

import os
from collections.abc import MutableMapping

__all__ = ["one_thread"]

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def one_thread(environ: MutableMapping[str, str] = os.environ) -> None:
    """Before numpy is imported: forecasts solve thousands of small systems, faster on one core.

    Who sets one of the variables knows better.
    """
    for name in _VARIABLES:
        environ.setdefault(name, "1")
