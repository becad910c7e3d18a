# SPDX-License-Identifier: Apache-2.0
"""Finds a node's GPUs and what each may be set to."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from profiling.device.amd import Amd
from profiling.device.gpu import Gpu, RefusedError
from profiling.device.nvml import Nvml
from profiling.errors import DeviceError
from slurm_green.config.node import NodeSection
from slurm_green.node.rights import Allowed

__all__ = ["allowed_of", "find_gpus"]

_LOG = logging.getLogger(__name__)


def find_gpus(vendor: str, library: Path | None) -> Mapping[str, Gpu]:
    """The GPUs by uuid. DeviceError when no library answers, or none has a GPU."""
    gpus: Sequence[Gpu] = ()
    first: DeviceError | None = None
    if vendor in ("auto", "nvidia"):
        try:
            gpus = Nvml(library).gpus()
        except DeviceError as error:
            first = error
    if not gpus and vendor in ("auto", "amd"):
        try:
            gpus = Amd().gpus()
        except DeviceError as error:
            first = first or error
    if not gpus:
        raise first or DeviceError("no GPU here: sgreen-noded has nothing to do")
    return {gpu.identity.uuid: gpu for gpu in gpus}


def allowed_of(gpu: Gpu, settings: NodeSection) -> Allowed:
    """What a GPU can, within what the site allows."""
    try:
        clocks, limits = gpu.supported_clocks_mhz(), gpu.power_range()
    except RefusedError as error:
        _LOG.warning("%s is only observed: %s", gpu.identity.uuid, error)
        return Allowed(clocks_mhz=None, limits_w=None)
    clocks_mhz = None
    if clocks:
        low = max(min(clocks), settings.min_clock_mhz)
        high = min(max(clocks), settings.max_clock_mhz)
        clocks_mhz = (low, high) if low <= high else None
    limits_w = None
    if limits is not None:
        low_w = max(limits.min_w, settings.min_power_limit_w)
        limits_w = (low_w, limits.max_w) if low_w <= limits.max_w else None
    return Allowed(clocks_mhz=clocks_mhz, limits_w=limits_w)
