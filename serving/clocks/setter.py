# SPDX-License-Identifier: Apache-2.0
"""The thread between an engine that cannot wait and a clock that takes its time.

Wishes never block: the latest one wins. Held clocks are renewed; what fails is retried later and
later, and meanwhile nobody claims to know the clock. The trap: an engine that hangs with a lowered
clock must not be kept there by a thread that lives on: who is busy must show it.
"""

import logging
import threading
import time
from collections.abc import Callable

from serving.clocks.protocol import ClocksError, SetsClocks

__all__ = ["Setter"]

_LOG = logging.getLogger("slurm_green.serving")
_GAP_S = 0.015  # sgreen-noded closes on who asks more than 100 times a second
_FIRST_BACK_OFF_S = 0.5
_MOST_BACK_OFF_S = 10.0
_NOBODY_KNOWS = -1
_HUNG_S = 5.0  # busy and silent for longer: the clock goes back


class Setter:
    """Hands wishes to one SetsClocks; None wishes for the clock that holds without us.

    `holds_mhz` is what holds as far as known, `since_s` since when. `work` says that the engine
    begins something, `rest` that it has nothing left to do.
    """

    def __init__(
        self,
        clocks: SetsClocks,
        *,
        now_s: Callable[[], float] = time.monotonic,
        hung_s: float = _HUNG_S,
    ) -> None:
        self.holds_mhz: int | None = None
        self.since_s = now_s()
        self.changes = 0
        self.failures = 0
        self._clocks = clocks
        self._now_s = now_s
        self._hung_s = hung_s
        self._wish: int | None = None
        self._asked: int | None = None  # what was handed on, well or not
        self._park: tuple[float, int] | None = None  # at a time, to a clock
        self._busy_s: float | None = None  # the last sign of life, while busy
        self._closing = False
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sgreen-clocks", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> bool:
        """Whether a wish is on its way."""
        return self._wish != self._asked

    def ask(self, clock_mhz: int | None) -> None:
        """Wish for a clock; returns at once."""
        if clock_mhz != self._wish:
            self._wish = clock_mhz
            self._awake.set()

    def work(self) -> None:
        """The engine lives, and has something to do."""
        rested, self._busy_s = self._busy_s is None, self._now_s()
        if rested or self._park is not None:
            self._park = None
            self._awake.set()  # to look after who is busy

    def rest(self, park: tuple[float, int] | None) -> None:
        """It has nothing to do; after so many seconds it may go to that clock."""
        self._busy_s = None
        if park is not None:
            self._park = (self._now_s() + park[0], park[1])
            self._awake.set()

    def close(self, wait_s: float = 2.0) -> None:
        """Give the clocks back, and end."""
        self._closing = True
        self._awake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(wait_s)

    def _run(self) -> None:
        asked: int | None = None
        back_off_s = 0.0
        due_s = self._now_s()
        while not self._closing:
            self._awake.clear()
            now_s = self._now_s()
            wish = self._wanted(now_s)
            if back_off_s and now_s < due_s:
                self._awake.wait(due_s - now_s)
                continue
            if wish == asked and (wish is None or now_s < due_s):
                self._awake.wait(self._until(now_s, due_s if wish is not None else None))
                continue
            fine = self._try(wish, back_off_s > 0)
            self._asked = wish
            if fine:
                asked, back_off_s = wish, 0.0
                due_s = now_s + (self._clocks.renew_s or 3600.0)
                time.sleep(_GAP_S)
            else:
                asked = _NOBODY_KNOWS
                back_off_s = min(max(2 * back_off_s, _FIRST_BACK_OFF_S), _MOST_BACK_OFF_S)
                due_s = self._now_s() + back_off_s
        self._try(None, quiet=True)
        self._clocks.close()

    def _wanted(self, now_s: float) -> int | None:
        """The wish of now: parked when long idle, none when the engine hangs."""
        busy_s, park = self._busy_s, self._park
        if busy_s is not None and now_s - busy_s > self._hung_s:
            return None
        if park is not None and now_s >= park[0] and self._wish is not None:
            return park[1]
        return self._wish

    def _until(self, now_s: float, due_s: float | None) -> float | None:
        """How long nothing needs to be done, unless somebody wishes something."""
        times_s = [] if due_s is None else [due_s]
        park, busy_s = self._park, self._busy_s
        if park is not None and park[0] > now_s:
            times_s.append(park[0])
        if busy_s is not None and self._wish is not None:
            times_s.append(now_s + self._hung_s / 2)
        return max(min(times_s) - now_s, 0.0) if times_s else None

    def _try(self, wish: int | None, quiet: bool) -> bool:
        try:
            if wish is None:
                self._clocks.release()
                holds = None
            else:
                holds = self._clocks.set(wish)
        except Exception as error:  # a bug here must not end the thread that restores
            self.failures += 1
            self.holds_mhz = None
            if not quiet:
                known = isinstance(error, ClocksError)
                _LOG.warning("clocks unknown: %s", error, exc_info=None if known else error)
            return False
        if quiet and not self._closing:
            _LOG.warning("clocks are set again")
        if holds != self.holds_mhz:
            self.changes += 1
            self.since_s = self._now_s()
            self.holds_mhz = holds
        return True
