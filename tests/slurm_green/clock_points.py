# SPDX-License-Identifier: Apache-2.0
"""A profile of four clocks, for tests of what is made of it."""

from profiling.profile import Profile, Provenance, TrainingPoint

__all__ = ["POINTS", "point", "profile"]


def point(
    clock_mhz: float | None, rate: float, power_w: float | None, **more: int
) -> TrainingPoint:
    return TrainingPoint(
        workers=more.pop("workers", 1), clock_mhz=clock_mhz, rate=rate, power_w=power_w, **more
    )


# Energy per unit: 620, 462, 473, 620.
POINTS = (
    point(900, 0.5, 310), point(1200, 0.8, 370), point(1500, 0.95, 450), point(1980, 1.0, 620),
)  # fmt: skip


def profile(*points: TrainingPoint) -> Profile:
    return Profile(provenance=Provenance.SIMULATED, training=points)
