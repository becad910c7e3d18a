# SPDX-License-Identifier: Apache-2.0
"""What a policy must keep to, and in which words a job is told why it stays. Pure."""

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Obstacle", "Rules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Bounds on moves. `domain` false drops all but what a site cannot do anyway.

    `alpha` is the share of a window that a move may take, `quantile` that of the forecast supply
    a window must hold for, `dwell_s` the least time between two moves of a job. A window is the
    time for which the supply there covers the job or, `greener`, for which its power there emits
    less than here. `grid_g_per_kwh` is what a kWh of any grid costs on top of its intensity.
    """

    alpha: float = 0.1
    quantile: float = 0.2
    dwell_s: float = 3600.0
    domain: bool = True
    greener: bool = False
    grid_g_per_kwh: float = 0.0


class Obstacle(IntEnum):
    """What stands between a job and a site; of several the first one, in this order."""

    HERE = 0
    PROJECT = 1
    DATA = 2
    LINK = 3
    SIZE = 4
    DWELL = 5
    ONCE = 6
    ROOM = 7
    WINDOW = 8
    BUDGET = 9
    TIME = 10
    ENDS = 11
    DEADLINE = 12
    ENERGY = 13
    WORTH = 14
    NONE = 15

    @property
    def words(self) -> str:
        """Why the job does not move to {site}."""
        return _WORDS[self]


_WORDS = {
    Obstacle.HERE: "there is no other site",
    Obstacle.PROJECT: "{site} does not take its project",
    Obstacle.DATA: "its data may not be at {site}",
    Obstacle.LINK: "no link leads to {site}",
    Obstacle.SIZE: "{site} has not enough GPUs or nodes for the whole job, and a part never moves",
    Obstacle.DWELL: "it moved a short while ago",
    Obstacle.ONCE: "it moved, or was to move, for a window that is still open",
    Obstacle.ROOM: "the GPUs of {site} are taken",
    Obstacle.WINDOW: "its power at {site} is not sure to be greener than here",
    Obstacle.BUDGET: "the link to {site} is full",
    Obstacle.TIME: "the move to {site} takes too much of the window there",
    Obstacle.ENDS: "it ends here before it could go on at {site}",
    Obstacle.DEADLINE: "the move to {site} would break its deadline",
    Obstacle.ENERGY: "the move to {site} would not win back its energy",
    Obstacle.WORTH: "it is as well off here as at {site}",
    Obstacle.NONE: "its move to {site} waits for the next cycle",
}
