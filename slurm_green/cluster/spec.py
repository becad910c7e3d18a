# SPDX-License-Identifier: Apache-2.0
"""What a person asks for when they ask for a cluster; plain values, checked at once."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slurm_green.errors import BadInputError

__all__ = ["GPU_TYPES", "ClusterSpec", "check_name"]

# Models of emulated GPUs, and the type that Slurm calls them by.
GPU_TYPES = {
    "a100-sxm4-80gb": "a100",
    "h100-sxm": "h100",
    "h200": "h200",
    "rtx-4090": "rtx4090",
}

# Slurm lower-cases ClusterName in jobs and in the database, so upper case would be two names.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """A cluster's shape; everything here survives in cluster.json."""

    name: str
    nodes: int = 4
    gpus: int = 8
    cpus: int = 16
    memory_mb: int = 64_000
    gpu_model: str | None = None
    """None: GPUs that Slurm counts and hands out, and that have neither clock nor power."""
    accounting: bool = False
    accounting_of: str | None = None
    hook: bool = False
    backup: bool = False
    timezone: str | None = None
    extra_conf: tuple[str, ...] = ()
    slurm_root: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what Slurm would refuse later, in words that help."""
        check_name(self.name)
        for field, low, high in (("nodes", 1, 200), ("gpus", 0, 64), ("cpus", 1, 1024)):
            value = getattr(self, field)
            if not low <= value <= high:
                raise BadInputError(f"--{field} {value}: allowed are {low} to {high}")
        if self.gpu_model is not None and self.gpu_model not in GPU_TYPES:
            raise BadInputError(
                f"--gpu-model {self.gpu_model!r}: allowed are {', '.join(GPU_TYPES)}"
            )
        if self.gpu_model is not None and not self.gpus:
            raise BadInputError("--gpu-model: with --gpus 0 there is nothing to emulate")
        if self.accounting and self.accounting_of is not None:
            raise BadInputError(
                "--accounting starts an own slurmdbd, --accounting-of joins another cluster's:"
                " give one of them"
            )
        if self.accounting_of == self.name:
            raise BadInputError(f"--accounting-of {self.name}: a cluster cannot join itself")

    @property
    def node_names(self) -> tuple[str, ...]:
        """The names of its nodes, which also name the cluster."""
        return tuple(f"{self.name}-n{index}" for index in range(1, self.nodes + 1))

    @property
    def gpu_type(self) -> str:
        """The type of its GPUs, as `--gres=gpu:TYPE:N` names it."""
        return GPU_TYPES[self.gpu_model or "h100-sxm"]

    @property
    def has_accounting(self) -> bool:
        """Whether a slurmdbd, own or joined, keeps its records."""
        return self.accounting or self.accounting_of is not None

    def to_json(self) -> dict[str, Any]:
        """As cluster.json holds it."""
        values = asdict(self)
        values["slurm_root"] = None if self.slurm_root is None else str(self.slurm_root)
        values["extra_conf"] = list(self.extra_conf)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ClusterSpec":
        """Back from cluster.json."""
        root = values["slurm_root"]
        return cls(
            **{
                **values,
                "extra_conf": tuple(values["extra_conf"]),
                "slurm_root": None if root is None else Path(root),
            }
        )


def check_name(name: str) -> str:
    """The name itself when it may name a cluster."""
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f"cluster name {name!r}: allowed are up to 24 lower-case letters, digits and '-',"
            " a letter first"
        )
    return name
