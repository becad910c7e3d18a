# SPDX-License-Identifier: Apache-2.0
"""Which backend talks to Slurm: the setting `slurm_backend`, and what to do when it cannot."""

import logging
from collections.abc import Callable

from slurm_green.errors import ConfigError, SlurmError, SlurmMissingError
from slurm_green.slurm.client import SlurmClient
from slurm_green.slurm.commands import CommandClient
from slurm_green.slurm.pyslurm import PyslurmClient

__all__ = ["BACKENDS", "client_from"]

BACKENDS = ("commands", "pyslurm", "auto")
_log = logging.getLogger(__name__)


def client_from(
    name: str,
    *,
    extra: bool = False,
    commands: Callable[[], CommandClient] | None = None,
    pyslurm: Callable[[CommandClient], SlurmClient] = lambda behind: PyslurmClient(
        commands=behind, site_factors=behind.site_factors
    ),
) -> SlurmClient:
    """The client for a configured name; with `extra`, jobs carry that field too.

    "pyslurm" falls back to the commands with a warning, "auto" without one: neither may stop the
    daemon. A pyslurm that was built for another Slurm imports and fails in its first call, so one
    cheap call is made here.
    """
    if name not in BACKENDS:
        raise ConfigError(f"slurm_backend is {name!r}; allowed are {', '.join(BACKENDS)}.")
    fallback = CommandClient(json=extra) if commands is None else commands()
    if name == "commands":
        return fallback
    level = logging.WARNING if name == "pyslurm" else logging.DEBUG
    try:
        client = pyslurm(fallback)
    except SlurmMissingError as error:
        _log.log(level, "using Slurm's commands: %s", error)
        return fallback
    try:
        client.partitions()
    except SlurmError as error:
        _log.log(level, "using Slurm's commands: %s", error)
        return fallback
    if not _sees_all_gpus(fallback):
        _log.warning(
            "using Slurm's commands: pyslurm sees the GPUs of `sbatch --gpus` only with"
            " AccountingStorageTRES=gres/gpu in slurm.conf"
        )
        return fallback
    return client


def _sees_all_gpus(commands: SlurmClient) -> bool:
    """Whether Slurm's own totals list GPUs (or there is no GPU to list)."""
    try:
        settings = commands.info().settings
    except SlurmError:
        return False
    kinds = settings.get("GresTypes", "").split(",")
    return "gpu" not in kinds or "gres/gpu" in settings.get("AccountingStorageTRES", "")
