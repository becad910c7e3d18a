# SPDX-License-Identifier: Apache-2.0
"""Times on machines that are busy with other things, which can only make them longer."""

import time
from collections.abc import Callable

__all__ = ["fastest_s"]


def fastest_s(call: Callable[[], object], enough_s: float, *, tries: int = 10) -> float:
    """Wall time of the fastest of some calls; the first that is below `enough_s` is the last."""
    found_s = float("inf")
    for _ in range(tries):
        begin_s = time.perf_counter()
        call()
        found_s = min(found_s, time.perf_counter() - begin_s)
        if found_s < enough_s:
            break
    return found_s
