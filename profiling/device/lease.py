# SPDX-License-Identifier: Apache-2.0
"""One GPU held for a while: journaled, set, and put back to the site's default.

The trap: NVML cannot tell which lock a GPU had before ours, so "back" is a setting of the site.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from profiling.device.apply import Applied, Setting, apply, restore
from profiling.device.gpu import Gpu, Why
from profiling.device.journal import Journal, Owed
from profiling.errors import DeviceError

__all__ = ["Lease", "restore_left"]

# After these the GPU is surely as it was; after any other failure nobody knows.
_UNTOUCHED = {Why.NOT_SUPPORTED, Why.NO_PERMISSION, Why.INVALID}


class Lease:
    """free -> held when `set`; held -> free when released, or left as a context.

    How long it may be held without a word is its holder's business.
    """

    def __init__(
        self,
        gpu: Gpu,
        journal: Journal,
        *,
        default: Setting,
        holder: str,
    ) -> None:
        self.gpu = gpu
        self.holder = holder
        self._journal = journal
        self._default = default
        self._setting: Setting | None = None  # unknown: an entry may be a dead holder's

    @property
    def held(self) -> bool:
        """Whether something is owed to the GPU."""
        return self._journal.ours(self.gpu.identity.uuid) is not None

    def set(self, setting: Setting, **reading: Any) -> Applied:
        """Journal, then make the setting; `reading` goes to `apply`.

        DeviceError when the journal cannot be written; the GPU is untouched then.
        """
        uuid = self.gpu.identity.uuid
        before = self._journal.ours(uuid)
        power = setting.power_limit_w is not None or (before is not None and before.power)
        self._journal.write(Owed(uuid, self.holder, power))
        if before is not None and _gives_up(self._setting, setting):
            restore(self.gpu, self._default, power=power)
        self._setting = setting
        applied = apply(self.gpu, setting, **reading)
        if before is None and _nothing(applied):
            self._journal.forget(uuid)
        return applied

    def release(self) -> None:
        """Restore, then forget. RefusedError when the GPU refuses: it stays owed."""
        uuid = self.gpu.identity.uuid
        owed = self._journal.ours(uuid)
        if owed is None:
            return
        restore(self.gpu, self._default, power=owed.power)
        self._journal.forget(uuid)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def restore_left(journal: Journal, gpus: Iterable[Gpu], default: Setting) -> tuple[str, ...]:
    """Restore what dead holders left behind; a sentence for each GPU that stays owed."""
    here = {gpu.identity.uuid: gpu for gpu in gpus}
    failed = []
    for owed in journal.take_over():
        try:
            if owed.uuid not in here:
                raise DeviceError("this machine has no such GPU now")
            Lease(here[owed.uuid], journal, default=default, holder="restore").release()
        except DeviceError as error:
            failed.append(f"{owed.uuid} (set by {owed.holder}): {error}")
    return tuple(failed)


def _gives_up(old: Setting | None, new: Setting) -> bool:
    """Whether a part of the old setting has no successor."""
    if old is None:
        return True
    clock = old.clock_mhz is not None and new.clock_mhz is None
    return clock or (old.power_limit_w is not None and new.power_limit_w is None)


def _nothing(applied: Applied) -> bool:
    return applied.accepted == Setting() and set(applied.refused) <= _UNTOUCHED
