# SPDX-License-Identifier: Apache-2.0
"""Fits of real sweeps against settings they did not see; the tables of docs/profiles.md.

`python benchmarks/profile_fit.py [--json]`; seconds on one core. Data: $SLURM_GREEN_DATA, else
../shared/data beside the checkout. Which settings a fit sees is fixed by `sweep_plan`: clocks at
equal distances, caps in equal ratios up to the power drawn at the highest one.

The trap: Perseus measured one pipeline stage and wrote it down seven times; stages 0 to 6 are the
same numbers. Sweeps are counted once, and the honest three-clock test is from forward to backward.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from profiling.curve import best_setting
from profiling.fit import Fit, Knob, Sweep, fit_sweeps
from profiling.law import Floats
from profiling.sweep_plan import first_caps, first_clocks, next_settings
from profiling.table import read_bytes, read_rows

__all__ = ["CASES", "DATA", "Case", "Score", "adaptive", "five_settings", "mean", "three_clocks"]

DATA = Path(os.environ.get("SLURM_GREEN_DATA") or Path(__file__).parents[2] / "shared" / "data")
FIVE_WANTED = {"time": 0.015, "power": 0.015, "regret": 0.01}
THREE_WANTED = {"time": 0.012, "power": 0.02, "energy": 0.013}
_BINDS = 1.25  # a cap binds where the power at the highest one exceeds the lowest cap by this
_DISTINCT = (0, 7)  # stages of Perseus that differ
_MOST_ROUNDS = 12


@dataclass(frozen=True, kw_only=True)
class Score:
    """Mean relative errors at settings not shown, and the energy lost by the setting chosen."""

    name: str
    loads: int
    shown: int
    settings: int
    time: float
    power: float
    energy: float
    regret: float
    worst_regret: float
    floor_time: float | None = None  # errors at the same settings of a fit that saw everything
    floor_power: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sweeps of one GPU, and how they are read."""

    name: str
    knob: Knob
    sweeps: Callable[[], list[Sweep]]
    in_bar: bool = True


def first_settings(knob: Knob, sweep: Sweep, count: int = 5) -> list[float]:
    """What a fit may see; of the sweep itself only the power at the highest setting counts."""
    if knob == "clock_mhz":
        return first_clocks(sweep.setting.tolist(), count)
    return first_caps(sweep.setting.tolist(), float(sweep.power_w[-1]), count)


def three_clocks() -> Iterator[Score]:
    """The GPU's constants from some stages, every other stage's load from three clocks."""
    stages = {
        (stage, name): _perseus("a100_sxm", stage, name)
        for stage in range(8)
        for name in ("forward", "backward")
    }
    distinct = [key for key in stages if key[0] in _DISTINCT]
    splits = (
        ("even stages to odd", [key for key in stages if key[0] % 2 == 0], list(stages)),
        ("odd stages to even", [key for key in stages if key[0] % 2 == 1], list(stages)),
        ("forward to backward", [key for key in distinct if key[1] == "forward"], distinct),
        ("backward to forward", [key for key in distinct if key[1] == "backward"], distinct),
    )
    for name, taught, every in splits:
        known = fit_sweeps([stages[key] for key in taught], "clock_mhz")
        asked = [stages[key] for key in every if key not in taught]
        shown = {one.name: first_clocks(one.setting.tolist(), 3) for one in asked}
        fit = fit_sweeps([_part(one, shown[one.name]) for one in asked], "clock_mhz", known=known)
        yield _score(f"Perseus A100, {name}", fit, asked, shown)


def five_settings(case: Case, *, floor: bool = False) -> Score:
    """A fit from five settings of each load; with `floor`, beside one that saw everything."""
    sweeps = case.sweeps()
    shown = {one.name: first_settings(case.knob, one) for one in sweeps}
    fit = fit_sweeps([_part(one, shown[one.name]) for one in sweeps], case.knob)
    full = fit_sweeps(sweeps, case.knob) if floor else None
    return _score(case.name, fit, sweeps, shown, full=full)


def adaptive(first: int = 5) -> Iterator[Score]:
    """Sweeps that choose their settings: five of each load, then what `next_settings` asks for.

    Only grids of which five settings are a quarter or less.
    """
    for case in CASES:
        sweeps = case.sweeps()
        if not case.in_bar or len(sweeps[0].setting) < 4 * first:
            continue
        shown = {one.name: first_settings(case.knob, one, first) for one in sweeps}
        for _ in range(_MOST_ROUNDS):
            fit = fit_sweeps([_part(one, shown[one.name]) for one in sweeps], case.knob)
            wanted = next_settings(fit, sweeps[0].setting.tolist())
            if not wanted:
                break
            for name, setting in wanted.items():
                shown[name].append(setting)
        yield _score(case.name, fit, sweeps, shown)


def _score(
    name: str,
    fit: Fit,
    sweeps: Sequence[Sweep],
    shown: Mapping[str, Sequence[float]],
    full: Fit | None = None,
) -> Score:
    errors, floors, regrets = [], [], []
    for one in sweeps:
        hidden = ~np.isin(one.setting, shown[one.name])
        if hidden.any():
            errors.append(_errors(fit, one)[:, hidden].mean(axis=1))
            floors.append(_errors(full or fit, one)[:, hidden].mean(axis=1))
        time_s, power_w = fit.predict(one.name, one.setting)
        energy_j = one.time_s * one.power_w
        chosen = best_setting(one.setting, time_s * power_w)
        regrets.append(energy_j[chosen] / energy_j.min() - 1)
    time, power, energy = np.mean(errors, axis=0).tolist()
    return Score(
        name=name,
        loads=len(sweeps),
        shown=sum(len(one) for one in shown.values()),
        settings=sum(len(one.setting) for one in sweeps),
        time=time,
        power=power,
        energy=energy,
        regret=float(np.mean(regrets)),
        worst_regret=float(np.max(regrets)),
        floor_time=float(np.mean(floors, axis=0)[0]) if full else None,
        floor_power=float(np.mean(floors, axis=0)[1]) if full else None,
    )


def _errors(fit: Fit, sweep: Sweep) -> Floats:
    time_s, power_w = fit.predict(sweep.name, sweep.setting)
    ratio = np.stack([time_s / sweep.time_s, power_w / sweep.power_w])
    both = np.concatenate([ratio, ratio.prod(axis=0, keepdims=True)])
    return np.asarray(np.abs(both - 1), dtype=np.float64)


def _part(sweep: Sweep, settings: Sequence[float]) -> Sweep:
    kept = np.isin(sweep.setting, settings)
    return Sweep(
        name=sweep.name,
        setting=sweep.setting[kept],
        time_s=sweep.time_s[kept],
        power_w=sweep.power_w[kept],
    )


def _table(path: str) -> list[dict[str, str]]:
    file = DATA / path
    return [row.cells for row in read_rows(read_bytes(file), file, ())]


def _sweep(name: str, rows: Sequence[tuple[float, float, float]]) -> Sweep:
    setting, time_s, power_w = np.array(sorted(rows)).T
    return Sweep(name=name, setting=setting, time_s=time_s, power_w=power_w)


def _perseus(gpu: str, stage: int, instruction: str) -> Sweep:
    rows = [
        (float(row["frequency"]), float(row["time"]), float(row["energy"]) / float(row["time"]))
        for row in _table(f"perseus_sosp24/stage_profile_gpt3-175b_{gpu}.csv")
        if row["stage"] == str(stage) and row["instruction"] == instruction
    ]
    return _sweep(f"{instruction} {stage}", rows)


def _perseus_distinct(gpu: str) -> list[Sweep]:
    return [_perseus(gpu, stage, name) for stage in _DISTINCT for name in ("forward", "backward")]


def _rtx5090(*memory_mhz: int) -> list[Sweep]:
    rows = _table("consumer_gpu_sweeps/rtx5090_vllm_gemma4-31b_clocklock_decode_n6.csv")
    return [
        _sweep(
            f"{column} at {memory}",
            [
                (float(row["gpu_MHz"]), 1 / float(row[column]), float(row["actual_W"]))
                for row in rows
                if row["mem_MHz"] == str(memory)
            ],
        )
        for memory in memory_mhz
        for column in ("narr_TPS", "code_TPS")
    ]


def _llamacpp(path: str, *columns: str) -> list[Sweep]:
    rows = _table(f"consumer_gpu_sweeps/{path}")
    return [
        _sweep(
            f"{path} {column}",
            [(float(row["cap_W"]), 1 / float(row[column]), float(row["actual_W"])) for row in rows],
        )
        for column in columns
    ]


def _zeus(gpu: str, *, binds: bool) -> list[Sweep]:
    """Loads with every cap once; those a cap holds back, or the others."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in _table(f"zeus_nsdi23/summary_power_{gpu}.csv"):
        name = " ".join(row[one] for one in ("dataset", "network", "batch_size", "optimizer"))
        values = tuple(
            float(row[one]) for one in ("power_limit", "time_per_epoch", "average_power")
        )
        found.setdefault(name, []).append((values[0], values[1], values[2]))
    longest = max(map(len, found.values()))
    sweeps = [_sweep(name, rows) for name, rows in found.items() if len(rows) == longest]
    return [one for one in sweeps if binds == bool(one.power_w[-1] > _BINDS * one.setting[0])]


CASES = (
    Case(
        name="Perseus A100, clocks",
        knob="clock_mhz",
        sweeps=lambda: _perseus_distinct("a100_sxm"),
    ),
    Case(name="Perseus A40, clocks", knob="clock_mhz", sweeps=lambda: _perseus_distinct("a40")),
    Case(
        name="RTX 5090, clocks, memory at 7001 and 14001 MHz",
        knob="clock_mhz",
        sweeps=lambda: _rtx5090(7001, 14001),
    ),
    Case(
        name="RTX 5090, clocks, memory at 810 MHz",
        knob="clock_mhz",
        sweeps=lambda: _rtx5090(810),
    ),
    # At 765 MHz and above the memory ran at 810 MHz: two cards in one sweep.
    Case(
        name="RTX 5090, clocks, memory at 405 MHz",
        knob="clock_mhz",
        sweeps=lambda: _rtx5090(405),
        in_bar=False,
    ),
    Case(name="Zeus A40, caps", knob="power_cap_w", sweeps=lambda: _zeus("a40", binds=True)),
    Case(name="Zeus V100, caps", knob="power_cap_w", sweeps=lambda: _zeus("v100", binds=True)),
    Case(
        name="RTX 4090, caps",
        knob="power_cap_w",
        sweeps=lambda: _llamacpp(
            "rtx4090_llamacpp_qwen3.6-27b-q3kxl_decode_single.csv", "narr_TPS", "code_TPS"
        ),
    ),
    Case(
        name="RTX 3090, caps",
        knob="power_cap_w",
        sweeps=lambda: [
            *_llamacpp("rtx3090_llamacpp_qwen3.6-27b_decode_single.csv", "narr_TPS", "code_TPS"),
            *_llamacpp("rtx3090_llamacpp_qwen3.6-27b_prefill.csv", "prefill_TPS"),
        ],
    ),
    # Nothing but noise moves: what a cap above the load's power does.
    Case(
        name="Zeus A40, caps that bind nothing",
        knob="power_cap_w",
        sweeps=lambda: _zeus("a40", binds=False),
        in_bar=False,
    ),
    Case(
        name="Zeus V100, caps that bind nothing",
        knob="power_cap_w",
        sweeps=lambda: _zeus("v100", binds=False),
        in_bar=False,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is missing: set SLURM_GREEN_DATA to where the sweeps are")
    tables = {
        "three clocks": (list(three_clocks()), THREE_WANTED),
        "five settings": ([five_settings(case, floor=True) for case in CASES], FIVE_WANTED),
        "adaptive": (list(adaptive()), FIVE_WANTED),
    }
    if asked.json:
        print(
            json.dumps({name: [asdict(one) for one in rows] for name, (rows, _) in tables.items()})
        )
        return
    for name, (rows, wanted) in tables.items():
        print(
            f"\n{name}; wanted {', '.join(f'{key} {100 * at:g} %' for key, at in wanted.items())}"
        )
        print("| sweeps | loads | seen | time | power | energy | regret (most) | seeing all |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for row in rows:
            print(_row(row, wanted))
        if name != "three clocks":
            print(_row(mean([row for row in rows if _in_bar(row.name)]), wanted))


def _in_bar(name: str) -> bool:
    return next(case.in_bar for case in CASES if case.name == name)


def mean(rows: Sequence[Score]) -> Score:
    """Over loads, each counting once."""
    weight = np.array([row.loads for row in rows]) / sum(row.loads for row in rows)
    means = {
        key: float(weight @ [getattr(row, key) for row in rows])
        for key in ("time", "power", "energy", "regret")
    }
    return Score(
        name="all but those out of the bar",
        loads=sum(row.loads for row in rows),
        shown=sum(row.shown for row in rows),
        settings=sum(row.settings for row in rows),
        worst_regret=max(row.worst_regret for row in rows),
        **means,
    )


def _row(row: Score, wanted: Mapping[str, float]) -> str:
    cells = []
    for key in ("time", "power", "energy", "regret"):
        value = getattr(row, key)
        text = f"{100 * value:.2f}"
        cells.append(f"**{text}**" if value > wanted.get(key, np.inf) else text)
    cells[-1] += f" ({100 * row.worst_regret:.1f})"
    floor = "" if row.floor_time is None else _pair(row.floor_time, row.floor_power or 0.0)
    seen = f"{row.shown} of {row.settings}"
    return f"| {row.name} | {row.loads} | {seen} | {' | '.join(cells)} | {floor} |"


def _pair(time: float, power: float) -> str:
    return f"{100 * time:.2f}, {100 * power:.2f}"


if __name__ == "__main__":
    main()
