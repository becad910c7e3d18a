# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() and unset() are dataclass fields, not values shared by mistake
"""The settings of nodes: [node] and [nvml], which sgreen-noded reads as root (node.settings), and
[nodes], which is sgreend's side of it."""

from dataclasses import dataclass
from pathlib import Path

from slurm_green.config import kinds
from slurm_green.config.setting import setting, unset

__all__ = ["NodeSection", "NodesSection", "NvmlSection"]

_MOST_MHZ = 10_000
_MOST_W = 5_000
_USER = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}"


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
    name: str | None = unset(
        kinds.text("a node's name", r"[A-Za-z0-9][\w.-]*"),
        "Slurm's name of this node; left out, the host's name up to the first dot.",
    )
    slurm_conf: Path | None = unset(
        kinds.path(),
        """The slurm.conf of this node's slurmd, where slurmds of other clusters run on the same
        machine: their jobs, of the same numbers, are then not taken for this node's.""",
    )
    vendor: str = setting(
        kinds.choice("auto", "nvidia", "amd"), "auto", "Whose GPUs; auto tries NVIDIA first."
    )
    sgreend: str = setting(
        kinds.url(),
        "",
        """Where sgreend's node API is, http://HOST:PORT (its nodes.listen); empty for nobody, then
        no job has a clock of sgreend's and energies stay in their files.""",
    )
    sgreend_user: str = setting(
        kinds.text("a user name", _USER),
        "slurm",
        "Whose orders are taken beside root's: Slurm's SlurmUser, as which sgreend runs.",
    )
    munge_socket: Path | None = unset(
        kinds.path(), "Socket of munged; left out, the usual one of libmunge."
    )
    orders: Path | None = unset(
        kinds.path(),
        """JSON file with clocks of jobs and the site's cap, for tests and sites without sgreend's
        node API; only root may write to it. Not beside node.sgreend.""",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesSection:
    """What sgreend tells the nodes: clocks of jobs whose profile is known, and the site's cap."""

    listen: str = setting(
        kinds.address(),
        "",
        """Where sgreend's API for nodes listens; an address that nodes reach. Empty turns it off,
        and with it the planning of clocks.""",
    )
    user: str = setting(
        kinds.text("a user name", _USER),
        "root",
        "Whose munge credentials are taken beside root's: as whom sgreen-noded runs.",
    )
    munge_socket: Path | None = unset(
        kinds.path(), "Socket of munged; left out, the usual one of libmunge."
    )
    profiles: Path = setting(
        kinds.path(),
        Path("/etc/slurm-green/profiles"),
        """Directory of the site's profiles, one directory each; jobs name them
        (green:profile=NAME). They go before those that are shipped.""",
    )
    shipped_profiles: bool = setting(
        kinds.flag(), True, "Whether jobs may name the profiles that come with slurm-green, too."
    )
    prices: Path | None = unset(
        kinds.path(),
        """Price file of sgreen plan --prices-out whose times are POSIX seconds. Left out, or older
        than a day beyond its end, the clock of least energy is taken.""",
    )
    safety: float = setting(
        kinds.number(1, 10),
        1.1,
        """A job is slowed only when its expected run time x slowdown x this fits its time limit.
        Beyond it, a slowed job gets its full clock back.""",
    )
    max_slowdown: float = setting(
        kinds.number(1, 10),
        1.25,
        "No clock is planned that makes a job take longer than this times its full speed.",
    )
    cap_clock_mhz: int | None = unset(
        kinds.whole(1, _MOST_MHZ),
        """Highest clock of jobs that have a planned one, on all nodes; never below the lowest with
        which a job's time limit holds.""",
        unit="MHz",
    )
    cap_power_limit_w: float | None = unset(
        kinds.number(1, _MOST_W), "Highest power limit of a GPU of such jobs.", unit="W"
    )
    cap_file: Path | None = unset(
        kinds.path(),
        """JSON file that somebody else writes whole, {"clock_mhz": 1200, "power_limit_w": 400}:
        the lower of it and the settings above holds, and running jobs follow.""",
    )
