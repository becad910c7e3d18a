# SPDX-License-Identifier: Apache-2.0
"""A bar on the terminal for work that takes longer than a moment."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]

_QUIET_S = 1.0  # work that takes no longer needs no bar


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Yields what hears of the work: its name and the share that is done.

    Silent where stderr is no terminal.
    """
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=1.0)
    began_s = time.monotonic()
    running = False

    def shown(what: str, share: float) -> None:
        nonlocal running
        bar.update(task, description=what, completed=share)
        if not running and time.monotonic() - began_s > _QUIET_S:
            bar.start()
            running = True

    try:
        yield shown
    finally:
        if running:
            bar.stop()
