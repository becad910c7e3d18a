# SPDX-License-Identifier: Apache-2.0
"""The tables that `sgreen profile convert` knows: ML.ENERGY, Zeus, Perseus, Splitwise.

The trap: who ran without locking clocks did not run at the highest one; the clock is not known.
Pure.
"""

from collections.abc import Iterable
from dataclasses import replace

from profiling.convert import Source
from profiling.errors import ProfileError
from profiling.files import CLOCK
from profiling.profile import InferencePoint, TrainingPoint
from profiling.table import COUNT, NUMBER, Column, Row

__all__ = ["SOURCES"]


def _number(name: str, *, zero: bool = False) -> Column:
    return Column(name=name, kind=NUMBER, needed=True, zero=zero)


def _count(name: str) -> Column:
    return Column(name=name, kind=COUNT, needed=True)


_PERSEUS = (replace(CLOCK, name="frequency", needed=True), _number("time"), _number("energy"))


def _perseus(row: Row) -> Iterable[TrainingPoint]:
    at = row.values(_PERSEUS)
    yield TrainingPoint(
        workers=1,
        clock_mhz=at["frequency"],
        rate=1 / at["time"],
        power_w=at["energy"] / at["time"],
    )


_ZEUS = (_number("power_limit"), _number("time_per_epoch"), _number("average_power"))


def _zeus(row: Row) -> Iterable[TrainingPoint]:
    at = row.values(_ZEUS)
    yield TrainingPoint(
        workers=1,
        power_cap_w=at["power_limit"],
        rate=1 / at["time_per_epoch"],
        power_w=at["average_power"],
    )


_MLENERGY2 = (
    _number("Energy/req (J)"),
    _number("Avg TPOT (s)"),
    _number("Token tput (tok/s)"),
    _number("Avg Output Tokens"),
    _number("Avg BS (reqs)"),
    _count("TP"),
    _count("PP"),
)


def _mlenergy2(row: Row) -> Iterable[InferencePoint]:
    at = row.values(_MLENERGY2)
    if at["PP"] != 1:
        raise ProfileError(
            f"{row.path}: line {row.line}: column PP: a pipeline of {at['PP']}; a profile is "
            "of one tensor-parallel group, choose with --where PP=1"
        )
    requests_per_s = at["Token tput (tok/s)"] / at["Avg Output Tokens"]
    yield InferencePoint(
        phase="decode",
        batch=max(1, round(at["Avg BS (reqs)"])),
        latency_s=at["Avg TPOT (s)"],
        power_w=at["Energy/req (J)"] * requests_per_s,
        tp=at["TP"],
    )


_MLENERGY3 = (
    _number("avg_batch_size"),
    _number("median_itl_ms"),
    _number("avg_power_watts"),
    _count("num_gpus"),
)


def _mlenergy3(row: Row) -> Iterable[InferencePoint]:
    at = row.values(_MLENERGY3)
    yield InferencePoint(
        phase="decode",
        batch=max(1, round(at["avg_batch_size"])),
        latency_s=at["median_itl_ms"] / 1000,
        power_w=at["avg_power_watts"],
        tp=at["num_gpus"],
    )


_SPLITWISE = (
    _count("prompt_size"),
    _count("batch_size"),
    _count("token_size"),
    _number("prompt_time"),
    _number("token_time"),
    _count("tensor_parallel"),
)


def _splitwise(row: Row) -> Iterable[InferencePoint]:
    at = row.values(_SPLITWISE)
    batch, tp = at["batch_size"], at["tensor_parallel"]
    yield InferencePoint(
        phase="prefill",
        batch=batch,
        context_tokens=at["prompt_size"],
        latency_s=at["prompt_time"] / 1000,
        tp=tp,
    )
    yield InferencePoint(
        phase="decode",
        batch=batch,
        # On average over the answer.
        context_tokens=at["prompt_size"] + at["token_size"] // 2,
        latency_s=at["token_time"] / 1000,
        tp=tp,
    )


SOURCES = {
    one.name: one
    for one in (
        Source(
            name="perseus",
            about="Perseus stage profiles: time and energy of a micro-batch at locked clocks",
            cites="Perseus, SOSP 2024, github.com/ml-energy/zeus branch kronos, Apache-2.0",
            columns=("stage", "instruction", "frequency", "time", "energy"),
            identity=("stage", "instruction"),
            points=_perseus,
            head=lambda row: {
                "model": f"stage {row.cells['stage']}, {row.cells['instruction']}",
            },
        ),
        Source(
            name="zeus",
            about="Zeus summaries: time and power of a training epoch under power caps",
            cites="Zeus, NSDI 2023 trace, github.com/ml-energy/zeus, Apache-2.0",
            columns=(
                "dataset",
                "network",
                "batch_size",
                "optimizer",
                "power_limit",
                "time_per_epoch",
                "average_power",
            ),
            identity=("dataset", "network", "batch_size", "optimizer"),
            points=_zeus,
            head=lambda row: {
                "model": f"{row.cells['network']}, {row.cells['dataset']}, batch "
                f"{row.cells['batch_size']}, {row.cells['optimizer']}",
            },
        ),
        Source(
            name="mlenergy-v2",
            about="ML.ENERGY leaderboard v2: decode per batch size, default clocks",
            cites="ML.ENERGY leaderboard v2, github.com/ml-energy/leaderboard-v2, Apache-2.0",
            columns=("Model", "GPU", *(one.name for one in _MLENERGY2)),
            identity=("Model", "GPU", "TP", "PP"),
            points=_mlenergy2,
            head=lambda row: {"model": row.cells["Model"], "gpu_name": row.cells["GPU"]},
        ),
        Source(
            name="mlenergy-v3",
            about="ML.ENERGY benchmark v3: decode per batch size, default clocks",
            cites="ML.ENERGY benchmark v3, github.com/ml-energy/leaderboard, Apache-2.0",
            columns=(
                "model_id",
                "gpu_model",
                "weight_precision",
                "tensor_parallel",
                "expert_parallel",
                "data_parallel",
                *(one.name for one in _MLENERGY3),
            ),
            identity=(
                "model_id",
                "gpu_model",
                "num_gpus",
                "tensor_parallel",
                "expert_parallel",
                "data_parallel",
                "weight_precision",
            ),
            points=_mlenergy3,
            head=lambda row: {
                "model": row.cells["model_id"],
                "gpu_name": row.cells["gpu_model"],
                "dtype": row.cells["weight_precision"],
                "engine_name": "vLLM",
            },
        ),
        Source(
            name="splitwise",
            about="Splitwise performance model: latencies per prompt and batch; no watts",
            cites="Splitwise simulator, github.com/Mutinifni/splitwise-sim, MIT",
            columns=("model", "hardware", *(one.name for one in _SPLITWISE)),
            identity=("model", "hardware"),
            points=_splitwise,
            head=lambda row: {"model": row.cells["model"], "gpu_name": row.cells["hardware"]},
            repeats=True,
        ),
    )
}
