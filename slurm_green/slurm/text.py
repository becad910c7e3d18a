# SPDX-License-Identifier: Apache-2.0
"""What `scontrol show -o`, `scontrol show config` and `sprio` print: the same on every version.

Lines are `Key=value Key=value`; some values hold spaces, so keys are looked up one by one and
the first match counts: Slurm prints free text (Reason, Comment) after the fields we read.
"""

import re
from collections.abc import Mapping
from functools import cache

from slurm_green.errors import SlurmError
from slurm_green.slurm.gres import gpu_count, gpu_type
from slurm_green.slurm.hostlist import expand_hostlist
from slurm_green.slurm.records import ClusterInfo, Node, Partition, Reservation
from slurm_green.slurm.times import parse_slurm_duration_s, parse_slurm_time

__all__ = [
    "info_from_settings",
    "node_from_state",
    "parse_config",
    "parse_nodes",
    "parse_partitions",
    "parse_reservations",
    "parse_site_factors",
]

_UP = frozenset({"IDLE", "MIXED", "ALLOCATED", "COMPLETING", "PLANNED", "RESERVED"})
_UNUSABLE = frozenset(
    {
        "DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "ERROR", "INVAL",
        "INVALID_REG", "NOT_RESPONDING", "NO_RESPOND", "PERFCTRS", "BLOCKED",
        "REBOOT", "REBOOT_ISSUED", "REBOOT_REQUESTED",
    }
)  # fmt: skip
_POWERED_DOWN = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"})
# The marks that stand for flags at the end of a state word.
_MARKS = {
    "*": "NOT_RESPONDING", "~": "POWERED_DOWN", "%": "POWERING_DOWN", "#": "POWERING_UP",
    "!": "POWER_DOWN", "@": "REBOOT_REQUESTED", "^": "REBOOT_ISSUED", "$": "MAINTENANCE",
}  # fmt: skip
_SETTING = re.compile(r"^(\w+(?:\[\d+\])?)\s*= ?(.*)$")


@cache
def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|\s){re.escape(key)}=(\S*)")


def _value(line: str, key: str) -> str:
    """The value of a key in a line, "" where it is missing or Slurm's "(null)"."""
    found = _pattern(key).search(line)
    value = found[1] if found else ""
    return "" if value == "(null)" else value


def _lines(text: str, key: str) -> list[str]:
    """The lines that hold a record of that kind."""
    return [line for line in text.splitlines() if line.startswith(f"{key}=")]


def node_from_state(
    *,
    name: str,
    state: str,
    cpus: int,
    gpus: int,
    partitions: tuple[str, ...],
    kind: str = "",
    memory_mb: int = 0,
) -> Node:
    """A node from Slurm's complete state text, such as "MIXED+DRAIN" or "IDLE~"."""
    base, *flags = state.upper().split("+")
    marks = {_MARKS[mark] for mark in base if mark in _MARKS}
    words = {*flags, *marks, base.rstrip("".join(_MARKS))}
    return Node(
        name=name,
        cpus=cpus,
        gpus=gpus,
        gpu_type=kind,
        memory_mb=memory_mb,
        available=bool(words & _UP) and not words & _UNUSABLE,
        powered_down=bool(words & _POWERED_DOWN),
        partitions=partitions,
    )


def parse_nodes(text: str) -> list[Node]:
    """`scontrol show nodes -o`."""
    return [
        node_from_state(
            name=_value(line, "NodeName"),
            state=_value(line, "State"),
            cpus=int(_value(line, "CPUEfctv") or _value(line, "CPUTot") or 1),
            gpus=gpu_count(_value(line, "Gres")),
            kind=gpu_type(_value(line, "Gres")),
            memory_mb=_whole(_value(line, "RealMemory")) or 0,
            partitions=tuple(part for part in _value(line, "Partitions").split(",") if part),
        )
        for line in _lines(text, "NodeName")
    ]


def parse_partitions(text: str) -> list[Partition]:
    """`scontrol show partition -o`; a draining partition still starts what is queued: it is up."""
    return [
        Partition(
            name=_value(line, "PartitionName"),
            node_names=expand_hostlist(_value(line, "Nodes")),
            default=_value(line, "Default") == "YES",
            up=_value(line, "State") in {"UP", "DRAIN"},
            default_time_s=parse_slurm_duration_s(_value(line, "DefaultTime")),
            max_time_s=parse_slurm_duration_s(_value(line, "MaxTime")),
            min_nodes=_whole(_value(line, "MinNodes")) or 0,
            max_nodes=_whole(_value(line, "MaxNodes")),
        )
        for line in _lines(text, "PartitionName")
    ]


def parse_reservations(text: str) -> list[Reservation]:
    """`scontrol show reservation -o`; one without times (a floating one) is left out."""
    reservations = []
    for line in _lines(text, "ReservationName"):
        start = parse_slurm_time(_value(line, "StartTime"))
        end = parse_slurm_time(_value(line, "EndTime"))
        flags = _value(line, "Flags").split(",")
        if start is None or end is None:
            continue
        reservations.append(
            Reservation(
                name=_value(line, "ReservationName"),
                start_utc=start,
                end_utc=end,
                node_names=expand_hostlist(_value(line, "Nodes")),
                maintenance="MAINT" in flags,
                flex="FLEX" in flags,
            )
        )
    return reservations


def parse_config(text: str) -> dict[str, str]:
    """`scontrol show config` as Slurm's names and values; "(null)" is ""."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        found = _SETTING.match(line)
        if found:
            value = found[2].strip()
            settings[found[1]] = "" if value == "(null)" else value
    return settings


def info_from_settings(settings: Mapping[str, str]) -> ClusterInfo:
    """What we need of slurm.conf, and all of it in `settings`."""
    found = re.match(r"(\d+)\.(\d+)", settings.get("SLURM_VERSION", ""))
    if not found:
        raise SlurmError(
            "scontrol show config gave no SLURM_VERSION; is slurmctld up? Try `scontrol ping`."
        )
    storage = settings.get("AccountingStorageType", "")
    flags = settings.get("PriorityFlags", "").split(",")
    return ClusterInfo(
        name=settings.get("ClusterName", ""),
        version=(int(found[1]), int(found[2])),
        slurm_user=settings.get("SlurmUser", "slurm").partition("(")[0],
        priority_type=settings.get("PriorityType") or "priority/basic",
        priority_flags=frozenset(flag.strip().upper() for flag in flags if flag.strip()),
        priority_weight_age=int(settings.get("PriorityWeightAge") or 0),
        priority_max_age_s=_seconds(settings, "PriorityMaxAge", 7 * 86400),
        resume_timeout_s=_seconds(settings, "ResumeTimeout", 60),
        accounting=storage.removeprefix("accounting_storage/") not in {"", "none"},
        settings=dict(settings),
    )


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _seconds(settings: Mapping[str, str], key: str, default_s: int) -> int:
    """A duration of slurm.conf, Slurm's default where there is none."""
    value = parse_slurm_duration_s(settings.get(key, ""))
    return default_s if value is None else value


def parse_site_factors(text: str) -> dict[int, int]:
    """`sprio -h -o "%i %S"`: the site factor of each pending job that has one."""
    factors = {}
    for line in text.splitlines():
        job_id, _, factor = line.strip().partition(" ")
        if job_id.isdecimal() and factor.strip().lstrip("-").isdecimal() and int(factor):
            factors[int(job_id)] = int(factor)
    return factors
