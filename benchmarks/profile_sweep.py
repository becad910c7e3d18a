# SPDX-License-Identifier: Apache-2.0
"""Adaptive sweeps of simulated workloads against the emulator's law at every clock.

`python benchmarks/profile_sweep.py [--json]`; minutes on one core, as root (NVML's setters). The
sweep is `sgreen profile run` with its defaults; the fit is `sgreen profile fit`'s. Nothing here
is noisy: what is left is what the fit's law cannot say of the emulator's, and the sensors' ticks.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from profiling.curve import best_setting
from profiling.device.emulated.models import GpuModel, load_model
from profiling.device.emulated.physics import bandwidth_share, power_w, time_s
from profiling.files import read_profile
from profiling.fit_profile import LoadKey, fit_profile, sweeps_of
from profiling.law import Floats
from profiling.sweep.asks import swept_clocks
from profiling.sweep.run import Options
from profiling.sweep.session import Session
from profiling.sweep.workloads import Chosen
from profiling.workload.protocol import Load
from profiling.workload.simulated import MODELS
from profiling.workload.simulated_cost import Roofline

WANTED = {"time": 0.015, "power": 0.015, "regret": 0.01, "share": 0.25}
_GPUS = ("h100-sxm", "a100-sxm4-80gb", "rtx-4090", "h200")


@dataclass(frozen=True, kw_only=True)
class Score:
    """Mean errors of a fit over all clocks that hold, what its choice and the best one measured
    cost above the best there is, and what the sweep took."""

    name: str
    loads: int
    windows: int
    full: int  # windows of the same repeats at every clock
    time: float
    power: float
    regret: float
    measured_regret: float
    sweep_s: float  # virtual
    took_s: float  # of this machine


def swept(gpu: str, kind: str) -> Score:
    """One sweep, and how far its fit is from the truth."""
    options = Options()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "p"
        session = Session(
            out=out,
            which="0" if kind == "inference" else "0,1,2,3",
            emulate=gpu,
            chosen=Chosen(
                workload=f"simulated-{kind}",
                model=None,
                batches=(1, 8, 32, 128),
                contexts=(512, 2048, 8192),
                workers=(1, 2, 4),
            ),
            options=options,
            date=None,
        )
        began_s = time.monotonic()
        said = session.run()
        took_s = time.monotonic() - began_s
        profile = read_profile(out)
        windows = [json.loads(one) for one in (out / "windows.jsonl").read_text().splitlines()]
    model, fit = load_model(gpu), fit_profile(profile, replicas=2)
    costs = Roofline(model, kind, MODELS[kind])
    grid = np.array(swept_clocks([int(one) for one in profile.gpu.clocks]), dtype=np.float64)
    rows, holds = [], 0
    for key, seen in sweeps_of(profile)[1].items():
        true_s, true_w, held = _truth(costs, model, key, grid)
        said_s, said_w = fit.fit.predict(str(key), grid)
        energy_j = np.where(held, true_s * true_w, np.inf)
        chosen = best_setting(grid, np.where(held, said_s * said_w, np.nan))
        measured = seen.setting[best_setting(seen.setting, seen.time_s * seen.power_w)]
        rows.append(
            (
                np.abs(said_s / true_s - 1)[held].mean(),
                np.abs(said_w / true_w - 1)[held].mean(),
                energy_j[chosen] / energy_j.min() - 1,
                energy_j[grid == measured][0] / energy_j.min() - 1,
            )
        )
        holds += int(held.sum())
    means = np.mean(rows, axis=0).tolist()
    return Score(
        name=f"{gpu}, {kind}",
        loads=len(rows),
        windows=said["windows"],
        full=holds * options.repeats,
        time=means[0],
        power=means[1],
        regret=means[2],
        measured_regret=means[3],
        sweep_s=_virtual_s(windows, options),
        took_s=took_s,
    )


def _truth(
    costs: Roofline, model: GpuModel, key: LoadKey, grid: Floats
) -> tuple[Floats, Floats, "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    """Time per unit, power per GPU, and whether the clock holds under the power limit."""
    load = (
        Load(workers=key.batch, gpus_per_worker=key.tp)
        if key.phase == "training"
        else Load(phase=key.phase, batch=key.batch, context_tokens=key.context, tp=key.tp)
    )
    cost = costs.cost(load)
    whole_s = time_s(grid, cost.compute_s, cost.memory_s, model, host_s=cost.host_s)
    computing_s = cost.compute_s * model.max_clock_mhz / grid
    stalled_s = np.maximum(whole_s - cost.host_s - computing_s, 0)
    sm = np.minimum((computing_s + costs.stalled_share * stalled_s) / whole_s, 1)
    memory = np.minimum(cost.memory_s / bandwidth_share(grid, model) / whole_s, 1)
    watts = power_w(grid, sm, memory, model)
    return whole_s / cost.units, watts, watts <= model.limit_default_w


def _virtual_s(entries: list[dict[str, object]], options: Options) -> float:
    """What the windows alone take, with at least two to warm up after each change of the clock."""
    windows = [one for one in entries if one["kind"] == "window"]
    changes = sum(
        1
        for before, after in zip([None, *windows], windows, strict=False)
        if before is None
        or (before["load"], before["clock_mhz"]) != (after["load"], after["clock_mhz"])
    )
    return len(windows) * options.window_s + 2 * changes * options.warm_s


def scores() -> Iterator[Score]:
    """Every GPU model, inference and training."""
    for gpu in _GPUS:
        for kind in ("inference", "training"):
            yield swept(gpu, kind)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        parser.exit(2, "NVML's setters, emulated ones too, are root's: run as root\n")
    if asked.json:
        print(json.dumps([asdict(one) for one in scores()]))
        return
    print("| sweep | loads | windows | time | power | regret | of measured | on a GPU | here |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for one in scores():
        share = one.windows / one.full
        cells = [_cell(share, WANTED["share"], f"{one.windows} of {one.full}, {share:.0%}")]
        cells += [_cell(getattr(one, name), WANTED[name]) for name in ("time", "power", "regret")]
        cells.append(_cell(one.measured_regret, WANTED["regret"]))
        minutes = f"{one.sweep_s / 60:.0f} min | {one.took_s:.0f} s"
        print(f"| {one.name} | {one.loads} | {' | '.join(cells)} | {minutes} |", flush=True)


def _cell(value: float, wanted: float, text: str = "") -> str:
    shown = text or f"{100 * value:.2f}"
    return f"**{shown}**" if value > wanted else shown


if __name__ == "__main__":
    main()
