# SPDX-License-Identifier: Apache-2.0
"""Where the cycle asks for plans and takes them: it never waits for one.

A plan that is late, wrong or none leaves the cycle without advice: it then decides job by job.
"""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from slurm_green.controller.planning.advice import Advice
from slurm_green.controller.planning.question import Question

__all__ = ["PlanDesk"]

_LOG = logging.getLogger(__name__)
_MODULE = "slurm_green.controller.planning.process"


class PlanDesk:
    """One question at a time, to one process that is started when first needed.

    `woken` is called from another thread when a plan is there.
    """

    def __init__(
        self,
        *,
        valid_s: float,
        limit_s: float,
        woken: Callable[[], None] = lambda: None,
        command: Sequence[str] = (sys.executable, "-m", _MODULE),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._valid_s, self._limit_s = valid_s, limit_s
        self._woken = woken
        self._command = tuple(command)
        self._clock = clock
        self._advice: Advice | None = None
        self._thread: threading.Thread | None = None
        self._since_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self.plans = 0
        self.failures = 0
        self.problem = ""

    def advice(self, now_s: float) -> Advice | None:
        """The newest plan while it is fresh (POSIX s)."""
        found = self._advice
        return found if found is not None and found.fresh(now_s) else None

    def busy(self) -> bool:
        """Whether a question is open; ends a process that has held one for too long."""
        if self._thread is None or not self._thread.is_alive():
            return False
        # A pipe that nobody reads blocks the writer: its end is all that it hears.
        if self._clock() - self._since_s > self._limit_s + 5.0:
            process = self._process
            if process is not None:
                process.kill()
        return True

    def ask(self, question: Question) -> None:
        """Ask, unless a question is open."""
        if self.busy():
            return
        self._since_s = self._clock()
        self._thread = threading.Thread(
            target=self._work, args=(question,), name="plan", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End the process."""
        self._end()

    def _work(self, question: Question) -> None:
        try:
            answer = self._answer(question)
        except Exception as error:  # whatever it is, it is one plan less
            answer = str(error) or "the process that plans has ended"
        if isinstance(answer, Advice):
            self._advice, self.problem = answer, ""
            self.plans += 1
            self._woken()
            return
        self._end()
        self.failures += 1
        self.problem = str(answer)
        _LOG.warning("no plan, every job is decided on alone: %s", answer)

    def _answer(self, question: Question) -> object:
        pipe = self._started()
        pipe.send(question)
        if not pipe.poll(self._limit_s):
            raise TimeoutError(f"it took longer than {self._limit_s:g} s")
        return pipe.recv()

    def _started(self) -> Connection:
        if self._process is not None and self._process.poll() is None and self._pipe is not None:
            return self._pipe
        self._end()
        ours, theirs = Pipe()
        number = theirs.fileno()
        words = [str(number), str(self._valid_s), str(self._limit_s)]
        self._process = subprocess.Popen(
            [*self._command, *words],
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self._pipe = ours
        return ours

    def _end(self) -> None:
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if process is not None:
            process.kill()
            process.wait()
        if pipe is not None:
            pipe.close()
