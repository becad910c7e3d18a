# SPDX-License-Identifier: Apache-2.0
"""The policies by name. Pure."""

from collections.abc import Callable
from dataclasses import replace

from slurm_green.errors import BadInputError
from slurm_green.migration.policy.energy_only import EnergyOnly
from slurm_green.migration.policy.feasibility import Feasibility
from slurm_green.migration.policy.never import Never
from slurm_green.migration.policy.prices import Prices, own_rules
from slurm_green.migration.policy.protocol import MovePolicy
from slurm_green.migration.rules import Rules

__all__ = ["ORACLE", "POLICIES", "policy_of"]

ORACLE = "oracle"  # `prices`, which the replay shows what will come

POLICIES: dict[str, Callable[[Rules], MovePolicy]] = {
    "never": lambda rules: Never(rules),
    "energy-only": lambda rules: EnergyOnly(replace(rules, domain=False)),
    "feasibility": lambda rules: Feasibility(rules),
    "prices": lambda rules: Prices(own_rules(rules)),
    ORACLE: lambda rules: Prices(own_rules(rules), name=ORACLE),
}


def policy_of(name: str, rules: Rules | None = None) -> MovePolicy:
    """The policy of that name; raises BadInputError for another."""
    if name not in POLICIES:
        raise BadInputError(f"no policy is called {name!r}; there are {', '.join(POLICIES)}")
    return POLICIES[name](rules or Rules())
