# SPDX-License-Identifier: Apache-2.0
"""The time in which a sweep happens: the machine's, or that of a bench of emulated GPUs.

The trap: while a workload runs somebody must look at the sensors. In real time that is a thread;
in virtual time nothing else runs, so `sleep` looks whenever a look is due.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from profiling.device.emulated.bench import Bench

__all__ = ["Time", "VirtualTime", "WallTime"]


class Time(Protocol):
    """A clock to read and to wait on."""

    def now_s(self) -> float:
        """Seconds since some moment; CLOCK_MONOTONIC, or virtual."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def watching(self, period_s: float, look: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `look` every period while the context lasts; what it raises comes out at the end."""
        ...


class WallTime:
    """The machine's time; looks happen in a thread."""

    def now_s(self) -> float:
        """CLOCK_MONOTONIC."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    @contextmanager
    def watching(self, period_s: float, look: Callable[[], None]) -> Iterator[None]:
        """See `Time`; nobody looks any more when this ends."""
        over = threading.Event()
        failed: list[BaseException] = []

        def looking() -> None:
            try:
                due_s = time.monotonic()
                while not over.is_set():
                    look()
                    # A look that came late is not made up for.
                    due_s = max(due_s + period_s, time.monotonic())
                    over.wait(due_s - time.monotonic())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=looking, name="meter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if failed:
            raise failed[0]


class VirtualTime:
    """The time of a bench made with `virtual`; a second of it costs nothing."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._watches: list[tuple[float, Callable[[], None]]] = []
        self._due_s: list[float] = []

    def now_s(self) -> float:
        """Virtual seconds."""
        return self._bench.read(0).now_s

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass, looking whenever a look is due."""
        now_s = self.now_s()
        ends_s = now_s + seconds
        while self._due_s and (due_s := min(self._due_s)) <= ends_s:
            self._bench.advance(max(due_s - now_s, 0.0))
            now_s = max(due_s, now_s)
            for at, (period_s, look) in enumerate(self._watches):
                if self._due_s[at] <= now_s:
                    self._due_s[at] += period_s
                    look()
        self._bench.advance(max(ends_s - now_s, 0.0))

    @contextmanager
    def watching(self, period_s: float, look: Callable[[], None]) -> Iterator[None]:
        """See `Time`; the first look is at once."""
        look()
        self._watches.append((period_s, look))
        self._due_s.append(self.now_s() + period_s)
        try:
            yield
        finally:
            self._watches.pop()
            self._due_s.pop()
