# SPDX-License-Identifier: Apache-2.0
"""The thread that reads the meter and does the accounts, away from the engine's.

The engine only appends; once a second the counter is read and what ran since is settled. The
trap: a counter that is missing, stands still or starts over is not a measurement; then the model's
joules stand, and are labelled so.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from profiling.device.gpu import Gpu
from profiling.errors import DeviceError
from serving.governor.engine import EngineModel
from serving.vllm.account import Account, Accounts
from serving.vllm.share import Iteration, shares

__all__ = ["Recorder"]

_LOG = logging.getLogger("slurm_green.serving")
_SETTLE_S = 1.0
_DRAIN_S = 0.25
_STALLED_S = 5.0
_MOST = 50_000  # things to account that may wait


class Recorder:
    """Takes iterations and ends, gives joules; `before_settle` and `on_settle` run once a second.

    `busy` tells whether something runs that was not handed over yet.
    """

    def __init__(
        self,
        gpus: Sequence[Gpu],
        engine: EngineModel | None,
        *,
        holds_mhz: Callable[[], int | None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accounts = Accounts(now_s())
        self.joules: dict[tuple[str, str], float] = {}  # (kind, source) -> J
        self.carbon_g: dict[str, float] = {}  # kind -> g, of the time that mu was known
        self.mu: Callable[[], float | None] = lambda: None  # g/kWh, marginal
        self.decisions: deque[tuple[str, float]] = deque(maxlen=_MOST)  # hook, seconds
        self.source = "unknown"  # of the joules: counter, emulated, modelled
        self.gpus = gpus
        self._engine = engine
        self._holds_mhz = holds_mhz
        self.before_settle: Callable[[], None] = lambda: None
        self.on_settle: Callable[[], None] = lambda: None
        self.busy: Callable[[], bool] = lambda: False
        self._now_s = now_s
        self._todo: deque[Iteration | tuple[str, str]] = deque(maxlen=_MOST)
        self._lock = threading.Lock()
        self._before_j = self._counter_j()
        self._settled_s = now_s()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sgreen-joules", daemon=True)

    def start(self) -> None:
        """From now on in the background."""
        self._thread.start()

    def ran(self, one: Iteration) -> None:
        """An iteration ended; returns at once."""
        self._todo.append(one)

    def over(self, name: str, end: str) -> None:
        """A request ended; returns at once."""
        self._todo.append((name, end))

    def joules_of(self, name: str) -> Account | None:
        """What a request cost, by its whole name or the client's part of it; None: unknown."""
        if self._engine is None and self._before_j is None:
            return None
        with self._lock:
            self._drain()
            names = self.accounts.named(name)
            mu = self.mu()
            parts = [one for name in names if (one := self.accounts.joules(name, mu)) is not None]
        if not parts:
            return None
        ends = {one.end for one in parts}
        grams = [one.carbon_g for one in parts if one.carbon_g is not None]
        return Account(
            sum(one.work_j for one in parts),
            sum(one.idle_j for one in parts),
            sum(one.pending_j for one in parts),
            ends.pop() if len(ends) == 1 else None,
            sum(grams) if len(grams) == len(parts) else None,
        )

    def settle(self) -> None:
        """Read the meter now."""
        with self._lock:
            self._drain()
            now_s = self._now_s()
            accounts = self.accounts
            if not self.busy():  # what runs now is accounted when it ends
                accounts.idled(now_s, self._idle_w())
            counter_j = self._counter_j()
            drawn_j = None
            if counter_j is not None and self._before_j is not None and counter_j > self._before_j:
                drawn_j = counter_j - self._before_j
            still = counter_j is not None and counter_j == self._before_j
            if still and now_s - self._settled_s < _STALLED_S:
                return  # it may only be slow
            self._before_j, self._settled_s = counter_j, now_s
            work_j, idle_j = accounts.work_j, accounts.idle_j
            mu = self.mu()
            accounts.settle(now_s, drawn_j, mu)
            source = self.source = self._source(drawn_j)
            for kind, more_j in (
                ("work", accounts.work_j - work_j),
                ("idle", accounts.idle_j - idle_j),
            ):
                if source != "unknown" and mu is not None:
                    self.carbon_g[kind] = self.carbon_g.get(kind, 0.0) + more_j * mu / 3.6e6
                if source != "unknown":
                    self.joules[kind, source] = self.joules.get((kind, source), 0.0) + more_j

    def close(self) -> None:
        """Settle a last time, and end."""
        self._closing.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        due_s = self._now_s() + _SETTLE_S
        while not self._closing.wait(_DRAIN_S):
            try:
                if self._now_s() >= due_s:
                    due_s = self._now_s() + _SETTLE_S
                    self.before_settle()
                    self.settle()
                    self._show()
                else:
                    with self._lock:
                        self._drain()
            except Exception:
                _LOG.exception("joules are no longer told")
                return
        self.settle()

    def _show(self) -> None:
        try:
            self.on_settle()
        except Exception as error:
            _LOG.warning("metrics are not shown: %s", error)
            self.on_settle = lambda: None

    def _drain(self) -> None:
        idle_w = self._idle_w()
        while self._todo:
            one = self._todo.popleft()
            if isinstance(one, tuple):
                self.accounts.over(*one)
                continue
            busy_w = 1.0
            if self._engine is not None:
                _, busy_w = self._engine.time_and_power(one.batch, one.clock)
            parts = shares(one, self._engine)
            self.accounts.ran(one.begin_s, one.end_s, busy_w, idle_w, parts)

    def _idle_w(self) -> float:
        # Without a model busy and idle time weigh the same, and the counter says how much.
        if self._engine is None:
            return 1.0
        holds_mhz = self._holds_mhz()
        highest = len(self._engine.clocks_mhz) - 1
        clock = highest if holds_mhz is None else self._engine.index(holds_mhz)
        return self._engine.idle_power_w(clock)

    def _source(self, drawn_j: float | None) -> str:
        if drawn_j is None:
            return "modelled" if self._engine is not None else "unknown"
        emulated = any(one.identity.emulated for one in self.gpus)
        return "emulated" if emulated else "counter"

    def _counter_j(self) -> float | None:
        try:
            read = [one.energy_j() for one in self.gpus]
        except DeviceError:
            return None
        told = [one for one in read if one is not None]
        return sum(told) if told and len(told) == len(read) else None
