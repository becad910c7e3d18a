# SPDX-License-Identifier: Apache-2.0
"""What a site lets us do with the jobs of one partition and QOS, fully resolved."""

from dataclasses import dataclass

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Site policy for one partition and QOS.

    `exclude_names` are shell patterns, compared without regard to case.
    """

    mode: str = "shadow"  # or "enforce"
    default_delay_s: float = 0.0
    max_delay_s: float = 86400.0
    min_length_s: float = 1800.0
    margin_floor_s: float = 600.0
    min_saving_percent: float = 2.0
    profile: str = ""  # of jobs that name none; "" leaves their clocks alone
    exclude_users: tuple[str, ...] = ()
    exclude_accounts: tuple[str, ...] = ()
    exclude_names: tuple[str, ...] = ()
    exclude_qos: tuple[str, ...] = ()
