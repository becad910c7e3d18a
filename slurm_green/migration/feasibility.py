# SPDX-License-Identifier: Apache-2.0
"""Whether a move fits into a renewable window: the conditions on time and on energy. Pure.

After Tomei et al. 2025 (arXiv 2511.16182): checkpoint size, bandwidth and window decide. What the
paper leaves open is ours: the formula of the energy condition, the classes, and that whatever a
move holds draws the job's power. Functions take numbers or arrays.

The trap: a greener site is worth nothing to a job that spends the window on its way there.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats
from slurm_green.words import length

__all__ = ["CLASS_A", "Answer", "Binding", "Move", "break_even_s", "check", "migration_s"]

CLASS_A = 0.02  # a move of that share of the window needs no second thought

_ROUNDING = 1e-9  # relative: a move that takes exactly its share may be a hair beyond it in floats
_BITS_PER_GB = 8e9
_BITS_PER_GBPS = 1e9
_NO_GREENER = "the power there is no greener than here"
_UNJUDGED = "; energy was not judged, for that takes the job's power and both green shares"

Number = TypeVar("Number", float, Floats)


class Binding(StrEnum):
    """Which condition forbids a move; time where both do."""

    TIME = "time"
    ENERGY = "energy"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A move to judge. Shares are 0 to 1; None is what nobody knows.

    `window_h` is what is left of the renewable window there, a low quantile of it where it is a
    forecast. `transfers` share the link, this one among them. `lost_work_s` is what was computed
    since the last checkpoint and is computed again.
    """

    checkpoint_gb: float
    bandwidth_gbps: float
    window_h: float
    alpha: float = 0.1
    efficiency: float = 0.8
    snapshot_s: float = 30.0
    restart_s: float = 120.0
    transfers: int = 1
    queue_wait_s: float = 0.0
    lost_work_s: float = 0.0
    network_j_per_gb: float = 0.0
    job_power_w: float | None = None
    green_share_here: float | None = None
    green_share_there: float | None = None
    remaining_h: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What follows. `klass` is A to C: at most 2 % of the window, at most alpha of it, beyond.

    Energy is None where power or shares are not known; `break_even_s` also where the move never
    pays, `fraction_of_window` where there is no window.
    """

    feasible: bool
    klass: str
    migration_s: float
    fraction_of_window: float | None
    energy_cost_j: float | None
    break_even_s: float | None
    binding: Binding
    reason: str


def migration_s(
    checkpoint_gb: Number,
    bandwidth_gbps: Number,
    *,
    efficiency: float = 0.8,
    snapshot_s: float = 30.0,
    restart_s: float = 120.0,
) -> Number:
    """Seconds for which the job does not run: snapshot, transfer, restart. GB are 1e9 bytes."""
    bits_per_s = efficiency * bandwidth_gbps * _BITS_PER_GBPS
    return snapshot_s + _BITS_PER_GB * checkpoint_gb / bits_per_s + restart_s


def break_even_s(
    energy_cost_j: Number, job_power_w: Number, share_here: Number, share_there: Number
) -> Floats:
    """Seconds there after which the move has paid for itself; infinite where it never does.

    `energy_cost_j / (job_power_w (1 - g_there / g_here))` with g = 1 - green share: how much
    less of the job's energy is not green there.
    """
    gain = np.subtract(share_there, share_here, dtype=np.float64)
    saved_w = np.multiply(job_power_w, gain) / np.maximum(np.subtract(1.0, share_here), 1e-12)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(saved_w > 0, np.divide(energy_cost_j, saved_w), np.inf)


def check(move: Move) -> Answer:
    """Whether this move is allowed, and in a sentence why or why not."""
    moving_s = (
        migration_s(
            move.checkpoint_gb,
            move.bandwidth_gbps / move.transfers,
            efficiency=move.efficiency,
            snapshot_s=move.snapshot_s,
            restart_s=move.restart_s,
        )
        + move.queue_wait_s
    )
    window_s = move.window_h * SECONDS_PER_HOUR
    room_s = move.alpha * window_s
    left_s = math.inf if move.remaining_h is None else move.remaining_h * SECONDS_PER_HOUR
    cost_j, pays_s = _energy(move, moving_s)
    usable_s = min(window_s, left_s)
    in_time = moving_s <= room_s * (1 + _ROUNDING)
    if not in_time:
        binding = Binding.TIME
        reason = (
            f"the move takes {length(moving_s)}, more than the {length(room_s)} that it may take "
            f"({move.alpha:.3g} of a window of {length(window_s)})"
        )
    elif left_s <= moving_s:
        binding = Binding.TIME
        reason = f"the move takes {length(moving_s)}, and the job ends here in {length(left_s)}"
    elif pays_s == math.inf:
        binding = Binding.ENERGY
        idle = not move.job_power_w
        reason = "a job that draws nothing saves nothing" if idle else _NO_GREENER
    elif pays_s is not None and moving_s + pays_s >= usable_s:
        binding = Binding.ENERGY
        reason = (
            f"after the move of {length(moving_s)} it takes {length(pays_s)} to pay for it, and "
            f"only {length(usable_s)} of window and job are left"
        )
    else:
        binding = Binding.NONE
        paid = "" if pays_s is None else f", pays for itself within {length(pays_s)} there"
        unknown = "" if pays_s is not None else _UNJUDGED
        reason = f"the move takes {length(moving_s)} of the {length(room_s)} allowed{paid}{unknown}"
    fraction = moving_s / window_s if window_s > 0 else math.inf
    return Answer(
        feasible=binding is Binding.NONE,
        klass="A" if fraction <= CLASS_A * (1 + _ROUNDING) else "B" if in_time else "C",
        migration_s=moving_s,
        fraction_of_window=_finite(fraction),
        energy_cost_j=cost_j,
        break_even_s=_finite(pays_s),
        binding=binding,
        reason=reason,
    )


def _energy(move: Move, moving_s: float) -> tuple[float | None, float | None]:
    """What the move costs in J, and how long it takes to win that back."""
    if None in (move.job_power_w, move.green_share_here, move.green_share_there):
        return None, None
    power_w, here, there = move.job_power_w, move.green_share_here, move.green_share_there
    assert power_w is not None and here is not None and there is not None
    cost_j = power_w * (moving_s + move.lost_work_s) + move.network_j_per_gb * move.checkpoint_gb
    return cost_j, float(break_even_s(cost_j, power_w, here, there))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
