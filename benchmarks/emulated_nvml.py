# SPDX-License-Identifier: Apache-2.0
"""What calls to the emulated NVML cost, and how far its GPU models are from public measurements.

    python benchmarks/emulated_nvml.py [--data DIR]

Costs are medians of calls through nvidia-ml-py on one core. A comparison gives a model only the
load, from a few settings that are fixed beforehand, and predicts the others. The data directory
($SLURM_GREEN_DATA, ../shared/data) may be missing: then there are no comparisons. Prints markdown.
"""

import argparse
import csv
import ctypes
import lzma
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pynvml
from numpy.typing import NDArray
from scipy.optimize import least_squares

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import GpuModel, load_model
from profiling.device.emulated.physics import power_w, time_s

Floats = NDArray[np.float64]

READ_US, LOCK_US, DAY_US = 5.0, 50.0, 1000.0
# The board of that sweep stops at 480 W, not at the 400 W of the standard part.
PERSEUS_CAP_W = 480.0
PERSEUS_CLOCKS_MHZ = (855.0, 1125.0, 1305.0)
# That card runs 2610 MHz when nothing holds it back.
RTX_HOLD_MHZ = 2610.0
RTX_CAPS_W = (230.0, 270.0, 310.0, 400.0)


def median_us(call: Callable[[], object], calls: int) -> float:
    """The median of the times of so many calls."""
    taken_ns = []
    for _ in range(calls):
        start_ns = time.perf_counter_ns()
        call()
        taken_ns.append(time.perf_counter_ns() - start_ns)
    return statistics.median(taken_ns) / 1e3


def costs(directory: Path) -> None:
    """Prints the table of costs."""
    state = directory / "gpus"
    bench = Bench.create(state, [load_model("h100-sxm")] * 8, virtual=True)
    os.environ[STATE_VARIABLE] = str(state)
    pynvml.nvmlLib = ctypes.CDLL(str(bench.library))
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    bench.load(0, 0.8, 0.5)

    def a_day() -> None:
        bench.advance(86_400)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)

    rows: list[tuple[str, Callable[[], object], float]] = [
        ("clock", lambda: pynvml.nvmlDeviceGetClockInfo(handle, 1), READ_US),
        ("power", lambda: pynvml.nvmlDeviceGetPowerUsage(handle), READ_US),
        ("energy", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle), READ_US),
        ("event reasons", lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle), READ_US),
        ("2 field values", lambda: pynvml.nvmlDeviceGetFieldValues(handle, [83, 186]), READ_US),
        ("lock", lambda: pynvml.nvmlDeviceSetGpuLockedClocks(handle, 990, 1005), LOCK_US),
        ("reset lock", lambda: pynvml.nvmlDeviceResetGpuLockedClocks(handle), LOCK_US),
        ("a simulated day", a_day, DAY_US),
    ]
    print("| call | median us | at most |\n|---|---|---|")
    for name, call, most_us in rows:
        print(f"| {name} | {median_us(call, 20_000):.1f} | {most_us:g} |")
    pynvml.nvmlShutdown()
    bench.close()


def settled(caps_w: Floats, hold_mhz: float, sm: float, mem: float, model: GpuModel) -> Floats:
    """The clock at which each cap holds this load; between the steps, as a board's average is."""
    steps = model.clocks_mhz[model.clocks_mhz <= hold_mhz]
    return np.interp(caps_w, power_w(steps, sm, mem, model), steps)


def a100_errors(path: Path) -> list[Floats]:
    """Relative errors of time, power and energy at the held-out clocks of all stages."""
    curves: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            point = (float(row["frequency"]), float(row["time"]), float(row["energy"]))
            curves[row["stage"], row["instruction"]].append(point)
    model, errors = load_model("a100-sxm4-80gb"), []
    for points in curves.values():
        clock, took_s, energy_j = np.array(sorted(points)).T
        known = np.isin(clock, PERSEUS_CLOCKS_MHZ)

        def predict(x: Floats, asked: Floats = clock) -> tuple[Floats, Floats]:
            cap = np.full(1, PERSEUS_CAP_W)
            clocks = np.minimum(asked, settled(cap, np.inf, x[0], x[1], model))
            return time_s(clocks, x[2], x[3], model, host_s=x[4]), power_w(
                clocks, x[0], x[1], model
            )

        truth = (took_s, energy_j / took_s)
        x = fitted(predict, truth, known, [0.9, 0.1, took_s[-1], took_s[-1] / 2, took_s[-1] / 9])
        took, power = predict(x)
        ratio = np.array([took / took_s, power / truth[1], took * power / energy_j])
        errors.append(np.abs(ratio - 1)[:, ~known])
    return errors


def rtx_errors(path: Path) -> list[Floats]:
    """Relative errors of time per token and power at the held-out caps."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            (float(row["cap_W"]), 1 / float(row["narr_TPS"]), float(row["actual_W"]))
            for row in csv.DictReader(file)
        ]
    cap_w, took_s, watts = np.array(rows).T
    model, known = load_model("rtx-4090"), np.isin(cap_w, RTX_CAPS_W)

    def predict(x: Floats) -> tuple[Floats, Floats]:
        clocks = settled(cap_w, RTX_HOLD_MHZ, x[0], x[1], model)
        return time_s(clocks, x[2], x[3], model, host_s=x[4]), power_w(clocks, x[0], x[1], model)

    x = fitted(predict, (took_s, watts), known, [0.8, 0.8, 0.008, 0.012, 0.006])
    took, power = predict(x)
    ratio = np.array([took / took_s, power / watts, took * power / (took_s * watts)])
    return [np.abs(ratio - 1)[:, ~known]]


def fitted(
    predict: Callable[[Floats], tuple[Floats, Floats]],
    truth: tuple[Floats, Floats],
    known: NDArray[np.bool_],
    start: list[float],
) -> Floats:
    """sm, mem, compute_s, memory_s, host_s of a load, from the known settings alone."""

    def residuals(x: Floats) -> Floats:
        pairs = zip(predict(x), truth, strict=True)
        return np.concatenate([(guess / true - 1)[known] for guess, true in pairs])

    bounds = ([0.0] * 5, [1.0, 1.0, np.inf, np.inf, np.inf])
    return np.asarray(least_squares(residuals, start, bounds=bounds, x_scale=start).x)


def h100_range_w(path: Path) -> tuple[float, float]:
    """Least and most watts of one GPU under vLLM at default clocks."""
    with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
        watts = [
            float(row["avg_power_watts"]) / float(row["num_gpus"])
            for row in csv.DictReader(file)
            if row["gpu_model"] == "H100"
        ]
    return min(watts), max(watts)


def comparisons(data: Path) -> None:
    """Prints the table of errors, and what can only be compared as a range."""
    sweeps = data / "consumer_gpu_sweeps"
    tables = {
        "A100, Perseus: 16 curves, 3 of 38 clocks known": a100_errors(
            data / "perseus_sosp24" / "stage_profile_gpt3-175b_a100_sxm.csv"
        ),
        "RTX 4090, decode: 4 of 38 power caps known": rtx_errors(
            sweeps / "rtx4090_llamacpp_qwen3.6-27b-q3kxl_decode_single.csv"
        ),
    }
    print("\n| model against | time % | power % | energy % | (worst) |\n|---|---|---|---|---|")
    for name, errors in tables.items():
        every = 100 * np.concatenate(errors, axis=1)
        mean = " | ".join(f"{one:.2f}" for one in every.mean(axis=1))
        worst = ", ".join(f"{one:.1f}" for one in every.max(axis=1))
        print(f"| {name} | {mean} | {worst} |")
    low_w, high_w = h100_range_w(data / "mlenergy_v3" / "llm_lm-arena-chat.csv.xz")
    model = load_model("h100-sxm")
    least, most = (float(power_w(model.max_clock_mhz, load, load, model)) for load in (0, 1))
    print(f"\nH100 under vLLM at default clocks: {low_w:.0f} to {high_w:.0f} W (ML.ENERGY v3);")
    print(f"the model at {model.max_clock_mhz:g} MHz: {least:.0f} W unloaded, {most:.0f} W full.")


def main() -> None:
    """Costs, then comparisons where there are data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("SLURM_GREEN_DATA", Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument(
        "--data", type=Path, default=Path(default), help="where SOURCE.txt files lie"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        costs(Path(directory))
    if options.data.is_dir():
        comparisons(options.data)
    else:
        print(f"\nno comparisons: {options.data} is no directory")


if __name__ == "__main__":
    main()
