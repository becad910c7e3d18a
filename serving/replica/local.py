# SPDX-License-Identifier: Apache-2.0
"""Replicas on this machine, in the foreground, until all have ended.

SIGTERM, SIGINT and the end of the terminal drain them, once more hurries; SIGUSR1 says that the
time limit comes. The trap: of the end of one terminal both its shell and the kernel may tell.
"""

import logging
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import serving
from serving.replica.check import give_back
from serving.replica.command import Ask, Place
from serving.replica.machine import Event, Rules
from serving.replica.registered import Registered, is_ready, job_stem, sweep
from serving.replica.submit import successor
from serving.replica.supervisor import Supervisor
from serving.vllm.settings import Settings
from slurm_green.errors import BadInputError

__all__ = ["Local", "code_directory", "packages", "run_local"]

_LOG = logging.getLogger("slurm_green.serve")


@dataclass(frozen=True, kw_only=True)
class Local:
    """What `run_local` is told; `gpus` are shared out evenly, none where Slurm has chosen."""

    ask: Ask
    settings: Settings
    environ: dict[str, str]
    rules: Rules
    replicas: int
    host: str
    site: str
    registrations: Path
    logs: Path
    stem: str  # of the names of registrations and logs
    gpus: tuple[int, ...] = ()
    code: str | None = None
    replace_with: Path | None = None  # a batch script


def run_local(told: Local) -> int:
    """Until all have ended; the worst exit status. Raises BadInputError where none can start."""
    told.logs.mkdir(parents=True, exist_ok=True)
    sweep(told.registrations, time.time())
    group = [_supervisor(told, number) for number in range(told.replicas)]
    statuses: list[int] = []
    failed: list[BadInputError] = []

    def tell(event: Event) -> None:
        for one in group:
            one.tell(event)

    def run(one: Supervisor) -> None:
        try:
            statuses.append(one.run())
        except BadInputError as error:
            failed.append(error)
            tell(Event.END)

    threads = [threading.Thread(target=run, args=(one,), name=one.name) for one in group]
    with _signals(tell):
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a join without end would hold up signals
                thread.join(0.5)
    if failed:
        raise failed[0]
    return max(statuses, default=1)


def packages() -> str:
    """The directory that our packages are in."""
    return str(Path(serving.__file__).parents[1])


def code_directory() -> str | None:
    """The same where it is a checkout: only then another Python may not find it."""
    root = packages()
    return root if (Path(root) / "pyproject.toml").exists() else None


def _supervisor(told: Local, number: int) -> Supervisor:
    name = f"{told.stem}-{number}"
    registration = told.registrations / f"{name}.json"
    share = len(told.gpus) // told.replicas
    gpus = told.gpus[number * share : (number + 1) * share]

    def place() -> Place:
        port, metrics_port = _free_ports(told.host, 2)
        key = secrets.token_urlsafe(32)
        return Place(host=told.host, port=port, metrics_port=metrics_port, key=key, gpus=gpus)

    return Supervisor(
        name=name,
        ask=told.ask,
        place=place,
        shown=Registered(registration, told.site),
        log=told.logs / f"{name}.log",
        environ=told.environ,
        rules=told.rules,
        replacement=lambda: _replacement(told.replace_with, registration),
        ended=lambda: give_back(told.settings),
        code=told.code,
        url_host=_reached_at(told.host),
    )


def _replacement(script: Path | None, registration: Path) -> Callable[[], bool] | None:
    """Submit one like us; tells whether it is ready. Raises SlurmError."""
    if script is None:
        _LOG.warning("the time limit comes, and nobody was told how to replace this replica")
        return None
    job = successor(script, registration.stem)
    _LOG.info("job %d is to replace this replica", job)
    return lambda: is_ready(registration.with_name(f"{job_stem(job, script)}-0.json"))


def _reached_at(host: str) -> str:
    """Where routers elsewhere find a server that listens there."""
    return socket.gethostname() if host == "0.0.0.0" else host


def _free_ports(host: str, count: int) -> list[int]:
    """Free now; a server that finds its own taken ends, and the next start asks anew."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((host, 0))
        return [one.getsockname()[1] for one in held]
    except OSError as error:
        raise BadInputError(f"--host {host}: is no address of this machine: {error}") from error
    finally:
        for one in held:
            one.close()


@contextmanager
def _signals(tell: Callable[[Event], None]) -> Iterator[None]:
    meant = {
        signal.SIGTERM: Event.END,
        signal.SIGINT: Event.END,
        signal.SIGUSR1: Event.NEAR_END,
    }
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        meant[signal.SIGHUP] = Event.END

    def came(number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)
        tell(meant[signal.Signals(number)])

    before = {number: signal.signal(number, came) for number in meant}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
