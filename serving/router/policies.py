# SPDX-License-Identifier: Apache-2.0
"""The policy that a configuration names: `balanced`, or one that the replay knows too."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from serving.router.balance import Balanced
from serving.router.policy.protocol import Policy
from serving.router.settings import RoutePolicy
from slurm_green.errors import BadInputError
from slurm_green.threads import one_thread

if TYPE_CHECKING:
    from serving.governor.engine import EngineModel

__all__ = ["make_policy", "prefill_cost"]


def make_policy(wanted: RoutePolicy) -> Policy:
    """A new one, for one model; raises BadInputError, ProfilingError."""
    if wanted.name == "balanced":
        return Balanced()
    one_thread()
    from serving.router.policy.registry import POLICIES, policy_named

    names = ["balanced", *(one for one in POLICIES if one != "oracle")]
    if wanted.name not in names:
        raise BadInputError(f"[policy] name {wanted.name!r}: there are {', '.join(names)}")
    if wanted.profile is None:
        raise BadInputError(
            f"[policy] profile is missing: {wanted.name} wants the profile of the GPUs and the "
            "model, a directory or the name of one that comes with us"
        )
    from serving.governor.protocol import Slo

    slo = Slo(ttft_s=wanted.slo_ttft_ms / 1e3, tpot_s=wanted.slo_tpot_ms / 1e3)
    # Routers must not all draw the same numbers.
    seed = int.from_bytes(os.urandom(4))
    engine = _engine(wanted.profile, wanted.tp)
    return policy_named(wanted.name, engine, slo, seed=seed, background=True)


def prefill_cost(wanted: RoutePolicy) -> Callable[[int], tuple[float, float]] | None:
    """Seconds of a replica and joules that a prompt of so many tokens takes at its highest clock,
    by the profile; None without one. Raises ProfilingError.
    """
    if wanted.profile is None:
        return None
    one_thread()
    from serving.governor.engine import Batch

    engine = _engine(wanted.profile, wanted.tp)
    top = len(engine.clocks_mhz) - 1

    def cost(tokens: int) -> tuple[float, float]:
        seconds = engine.prompt_s(tokens, top)
        _, watts = engine.time_and_power(Batch(chunks=[(0, tokens)]), top)
        return seconds, seconds * watts

    return cost


def _engine(profile: str, tp: int) -> "EngineModel":
    from profiling.files import read_profile
    from profiling.shipped import shipped
    from serving.governor.engine import EngineModel

    return EngineModel(read_profile(shipped(Path(profile))), tp=tp)
