# SPDX-License-Identifier: Apache-2.0
"""Training as a workload: data-parallel steps of torch in a child process, one GPU per worker.

Every worker has a batch of the same size, so the batch of the job grows with its workers. On an
emulated GPU the steps run on the CPU and each is stretched as the slowest emulated clock says: the
numbers are simulated.
"""

import importlib.util
from collections.abc import Sequence

from profiling.device.gpu import Gpu
from profiling.errors import ProfileError
from profiling.workload.child import ChildWorkload, environment, pace
from profiling.workload.protocol import Workload

__all__ = ["open_training"]


def open_training(
    *,
    gpu: Gpu | None = None,
    gpus: Sequence[Gpu] = (),
    workers: Sequence[int] = (1, 2, 4),
    model: str = "tiny-transformer",
    samples: int = 8,
    seed: int = 0,
) -> Workload:
    """Training of a model (see torch_model.make_model) with so many samples per worker and step.

    Raises ProfileError where torch is not there or an option is wrong, ProfilingError where the
    model cannot be trained.
    """
    devices = list(gpus) or [one for one in (gpu,) if one is not None]
    if not devices:
        raise ProfileError("training: needs a GPU; there is none")
    if samples < 1:
        raise ProfileError(f"samples {samples}: give 1 or more")
    if importlib.util.find_spec("torch") is None:
        raise ProfileError(
            "torch is not installed here: pip install torch, into the environment that sgreen "
            "runs in"
        )
    options = {
        "model": model,
        "samples": samples,
        "workers": list(workers),
        "gpus": len(devices),
        "seed": seed,
        "pace": pace(devices),
    }
    engine = "profiling.workload.torch_engine:TorchEngine"
    return ChildWorkload("training", engine, options, environment(devices))
