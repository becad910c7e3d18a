# SPDX-License-Identifier: Apache-2.0
"""Serve on an address, also where it can be had only later.

An earlier sgreend that was killed may hold it for a moment, and at boot it may not be there yet.
"""

import logging
import threading
from collections.abc import Callable

__all__ = ["listen"]

_LOG = logging.getLogger(__name__)
_RETRY_S = 5.0


def listen(
    serve: Callable[[], Callable[[], None]], *, level: int, without: str, retry_s: float = _RETRY_S
) -> Callable[[], None]:
    """Call `serve`, which returns what stops it, until the address is had; returns what stops it.

    `without` says in the log, at that level, what there is none of meanwhile.
    """
    try:
        return serve()
    except (OSError, OverflowError) as error:
        _LOG.log(level, "%s: %s", without, error)
    stopping = threading.Event()
    stops: list[Callable[[], None]] = []

    def again() -> None:
        while not stopping.wait(retry_s):
            try:
                stops.append(serve())
            except (OSError, OverflowError):
                continue
            _LOG.info("no longer: %s", without)
            return

    thread = threading.Thread(target=again, name="listen", daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        thread.join()
        for one in stops:
            one()

    return stop
