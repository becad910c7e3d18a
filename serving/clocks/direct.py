# SPDX-License-Identifier: Apache-2.0
"""Clocks set on the GPUs themselves, by a process that may: root, and asked to.

The trap: nobody restores after a kill but who reads the same journal (`sgreen-noded`, `sgreen
restore`). Where sgreen-noded runs, use its leases.
"""

from collections.abc import Sequence
from pathlib import Path

from profiling.device.apply import Setting
from profiling.device.gpu import Gpu
from profiling.device.journal import Journal
from profiling.device.lease import Lease
from profiling.errors import DeviceError
from serving.clocks.protocol import ClocksError

__all__ = ["DirectClocks"]


class DirectClocks:
    """All GPUs of one replica; `default_clock_mhz` is what the site locks them to, if it does."""

    renew_s: float | None = None

    def __init__(
        self, gpus: Sequence[Gpu], journal: Path, *, default_clock_mhz: int | None = None
    ) -> None:
        default = Setting(clock_mhz=default_clock_mhz)
        self._journal = Journal(journal)
        self._leases = [
            Lease(gpu, self._journal, default=default, holder="serving") for gpu in gpus
        ]

    def set(self, clock_mhz: int) -> int | None:
        """See SetsClocks; the range is open below, as sgreen-noded has it."""
        held = []
        try:
            for one in self._leases:
                floor_mhz = min(one.gpu.supported_clocks_mhz(), default=clock_mhz)
                setting = Setting(clock_mhz=clock_mhz, floor_mhz=min(floor_mhz, clock_mhz))
                applied = one.set(setting)
                if not applied.took:
                    raise ClocksError(f"GPU {one.gpu.identity.index}: {'; '.join(applied.reasons)}")
                held.append(applied.accepted.clock_mhz)
        except DeviceError as error:
            raise ClocksError(str(error)) from error
        return min((one for one in held if one is not None), default=None)

    def release(self) -> None:
        """See SetsClocks; every GPU is tried."""
        failed = []
        for one in self._leases:
            try:
                one.release()
            except DeviceError as error:
                failed.append(str(error))
        if failed:
            raise ClocksError("; ".join(failed))

    def close(self) -> None:
        """See SetsClocks."""
