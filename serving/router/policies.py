# SPDX-License-Identifier: Apache-2.0
"""The policy that a configuration names: `balanced`, or one that the replay knows too."""

import os
from pathlib import Path

from serving.router.balance import Balanced
from serving.router.policy.protocol import Policy
from serving.router.settings import RoutePolicy
from slurm_green.errors import BadInputError
from slurm_green.threads import one_thread

__all__ = ["make_policy"]


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
    from profiling.files import read_profile
    from profiling.shipped import shipped
    from serving.governor.engine import EngineModel
    from serving.governor.protocol import Slo

    engine = EngineModel(read_profile(shipped(Path(wanted.profile))), tp=wanted.tp)
    slo = Slo(ttft_s=wanted.slo_ttft_ms / 1e3, tpot_s=wanted.slo_tpot_ms / 1e3)
    # Routers must not all draw the same numbers.
    return policy_named(wanted.name, engine, slo, seed=int.from_bytes(os.urandom(4)))
