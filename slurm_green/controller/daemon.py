# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402 - one_thread() must come before what imports numpy
"""sgreend: two processes, one that answers slurmctld from memory and one that runs cycles.

The answer process is the parent. When the cycle process dies it is started again; until a fresh
view arrives jobs pass unchanged, since nobody would confirm a hold.
"""

import argparse
import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path

from slurm_green.threads import one_thread

# OpenBLAS starts a thread for each CPU when it is loaded: on a large host more than TasksMax= of
# the unit allows. The cycle process inherits the environment.
one_thread()

from slurm_green import __version__
from slurm_green.config.load import DEFAULT_PATH, config_path, load
from slurm_green.config.settings import Config
from slurm_green.controller.answer import AnswerServer
from slurm_green.controller.build import build_rules
from slurm_green.controller.install import install
from slurm_green.controller.lock import DaemonLock
from slurm_green.controller.runner import Report
from slurm_green.controller.status import Status
from slurm_green.controller.users import slurm_uid
from slurm_green.controller.web import Board, serve_board
from slurm_green.controller.worker import run_worker
from slurm_green.errors import BadInputError, SlurmGreenError
from slurm_green.hook.submit import SubmitHook
from slurm_green.hook.wire import Answer, Ask, Defer
from slurm_green.logs import set_up_logging

__all__ = ["Daemon", "main"]

_LOG = logging.getLogger(__name__)
_RESTART_S = (1.0, 2.0, 5.0, 15.0, 30.0)


class Daemon:
    """The answer process; `run` returns when told to stop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._hook = SubmitHook(
            policy_for=build_rules(config).policy_for,
            clock=time.time,
            hold_s=config.hook.hold_s,
            look=config.hook.look,
            fresh_s=max(3 * config.controller.interval_s, 30.0),
        )
        self._server = self._new_server()
        self._status: Status | None = None
        self._worker: SpawnProcess | None = None
        self._poke: Connection | None = None
        self._failures = 0
        self._stopping = asyncio.Event()

    async def run(self, *, told: Callable[[], bool] = lambda: False) -> None:
        """Serve until SIGTERM or SIGINT; not at all where `told` says that one came before."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, _say_restart)
        if told():  # while Slurm was asked as whom it runs, for as long as it takes to answer
            return
        await self._server.start()
        self._start_worker()
        stop_board = None
        if self._config.controller.metrics:
            board = Board(
                status=lambda: self._status,
                counts=lambda: self._server.counts,
                clock=time.time,
                fresh_s=self._hook.fresh_s,
            )
            stop_board = serve_board(self._config.controller.metrics, board)
        _LOG.info("sgreend %s answers on %s", __version__, self._config.paths.socket)
        try:
            await self._stopping.wait()
        finally:
            # First the socket: from here on jobs pass unchanged.
            await self._server.close()
            self._stop_worker()
            if stop_board is not None:
                stop_board()
            _LOG.info("stopped; deferred jobs start at their latest start")

    def _new_server(self) -> AnswerServer:
        # Who slurmctld runs as is known for sure only once Slurm answers; root may always ask.
        self._slurm_user = _slurm_user()
        uid = slurm_uid(self._slurm_user)
        return AnswerServer(
            self._config.paths.socket,
            self._hook.answer,
            allowed_uids={0, uid},
            clock=time.monotonic,
            after=self._answered,
            owner_uid=uid,
        )

    def _answered(self, _: Ask, answer: Answer) -> None:
        self._hook.settle()
        if isinstance(answer, Defer) and self._poke is not None:
            # A pipe that is full has poked already, and the worker's end is told by its sentinel.
            with suppress(OSError):
                self._poke.send_bytes(b"!")

    def _start_worker(self) -> None:
        reports, sends = self._context.Pipe(duplex=False)
        pokes, self._poke = self._context.Pipe(duplex=False)
        os.set_blocking(self._poke.fileno(), False)
        worker = self._context.Process(
            target=run_worker, args=(self._config, pokes, sends), name="sgreend-cycle", daemon=True
        )
        worker.start()
        self._worker = worker
        pokes.close()
        sends.close()
        loop = asyncio.get_running_loop()
        reader = threading.Thread(
            target=_read_reports, args=(reports, loop, self._reported), daemon=True
        )
        reader.start()
        loop.add_reader(self._worker.sentinel, self._worker_ended)

    def _reported(self, report: Report) -> None:
        if report.slurm_user != self._slurm_user:  # not known when we started before slurmctld
            self._slurm_user = report.slurm_user
            self._server.admit(slurm_uid(report.slurm_user))
        self._hook.view = report.view
        self._status = report.status
        self._failures = 0

    def _worker_ended(self) -> None:
        self._stop_worker()
        if not self._stopping.is_set():
            self._restart_later("the cycle process ended")

    def _restart_later(self, why: str) -> None:
        wait_s = _RESTART_S[min(self._failures, len(_RESTART_S) - 1)]
        self._failures += 1
        _LOG.error("%s, starting another in %.0f s", why, wait_s)
        asyncio.get_running_loop().call_later(wait_s, self._restart_worker)

    def _restart_worker(self) -> None:
        if self._stopping.is_set():
            return
        try:
            self._start_worker()
        except (OSError, RuntimeError) as error:  # out of memory, processes or threads, for now
            self._stop_worker()
            self._restart_later(f"no cycle process could be started ({error})")

    def _stop_worker(self) -> None:
        loop = asyncio.get_running_loop()
        worker, poke = self._worker, self._poke
        self._worker = self._poke = None
        if poke is not None:
            poke.close()
        if worker is not None:
            loop.remove_reader(worker.sentinel)
            worker.terminate()
            worker.join(timeout=5)


def _read_reports(
    reports: Connection, loop: asyncio.AbstractEventLoop, reported: Callable[[Report], None]
) -> None:
    """Until the worker ends. In a thread: it writes them in parts, and has less of the machine."""
    with reports, suppress(EOFError, OSError, RuntimeError):  # the last of a loop that is closed
        while True:
            loop.call_soon_threadsafe(reported, reports.recv())


def _slurm_user() -> str | None:
    from slurm_green.slurm.select import client_from

    try:
        return client_from("commands").info().slurm_user
    except SlurmGreenError as error:
        _LOG.warning("SlurmUser is not known yet (%s); only root may ask", error)
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """The command `sgreend`."""
    parser = argparse.ArgumentParser(
        prog="sgreend",
        description="Defers Slurm jobs to cleaner hours; runs in the foreground, logs to stderr.",
    )
    parser.add_argument("--config", type=Path, help="configuration (default: $SLURM_GREEN_CONF)")
    parser.add_argument(
        "--files",
        type=Path,
        metavar="DIR",
        help="write the systemd units and the submit hook's Lua files to DIR, and end",
    )
    parser.add_argument("--version", action="version", version=f"sgreend {__version__}")
    options = parser.parse_args(argv)
    set_up_logging("sgreend")
    try:
        config = load(options.config)
        if options.files is not None:
            named = options.config or config_path()
            read_from = None if named == DEFAULT_PATH else named
            for path in install(options.files, config, read_from):
                print(path)
            return 0
        return _serve(config)
    except SlurmGreenError as error:
        print(f"sgreend: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadInputError) else 1


def _say_restart(*_: object) -> None:
    # systemd takes an end by SIGHUP for a clean one, and would not start us again.
    _LOG.warning("SIGHUP changes nothing: the configuration is read at a restart")


def _serve(config: Config) -> int:
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopped.append(number))
    signal.signal(signal.SIGHUP, _say_restart)
    with DaemonLock(config.paths.lock) as lock:
        waiting = lambda: _LOG.info("another sgreend holds %s; waiting", lock.path)  # noqa: E731
        if not lock.acquire(waiting=waiting, stop=lambda: bool(stopped)):
            return 0
        asyncio.run(_run(config, lambda: bool(stopped)))
    return 0


async def _run(config: Config, told: Callable[[], bool]) -> None:
    await Daemon(config).run(told=told)


if __name__ == "__main__":
    sys.exit(main())
