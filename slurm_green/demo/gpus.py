# SPDX-License-Identifier: Apache-2.0
"""The demo's GPUs: their model, the profile of its training jobs, and the work jobs do on them."""

import shlex
from pathlib import Path

from profiling.device.emulated import physics
from profiling.device.emulated.models import load_model
from profiling.files import write_profile
from profiling.profile import Gpu, Profile, Provenance, TrainingPoint
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.load_hook import MEM_ACTIVITY, SM_ACTIVITY
from slurm_green.demo import work

__all__ = ["MODEL", "PROFILE", "full_clock_mhz", "write_profiles", "write_work"]

MODEL = "h100-sxm"
PROFILE = "demo-training"
_CLOCKS = slice(30, None, 3)  # every 45 MHz, from 660 on


def full_clock_mhz() -> float:
    """What a GPU that nobody holds runs at."""
    return float(load_model(MODEL).max_clock_mhz)


def write_profiles(directory: Path) -> None:
    """A directory of profiles with the jobs' one, from the law of the emulated GPU itself."""
    model = load_model(MODEL)
    clocks = model.clocks_mhz[_CLOCKS]
    rates = 1.0 / physics.time_s(clocks, SM_ACTIVITY, MEM_ACTIVITY, model)
    powers = physics.power_w(clocks, SM_ACTIVITY, MEM_ACTIVITY, model)
    points = zip(clocks.tolist(), rates.tolist(), powers.tolist(), strict=True)
    profile = Profile(
        provenance=Provenance.SIMULATED,
        gpu_name=model.product,
        source=f"the law of the emulated {MODEL}",
        gpu=Gpu(clocks=tuple(clocks.tolist())),
        training=tuple(
            TrainingPoint(workers=1, clock_mhz=clock, rate=rate, power_w=power)
            for clock, rate, power in points
        ),
    )
    write_profile(directory / PROFILE, profile)


def write_work(layout: Layout) -> None:
    """The program that job scripts run, where they run: `./gpu-work SECONDS`."""
    command = ["/usr/bin/python3", "-IS", str(Path(work.__file__)), str(layout.gpu_library)]
    command += [str(layout.nodes), f"{full_clock_mhz():g}"]
    path = layout.work / "gpu-work"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$1"\n', encoding="utf-8")
    path.chmod(0o755)
