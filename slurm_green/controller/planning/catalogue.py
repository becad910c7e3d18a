# SPDX-License-Identifier: Apache-2.0
"""Classes of jobs, as they turn up: a class is a list of ways, and keeps its place. Pure."""

import numpy as np

from slurm_green.controller.planning.question import Way
from slurm_green.plan.problem import Shapes

__all__ = ["Catalogue"]


class Catalogue:
    """Gives every list of ways a class; `shapes` are those of all classes so far."""

    def __init__(self) -> None:
        self._classes: dict[tuple[Way, ...], int] = {}
        self._first = [0]
        self._ways: list[Way] = []
        self._shapes: Shapes | None = None

    def __len__(self) -> int:
        """Number of classes."""
        return len(self._classes)

    def class_of(self, ways: tuple[Way, ...]) -> int:
        """The class of a job with these ways."""
        found = self._classes.get(ways)
        if found is None:
            found = self._classes[ways] = len(self._classes)
            self._ways += ways
            self._first.append(len(self._ways))
            self._shapes = None
        return found

    def way(self, shape: int) -> Way:
        """The way that a shape stands for."""
        return self._ways[shape]

    @property
    def shapes(self) -> Shapes:
        """The same object until a class is added."""
        if self._shapes is None:
            ways = self._ways
            self._shapes = Shapes(
                class_names=tuple(str(number) for number in self._classes.values()),
                first=np.array(self._first, dtype=np.int64),
                workers=np.array([way.workers for way in ways], dtype=np.int64),
                clock_mhz=np.array([way.clock_mhz for way in ways], dtype=np.int64),
                gpus=np.array([way.units for way in ways], dtype=np.int64),
                rate=np.array([way.speed for way in ways], dtype=np.float64),
                power_w=np.array([way.power_w for way in ways], dtype=np.float64),
            )
        return self._shapes
