# SPDX-License-Identifier: Apache-2.0
"""What holds for one job: the site's policy, overridden by its partition, then by its QOS."""

from dataclasses import dataclass, fields

from slurm_green.config import kinds
from slurm_green.config.setting import setting, unset
from slurm_green.hook.options import PROFILE_NAME
from slurm_green.hook.policy import Policy

__all__ = ["Overrides", "PartitionOverrides", "PolicySection", "resolve"]

HOUR_S = 3_600.0
_PROFILE = rf"|{PROFILE_NAME}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySection:
    """Which jobs may wait, and for how long."""

    default_delay_s: float = setting(
        kinds.duration(),
        0.0,
        """Delay allowed for a job that asks for nothing itself; 0 touches only jobs with slack of
        their own (--deadline, green:deadline=, green:max-delay=).""",
        key="default_delay",
    )
    max_delay_s: float = setting(
        kinds.duration(),
        24 * HOUR_S,
        "Longest delay of any job, whatever slack it has.",
        key="max_delay",
    )
    min_length_s: float = setting(
        kinds.duration(),
        HOUR_S / 2,
        """Jobs with a shorter time limit are deferred only where they ask for it themselves
        (green:max-delay=, green:deadline= or an #SBATCH --deadline).""",
        key="min_length",
    )
    margin_floor_s: float = setting(
        kinds.duration(10),
        HOUR_S / 6,
        """Least time kept between the latest end of a deferred job and its deadline. Slurm cancels
        a job that becomes eligible too late, so this must cover a few scheduler rounds.""",
        key="margin_floor",
    )
    min_saving_percent: float = setting(
        kinds.number(0, 100),
        2.0,
        "A job is deferred only when it is expected to emit this much less than started now.",
        unit="%",
    )
    profile: str = setting(
        kinds.text("the name of a profile, or empty", _PROFILE),
        "",
        """Profile of jobs that name none themselves (green:profile=NAME); empty leaves their clocks
        alone. Made for a partition or QOS whose jobs are all alike.""",
    )
    exclude_users: tuple[str, ...] = setting(kinds.names(), (), "Users never deferred.")
    exclude_accounts: tuple[str, ...] = setting(kinds.names(), (), "Accounts never deferred.")
    exclude_qos: tuple[str, ...] = setting(kinds.names(), (), "QOS never deferred.")
    exclude_names: tuple[str, ...] = setting(
        kinds.names(),
        (
            "*jupyter*",
            "*notebook*",
            "*rstudio*",
            "*vscode*",
            "ood-*",
            "interactive*",
            "nextflow*",
            "nf-head*",
            "snakemake*",
            "cromwell*",
            "dask-scheduler*",
            "ray-head*",
        ),
        """Job names never deferred, as shell patterns, case ignored: somebody sits in front of
        them, or they drive other jobs.""",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What a QOS says for itself, over its partition; what it leaves out is the partition's."""

    mode: str | None = unset(
        kinds.choice("shadow", "enforce"),
        "shadow or enforce for these jobs; enforce is what turns deferral on.",
    )
    default_delay_s: float | None = unset(kinds.duration(), "As in [policy].", key="default_delay")
    max_delay_s: float | None = unset(kinds.duration(), "As in [policy].", key="max_delay")
    min_length_s: float | None = unset(kinds.duration(), "As in [policy].", key="min_length")
    margin_floor_s: float | None = unset(kinds.duration(10), "As in [policy].", key="margin_floor")
    profile: str | None = unset(
        kinds.text("the name of a profile, or empty", _PROFILE), "As in [policy]."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionOverrides(Overrides):
    """What a partition says for itself; what it leaves out is the site's."""

    gpu_type: str | None = unset(
        kinds.text("a type of power.gpu_types", r"[^\s]+"),
        "Type of the partition's GPUs, a key of power.gpu_types; left out, power.gpu_w holds.",
    )


def resolve(
    site: PolicySection, mode: str, partition: Overrides | None, qos: Overrides | None
) -> Policy:
    """The policy that comes out when QOS goes before partition and partition before site."""
    values = {one.name: getattr(site, one.name) for one in fields(site)} | {"mode": mode}
    names = [one.name for one in fields(Overrides)]
    for level in (partition, qos):
        if level is not None:
            own = {name: getattr(level, name) for name in names}
            values |= {name: value for name, value in own.items() if value is not None}
    # A maximum set nearer to the job caps a default set farther away.
    values["default_delay_s"] = min(values["default_delay_s"], values["max_delay_s"])
    return Policy(**values)
