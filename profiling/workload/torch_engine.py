# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training steps of torch; runs in the child of `profiling.workload.child`.

The child is rank 0 and starts the other ranks of a load; a step is forward, backward with the
gradients summed over all ranks, and the optimiser. The trap: ranks must do the same number of
steps, so rank 0 tells how many before each stretch and no step carries a message of ours.
"""

import math
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from statistics import median
from typing import Any

from profiling.errors import ProfilingError
from profiling.workload.paced import Pacer, mix_of
from profiling.workload.protocol import Load, Steps
from profiling.workload.torch_model import make_model

__all__ = ["Rank", "TorchEngine"]

_WARM_STEPS = 5
_TIMEOUT = timedelta(minutes=10)  # for ranks to meet: a first step may compile kernels


class Rank:
    """One worker of a data-parallel job: a model, an optimiser, and the batch it trains on."""

    def __init__(self, order: Mapping[str, Any], rank: int, workers: int, store: str) -> None:
        import torch

        self._torch = torch
        self._cuda = torch.cuda.is_available()
        device = torch.device("cuda", rank) if self._cuda else torch.device("cpu")
        if self._cuda:
            torch.cuda.set_device(device)
        self._grouped = workers > 1
        if self._grouped:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            torch.distributed.init_process_group(
                "nccl" if self._cuda else "gloo",
                init_method=f"file://{store}",
                rank=rank,
                world_size=workers,
                timeout=_TIMEOUT,
            )
        # The same weights in every rank, other samples.
        torch.manual_seed(order["seed"])
        model, batch_of = make_model(order["model"])
        model.to(device)
        torch.manual_seed(order["seed"] + 1 + rank)
        self.tokens, batch = batch_of(order["samples"])
        self._batch = [one.to(device) for one in batch]
        parallel = torch.nn.parallel.DistributedDataParallel
        self._model = parallel(model) if self._grouped else model
        self._optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
        self._dtype = torch.bfloat16 if self._cuda else torch.float32

    @property
    def dtype(self) -> str:
        """In what it computes."""
        return str(self._dtype).removeprefix("torch.")

    def step(self) -> None:
        """One step; on a GPU it may still run when this returns."""
        self._optimiser.zero_grad(set_to_none=True)
        kind = "cuda" if self._cuda else "cpu"
        with self._torch.autocast(kind, dtype=self._dtype, enabled=self._cuda):
            loss = self._model(*self._batch)
        loss.backward()
        self._optimiser.step()

    def wait(self) -> None:
        """Until its steps are done."""
        if self._cuda:
            self._torch.cuda.synchronize()

    def close(self) -> None:
        """Leave the group."""
        if self._grouped:
            self._torch.distributed.destroy_process_group()


class TorchEngine:
    """Rank 0 and the others of the load that runs. A Workload."""

    def __init__(self, order: Mapping[str, Any], pacer: Pacer | None) -> None:
        import torch

        self._order = dict(order)
        self._pacer = pacer
        self._rank: Rank | None = None
        self._others: list[tuple[Any, Connection]] = []
        self._load: Load | None = None
        self._step_s = 0.0
        self._paces_s: dict[Load, float] = {}  # the first time a load comes up sets its pace
        probe = Rank(order, 0, 1, "")
        self._tokens = probe.tokens
        self.facts = {
            "engine_name": "torch",
            "engine_version": str(torch.__version__),
            "model": order["model"],
            "dtype": probe.dtype,
        }
        self.limits: dict[str, int] = {}

    def loads(self) -> Sequence[Load]:
        """Every number of workers asked for; too many are refused by `start`."""
        return [Load(workers=one) for one in self._order["workers"]]

    def start(self, load: Load) -> None:
        """See Workload."""
        self.stop()
        most = self._order["gpus"]
        if not load.workers or load.gpus_per_worker != 1:
            raise ProfilingError(f"{load.name}: data parallel workers have one GPU each")
        if load.workers > most:
            raise ProfilingError(f"{load.name}: there are {most} GPUs")
        if self._pacer is not None:
            self._pacer.use(load.workers)
            self._pacer.begin(mix_of(self._tokens))
        with tempfile.TemporaryDirectory() as meeting:
            store = str(Path(meeting) / "store")
            self._others = [
                _spawn(self._order, rank, load.workers, store) for rank in range(1, load.workers)
            ]
            if self._others:
                _watch([process for process, _ in self._others])
            self._rank = Rank(self._order, 0, load.workers, store)
            self._stretch(self._rank, 1)
        times_s = []
        for _ in range(_WARM_STEPS):
            begun_s = time.monotonic()
            self._stretch(self._rank, 1)
            times_s.append(time.monotonic() - begun_s)
        self._step_s = self._paces_s.setdefault(load, median(times_s))
        self._load = load
        if self._pacer is not None:
            self._pacer.rest()

    def run(self, at_least_s: float) -> Steps:
        """See Workload; units are samples of all workers."""
        rank, load = self._rank, self._load
        if rank is None or load is None:
            raise ProfilingError("run: no load was started")
        if self._pacer is not None:
            self._pacer.begin(mix_of(self._tokens), self._paces_s[load])
        count = 0
        begin_s = end_s = time.monotonic()
        while end_s - begin_s < at_least_s:
            began_s = end_s
            more = max(math.ceil((at_least_s - (end_s - begin_s)) / self._step_s), 1)
            self._stretch(rank, more)
            count += more
            end_s = time.monotonic()
            self._step_s = (end_s - began_s) / more
        if self._pacer is not None:
            self._pacer.rest()
        samples = count * self._order["samples"] * (1 + len(self._others))
        return Steps(count=count, units=float(samples), begin_s=begin_s, end_s=end_s)

    def _stretch(self, rank: Rank, steps: int) -> None:
        """So many steps in every rank, and wait for them."""
        for _, pipe in self._others:
            pipe.send(steps)
        for _ in range(steps):
            rank.step()
            if self._pacer is not None:
                self._pacer.after()
        rank.wait()

    def stop(self) -> None:
        """See Workload; the other ranks end."""
        for _, pipe in self._others:
            with suppress(OSError):
                pipe.send(0)
        if self._rank is not None:
            self._rank.close()
        self._rank = self._load = None
        for process, pipe in self._others:
            process.join()
            pipe.close()
        self._others = []
        if self._pacer is not None:
            self._pacer.rest()

    def close(self) -> None:
        """See Workload."""
        self.stop()
        if self._pacer is not None:
            self._pacer.close()


def _spawn(order: Mapping[str, Any], rank: int, workers: int, store: str) -> tuple[Any, Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=_work, args=(dict(order), rank, workers, store, there), daemon=True
    )
    process.start()
    there.close()
    return process, here


def _work(
    order: Mapping[str, Any], rank: int, workers: int, store: str, orders: Connection
) -> None:
    """A rank that is not the first: does as many steps as it is told, until it is told 0."""
    worker = Rank(order, rank, workers, store)
    while steps := orders.recv():
        for _ in range(steps):
            worker.step()
        worker.wait()
    worker.close()


def _watch(processes: Sequence[Any]) -> None:
    """Without one of its ranks a job waits for ever on a GPU: end it, and say why."""

    def watching() -> None:
        left = {one.sentinel: one for one in processes}
        while left:
            for sentinel in wait(list(left)):
                process = left.pop(sentinel)
                process.join()
                if process.exitcode:
                    os.write(2, f"a training worker ended with {process.exitcode}\n".encode())
                    os._exit(1)

    threading.Thread(target=watching, name="ranks", daemon=True).start()
