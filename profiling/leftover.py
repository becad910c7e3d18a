# SPDX-License-Identifier: Apache-2.0
"""What the law leaves over at measured settings, carried to those between them. Pure.

A law is smooth and a GPU is not: memory slows down below some clock, a driver steps. Repeats tell
how much of the leftover is noise of the measurement; only the rest is carried. The trap: without
repeats nobody knows, and a leftover that is noise would be believed, so nothing is carried.
"""

import numpy as np
from scipy.special import stdtrit

from profiling.law import Floats

__all__ = ["carried", "relative_error"]

_TWO_SIDED = 0.975
_FEWEST = 3  # settings with repeats


def relative_error(value: float | None, ci95: float | None, n: int | None) -> float:
    """Standard error of a mean over the mean, from half its 95 % interval (Student's t).

    NaN where there were no repeats.
    """
    if not value or ci95 is None or n is None or n < 2:
        return float("nan")
    return float(ci95 / stdtrit(n - 1, _TWO_SIDED) / value)


def carried(setting: Floats, left: Floats, error: Floats, asked: Floats) -> Floats:
    """Logarithms of what is seen over what the law says, at settings `asked`.

    `left` are those logarithms at measured settings, `error` their relative standard errors, NaN
    where unknown; all of shape (n,). Straight lines in between, shrunk by the share of noise.
    """
    known = np.isfinite(left) & np.isfinite(error)
    if known.sum() < _FEWEST or not left[known].any():
        return np.zeros(len(asked))
    share = max(0.0, 1 - float((error[known] ** 2).mean() / (left[known] ** 2).mean()))
    order = np.flatnonzero(known)[setting[known].argsort()]
    return share * np.interp(asked, setting[order], left[order])
