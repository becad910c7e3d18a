# SPDX-License-Identifier: Apache-2.0
"""Emulated GPUs behind the real nvidia-ml-py, one state file at a time."""

import ctypes
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pynvml
import pytest

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.build import build_library, find_compiler
from profiling.device.emulated.models import GpuModel, load_model
from profiling.errors import DeviceError

Emulate = Callable[..., AbstractContextManager[Bench]]


@pytest.fixture(scope="session")
def library() -> Path:
    try:
        find_compiler()
    except DeviceError as error:
        pytest.skip(str(error))
    return build_library()


@pytest.fixture(scope="session")
def emulate(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Emulate:
    """`with emulate(model, model, virtual=True) as bench:` and pynvml sees the same GPUs."""
    directory, numbers = tmp_path_factory.mktemp("gpus"), itertools.count()

    @contextmanager
    def running(*models: GpuModel, virtual: bool = True) -> Iterator[Bench]:
        path = directory / str(next(numbers))
        before = pynvml.nvmlLib, os.environ.get(STATE_VARIABLE)
        pynvml.nvmlLib = ctypes.CDLL(str(library))
        pynvml._nvmlGetFunctionPointer_cache.clear()
        os.environ[STATE_VARIABLE] = str(path)
        try:
            with Bench.create(path, models, virtual=virtual, library=library) as bench:
                pynvml.nvmlInit()
                try:
                    yield bench
                finally:
                    pynvml.nvmlShutdown()
        finally:
            path.unlink(missing_ok=True)
            pynvml.nvmlLib = before[0]
            pynvml._nvmlGetFunctionPointer_cache.clear()
            if before[1] is None:
                os.environ.pop(STATE_VARIABLE, None)
            else:
                os.environ[STATE_VARIABLE] = before[1]

    return running


@pytest.fixture(scope="session")
def h100() -> GpuModel:
    return load_model("h100-sxm")


@pytest.fixture(scope="session")
def prompt_h100(h100: GpuModel) -> GpuModel:
    """One whose clock follows at once: its power changes only when somebody sets something."""
    return dataclasses.replace(h100, switch_latency_s=(0.0, 0.0, 0.0))
