# SPDX-License-Identifier: Apache-2.0
"""Watts of a job from what it holds: a model until the node measures. Pure.

Sources of the defaults are in the settings' documentation; every figure made from them is
labelled `modelled`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["PowerModel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerModel:
    """Watts per thing held, times the site's PUE.

    `gpu_w_by_partition` overrides `gpu_w` where a partition's GPU type is known.
    """

    gpu_w: float = 400.0
    gpu_idle_w: float = 60.0
    gpu_share_w: float = 0.0  # of gpu_w: what is not the board's, and no counter of a GPU tells
    cpu_core_w: float = 5.0
    node_base_w: float = 0.0
    pue: float = 1.0
    gpu_w_by_partition: Mapping[str, float] = field(default_factory=dict)

    def job_w(self, *, gpus: int, cpus: int, nodes: int, partition: str = "") -> float:
        """Watts the site draws more while the job runs than with its GPUs gone.

        A node's base load counts only for jobs without GPUs, where it is all there is to share.
        """
        gpu_w = self.gpu_w_by_partition.get(partition, self.gpu_w)
        base_w = 0.0 if gpus else nodes * self.node_base_w
        return self.pue * (gpus * gpu_w + cpus * self.cpu_core_w + base_w)

    def rest_w(self, *, gpus: int, cpus: int) -> float:
        """Watts of a job's nodes beside its GPUs' boards."""
        return self.pue * (gpus * self.gpu_share_w + cpus * self.cpu_core_w)

    def idle_w(self, gpus: int) -> float:
        """Watts of GPUs nobody uses."""
        return self.pue * gpus * self.gpu_idle_w
