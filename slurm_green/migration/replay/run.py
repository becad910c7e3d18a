# SPDX-License-Identifier: Apache-2.0
"""Policies on the same inputs, one after another."""

import time
from collections.abc import Sequence
from functools import partial

from slurm_green.migration.orchestrator import decide
from slurm_green.migration.policy.registry import ORACLE, policy_of
from slurm_green.migration.replay.inputs import Inputs
from slurm_green.migration.replay.outlooks import expected, truth
from slurm_green.migration.replay.result import Replay, result_of
from slurm_green.migration.replay.simulator import simulate
from slurm_green.migration.rules import Rules

__all__ = ["replay"]


def replay(inputs: Inputs, names: Sequence[str], rules: Rules | None = None) -> Replay:
    """Each policy's figures; `oracle` alone is shown what came."""
    policies = {name: policy_of(name, rules) for name in names}
    could = expected(inputs) if set(names) - {ORACLE} else []
    did = truth(inputs) if ORACLE in names else []
    results = {}
    for name, policy in policies.items():
        begun = time.perf_counter()
        trace = simulate(inputs, did if name == ORACLE else could, partial(decide, policy=policy))
        results[name] = result_of(name, inputs, trace, time.perf_counter() - begun)
    return Replay(inputs=inputs, results=results)
