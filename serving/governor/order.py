# SPDX-License-Identifier: Apache-2.0
"""In which order prompts are computed, so that as few first tokens as possible are late. Pure.

First come, first served, as long as all are in time. Where one would be late, the one of those
before it, itself included, that takes longest goes to the end: that leaves the fewest late ones
(J. M. Moore, "An n job, one machine sequencing algorithm for minimizing the number of late jobs",
Management Science 15, 1968). Whoever has waited for long is not sent back any more.
"""

import heapq
from collections.abc import Sequence

__all__ = ["fewest_late"]


def fewest_late(
    begin_s: float, prompts: Sequence[tuple[float, float]], fixed: Sequence[bool]
) -> list[int]:
    """Their numbers in order of service; of each prompt until when it is to be done, in seconds of
    the clock of `begin_s`, and how many seconds it takes. `fixed` ones are not sent back.
    """
    dues_s = [due_s for due_s, _ in prompts]
    order = sorted(range(len(prompts)), key=dues_s.__getitem__)
    done_s = begin_s
    longest: list[tuple[float, int]] = []
    back = set()
    for number in order:
        due_s, takes_s = prompts[number]
        done_s += takes_s
        if not fixed[number]:
            heapq.heappush(longest, (-takes_s, number))
        if done_s > due_s and longest:
            less_s, one = heapq.heappop(longest)
            done_s += less_s
            back.add(one)
    return [one for one in order if one not in back] + [one for one in order if one in back]
