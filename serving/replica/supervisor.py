# SPDX-License-Identifier: Apache-2.0
"""One replica on this machine: the machine of its life, with a real process at the other end.

Runs in a thread of its own until the replica has ended. The trap: a warm-up may take minutes, and
so may a Slurm that is asked for a replacement; neither must keep it from hearing that it is to end,
so they have threads too.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from serving.replica.command import Ask, Place, engine_argv, engine_env, served_name
from serving.replica.machine import Action, Event, Life, Rules, State, step
from serving.replica.probe import Flight, Probe
from serving.replica.process import ServerProcess, last_lines
from slurm_green.errors import BadInputError, SlurmError

__all__ = ["Shown", "Supervisor"]

_LOG = logging.getLogger("slurm_green.serve")
_EVERY_S = 0.25
_PROBE_S = 1.0
_FLIGHT_S = 10.0
_HEARTBEAT_S = 5.0
_PROGRESS_S = 15.0
_STUCK_S = 120.0  # requests and no token
_REPLACE_S = 60.0  # at the end, for a replacement that is still being asked for


class Shown(Protocol):
    """Who tells routers of a replica: a file in the registration directory."""

    def show(self, url: str, model: str, key: str, state: str) -> None:
        """Say it, or say it again; raises OSError or BadInputError."""
        ...

    def hide(self) -> None:
        """Take it back; raises OSError."""
        ...


@dataclass
class Supervisor:
    """Starts, watches and ends one server; events come from any thread by `tell`.

    `place` gives a free place for each start; `replacement` asks for one and returns what tells
    whether that is ready, None where nobody can be asked; it may wait, and raise SlurmError.
    """

    name: str
    ask: Ask
    place: Callable[[], Place]
    shown: Shown
    log: Path
    environ: dict[str, str]
    rules: Rules = field(default_factory=Rules)
    replacement: Callable[[], Callable[[], bool] | None] = lambda: None
    ended: Callable[[], None] = lambda: None  # after each end of the process: clocks back
    code: str | None = None  # where our packages are, for the server's PYTHONPATH
    url_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        self.life = Life()
        self._inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._process: ServerProcess | None = None
        self._place: Place | None = None
        self._probe: Probe | None = None
        self._relieved: Callable[[], bool] | None = None
        self._replacing: threading.Thread | None = None
        self._started = False
        self._state: str | None = None  # as it is shown
        self._due = dict.fromkeys(("probe", "flight", "heartbeat", "word"), 0.0)
        self._moved = (0.0, 0.0)  # tokens, and when they last changed

    def tell(self, event: Event) -> None:
        """From a signal handler or another thread."""
        self._inbox.put(event)

    def run(self) -> int:
        """Until it has ended; the exit status. Raises BadInputError where it can never start."""
        try:
            while self.life.state is not State.ENDED:
                for event in self._events():
                    try:
                        self._feed(event)
                    except BadInputError:
                        raise
                    except Exception:  # nobody else would look after a server that runs
                        _LOG.exception("%s goes on after this", self.name)
            if self._replacing is not None and not self.life.last:
                self._replacing.join(_REPLACE_S)
            return 1 if self.life.failures > self.rules.most_failures else 0
        finally:
            if self._process is not None:
                self._process.kill()
            self._hide()

    def _events(self) -> list[Event]:
        """What has happened, time at least."""
        found = [Event.TICK]
        try:
            found.append(self._inbox.get(timeout=_EVERY_S))
            while True:
                found.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        if self._process is not None and self._process.status is not None:
            _LOG.info("%s: its process ended with status %d", self.name, self._process.status)
            self._process = self._probe = None
            try:
                self.ended()
            except Exception:
                _LOG.exception("%s: not all is given back", self.name)
            return [*found, Event.EXITED]
        try:
            return [*found, *self._asked()]
        except Exception:
            _LOG.exception("%s: cannot be asked", self.name)
            return found  # somebody may want it to end

    def _asked(self) -> list[Event]:
        """What the server says, and the replacement."""
        state, probe, found = self.life.state, self._probe, []
        if probe is not None and self._comes("probe", _PROBE_S):
            if state in (State.STARTING, State.WARMING, State.READY):
                found.append(probe.health())
            elif state is State.DRAINING:
                flight = probe.flight()
                found += [Event.IDLE] if flight is not None and flight.requests == 0 else []
        if probe is not None and state is State.READY and self._comes("flight", _FLIGHT_S):
            found += [Event.DEAD] if self._stuck(probe.flight()) else []
        if self._relieved is not None and self._relieved():
            self._relieved = None
            found.append(Event.RELIEVED)
        if state in (State.STARTING, State.WARMING) and self._comes("word", _PROGRESS_S):
            lasted_s = time.monotonic() - self.life.since_s
            said = " ".join(last_lines(self.log, 1))[:200]
            _LOG.info("%s: %s for %.0f s: %s", self.name, state, lasted_s, said)
        if self._state is not None and self._comes("heartbeat", _HEARTBEAT_S):
            self._show(self._state)
        return found

    def _comes(self, what: str, every_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._due[what]:
            return False
        self._due[what] = now_s + every_s
        return True

    def _stuck(self, seen: Flight | None) -> bool:
        """Requests for long, and no token of any."""
        now_s = time.monotonic()
        if seen is None or seen.requests == 0 or seen.tokens != self._moved[0]:
            self._moved = (seen.tokens if seen is not None else 0.0, now_s)
        return now_s - self._moved[1] > _STUCK_S

    def _feed(self, event: Event) -> None:
        before = self.life.state
        self.life, actions = step(self.life, event, time.monotonic(), self.rules)
        if self.life.state is not before:
            why = f": {self.life.why}" if self.life.why else ""
            _LOG.info("%s: %s%s", self.name, self.life.state, why)
        for action in actions:
            self._do(action)

    def _do(self, action: Action) -> None:
        process, probe = self._process, self._probe
        if action is Action.START:
            self._start()
        elif action is Action.WARM and probe is not None:
            threading.Thread(target=lambda: self._warm(probe), daemon=True).start()
        elif action is Action.SHOW_READY:
            self._moved = (0.0, time.monotonic())
            self._show("ready")
        elif action is Action.SHOW_DRAINING:
            self._show("draining")
        elif action is Action.HIDE:
            self._hide()
        elif action is Action.REPLACE:
            self._replacing = threading.Thread(target=self._replace, daemon=True)
            self._replacing.start()
        elif action is Action.TERMINATE and process is not None:
            process.terminate()
        elif action is Action.KILL and process is not None:
            process.kill()
        elif action is Action.GIVE_UP:
            _LOG.error(
                "%s: failed %d times in a row, given up; its log %s ends with:\n%s",
                self.name, self.life.failures, self.log, "\n".join(last_lines(self.log)),
            )  # fmt: skip

    def _start(self) -> None:
        self._due["word"] = time.monotonic() + _PROGRESS_S
        try:
            place = self._place = self.place()
            _LOG.info("%s: starting at port %d, log %s", self.name, place.port, self.log)
            argv = engine_argv(self.ask, place)
            env = engine_env(self.ask, place, self.environ, self.code)
            self._process = ServerProcess(argv, env, self.log)
        except Exception as error:
            if isinstance(error, BadInputError) and not self._started:
                raise
            # What went before may go again: a disk that is full, a file server that is away.
            bug = not isinstance(error, BadInputError | OSError)
            _LOG.error("%s: cannot be started: %s", self.name, error, exc_info=bug)
            self.tell(Event.EXITED)
            return
        self._started = True
        self._probe = Probe(place.host, place.port, place.key, served_name(self.ask))

    def _warm(self, probe: Probe) -> None:
        found = probe.warm()
        if probe is self._probe:  # else it answers for a server that is gone
            if found is Event.COLD:
                time.sleep(_PROBE_S)
            self.tell(found)

    def _replace(self) -> None:
        try:
            self._relieved = self.replacement()
        except Exception as error:
            bug = not isinstance(error, SlurmError)
            _LOG.error("%s: no replacement yet: %s", self.name, error, exc_info=bug)
            self.tell(Event.UNREPLACED)

    def _show(self, state: str) -> None:
        assert self._place is not None
        self._state = state
        url = f"http://{self.url_host}:{self._place.port}"
        try:
            self.shown.show(url, served_name(self.ask), self._place.key, state)
        except (OSError, BadInputError) as error:
            _LOG.error("%s: cannot be registered: %s", self.name, error)

    def _hide(self) -> None:
        self._state = None
        try:
            self.shown.hide()
        except OSError as error:
            _LOG.error("%s: its registration stays: %s", self.name, error)
