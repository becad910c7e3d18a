# SPDX-License-Identifier: Apache-2.0
"""One thread for all that touches a GPU, so that a hanging driver hangs it and nothing else.

The trap: such a thread cannot be ended, so the process must be able to end without it.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["BusyError", "Worker"]

T = TypeVar("T")


class BusyError(Exception):
    """The thread did not get to it, or did not come back, in time."""


class Worker:
    """Runs calls one after the other; `limit_s` is the longest that anybody waits for one."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._since_s: float | None = None
        # A daemon thread does not keep the process from ending.
        threading.Thread(target=self._work, name="gpus", daemon=True).start()

    async def run(
        self, call: Callable[[], T], *, whatever: bool = False, limit_s: float | None = None
    ) -> T:
        """The call's result or exception; BusyError when it takes too long.

        A call that has begun by then goes on, and one that has not is dropped, unless it is to
        happen `whatever`.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: Exception | None) -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result: T | None = None
            failed: Exception | None = None
            if done.cancelled() and not whatever:
                return
            try:
                result = call()
            except Exception as error:
                failed = error
            try:
                loop.call_soon_threadsafe(settle, result, failed)
            except RuntimeError:
                pass  # the loop has ended

        limit_s = limit_s or self._limit_s
        since_s = self._since_s
        hung_s = 0.0 if since_s is None else time.monotonic() - since_s
        if hung_s <= limit_s or whatever:
            self._calls.put(work)
        if hung_s > limit_s:
            raise BusyError(f"the call before this one hangs since {hung_s:.0f} s")
        try:
            return await asyncio.wait_for(done, limit_s)
        except TimeoutError as error:
            raise BusyError(f"no answer within {limit_s:g} s") from error

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            self._since_s = time.monotonic()
            call()
            self._since_s = None
