# SPDX-License-Identifier: Apache-2.0
"""How much power may be added by releases: a bucket of watts that fills with time. Pure."""

import math
from dataclasses import dataclass

__all__ = ["Ramp"]


@dataclass(slots=True, kw_only=True)
class Ramp:
    """`left_w` may be released now; it holds what one minute brings, and starts full.

    A job is let go while anything is left, so that one of more than a minute's watts still goes;
    the next ones then wait until its debt is paid.
    """

    left_w: float = math.inf
    at_s: float = 0.0

    def at(self, now_s: float, w_per_min: float | None) -> "Ramp":
        """The bucket at `now_s` (POSIX s); without a limit it never empties."""
        if w_per_min is None:
            return Ramp(at_s=now_s)
        gained_w = max(now_s - self.at_s, 0.0) / 60.0 * w_per_min
        return Ramp(left_w=min(self.left_w + gained_w, w_per_min), at_s=now_s)

    def take(self, power_w: float) -> bool:
        """Whether a job of so many watts may go now; it has then gone."""
        if self.left_w <= 0.0:
            return False
        self.left_w -= power_w
        return True
