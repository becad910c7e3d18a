# SPDX-License-Identifier: Apache-2.0
"""The cycle process: runs cycles at an interval, sooner when poked, and sends each report up.

It is a process of its own so that parsing a long queue never delays an answer to slurmctld.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from slurm_green.config.settings import Config
from slurm_green.controller.build import build_runner
from slurm_green.controller.nodes.desk import Desk
from slurm_green.controller.nodes.start import start_nodes
from slurm_green.controller.publish import Publisher
from slurm_green.logs import set_up_logging

__all__ = ["Pace", "run_worker"]

_LOG = logging.getLogger(__name__)
# A burst of submissions is answered in one cycle, not one each.
_SETTLE_S = 0.3


class Pace:
    """When the next cycle is due. Pure, in seconds of any monotonic clock.

    The first poke after a cycle counts: later ones must not put the cycle off for ever.
    """

    def __init__(self, *, interval_s: float, min_interval_s: float, now_s: float) -> None:
        self._interval_s = interval_s
        self._min_interval_s = min_interval_s
        self._last_s = now_s - interval_s
        self._due_s = now_s

    def poked(self, now_s: float) -> None:
        """Somebody waits for the next cycle."""
        soon_s = max(self._last_s + self._min_interval_s, now_s + _SETTLE_S)
        self._due_s = min(self._due_s, soon_s)

    def ran(self, now_s: float) -> None:
        """A cycle has just ended."""
        self._last_s = now_s
        self._due_s = now_s + self._interval_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next cycle is due."""
        return max(self._due_s - now_s, 0.0)


def run_worker(config: Config, pokes: Connection, reports: Connection) -> None:
    """The process's main function; ends when its pipes do, or on SIGTERM, with a closed ledger."""
    set_up_logging("cycle")
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # Answers go first; a late cycle costs nothing.
    os.nice(5)
    ears, waker = os.pipe()
    os.set_blocking(waker, False)
    desk = Desk(lambda: _wake(waker)) if config.nodes.listen else None
    runner = build_runner(config, desk, woken=lambda: _wake(waker))
    interval_s = config.controller.interval_s
    if config.hook.publish_rows:
        # Nobody pokes us then, and a hold must be seen before it ends.
        interval_s = min(interval_s, config.hook.hold_s / 3)
    publisher = Publisher(config, runner.rules)
    stopped: list[int] = []
    stop_nodes: Callable[[], None] = lambda: None  # noqa: E731

    def stop(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd sends one, the answer process too
        stopped.append(number)
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    try:
        runner.remember()
        if desk is not None:
            stop_nodes = start_nodes(config.nodes, desk)
        pace = Pace(
            interval_s=interval_s,
            min_interval_s=config.controller.min_interval_s,
            now_s=time.monotonic(),
        )
        while not stopped:  # what is raised while Python collects garbage ends there
            _wait(pokes, ears, pace, time.monotonic)
            if stopped:
                break
            report = runner.step()
            pace.ran(time.monotonic())
            if report is not None:
                publisher.write(report)
                reports.send(report)
                runner.catch_up()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        _LOG.info("the answer process is gone, ending")
    except SystemExit:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # A log of SQLite's that stays behind would be played into a backup put in its place.
        runner.books.close()
        # A node that asks while Python ends would be told of a bug.
        stop_nodes()


def _wait(pokes: Connection, ears: int, pace: Pace, clock: Callable[[], float]) -> None:
    while (wait_s := pace.wait_s(clock())) > 0:
        for one in wait([pokes, ears], wait_s):
            if one is pokes:
                pokes.recv_bytes()
            else:
                os.read(ears, 4096)
            pace.poked(clock())


def _wake(waker: int) -> None:
    with suppress(BlockingIOError):  # a full pipe wakes, too
        os.write(waker, b"!")
