# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() and unset() are dataclass fields, not values shared by mistake
"""Every setting, once: type, default, unit, what is allowed and what it is for.

The loader, `sgreen config show`, the example file and the reference page are all made from this.
A field's name carries its unit; the key in the file does where the value is a bare number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from slurm_green.config import kinds
from slurm_green.config.ledger import LedgerSection
from slurm_green.config.node import NodeSection, NodesSection, NvmlSection
from slurm_green.config.plan import PlanSection
from slurm_green.config.policy import Overrides, PartitionOverrides, PolicySection, resolve
from slurm_green.config.providers import ProviderSettings
from slurm_green.config.setting import setting, unset
from slurm_green.config.signal import SignalSection
from slurm_green.hook.policy import Policy
from slurm_green.plan.power import PowerModel

__all__ = [
    "Budget",
    "Config",
    "Controller",
    "General",
    "Hook",
    "Paths",
    "Power",
    "Priority",
]

HOUR_S = 3_600.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class General:
    """What holds for the whole cluster."""

    cluster: str = setting(
        kinds.text("a cluster name", r"[A-Za-z0-9_.-]*"),
        "",
        "Name of the cluster; empty asks Slurm.",
    )
    mode: str = setting(
        kinds.choice("shadow", "enforce"),
        "shadow",
        """What happens to jobs of a partition that says nothing itself: shadow decides and records
        but changes nothing, enforce defers.""",
    )
    record_field: str = setting(
        kinds.choice("admin_comment", "extra"),
        "admin_comment",
        """The field of a job that carries our record. Users cannot write admin_comment; they can
        write extra, which needs Slurm 23.11 or newer.""",
    )
    comment_prefix: str = setting(
        kinds.text("a word ending in a colon", r"[A-Za-z][A-Za-z0-9_-]{0,15}:"),
        "green:",
        "What users' wishes in --comment start with, as in --comment=green:off.",
    )
    slurm_backend: str = setting(
        kinds.choice("auto", "commands", "pyslurm"),
        "auto",
        """How Slurm is reached: commands runs squeue, sacct and scontrol; pyslurm needs the module
        of the site's own Slurm version; auto takes pyslurm where it works, else commands.""",
    )
    time_zone: str = setting(
        kinds.time_zone(),
        "UTC",
        "Zone of the times shown to people. Files, records and --json are always UTC.",
    )

    @property
    def zone(self) -> tzinfo:
        """The zone of texts."""
        return UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)


def _path(default: str, doc: str) -> Path:
    """A setting that names a file."""
    return setting(kinds.path(), Path(default), doc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where our files are."""

    socket: Path = _path(
        "/run/slurm-green/hook.sock",
        """Socket on which sgreend answers the submit hook. slurmctld's user must be able to write
        to it, nobody else should.""",
    )
    published: Path = _path(
        "/run/slurm-green/hook.plan",
        """What the submit hook reads without asking: who may start jobs earlier, the record's
        field and, with mode = "published", decisions (hook.publish_rows).""",
    )
    status: Path = _path(
        "/run/slurm-green/status.json",
        "World-readable summary of sgreend for everybody's commands: mode, signal age, counts.",
    )
    ledger: Path = _path("/var/lib/slurm-green/ledger.sqlite", "The ledger of energy and carbon.")
    signal: Path = _path(
        "/var/lib/slurm-green-signals/signal.json",
        """The carbon signal as `sgreen fetch` left it: all that sgreend reads of signals. Prices
        and powers lie beside it (signal-price.json).""",
    )
    signals: Path = _path(
        "/var/lib/slurm-green-signals",
        """Directory of the fetching process: measured pasts, last good forecasts, who failed.""",
    )
    lock: Path = _path(
        "/run/slurm-green/sgreend.lock",
        "Held by the sgreend that acts; a second one waits for it.",
    )
    off: Path = _path(
        "/var/lib/slurm-green/off",
        "Marker file of `sgreen off`: while it exists nothing is deferred.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """What happens while a job is submitted."""

    timeout_ms: int = setting(
        kinds.whole(1, 1_000),
        50,
        """Longest total wait of the submit hook for an answer. slurmctld holds locks meanwhile, so
        this is what a hung daemon can cost a submission.""",
        unit="ms",
    )
    hold_s: float = setting(
        kinds.duration(1, 300, whole=True),
        10.0,
        """Begin time given at submission, from now; sgreend moves it to the latest start once it
        has seen the whole job. If sgreend dies in between, the job starts after this long.""",
        key="hold",
    )
    publish_rows: bool = setting(
        kinds.flag(),
        False,
        """Publish decisions about plain jobs for a hook that reads a file instead of asking
        (mode = "published" in job_submit.lua). Costs CPU in every cycle.""",
    )
    user_may_pull: bool = setting(
        kinds.flag(),
        True,
        "Whether a user may start a deferred job of theirs earlier (sgreen run-now, scontrol).",
    )
    look: bool = setting(
        kinds.flag(),
        True,
        """Hold jobs of enforcing partitions for `hold` even when no slack is visible, because
        sbatch --deadline is hidden from submit hooks and only seen afterwards.""",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Watts assumed where nothing is measured; every figure made from them says so."""

    gpu_w: float = setting(
        kinds.number(1, 5_000),
        400.0,
        "Board power of a GPU whose type is not known or not in gpu_types.",
        unit="W",
    )
    gpu_types: Mapping[str, float] = setting(
        kinds.watts_by_type(),
        {
            "v100": 300.0,
            "a40": 300.0,
            "a100": 400.0,
            "h100": 700.0,
            "h200": 700.0,
            "b200": 1000.0,
            "l4": 72.0,
            "l40s": 350.0,
            "rtx4090": 450.0,
        },
        """Board power of a GPU by type, for partitions that name theirs (gpu_type). Defaults are
        the board power limits (TDP) of NVIDIA's data sheets, SXM boards where both exist. Naming
        one type here replaces the whole table.""",
        unit="W",
    )
    gpu_idle_w: float = setting(
        kinds.number(0, 1_000),
        60.0,
        """Power of the board of an idle GPU; counted in the site's figure. Published readings run
        from 35 W (L40S, deep idle) to 75 W (H100).""",
        unit="W",
    )
    gpu_load: float = setting(
        kinds.number(0.05, 1.2),
        0.8,
        "Share of the board power that a job draws on average; an assumption.",
    )
    gpu_share_w: float = setting(
        kinds.number(0, 5_000),
        60.0,
        "What the rest of a node (fans, network, supply losses) draws per GPU, busy or not.",
        unit="W",
    )
    cpu_core_w: float = setting(
        kinds.number(0, 100),
        5.0,
        "Power of a busy CPU core: a server CPU's TDP over its cores, e.g. 280 W / 56.",
        unit="W",
    )
    node_base_w: float = setting(
        kinds.number(0, 10_000),
        0.0,
        "Power of a node beside its GPUs and cores; counted for jobs without GPUs only.",
        unit="W",
    )
    pue: float = setting(
        kinds.number(1, 5),
        1.0,
        "Facility power over IT power; 1 leaves cooling out.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may be booked into one slot by deferred starts, so that not all pick the same."""

    gpus_percent: float = setting(
        kinds.number(1, 100),
        100.0,
        "Share of a partition's GPUs (CPUs where it has none) that deferred starts may book.",
        unit="%",
    )
    reserve_deviations: float = setting(
        kinds.number(0, 10),
        1.0,
        """How much is kept free for jobs yet to come: their usual load and so many of its standard
        deviations. More of it delays others less, and defers less.""",
    )
    watts: float | None = unset(
        kinds.number(1), "Power that deferred starts may book in all, on every slot.", unit="W"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """The daemon's own pace."""

    interval_s: float = setting(
        kinds.duration(1, HOUR_S),
        30.0,
        "Time between two cycles; each asks Slurm once for everything.",
        key="interval",
    )
    min_interval_s: float = setting(
        kinds.duration(0.1, HOUR_S),
        3.0,
        "Shortest time between two cycles in a burst of submissions.",
        key="min_interval",
    )
    releases_per_cycle: int = setting(
        kinds.whole(1, 10_000),
        100,
        """Most jobs let go because their window has come, and most records that follow a new plan,
        in one cycle, so that slurmctld is not flooded.""",
    )
    metrics: str = setting(
        kinds.address(),
        "127.0.0.1:9807",
        "Where /metrics and the status page listen; empty turns them off.",
    )
    stale_signal_s: float = setting(
        kinds.duration(60),
        6 * HOUR_S,
        """A signal that was written longer ago is not believed: what is usual at that hour of the
        week takes its place while that is known, then nothing is deferred.""",
        key="stale_signal",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority:
    """A deferred job keeps its place in the queue."""

    keep_place: bool = setting(
        kinds.flag(),
        True,
        """Give a released job the age it would have had, as a site factor; needs nothing of ours
        where PriorityFlags=ACCRUE_ALWAYS is set.""",
    )
    max_credit_s: float = setting(
        kinds.duration(0, 365 * DAY_S),
        7 * DAY_S,
        "Most age credited to a released job.",
        key="max_credit",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The site's whole configuration, checked."""

    general: General = field(default_factory=General)
    paths: Paths = field(default_factory=Paths)
    hook: Hook = field(default_factory=Hook)
    policy: PolicySection = field(default_factory=PolicySection)
    power: Power = field(default_factory=Power)
    budget: Budget = field(default_factory=Budget)
    controller: Controller = field(default_factory=Controller)
    plan: PlanSection = field(default_factory=PlanSection)
    signal: SignalSection = field(default_factory=SignalSection)
    priority: Priority = field(default_factory=Priority)
    ledger: LedgerSection = field(default_factory=LedgerSection)
    nodes: NodesSection = field(default_factory=NodesSection)
    node: NodeSection = field(default_factory=NodeSection)
    nvml: NvmlSection = field(default_factory=NvmlSection)
    partition: Mapping[str, PartitionOverrides] = field(default_factory=dict)
    qos: Mapping[str, Overrides] = field(default_factory=dict)
    provider: Mapping[str, ProviderSettings] = field(default_factory=dict)
    # The file all this came from; None when there is none and every value is a default.
    source: Path | None = None
    # The keys that the file sets, with its line where known: "hook.hold" -> 12.
    given: Mapping[str, int | None] = field(default_factory=dict)

    def power_model(self) -> PowerModel:
        """The watts of decisions, receipts and the site's figure."""
        power = self.power

        def busy_w(board_w: float) -> float:
            return board_w * power.gpu_load + power.gpu_share_w

        return PowerModel(
            gpu_w=busy_w(power.gpu_w),
            gpu_idle_w=power.gpu_idle_w + power.gpu_share_w,
            gpu_share_w=power.gpu_share_w,
            cpu_core_w=power.cpu_core_w,
            node_base_w=power.node_base_w,
            pue=power.pue,
            gpu_w_by_partition={
                name: busy_w(power.gpu_types[one.gpu_type.lower()])
                for name, one in self.partition.items()
                if one.gpu_type
            },
        )

    def policy_for(self, partition: str, qos: str = "") -> Policy:
        """What holds for a job of a partition and QOS; the QOS overrides the partition.

        Of several partitions ("a,b") the first counts, but one in shadow keeps the job there.
        """
        policies = [
            resolve(self.policy, self.general.mode, self.partition.get(name), self.qos.get(qos))
            for name in partition.split(",")
        ]
        shadowed = [policy for policy in policies if policy.mode != "enforce"]
        return (shadowed or policies)[0]

    def digest(self) -> str:
        """Equal for equal settings of one release, wherever and in what order they were given."""
        import hashlib  # only the daemon and the doctor ask

        from slurm_green import __version__

        plain = replace(
            self,
            source=None,
            given={},
            power=replace(self.power, gpu_types=dict(sorted(self.power.gpu_types.items()))),
            partition=dict(sorted(self.partition.items())),
            qos=dict(sorted(self.qos.items())),
            provider=dict(sorted(self.provider.items())),
        )
        return hashlib.sha256(f"{__version__} {plain!r}".encode()).hexdigest()[:16]
