# SPDX-License-Identifier: Apache-2.0
"""Opens a workload by its name; torch and vLLM are imported only here, and only when used."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiling.errors import ProfileError
from profiling.sweep.hardware import Hardware
from profiling.workload.protocol import Workload

__all__ = ["Chosen", "open_workload"]

_SIMULATED = "simulated-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a person asked for; `model` is a directory, or a name for training and simulation."""

    workload: str
    model: str | None
    batches: Sequence[int]
    contexts: Sequence[int]
    workers: Sequence[int]
    tp: int = 1


def open_workload(chosen: Chosen, hardware: Hardware) -> Workload:
    """The workload, opened. ProfileError: a package is missing, or no such model."""
    if chosen.workload.startswith(_SIMULATED):
        return _simulated(chosen, hardware)
    if chosen.workload == "training":
        train = _imported("profiling.workload.training", "torch").open_training
        more = {} if chosen.model is None else {"model": chosen.model}
        training: Workload = train(gpus=hardware.gpus, workers=tuple(chosen.workers), **more)
        return training
    if chosen.model is None or not Path(chosen.model).is_dir():
        shown = "nothing" if chosen.model is None else repr(chosen.model)
        raise ProfileError(f"--model {shown}: --workload inference needs a model's directory")
    infer = _imported("profiling.workload.inference", "vllm").open_inference
    inference: Workload = infer(
        Path(chosen.model),
        gpus=hardware.gpus,
        batches=tuple(chosen.batches),
        contexts=tuple(chosen.contexts),
        tp=chosen.tp,
    )
    return inference


def _simulated(chosen: Chosen, hardware: Hardware) -> Workload:
    from profiling.workload.simulated import (
        MODELS,
        Simulated,
        inference_loads,
        model_of,
        training_loads,
    )
    from profiling.workload.simulated_cost import Roofline

    if chosen.tp != 1:
        raise ProfileError(f"--tp {chosen.tp}: simulated workloads know no tensor parallelism")
    kind = chosen.workload.removeprefix(_SIMULATED)
    gpu = model_of(hardware.gpus[0])
    if hardware.bench is None:
        raise ProfileError(
            f"--workload {chosen.workload}: no bench of emulated GPUs is known; give --emulate"
        )
    costs = Roofline(gpu, kind, chosen.model or MODELS[kind])
    if kind == "inference":
        loads = inference_loads(chosen.batches, chosen.contexts)
    else:
        loads = training_loads(chosen.workers)
    return Simulated(hardware.bench, hardware.time, hardware.gpus, costs, loads)


def _imported(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ProfileError(
            f"--workload {name.rpartition('.')[2]} needs the package {error.name or package}, "
            f"which is not installed for this Python; install {package}"
        ) from error
