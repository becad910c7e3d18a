# SPDX-License-Identifier: Apache-2.0
"""The top of a smooth concave function in a box, in few evaluations. Pure.

L-BFGS (Nocedal 1980) in those directions that the box leaves open, steps projected into it.
scipy's L-BFGS-B needs as many evaluations, but half as long to load as a plan after a plan takes.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.problem import Floats

__all__ = ["climb"]

_MEMORY = 20
_FIRST, _LONGEST = 0.05, 0.5  # the greatest change of an entry
_SHORTER, _RISE = 0.4, 1e-4
_FLAT = 1e-9


def climb(
    function: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    top: Floats,
    *,
    most: int,
    settled: float = 0.0,
    settled_least: float = 0.0,
    expired: Callable[[], bool] = lambda: False,
) -> Floats:
    """The best point of [0, `top`] in at most so many evaluations of value and slope.

    Ends early where two steps in turn rise by less than `settled` times the first value, and than
    `settled_least`, or `expired` says so.
    """
    at = np.clip(start, 0.0, top)
    value, slope = function(at)
    steps: deque[tuple[Floats, Floats]] = deque(maxlen=_MEMORY)  # and how the slope fell
    count, calm, little = 1, 0, max(settled * abs(value), settled_least)
    while count < most and calm < 2 and not expired():
        is_open = np.where(slope > 0, at < top, at > 0)
        ahead = np.where(is_open, _newton(np.where(is_open, slope, 0.0), steps, is_open), 0.0)
        longest = float(np.abs(ahead).max(initial=0.0))
        if not longest > _FLAT:
            break
        size = min(1.0, (_LONGEST if steps else _FIRST) / longest)
        while count < most:
            there = np.clip(at + size * ahead, 0.0, top)
            count += 1
            new_value, new_slope = function(there)
            if new_value >= value + _RISE * float(slope @ (there - at)):
                break
            size *= _SHORTER
        else:
            break
        step, fall, rise = there - at, slope - new_slope, new_value - value
        if float(step @ fall) > 0:
            steps.append((step, fall))
        at, value, slope = there, new_value, new_slope
        calm = calm + 1 if rise < little else 0
    return at


def _newton(
    slope: Floats, steps: deque[tuple[Floats, Floats]], is_open: NDArray[np.bool_]
) -> Floats:
    """The slope times the inverse curvature that the steps tell of, in the open directions."""
    ahead, known = slope, []
    for step, fall in reversed(steps):
        step, fall = step * is_open, fall * is_open
        curved = float(step @ fall)
        if curved > 0:
            share = float(step @ ahead) / curved
            known.append((step, fall, curved, share))
            ahead = ahead - share * fall
    if known:
        _, fall, curved, _ = known[0]
        ahead = ahead * (curved / float(fall @ fall))
    for step, fall, curved, share in reversed(known):
        ahead = ahead + (share - float(fall @ ahead) / curved) * step
    return ahead
