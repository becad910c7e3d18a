# SPDX-License-Identifier: Apache-2.0
"""The GPUs that a sweep is given: real ones, a bench's, or emulated ones made for it.

The trap: nvidia-ml-py holds one library for a process, and finds a bench by the environment.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from profiling.device.amd import Amd
from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from profiling.device.gpu import Gpu
from profiling.device.nvml import Nvml
from profiling.errors import DeviceError, ProfileError
from profiling.sweep.times import Time, VirtualTime, WallTime

__all__ = ["Hardware", "opened"]

_AMD = "amd:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """GPUs, the time they live in, and the bench behind them where they are emulated.

    `every` is all of the machine's: what a dead sweep left behind may be on another one.
    """

    gpus: Sequence[Gpu]
    every: Sequence[Gpu]
    time: Time
    bench: Bench | None


@contextmanager
def opened(
    which: str, *, library: Path | None, emulate: str | None, state: Path
) -> Iterator[Hardware]:
    """The GPUs `which` (0 or 0,1 or amd:0); with `emulate`, a model's, in virtual time at `state`.

    Raises ProfileError or DeviceError: no such GPU, no driver.
    """
    text = which.removeprefix(_AMD)
    wanted = [int(one) for one in text.split(",") if one.strip().isdecimal()]
    if not wanted or len(set(wanted)) != len(text.split(",")):
        raise ProfileError(f"--gpu {which!r}: wanted numbers such as 0 or 0,1, or amd:0")
    if which.startswith(_AMD):
        amd = Amd()
        try:
            every: Sequence[Gpu] = amd.gpus()
            yield Hardware(gpus=_chosen(every, wanted), every=every, time=WallTime(), bench=None)
        finally:
            amd.close()
    elif emulate is not None:
        model = load_model(emulate)
        state.parent.mkdir(parents=True, exist_ok=True)
        with (
            Bench.create(state, [model] * (max(wanted) + 1), virtual=True) as bench,
            _environment(str(state)),
            Nvml(bench.library) as nvml,
        ):
            every, time = nvml.gpus(), VirtualTime(bench)
            yield Hardware(gpus=_chosen(every, wanted), every=every, time=time, bench=bench)
    else:
        with Nvml(library) as nvml, ExitStack() as stack:
            every = nvml.gpus()
            gpus = _chosen(every, wanted)
            place = os.environ.get(STATE_VARIABLE) if gpus[0].identity.emulated else None
            there = stack.enter_context(Bench(Path(place))) if place else None
            yield Hardware(gpus=gpus, every=every, time=WallTime(), bench=there)


def _chosen(gpus: Sequence[Gpu], wanted: Sequence[int]) -> list[Gpu]:
    by_index = {one.identity.index: one for one in gpus}
    for index in wanted:
        if index not in by_index:
            raise DeviceError(
                f"--gpu {index}: there is no such GPU here; there are "
                f"{', '.join(map(str, by_index)) or 'none'}"
            )
    names = {by_index[one].identity.name for one in wanted}
    if len(names) > 1:
        raise DeviceError(
            f"--gpu: {' and '.join(sorted(names))} are not alike; a profile is of one"
        )
    return [by_index[one] for one in wanted]


@contextmanager
def _environment(state: str) -> Iterator[None]:
    before = os.environ.get(STATE_VARIABLE)
    os.environ[STATE_VARIABLE] = state
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(STATE_VARIABLE, None)
        else:
            os.environ[STATE_VARIABLE] = before
