# SPDX-License-Identifier: Apache-2.0
"""The law's constants as vectors without bounds, and what is known of them beforehand. Pure.

The trap: the order of a vector's entries is that of `shape_of` and `load_of`, and of both priors.
"""

import numpy as np

from profiling.law import Floats, Load, Shape
from profiling.solve import Prior

__all__ = ["LOAD_PRIOR", "LOAD_SPREAD", "load_of", "normal", "shape_of", "shape_prior"]

# Idle power over the highest power of the sweeps, where nothing better is known.
_IDLE_SHARE = 0.12
_IDLE = 3
# Knee (logit), then logarithms of rise, bend, idle power, ceiling, its sharpness, overlap less 1,
# floor, its sharpness and the cap's factor. Knee, rise and bend are what sweeps of A100, A40, V100
# and RTX 4090 agree on, each fitted alone.
_SHAPE_MEAN = np.array([0.75, -1.2, 0.4, 0.0, -0.02, 3.7, 1.1, -1.6, 2.5, -0.02])
_SHAPE_SPREAD = np.array([0.4, 0.2, 0.1, 0.4, 0.05, 0.7, 0.5, 0.4, 0.7, 0.03])
# Logarithms: compute, memory and host time over the time at the highest setting; switching and
# memory power over the power there; base power over idle power; sharpness of a cap.
_LOAD_MEAN = np.array([-0.25, -0.4, -2.6, -0.7, -1.9, 0.0, 2.3])
LOAD_SPREAD = np.array([0.6, 0.6, 1.1, 0.6, 0.9, 0.2, 0.5])


def normal(mean: Floats, spread: Floats) -> Prior:
    """Independent normal distributions."""
    return Prior(mean=mean, precision=np.diag(spread**-2.0))


LOAD_PRIOR = normal(_LOAD_MEAN, LOAD_SPREAD)


def shape_prior(scale_w: float, idle_w: float | None = None) -> Prior:
    """What is known of a GPU whose loads draw `scale_w` at most, and idles at `idle_w`.

    An idle power of 0, which made-up profiles have, says nothing: the law's is above it.
    """
    mean, spread = _SHAPE_MEAN.copy(), _SHAPE_SPREAD.copy()
    if idle_w:
        mean[_IDLE], spread[_IDLE] = np.log(idle_w / (_IDLE_SHARE * scale_w)), 0.1
    return normal(mean, spread)


def shape_of(values: Floats, scale_w: float) -> Shape:
    """The GPU's constants from values of shape (10,)."""
    grown = np.exp(values)
    return Shape(
        knee=float(1 / (1 + np.exp(-values[0]))),
        rise=float(grown[1]),
        bend=float(grown[2]),
        idle_w=float(grown[3]) * _IDLE_SHARE * scale_w,
        ceiling=float(grown[4]),
        ceiling_sharpness=float(grown[5]),
        overlap=float(1 + grown[6]),
        floor=float(grown[7]),
        floor_sharpness=float(grown[8]),
        cap_factor=float(grown[9]),
    )


def load_of(values: Floats, anchors: Floats, idle_w: float) -> Load:
    """Loads from values of shape (loads, 7) and what they take at their highest setting.

    `anchors`, (loads, 2), are logarithms of that time (s) and power (W).
    """
    grown = np.exp(values)[:, :, None]
    time_s, power_w = np.exp(anchors[:, :1]), np.exp(anchors[:, 1:])
    return Load(
        compute_s=time_s * grown[:, 0],
        memory_s=time_s * grown[:, 1],
        host_s=time_s * grown[:, 2],
        switching_w=power_w * grown[:, 3],
        memory_w=power_w * grown[:, 4],
        base_w=idle_w * grown[:, 5],
        cap_sharpness=grown[:, 6],
    )
