# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() and unset() are dataclass fields, not values shared by mistake
"""The settings of a node: [node] and [nvml] in the site's file, all that a root process reads.

The trap: root acts on this file, so one that others may write is refused.
"""

import os
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from profiling.device.apply import Setting
from slurm_green.config import kinds
from slurm_green.config.setting import setting, settings_of, unset
from slurm_green.errors import ConfigError

__all__ = ["NodeSection", "NvmlSection", "read_settings"]

T = TypeVar("T")
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

    @property
    def default(self) -> Setting:
        """What a GPU is restored to."""
        return Setting(
            clock_mhz=self.default_clock_mhz,
            floor_mhz=None if self.default_clock_mhz is None else 0,
            power_limit_w=self.default_power_limit_w,
        )


def read_settings(path: Path, *, named: bool) -> tuple[NodeSection, NvmlSection]:
    """The two tables of a file; other tables are others' business. ConfigError when wrong.

    A file that somebody `named` must exist; otherwise no file is all defaults.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & (
                stat.S_IWGRP | stat.S_IWOTH
            ):
                raise ConfigError(
                    f"{path}: root acts on it, so only root may own it and write to it; "
                    "chown root and chmod go-w"
                )
            document = tomllib.load(file)
    except FileNotFoundError as error:
        if named:
            raise ConfigError(f"{path}: no such file") from error
        document = {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    return _table(document, "node", NodeSection, path), _table(document, "nvml", NvmlSection, path)


def _table(document: dict[str, Any], table: str, section: type[T], path: Path) -> T:
    given = document.get(table, {})
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: {table} is not a table; write [{table}]")
    known = {one.key: one for one in settings_of(section)}
    values = {}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"{path}: [{table}] {key} is not known; keys: {', '.join(known)}")
        try:
            values[known[key].attribute] = known[key].kind.read(value)
        except ValueError as error:
            raise ConfigError(
                f"{path}: {table}.{key} = {str(value)[:40]} {error}; "
                f"allowed: {known[key].kind.allowed}"
            ) from error
    return section(**values)
