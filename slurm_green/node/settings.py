# SPDX-License-Identifier: Apache-2.0
"""The settings of a node: [node] and [nvml] in the site's file, all that a root process reads.

The trap: root acts on this file, so one that others may write is refused.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from profiling.device.apply import Setting
from slurm_green.config.node import NodeSection, NvmlSection
from slurm_green.config.setting import settings_of
from slurm_green.errors import ConfigError

__all__ = ["CONFIG", "VARIABLE", "default_of", "read_settings", "settings_from"]

CONFIG = Path("/etc/slurm-green/slurm-green.toml")
VARIABLE = "SLURM_GREEN_CONF"

T = TypeVar("T")


def default_of(settings: NodeSection) -> Setting:
    """What a GPU is restored to."""
    return Setting(
        clock_mhz=settings.default_clock_mhz,
        floor_mhz=None if settings.default_clock_mhz is None else 0,
        power_limit_w=settings.default_power_limit_w,
    )


def settings_from(
    given: Path | None, environ: Mapping[str, str]
) -> tuple[NodeSection, NvmlSection]:
    """The two tables of the file that an option or the environment names, else the usual one."""
    named = given or environ.get(VARIABLE)
    return read_settings(Path(named or CONFIG), named=bool(named))


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
    except ValueError as error:  # no TOML, not UTF-8, or a number of thousands of digits
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
