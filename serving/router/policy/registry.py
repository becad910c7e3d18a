# SPDX-License-Identifier: Apache-2.0
"""The routing policies by name. Pure."""

from collections.abc import Callable

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.router.policy.per_site import PerSiteAdmit
from serving.router.policy.prices import Prices
from serving.router.policy.protocol import Policy
from serving.router.policy.reactive import Reactive
from serving.router.policy.simple import GreedyLatency, PerSite, PowerCap, WrrPower
from slurm_green.errors import BadInputError

__all__ = ["POLICIES", "policy_named"]

# Name -> what it does, and whose idea it is.
POLICIES = {
    "per-site": "A fixed share for each site, each alone at its best setting.",
    "per-site-admit": "As per-site, each site turning requests away as prices does.",
    "wrr-power": "Shares by the power of this moment, clocks as it allows.",
    "power-cap": "Equal shares among sites that serve, clocks as the power allows.",
    "greedy-latency": "The least expected time to a first token.",
    "heron": "Plans every 15 minutes by forecast, after Heron.",
    "reactive": "Latency, cache use and queue depth only, after XWind.",
    "prices": "Ours: the least delay and carbon, with a price on GPU time.",
    "oracle": "Ours, knowing arrivals, lengths and power; the best of several runs.",
}


def policy_named(
    name: str, engine: EngineModel, slo: Slo, *, seed: int = 0, background: bool = False
) -> Policy:
    """A new policy; raises BadInputError for a name that is none. `seed` is for random choices.

    `background`: what takes long is done in a thread, so that no call takes long.
    """

    def heron() -> Policy:
        from serving.router.policy.heron import Heron  # scipy, which few need

        return Heron(engine, slo, background=background)

    makers: dict[str, Callable[[], Policy]] = {
        "per-site": lambda: PerSite(engine, slo),
        "per-site-admit": lambda: PerSiteAdmit(engine, slo, seed),
        "wrr-power": lambda: WrrPower(engine, slo),
        "power-cap": lambda: PowerCap(engine, slo),
        "greedy-latency": lambda: GreedyLatency(engine, slo),
        "heron": heron,
        "reactive": lambda: Reactive(engine, slo, seed),
        "prices": lambda: Prices(engine, slo, seed),
    }
    if name == "oracle":
        raise BadInputError("oracle knows the future, so it is for replays only; take prices")
    if name not in makers:
        raise BadInputError(f"--policy {name}: no such policy; there are {', '.join(POLICIES)}")
    return makers[name]()
