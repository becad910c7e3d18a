# SPDX-License-Identifier: Apache-2.0
"""The demo's own time of day: a day of it passes in two real minutes. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """`anchor_utc` is the real instant of the demo's first midnight, `scale` its speed."""

    anchor_utc: datetime
    scale: float

    def hours(self, at_utc: datetime) -> float:
        """Demo hours since the first midnight."""
        return (at_utc - self.anchor_utc).total_seconds() * self.scale / 3600

    def at(self, hours: float) -> datetime:
        """The real instant of a demo hour."""
        return self.anchor_utc + timedelta(seconds=hours * 3600 / self.scale)

    def text(self, at_utc: datetime | None) -> str:
        """As on a wall clock, with `+1` from the second day on; `-` for no time."""
        if at_utc is None:
            return "-"
        minutes = int(self.hours(at_utc) * 60 + 1e-6)
        day, minute = divmod(minutes, 24 * 60)
        later = f" +{day}" if day else ""
        return f"{minute // 60:02d}:{minute % 60:02d}{later}"

    def length(self, real_s: float) -> str:
        """A real length of time in demo hours and minutes."""
        minutes = round(real_s * self.scale / 60)
        return f"{minutes // 60} h {minutes % 60:02d}"
