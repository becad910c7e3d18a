# SPDX-License-Identifier: Apache-2.0
"""The settings of the ledger."""

from dataclasses import dataclass

from slurm_green.config import kinds
from slurm_green.config.setting import unset

__all__ = ["LedgerSection"]

_MONTH_S = 30 * 86_400.0
_CENTURY_S = 36_500 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSection:
    """How long what was decided, what became of it and the signal are remembered."""

    keep_s: float | None = unset(
        kinds.duration(_MONTH_S, _CENTURY_S),
        """What ended longer ago is deleted from the ledger, some of it every hour; left out: never.
        The file keeps its size, and new rows take the room.""",
        key="keep",
    )
