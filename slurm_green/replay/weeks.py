# SPDX-License-Identifier: Apache-2.0
"""How sure a saving is: the carbon of two policies week by week, and a bootstrap over weeks. Pure.

Weeks are the unit because days are not independent: a windy spell lasts longer. The trap: a
policy that defers moves carbon into the next week, so single weeks say less than their sum.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.problem import Floats
from slurm_green.replay.result import Replay

__all__ = ["LEAST_WEEKS", "Saving", "by_week", "saving", "savings_json", "savings_of"]

LEAST_WEEKS = 4  # with fewer an interval would be a guess
_WEEK_S = 7 * 86_400.0
_DRAWS = 4000
_QUANTILES = (0.025, 0.975)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Share of the baseline's carbon that was saved, negative where there was more.

    `low` and `high` enclose it with 95 % confidence; None with too few weeks or no carbon.
    """

    share: float | None
    low: float | None
    high: float | None
    weeks: int


def by_week(slot_g: Floats, step_s: float) -> Floats:
    """Grams of each week from the first slot on, shape (weeks,).

    What is left at the end is a week of its own from half a week on, else part of the last one.
    """
    total_s = len(slot_g) * step_s
    weeks = max(1, round(total_s / _WEEK_S))
    which = np.minimum((np.arange(len(slot_g)) + 0.5) * step_s // _WEEK_S, weeks - 1)
    grams = np.bincount(which.astype(np.int64), weights=slot_g, minlength=weeks)
    return np.asarray(grams, dtype=np.float64)


def saving(ours_g: Floats, baseline_g: Floats, seed: int = 0) -> Saving:
    """The saving over all weeks, shapes (weeks,) each.

    Weeks are drawn again and again with replacement, both policies' together, and the saving is
    that of the drawn weeks' sums (percentile bootstrap of a ratio).
    """
    total_g = float(baseline_g.sum())
    if total_g <= 0:
        return Saving(share=None, low=None, high=None, weeks=len(baseline_g))
    share = 1 - float(ours_g.sum()) / total_g
    if len(baseline_g) < LEAST_WEEKS:
        return Saving(share=share, low=None, high=None, weeks=len(baseline_g))
    drawn = _drawn(len(baseline_g), seed)
    below_g = baseline_g[drawn].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = 1 - ours_g[drawn].sum(axis=1) / below_g
    low, high = np.quantile(shares[below_g > 0], _QUANTILES)
    return Saving(share=share, low=float(low), high=float(high), weeks=len(baseline_g))


def savings_of(replay: Replay) -> dict[tuple[str, str], Saving]:
    """What the first policy saved against the second, for all pairs of two."""
    step_s = replay.inputs.problem.site.step_s
    weeks = {name: by_week(one.slot_g, step_s) for name, one in replay.results.items()}
    return {
        (one, other): saving(weeks[one], weeks[other])
        for one in weeks
        for other in weeks
        if one != other
    }


def savings_json(replay: Replay) -> dict[str, dict[str, dict[str, Any]]]:
    """The same for JSON: policy, then the one it is compared with."""
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in replay.results}
    for (one, other), saved in savings_of(replay).items():
        found[one][other] = asdict(saved)
    return found


def _drawn(weeks: int, seed: int) -> NDArray[np.int64]:
    """The same draws for all pairs of policies, so that equal policies get equal intervals."""
    return np.random.default_rng(seed).integers(0, weeks, size=(_DRAWS, weeks))
