# SPDX-License-Identifier: Apache-2.0
"""Makes SIGINT, SIGTERM and the end of a terminal end a sweep by an exception.

So what is set is given back. The trap: a second signal while giving back would interrupt that; from
the first on all wait. Who ignores SIGHUP (nohup) means to outlive the terminal.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopped", "ended_by_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A signal came; `status` is the exit status that tells which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise Stopped at the first of these signals; later ones are ignored until the context ends.

    Outside of the main thread nothing changes: Python has signals only there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        for one in meant:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(number)

    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    meant = _SIGNALS if outlives else (*_SIGNALS, signal.SIGHUP)
    before = {one: signal.signal(one, stop) for one in meant}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
