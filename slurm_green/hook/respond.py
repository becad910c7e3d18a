# SPDX-License-Identifier: Apache-2.0
"""A job's best response to the prices of the newest plan: the submit hook's hot path. Pure.

Prices rank starts; what is told of a start is its own carbon, by the signal.
"""

import numpy as np

from slurm_green.hook.extent import Extent
from slurm_green.hook.view import PartitionView, View
from slurm_green.plan.problem import Shapes
from slurm_green.plan.response import best_response
from slurm_green.plan.start import Start, carbon_g

__all__ = ["respond", "start_at"]

_FIRST = np.array([0, 1], dtype=np.int64)
_ONE = np.ones(1, dtype=np.int64)
_NONE = np.zeros(1, dtype=np.int64)
_RATE = np.ones(1)


def respond(
    view: View,
    partition: PartitionView,
    extent: Extent,
    power_w: float,
    *,
    earliest_s: float,
    latest_s: float,
) -> Start | None:
    """The start in [earliest, latest] (POSIX s) that costs least; None without fresh prices."""
    prices = view.prices.get(partition.name)
    if prices is None or earliest_s >= prices.until_s or latest_s < earliest_s:
        return None
    shapes = Shapes(
        class_names=("",),
        first=_FIRST,
        workers=_ONE,
        clock_mhz=_NONE,
        gpus=np.array([extent.need[prices.resource]], dtype=np.int64),
        rate=_RATE,
        power_w=np.array([power_w], dtype=np.float64),
    )
    found = best_response(
        prices.curve,
        shapes,
        work=extent.expected_s,
        earliest_s=earliest_s,
        deadline_s=latest_s + extent.expected_s,
    )
    if found is None:
        return None
    start_s = min(max(found.start_s, earliest_s), latest_s)
    return start_at(view, extent, power_w, start_s=start_s, earliest_s=earliest_s)


def start_at(
    view: View, extent: Extent, power_w: float, *, start_s: float, earliest_s: float
) -> Start | None:
    """That start with what it emits; None where the signal does not say."""
    signal = view.signal
    if signal is None or earliest_s < signal.edges_s[0] - 1e-6:
        return None
    if max(start_s, earliest_s) + extent.expected_s > signal.edges_s[-1] + 1e-6:
        return None
    then, now = carbon_g(
        signal, np.array([start_s, earliest_s]), extent.expected_s, power_w
    ).tolist()
    return Start(start_s=start_s, carbon_g=then, earliest_carbon_g=now)
