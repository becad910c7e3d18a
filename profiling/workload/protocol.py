# SPDX-License-Identifier: Apache-2.0
"""What a sweep asks of a workload: bring a load up, run it, say when its steps began and ended.

`open_inference` and `open_training` of the neighbours make one; they take `gpu`, the first GPU of
the sweep, or `gpus`, all of them. Between `start` and `close` the context may stay on the GPU,
also while nothing runs. The trap: a window that begins or ends inside a step counts a part of it.
`run` therefore says when its first step began and its last one ended, on the clock that the meter
reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Load", "Steps", "Workload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is run, apart from the clock: of inference phase, batch, context and tp; of training
    workers and GPUs per worker. Fields of the other kind stay None.
    """

    phase: str | None = None
    batch: int | None = None
    context_tokens: int | None = None
    tp: int = 1
    workers: int | None = None
    gpus_per_worker: int = 1

    @property
    def gpus(self) -> int:
        """GPUs it needs: the first so many of those the sweep was given, and each is metered."""
        return self.tp if self.workers is None else self.workers * self.gpus_per_worker

    @property
    def name(self) -> str:
        """What it is called in journals and on screens."""
        if self.workers is not None:
            return f"training, {self.workers} x {self.gpus_per_worker} GPU"
        return f"{self.phase}, batch {self.batch}, context {self.context_tokens}, tp {self.tp}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A stretch of whole steps, one after the other: an iteration of inference or training.

    `units` is the work done (samples in training, else the steps). Times are CLOCK_MONOTONIC
    seconds, or virtual ones where the GPU is.
    """

    count: int
    units: float
    begin_s: float
    end_s: float


class Workload(Protocol):
    """A model on an engine. It lasts from construction to `close`; calls come one at a time."""

    @property
    def facts(self) -> dict[str, str]:
        """engine_name, engine_version, model, dtype: what profile.toml says of it."""
        ...

    @property
    def limits(self) -> dict[str, int]:
        """kv_tokens, max_batched_tokens, max_num_seqs, as far as the engine tells."""
        ...

    def loads(self) -> Sequence[Load]:
        """What it can run, in the order in which a person would look at it."""
        ...

    def start(self, load: Load) -> None:
        """Bring a load up and warm it up; whatever ran before ends.

        Raises ProfilingError where it does not fit, which the sweep reports and leaves out.
        """
        ...

    def run(self, at_least_s: float) -> Steps:
        """Run whole steps for at least that long and wait for them."""
        ...

    def stop(self) -> None:
        """End the load; the GPU is idle when it returns."""
        ...

    def close(self) -> None:
        """End everything, also after a failure."""
        ...
