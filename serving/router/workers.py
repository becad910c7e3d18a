# SPDX-License-Identifier: Apache-2.0
"""Runs the router: one process, or several on one port, each with its own state.

The parent of several only watches: it passes signals on, and starts anew who died.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import uvloop

from serving.router.policies import make_policy
from serving.router.server import Server, bound
from serving.router.settings import Settings
from serving.router.tls import tls_context
from slurm_green.errors import BadInputError

__all__ = ["run"]

_log = logging.getLogger("sgreen.route")
_REST_S = 1.0  # before who died is started anew
_GRACE_S = 10.0  # beyond what draining takes


def run(settings: Settings, reload: Callable[[], Settings]) -> None:
    """Until SIGTERM; raises BadInputError where it cannot listen."""
    tls_context(settings)
    make_policy(settings.policy)
    _many_files(settings.limits.connections)
    if settings.listen.workers == 1:
        _work(settings, reload, 0)
        return
    # Holds the port; who does not listen gets no connections.
    with bound(settings.listen) as holder:
        listen = replace(settings.listen, port=holder.getsockname()[1])
        _Parent(replace(settings, listen=listen), reload).run()


def _many_files(connections: int) -> None:
    """As many as the system allows: it begins with 1024, and a request is a connection twice."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < 2 * connections:
        _log.warning(
            "the system allows %d open files, [limits] connections %d may take twice as many: "
            "raise LimitNOFILE or ulimit -Hn", allowed, connections,
        )  # fmt: skip


def _work(settings: Settings, reload: Callable[[], Settings], number: int) -> None:
    async def serve() -> None:
        await Server(settings, reload, number=number).run()

    # Requests leave no cycles behind; what is here now stays.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


class _Parent:
    """Of several processes."""

    def __init__(self, settings: Settings, reload: Callable[[], Settings]) -> None:
        self._settings, self._reload = settings, reload
        self._children: dict[int, int] = {}  # process -> its number
        self._ending = False

    def run(self) -> None:
        """Until all have ended."""
        watched = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        for number in range(self._settings.listen.workers):
            self._start(number)
        deadline_s = float("inf")
        due: list[tuple[float, int]] = []  # who starts anew, and when
        while self._children or (due and not self._ending):
            got = signal.sigtimedwait(watched, 0.2)
            word = None if got is None else got.si_signo
            if word in (signal.SIGTERM, signal.SIGINT):
                self._ending = True
                deadline_s = time.monotonic() + self._settings.timeouts.drain_s + _GRACE_S
            if word == signal.SIGHUP:
                self._read()
            if word is not None and word != signal.SIGCHLD:
                self._tell(signal.SIGTERM if self._ending else signal.SIGHUP)
            due += [(time.monotonic() + _REST_S, number) for number in self._reap()]
            for one in [one for one in due if time.monotonic() >= one[0] and not self._ending]:
                due.remove(one)
                self._start(one[1])
            if time.monotonic() > deadline_s:
                self._tell(signal.SIGKILL)

    def _read(self) -> None:
        """For those who start later; a mistake is told by those that run."""
        with suppress(BadInputError):
            settings = self._reload()
            self._settings = replace(settings, listen=self._settings.listen)

    def _start(self, number: int) -> None:
        pid = os.fork()
        if pid:
            self._children[pid] = number
            return
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            _work(self._settings, self._reload, number)
            status = 0
        except BaseException:
            _log.exception("process %d of the router failed", number)
        finally:
            os._exit(status)

    def _reap(self) -> list[int]:
        gone = []
        with suppress(ChildProcessError):
            while self._children and (found := os.waitpid(-1, os.WNOHANG))[0]:
                number = self._children.pop(found[0])
                if not self._ending:
                    _log.error("process %d of the router ended: status %d", number, found[1])
                    gone.append(number)
        return gone

    def _tell(self, what: signal.Signals) -> None:
        for pid in self._children:
            with suppress(ProcessLookupError):
                os.kill(pid, what)
