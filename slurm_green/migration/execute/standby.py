# SPDX-License-Identifier: Apache-2.0
"""A shell that waits beside a process that moves jobs, and goes on with its journal if that dies.

It has a session of its own, so that neither a signal from the terminal nor its end reaches it. A
machine that goes down takes both: the next run goes on then.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["standing_by", "stands_in"]

_MARK = "SGREEN_STANDBY"
# A word on its input sends it away; its end without one means that nobody is left to say it. What
# it runs may find the journal still locked by a command that outlived us, or a site away.
_WAITS = """IFS= read -r word && exit 0
tries=$1 pause=$2; shift 2
until "$@" </dev/null; do
    tries=$((tries - 1)); [ "$tries" -gt 0 ] || exit 1
    sleep "$pause"
done"""


def stands_in() -> bool:
    """Whether this process is what the one beside another runs in its place."""
    return _MARK in os.environ


@contextmanager
def standing_by(
    command: Sequence[str], log: Path, *, tries: int = 240, pause_s: float = 30.0
) -> Iterator[None]:
    """Run `command` if this process does not come to the end of the block, killed or otherwise.

    Again up to `tries` times until it succeeds; `log` gets what it says. What it runs has nobody
    beside it: it is run again by this one.
    """
    if stands_in():
        yield
        return
    with log.open("ab") as said:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", _WAITS, "sgreen-standby", str(tries), str(pause_s), *command],
            env={**os.environ, _MARK: "1"},
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    assert shell.stdin is not None
    try:
        yield
    except BaseException:
        shell.stdin.close()
        raise
    shell.communicate(b"done\n")
