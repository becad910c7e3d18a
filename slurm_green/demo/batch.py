# SPDX-License-Identifier: Apache-2.0
"""The demo's batch of jobs, and how they are submitted: by sbatch, as any user would."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from slurm_green.cluster.cluster import Cluster
from slurm_green.errors import ClusterError

__all__ = ["BATCH", "Submitted", "Wish", "submit"]

_PREFIX = re.compile(r"^sbatch: (?:error: )?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A job script with the options it is submitted with, and what should become of it.

    `work_s` is how long a task of it works at full clock; `clocked` jobs have a profile.
    """

    script: str
    work_s: float
    deferred: bool
    story: str
    options: tuple[str, ...] = ()

    @property
    def clocked(self) -> bool:
        """Whether it names a profile, so that its clock is planned: those that wait do."""
        return self.deferred


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A wish that Slurm has taken; `said` is what sbatch told the user, empty for nothing."""

    wish: Wish
    job_id: int
    at_utc: datetime
    said: str

    @property
    def name(self) -> str:
        """The job's name, which is its script's."""
        return self.wish.script.removesuffix(".sh")


BATCH = (
    Wish(
        script="train-llm.sh",
        work_s=12,
        deferred=True,
        story="rigid training on 2 nodes; may wait as long as its partition says",
    ),
    Wish(
        script="sweep.sh",
        work_s=6,
        deferred=True,
        story="an array of six: one decision for all",
    ),
    Wish(
        script="finetune.sh",
        work_s=10,
        deferred=True,
        story="due tomorrow: #SBATCH --deadline gives it its slack",
    ),
    Wish(
        script="embed-corpus.sh",
        work_s=9,
        deferred=True,
        story="may wait 21 demo hours: green:max-delay lets it have the sun",
    ),
    Wish(
        script="paper-plots.sh",
        work_s=8,
        deferred=False,
        story="opted out: green:off",
    ),
    Wish(
        script="urgent.sh",
        work_s=8,
        deferred=False,
        options=("--deadline=now+131",),
        story="urgent: a near --deadline, which no submit hook sees; sgreend then does",
    ),
    Wish(
        script="impossible.sh",
        work_s=10,
        deferred=False,
        story="a deadline nobody can keep: then at least no delay from us",
    ),
    Wish(
        script="jupyter-lab.sh",
        work_s=15,
        deferred=False,
        story="somebody sits in front of it: excluded by its name",
    ),
    Wish(
        script="smoke-test.sh",
        work_s=4,
        deferred=False,
        story="too short to be worth it",
    ),
)


def submit(cluster: Cluster, wish: Wish, directory: Path) -> Submitted:
    """Hand one script to sbatch."""
    path = directory / wish.script
    done = cluster.run("sbatch", "--parsable", *wish.options, str(path), check=False)
    said = _PREFIX.sub("", done.stderr).strip()
    number = done.stdout.strip().partition(";")[0]
    if done.returncode != 0 or not number.isdigit():
        raise ClusterError(f"sbatch refused {wish.script}: {said or done.stdout.strip()}")
    return Submitted(wish=wish, job_id=int(number), at_utc=datetime.now(UTC), said=said)
