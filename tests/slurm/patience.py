# SPDX-License-Identifier: Apache-2.0
"""How long tests wait for a condition: where it comes, nobody waits longer for a larger limit."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slurm_green.cluster import daemons
from slurm_green.cluster.layout import Layout

__all__ = ["PATIENCE", "patient_hook", "reload_hook", "wait_until", "written_down"]

# Limits are what two busy cores need; a machine may be as many times slower as this.
PATIENCE = 3


def wait_until(
    met: Callable[[], bool], *, timeout_s: float, what: str, log: Path | None = None
) -> None:
    """As that of `sgreen cluster`, and more patient."""
    daemons.wait_until(met, timeout_s=PATIENCE * timeout_s, what=what, log=log)


@contextmanager
def written_down(layout: Layout) -> Iterator[None]:
    """Until slurmctld has on disk what is done to a job in it; a start alone it may not write."""
    state = layout.state / "job_state"

    def written_ns() -> int:
        return state.stat().st_mtime_ns if state.exists() else 0

    before_ns = written_ns()
    yield
    wait_until(lambda: written_ns() > before_ns, timeout_s=20, what="slurmctld's state on disk")


def patient_hook(layout: Layout) -> None:
    """50 ms are enough for slurmctld (test_hook.py), not for a machine busy with tests."""
    text = layout.job_submit.read_text()
    assert "timeout_s = 0.05" in text
    layout.job_submit.write_text(text.replace("timeout_s = 0.05", "timeout_s = 2"))
    reload_hook(layout)


def reload_hook(layout: Layout) -> None:
    """Let slurmctld load the script afresh: it compares whole seconds."""
    newer_s = layout.job_submit.stat().st_mtime + 2
    os.utime(layout.job_submit, (newer_s, newer_s))
