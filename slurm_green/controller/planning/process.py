# SPDX-License-Identifier: Apache-2.0
"""The process that plans: questions in, advice out, over a pipe that it inherits.

It is a process of its own so that a plan that takes too long, or crashes, is one plan less and
nothing else. It ends with its pipe, and by itself when a plan takes twice its time.
"""

import os
import signal
import sys
from multiprocessing.connection import Connection

from slurm_green.threads import one_thread

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """FD, the seconds a plan is good for, and the seconds it may take."""
    one_thread()
    from slurm_green.controller.planning.adviser import Adviser

    number, valid_s, limit_s = int(arguments[0]), float(arguments[1]), float(arguments[2])
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    # Answers and cycles go first.
    os.nice(5)
    adviser = Adviser(valid_s=valid_s)
    pipe = Connection(number)
    while True:
        try:
            question = pipe.recv()
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_REAL, 2 * limit_s)
        try:
            answer: object = adviser.advise(question)
        except Exception as error:  # whatever it is, it is told, and the next question is another
            adviser = Adviser(valid_s=valid_s)
            answer = f"{type(error).__name__}: {error}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            pipe.send(answer)
        except OSError:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
