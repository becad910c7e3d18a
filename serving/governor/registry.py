# SPDX-License-Identifier: Apache-2.0
"""The clock policies by name. Pure."""

import math
from collections.abc import Callable

from profiling.number import number_of
from serving.governor.bandit import Bandit
from serving.governor.engine import EngineModel
from serving.governor.feedback import Feedback
from serving.governor.fixed import Fixed
from serving.governor.governor import Governor, Tuning
from serving.governor.objective import Steering
from serving.governor.projection import Projection
from serving.governor.protocol import Policy, Slo
from serving.governor.two_level import TwoLevel
from slurm_green.errors import BadInputError

__all__ = ["POLICIES", "policy_named"]

# Name -> what it does, and whose idea it is.
POLICIES = {
    "max": "The highest clock.",
    "min": "The lowest clock.",
    "static:MHZ": "One clock.",
    "two-level": "Two clocks by predicted latency, after VoltanaLLM.",
    "feedback": "Steps by observed latency, after GreenLLM.",
    "bandit": "Learns the least energy times delay, after AGFT.",
    "projection": "The lowest clock for the projected batch, after throttLL'eM.",
    "governor": "Ours: the lowest clock that keeps the SLOs, prompts in pieces and ordered.",
    "governor:in-order": "Ours, and prompts come in vLLM's order.",
    "governor:clocks": "Ours, and prompts come as vLLM takes them.",
    "oracle": "Ours, knowing output lengths and what arrives next.",
}


def policy_named(
    name: str,
    engine: EngineModel,
    slo: Slo,
    steering: Callable[[], Steering] | None = None,
) -> Callable[[], Policy]:
    """What makes a policy for a replica; raises BadInputError for a name that is none.

    Only the governors heed `steering`, one for each replica.
    """
    high = len(engine.clocks_mhz) - 1
    if name.startswith("static:"):
        clock = engine.index(_static_mhz(name, engine))
        return lambda: Fixed(clock)
    makers: dict[str, Callable[[], Policy]] = {
        "max": lambda: Fixed(high),
        "min": lambda: Fixed(0),
        "two-level": lambda: TwoLevel(engine, slo),
        "feedback": lambda: Feedback(engine, slo),
        "bandit": lambda: Bandit(engine, slo),
        "projection": lambda: Projection(engine, slo),
        "governor": lambda: Governor(engine, slo, steering=steering and steering()),
        "governor:in-order": lambda: Governor(
            engine, slo, Tuning(orders=False), steering and steering()
        ),
        "governor:clocks": lambda: Governor(
            engine, slo, Tuning(most_wait=0.0), steering and steering()
        ),
    }
    if name == "oracle":
        raise BadInputError("oracle knows the future, so it is for replays only; take governor")
    if name not in makers:
        raise BadInputError(f"--policy {name}: no such policy; there are {', '.join(POLICIES)}")
    return makers[name]


def _static_mhz(name: str, engine: EngineModel) -> float:
    text = name.partition(":")[2]
    low, high = engine.clocks_mhz[0], engine.clocks_mhz[-1]
    try:
        mhz = number_of(text)
    except ValueError:
        mhz = math.nan
    if not low <= mhz <= high:
        raise BadInputError(
            f"--policy {name}: {text!r} is no clock of the profile; wanted {low:g} to {high:g} MHz"
        )
    return mhz
