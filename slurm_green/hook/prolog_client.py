# SPDX-License-Identifier: Apache-2.0
"""Tells sgreen-noded that a job begins or has ended: the Python part of prolog.sh and epilog.sh.

Runs as root on every node as `python3 -IS`: standard library and syntax of Python 3.6 only, one
file, nothing read but Slurm's variables. Whatever goes wrong is a line in syslog; the exit status
is always 0, and after LIMIT_S the kernel ends it.
"""

import json
import os
import signal
import socket
import sys
import syslog
import time

__all__ = ["ask", "main", "request"]

LIMIT_S = 3.5
_ANSWER_S = 3.2  # and there is time to say that none came
_MOST_BYTES = 65536


def request(op: str, environ: "os._Environ[str]") -> bytes:
    """The line to send; KeyError when Slurm's variables are not there."""
    # A line that waits in a queue must not be taken for news: this clock is the whole machine's.
    values = {"op": op, "job": environ["SLURM_JOB_ID"], "at_s": time.monotonic()}
    if op == "begin":
        values["uid"] = environ["SLURM_JOB_UID"]
        values["gpus"] = environ["SLURM_JOB_GPUS"]
    return json.dumps(values).encode() + b"\n"


def ask(path: str, line: bytes) -> "dict[str, object]":
    """What sgreen-noded answers to a line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(_ANSWER_S)
        peer.connect(path)
        peer.sendall(line)
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < _MOST_BYTES:
            part = peer.recv(4096)
            if not part:
                break
            answer += part
    return json.loads(answer.decode())  # type: ignore[no-any-return]


def main(argv: "list[str]", environ: "os._Environ[str]") -> int:
    """`begin SOCKET` or `end SOCKET`."""
    try:
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        answer = ask(argv[2], request(argv[1], environ))
        if not answer["ok"]:
            raise ValueError(answer["error"])
    except Exception as error:  # a job must not notice
        job = environ.get("SLURM_JOB_ID", "?")
        syslog.openlog("sgreen-" + ("epilog" if argv[1:2] == ["end"] else "prolog"))
        syslog.syslog(syslog.LOG_WARNING, f"job {job}: not told to sgreen-noded: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv, os.environ))
