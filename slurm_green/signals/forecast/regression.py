# SPDX-License-Identifier: Apache-2.0
"""Ridge regression fitted again and again as rows become known; solved by SciPy. Pure.

Sums of products are kept, so that a later fit costs only its new rows: a rolling backtest then
costs as much as one fit.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

__all__ = ["rolling_fit"]

Array = NDArray[np.float64]


def rolling_fit(
    rows: Array,
    targets: Array,
    usable: NDArray[np.bool_],
    *,
    known_until: Callable[[int], int],
    times: Sequence[int],
    penalty: float,
) -> list[Array]:
    """Weights at each of the ascending `times`, fitted to usable rows [0, known_until(time))."""
    size = rows.shape[1]
    products, moments = np.zeros((size, size)), np.zeros(size)
    ridge = penalty * np.eye(size)
    done, found = 0, []
    for time in times:
        end = known_until(time)
        if end > done:
            chosen = usable[done:end]
            new = rows[done:end][chosen]
            products += new.T @ new
            moments += new.T @ targets[done:end][chosen]
            done = end
        found.append(np.asarray(solve(products + ridge, moments, assume_a="pos")))
    return found
