# SPDX-License-Identifier: Apache-2.0
"""What a step of a simulated model costs: seconds of compute, memory and host, by a roofline.

`simulated.toml` has the models, the GPUs' peaks and the shares of them that are assumed. The
trap: these are orders of magnitude with a published peak behind them, and no measurement.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiling.device.emulated.models import GpuModel
from profiling.errors import ProfileError
from profiling.workload.protocol import Load

__all__ = ["Cost", "Roofline"]

_LARGE_BYTES = 70 * 2**30
_ENGINE = {True: (8192, 1024), False: (2048, 256)}  # tokens and sequences of an iteration


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one step on one GPU at its highest clock; `units` is the work of all GPUs together."""

    compute_s: float
    memory_s: float
    host_s: float
    units: float


class Roofline:
    """A model of `simulated.toml` on an emulated GPU; ProfileError for one it does not have."""

    def __init__(self, gpu: GpuModel, kind: str, model: str) -> None:
        tables = tomllib.loads(
            Path(__file__).with_name("simulated.toml").read_text(encoding="utf-8")
        )
        self.kind, self.model = kind, model
        self._assumed: dict[str, float] = tables["assumed"]
        self._model: dict[str, Any] = _entry(tables[kind], model, f"simulated {kind} model")
        peak = _entry(tables["gpu"], gpu.name, "simulated workload for GPU model")
        clocks = gpu.max_clock_mhz / peak["flops_clock_mhz"]
        self._flops = peak["flops"] * clocks * self._assumed["flops_share"]
        self._bytes_per_s = peak["memory_bytes_per_s"] * self._assumed["memory_share"]
        self._link_bytes_per_s = peak["link_bytes_per_s"] * self._assumed["link_share"]
        self._memory_bytes = gpu.memory_bytes

    @property
    def stalled_share(self) -> float:
        """Switching of the SMs while they wait for memory, of that at work."""
        return self._assumed["stalled_share"]

    @property
    def limits(self) -> dict[str, int]:
        """Of the serving engine; nothing for training."""
        if self.kind == "training":
            return {}
        room = self._memory_bytes * self._assumed["memory_used_share"]
        room -= self._weights_bytes + self._assumed["workspace_bytes"]
        tokens, sequences = _ENGINE[self._memory_bytes >= _LARGE_BYTES]
        return {
            "kv_tokens": max(int(room / self._model["kv_bytes_per_token"]), 0),
            "max_batched_tokens": tokens,
            "max_num_seqs": sequences,
        }

    def cost(self, load: Load) -> Cost:
        """Of one step; ProfileError where the load does not fit."""
        return self._training(load) if self.kind == "training" else self._inference(load)

    @property
    def _weights_bytes(self) -> float:
        return float(self._model["parameters"] * self._model["bytes_per_parameter"])

    def _inference(self, load: Load) -> Cost:
        batch, context, limits = load.batch or 1, load.context_tokens or 0, self.limits
        prefill = load.phase == "prefill"
        tokens = batch * context if prefill else batch
        for name, wanted in (
            ("kv_tokens", batch * context),
            ("max_batched_tokens", tokens),
            ("max_num_seqs", batch),
        ):
            if wanted > limits[name]:
                raise ProfileError(f"needs {name} {wanted}, has {limits[name]}")
        # A prompt's tokens attend to half of it on average.
        attended = context / 2 if prefill else context
        per_token = 2 * self._model["parameters"]
        per_token += 4 * self._model["layers"] * self._model["hidden"] * attended
        cache_bytes = batch * context * self._model["kv_bytes_per_token"]
        return Cost(
            compute_s=tokens * per_token / self._flops,
            memory_s=(self._weights_bytes + cache_bytes) / self._bytes_per_s,
            host_s=self._assumed["host_s"] + batch * self._assumed["host_per_sequence_s"],
            units=1.0,
        )

    def _training(self, load: Load) -> Cost:
        model, gpus = self._model, load.gpus
        tokens = model["samples"] * model["tokens"]
        moved = model["parameters"] * model["state_bytes_per_parameter"]
        moved += tokens * model["hidden"] * model["layers"] * model["activation_bytes"]
        # A ring all-reduce of bf16 gradients.
        reduced_bytes = 2 * (gpus - 1) / gpus * 2 * model["parameters"]
        shown = (1 - self._assumed["comm_overlap"]) * reduced_bytes / self._link_bytes_per_s
        return Cost(
            compute_s=6 * model["parameters"] * tokens / self._flops,
            memory_s=moved / self._bytes_per_s,
            host_s=self._assumed["train_host_s"] + shown,
            units=float(gpus * model["samples"]),
        )


def _entry(table: dict[str, Any], name: str, what: str) -> dict[str, Any]:
    if name not in table:
        raise ProfileError(f"no {what} {name!r}; there are {', '.join(sorted(table))}")
    found: dict[str, Any] = table[name]
    return found
