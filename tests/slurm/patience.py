# SPDX-License-Identifier: Apache-2.0
"""How long tests wait for a condition: where it comes, nobody waits longer for a larger limit."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from slurm_green.cluster import daemons
from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.layout import Layout

__all__ = ["PATIENCE", "patient_hook", "reload_hook", "wait_until", "written_down"]

# Limits are what two busy cores need; a machine may be as many times slower as this.
PATIENCE = 3


def wait_until(
    met: Callable[[], bool], *, timeout_s: float, what: str, log: Path | None = None
) -> None:
    """As that of `sgreen cluster`, and more patient."""
    daemons.wait_until(met, timeout_s=PATIENCE * timeout_s, what=what, log=log)


def written_down(cluster: Cluster, job_id: int | str, field: str = "Name") -> None:
    """Until slurmctld has the job as it is on disk; a start alone it may not write."""
    word = f"saved-{secrets.token_hex(4)}"
    cluster.run("scontrol", "update", f"JobId={job_id}", f"{field}={word}")

    def written() -> bool:
        with suppress(FileNotFoundError):  # for a moment, where Slurm replaces it
            return word.encode() in (cluster.layout.state / "job_state").read_bytes()
        return False

    wait_until(written, timeout_s=20, what=f"job {job_id} in slurmctld's state on disk")


def patient_hook(layout: Layout) -> None:
    """A second is enough for a demo, not for a machine busy with tests; sbatch waits ten."""
    text = layout.job_submit.read_text()
    assert "timeout_s = 1.0" in text
    layout.job_submit.write_text(text.replace("timeout_s = 1.0", "timeout_s = 6"))
    reload_hook(layout)


def reload_hook(layout: Layout) -> None:
    """Let slurmctld load the script afresh: it compares whole seconds."""
    newer_s = layout.job_submit.stat().st_mtime + 2
    os.utime(layout.job_submit, (newer_s, newer_s))
