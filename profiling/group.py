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
    """Whether a process of it is more than a zombie.

    The trap: one whose first thread has ended shows as a zombie while others still hold all of it.
    """
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # Bytes: a name need not be text.
            fields = place.read_bytes().rpartition(b")")[2].split()
            state, its_group, threads = fields[0], int(fields[2]), int(fields[17])
            if its_group == group and (state not in b"ZX" or threads > 1):
                return True
    return False
