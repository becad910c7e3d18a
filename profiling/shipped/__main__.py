# SPDX-License-Identifier: Apache-2.0
"""`python -m profiling.shipped [NAME ...]`: makes the shipped profiles anew; minutes, as root.

Each is a sweep of a simulated workload on emulated GPUs, at clocks so close that nobody needs a
fit between them.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from profiling.device.emulated.models import load_model
from profiling.errors import ProfilingError
from profiling.sweep.asks import swept_clocks
from profiling.sweep.run import Options
from profiling.sweep.session import Session
from profiling.sweep.workloads import Chosen
from profiling.sweep_plan import first_clocks

__all__ = ["RECIPES", "main", "make"]

_CLOCKS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    gpu: str
    kind: str
    gpus: int = 1


_NAMES = {"h100-sxm": "h100-sxm", "a100-sxm4-80gb": "a100-sxm", "rtx-4090": "rtx-4090"}
RECIPES = {
    **{f"{short}-8b": _Recipe(gpu=gpu, kind="inference") for gpu, short in _NAMES.items()},
    **{
        f"{short}-training": _Recipe(gpu=gpu, kind="training", gpus=8)
        for gpu, short in _NAMES.items()
    },
}


def make(name: str, out: Path) -> None:
    """Sweep one and write its profile to the new directory `out`. Raises ProfilingError."""
    recipe = RECIPES[name]
    model = load_model(recipe.gpu)
    held = [int(one) for one in model.clocks_mhz if one <= model.hold_clock_mhz]
    clocks = first_clocks(swept_clocks(held), _CLOCKS)
    session = Session(
        out=out,
        which=",".join(map(str, range(recipe.gpus))),
        emulate=recipe.gpu,
        chosen=Chosen(
            workload=f"simulated-{recipe.kind}",
            model=None,
            batches=(1, 8, 32, 128),
            contexts=(128, 512, 2048, 8192),
            workers=(1, 2, 4, 8),
        ),
        options=Options(window_s=2.0, repeats=1, clocks_mhz=tuple(int(one) for one in clocks)),
        date=None,
    )
    if why := session.run()["preflight_observes"]:
        raise ProfilingError(f"{name}: clocks could not be set: {why}")
    for beside in ("sweep.json", "windows.jsonl"):
        (out / beside).unlink()


def main(names: list[str]) -> None:
    """Make those named, or all, in place of what is there."""
    for name in names or sorted(RECIPES):
        with tempfile.TemporaryDirectory() as scratch:
            make(name, Path(scratch) / name)
            place = Path(__file__).parent / name
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(Path(scratch) / name, place)
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
