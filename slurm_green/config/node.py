# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() and unset() are dataclass fields, not values shared by mistake
"""The settings of a node: [node] and [nvml], which sgreen-noded reads as root (node.settings)."""

from dataclasses import dataclass
from pathlib import Path

from slurm_green.config import kinds
from slurm_green.config.setting import setting, unset

__all__ = ["NodeSection", "NvmlSection"]

_MOST_MHZ = 10_000
_MOST_W = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NvmlSection:
    """How NVIDIA's GPUs are reached."""

    library: Path | None = unset(
        kinds.path(),
        """The libnvidia-ml.so.1 to load; left out, the driver's. The emulated one goes here.""",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSection:
    """sgreen-noded: what it may set, what it restores, and where its files are."""

    run: Path = setting(
        kinds.path(),
        Path("/run/slurm-green-node"),
        """Directory of its sockets: root.sock for prolog and epilog, user.sock for jobs.""",
    )
    state: Path = setting(
        kinds.path(),
        Path("/var/lib/slurm-green-node"),
        "Directory of its journal, of jobs that run, and of energies not yet reported.",
    )
    vendor: str = setting(
        kinds.choice("auto", "nvidia", "amd"), "auto", "Whose GPUs; auto tries NVIDIA first."
    )
    orders: Path | None = unset(
        kinds.path(),
        """JSON file with clocks of jobs and the site's cap, for tests and sites without sgreend's
        node API; only root may write to it.""",
    )
    user_requests: bool = setting(
        kinds.flag(), True, "Whether a job's own user may lower the clocks of its GPUs."
    )
    interval_s: float = setting(
        kinds.duration(0.2, 600),
        5.0,
        "Time between two looks at GPUs, jobs and orders.",
        key="interval",
    )
    metrics: str = setting(
        kinds.address(),
        "127.0.0.1:9808",
        "Where /metrics listens, with the names of dcgm-exporter; empty turns it off.",
    )
    default_clock_mhz: int | None = unset(
        kinds.whole(1, _MOST_MHZ),
        """Highest clock that GPUs have when no job of ours sets one; left out, the driver's own
        choice. NVML cannot tell which lock was there before.""",
        unit="MHz",
    )
    default_power_limit_w: float | None = unset(
        kinds.number(1, _MOST_W),
        "Power limit restored after ours; left out, the driver's default.",
        unit="W",
    )
    min_clock_mhz: int = setting(
        kinds.whole(0, _MOST_MHZ), 0, "No GPU is set to a lower clock.", unit="MHz"
    )
    max_clock_mhz: int = setting(
        kinds.whole(0, _MOST_MHZ), _MOST_MHZ, "No GPU is set to a higher clock.", unit="MHz"
    )
    min_power_limit_w: float = setting(
        kinds.number(0, _MOST_W), 0.0, "No GPU is set to a lower power limit.", unit="W"
    )
