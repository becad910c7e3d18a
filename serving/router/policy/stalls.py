# SPDX-License-Identifier: Apache-2.0
"""How long the answers at each replica still stand still for prompts that were sent there. Pure.

A prompt in an iteration delays the next token of every answer beside it. Each replica has a
bucket of prompt seconds: a prompt adds its own, and it drains as fast as prompts may be computed
with every answer still getting its tokens in time. How full it may be is for the caller to say.
"""

__all__ = ["Stalls"]


class Stalls:
    """A bucket for each replica, by its number."""

    def __init__(self) -> None:
        self._level_s: list[float] = []
        self._at_s: list[float] = []

    def fit(self, replicas: int, now_s: float) -> None:
        """There are so many; where that is new, all buckets are empty."""
        if len(self._level_s) != replicas:
            self._level_s = [0.0] * replicas
            self._at_s = [now_s] * replicas

    def level_s(self, number: int, now_s: float, drain: float) -> float:
        """What is in a bucket that drained at so many seconds a second since it was filled."""
        return max(self._level_s[number] - drain * (now_s - self._at_s[number]), 0.0)

    def put(self, number: int, level_s: float, now_s: float) -> None:
        """It is so full now."""
        self._level_s[number], self._at_s[number] = level_s, now_s
