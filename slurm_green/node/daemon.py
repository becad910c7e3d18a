# SPDX-License-Identifier: Apache-2.0
"""sgreen-noded: sets the clocks of live jobs' GPUs, gives everything back, meters energy.

The trap: SIGKILL. What it leaves is in the journal; the next start, or `--restore` (the unit runs
it whenever the daemon ends), pays it back.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from profiling.device.journal import Journal
from profiling.errors import DeviceError, ProfilingError
from slurm_green import __version__
from slurm_green.config.node import NodeSection
from slurm_green.errors import BadInputError, SlurmGreenError
from slurm_green.logs import set_up_logging
from slurm_green.node.actuator import Actuator
from slurm_green.node.answers import Answers
from slurm_green.node.books import Books
from slurm_green.node.hardware import allowed_of, find_gpus
from slurm_green.node.http import sgreend_of
from slurm_green.node.install import install
from slurm_green.node.metrics import serve_metrics, text_of
from slurm_green.node.restoring import restore
from slurm_green.node.server import Limits, LineServer
from slurm_green.node.service import Node
from slurm_green.node.settings import VARIABLE, default_of, settings_from
from slurm_green.node.sgreend import Sgreend
from slurm_green.node.sight import Sight
from slurm_green.node.state import Orders
from slurm_green.node.worker import BusyError, Worker

__all__ = ["Daemon", "main"]

_LOG = logging.getLogger(__name__)
_CALL_S = 3.0  # prolog and epilog give up after 4, and are killed after 5
_STOP_S = 15.0
_SGREEND_S = 1.0  # a job's start waits so long for its plan
_NO_ORDERS = "no orders from sgreend"
_NOT_REPORTED = "energies are not reported yet"
_LEASES_S = 0.2  # how long a lease may outlast its end
_ROOT_LIMITS = Limits(connections=128, per_user=128, per_user_s=2000)


class Daemon:
    """Two sockets, a look at everything each interval, and /metrics, around one Node."""

    def __init__(self, node: Node, settings: NodeSection, sgreend: Sgreend, books: Books) -> None:
        self._node = node
        self._settings = settings
        self._sgreend = sgreend
        self._books = books
        self._worker = Worker(_CALL_S)
        self._line = Worker(_SGREEND_S)
        self._stopping = asyncio.Event()
        self._complained: dict[str, str] = {}
        self._metrics: asyncio.Server | None = None

    async def run(self) -> bool:
        """Serve until SIGTERM or SIGINT; whether everything was given back."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, _LOG.info, "SIGHUP: settings are read at the start")
        self._node.resume()
        await self._look()
        servers = self._servers()
        for server in servers:
            await server.start()
        await self._open_metrics()
        rounds = (self._ticks(), self._leases(), self._keep_metrics())
        loops = [asyncio.create_task(one) for one in rounds]
        _LOG.info("sgreen-noded %s serves %d GPUs", __version__, len(self._node.gpus))
        await self._stopping.wait()
        for task in loops:
            task.cancel()
        for server in servers:
            await server.close()
        if self._metrics is not None:
            self._metrics.close()
        return await self._give_back()

    def _servers(self) -> list[LineServer]:
        answers = Answers(self._node, self._worker, self._sgreend, self._line)
        run = self._settings.run
        servers = [
            LineServer(
                run / "root.sock",
                answers.of_root,
                admits=answers.admits_root,
                mode=0o600,
                limits=_ROOT_LIMITS,
            )
        ]
        if self._settings.user_requests:
            servers.append(
                LineServer(
                    run / "user.sock", answers.of_user, admits=answers.admits_user, mode=0o666
                )
            )
        return servers

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(self._settings.interval_s)
            await self._look()
            await self._report()

    async def _look(self) -> None:
        try:
            orders = await self._orders(list(self._node.state.jobs))
            await self._worker.run(lambda: self._node.tick(orders))
            await self._worker.run(self._books.write_late)
        except BusyError as error:
            _LOG.error("%s", error)
        except Exception:
            _LOG.exception("this look failed")

    async def _leases(self) -> None:
        while True:
            await asyncio.sleep(_LEASES_S)
            if not self._node.state.asks:
                continue
            try:
                await self._worker.run(self._node.look)
            except BusyError:
                pass  # the looks say so
            except Exception as error:
                self._complain("leases cannot be looked at", error)

    async def _orders(self, job_ids: list[int]) -> Orders | None:
        try:
            orders = await self._line.run(lambda: self._sgreend.orders(job_ids))
            if self._complained.pop(_NO_ORDERS, None):
                _LOG.info("sgreend answers again")
            return orders
        except Exception as error:  # whatever it is, what was ordered before stays
            self._complain(_NO_ORDERS, error)
            return None

    def _complain(self, what: str, why: Exception) -> None:
        """Once, not at every look."""
        if self._complained.get(what) != str(why):
            _LOG.warning("%s: %s", what, why)
        self._complained[what] = str(why)

    async def _report(self) -> None:
        try:
            energies = self._books.unreported()
            taken = await self._line.run(lambda: self._sgreend.report(energies)) if energies else ()
            for name in taken:
                self._books.reported(name)
            self._complained.pop(_NOT_REPORTED, None)
        except Exception as error:
            self._complain(_NOT_REPORTED, error)

    async def _open_metrics(self) -> None:
        """An address that is taken, or not there yet while the node boots, is tried again."""
        address = self._settings.metrics
        if not address or self._metrics is not None:
            return
        try:
            self._metrics = await serve_metrics(address, self._exposition)
        except Exception as error:
            self._complain(f"no metrics on {address} yet", error)

    async def _keep_metrics(self) -> None:
        """Beside the looks: to find the address of a name may take long."""
        while self._settings.metrics and self._metrics is None:
            await asyncio.sleep(self._settings.interval_s)
            await self._open_metrics()

    def _exposition(self) -> str:
        node, host = self._node, self._settings.name or _host()
        age_s = time.monotonic() - node.readings_s
        fresh = age_s < 3 * self._settings.interval_s + _CALL_S
        identities = [gpu.identity for gpu in node.gpus.values()]
        return text_of(host, identities, node.readings if fresh else {})

    async def _give_back(self) -> bool:
        try:
            owed = await self._worker.run(self._node.stop, whatever=True, limit_s=_STOP_S)
        except BusyError as error:
            _LOG.error("%s: the journal keeps what is owed", error)
            return False
        for uuid in owed:
            _LOG.error("%s is not restored; its entry stays in the journal", uuid)
        return not owed


def main(argv: Sequence[str] | None = None) -> int:
    """The command `sgreen-noded`."""
    parser = argparse.ArgumentParser(
        prog="sgreen-noded",
        description="Sets the clocks of jobs' GPUs on this node; runs in the foreground, as root.",
    )
    parser.add_argument("--config", type=Path, help=f"configuration (default: ${VARIABLE})")
    parser.add_argument(
        "--restore",
        action="store_true",
        help="restore what a daemon that died left behind, and end",
    )
    parser.add_argument(
        "--files",
        type=Path,
        metavar="DIR",
        help="write prolog.sh, epilog.sh, their client and the systemd unit to DIR, and end",
    )
    parser.add_argument("--version", action="version", version=f"sgreen-noded {__version__}")
    options = parser.parse_args(argv)
    set_up_logging("sgreen-noded")
    try:
        node, nvml = settings_from(options.config, os.environ)
        if options.files is not None:
            named = options.config or os.environ.get(VARIABLE)
            for path in install(options.files, node, Path(named) if named else None):
                print(path)
            return 0
        return (_restore if options.restore else _serve)(node, nvml.library)
    except (SlurmGreenError, ProfilingError, OSError) as error:  # OSError: its own files
        print(f"sgreen-noded: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadInputError) else 1


def _serve(settings: NodeSection, library: Path | None) -> int:
    for directory in (settings.state, settings.run):
        directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(settings.state / "noded.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SlurmGreenError(f"another sgreen-noded uses {settings.state}") from error
    gpus = find_gpus(settings.vendor, library)
    journal = Journal(settings.state / "journal")
    books = Books(settings.state, boot=_boot())
    host, default = settings.name or _host(), default_of(settings)
    sgreend = sgreend_of(settings, host)
    actuator = Actuator(gpus, journal=journal, books=books, default=default, node=host)
    allowed = {uuid: allowed_of(gpu, settings) for uuid, gpu in gpus.items()}
    sight = Sight(slurm_conf=settings.slurm_conf)
    node = Node(actuator, journal, allowed=allowed, sight=sight, clock=time.monotonic)

    async def run() -> bool:
        return await Daemon(node, settings, sgreend, books).run()

    clean = asyncio.run(run())
    # A hanging driver hangs its thread, too: end without waiting for it.
    logging.shutdown()
    os._exit(0 if clean else 1)


def _restore(settings: NodeSection, library: Path | None) -> int:
    done = restore(settings, library)
    if done.failed:
        raise DeviceError("; ".join(done.failed))
    return 0


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


if __name__ == "__main__":
    sys.exit(main())
