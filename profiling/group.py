# SPDX-License-Identifier: Apache-2.0
"""Processes of one group that were killed, until they are gone.

The trap: SIGKILL ends nobody at once. Who holds much memory, a GPU's above all, takes up to seconds
to give it back, and keeps its locks until then.
"""

import time
from contextlib import suppress
from pathlib import Path

__all__ = ["wait_for_group"]

_GONE_S = 10.0


def wait_for_group(group: int, most_s: float = _GONE_S) -> None:
    """Until the last of those killed has let go of its GPU: that one may remain a zombie."""
    deadline_s = time.monotonic() + most_s
    while _works(group) and time.monotonic() < deadline_s:
        time.sleep(0.01)


def _works(group: int) -> bool:
    """Whether a process of it is more than a zombie."""
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group = place.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False
