# SPDX-License-Identifier: Apache-2.0
"""A bar on the terminal for work that takes longer than a moment."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Shown", "progress_bar"]

_QUIET_S = 1.0  # work that takes no longer needs no bar


class Shown(Protocol):
    """Hears of the work: its name, the share that is done, and the best figure so far."""

    def __call__(self, what: str, share: float, best: str = "", /) -> None: ...


@contextmanager
def progress_bar() -> Iterator[Shown]:
    """A bar that appears once the work has taken a second, and is wiped at its end.

    Silent where stderr is no terminal.
    """
    if not sys.stderr.isatty():
        yield lambda what, share, best="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[best]}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=1.0, best="")
    began_s = time.monotonic()
    running = False

    def shown(what: str, share: float, best: str = "") -> None:
        nonlocal running
        bar.update(task, description=what, completed=share, best=best)
        if not running and time.monotonic() - began_s > _QUIET_S:
            bar.start()
            running = True

    try:
        yield shown
    finally:
        if running:
            bar.stop()
