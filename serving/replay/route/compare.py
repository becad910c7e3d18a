# SPDX-License-Identifier: Apache-2.0
"""The same requests and the same power under several routing policies."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.replay.route.figures import Figures, figures, met
from serving.replay.route.oracle import Oracle
from serving.replay.route.run import Foresight, Outcome, Site, route_replay
from serving.replay.route.sites import Times
from serving.replay.route.supply import Forecast, Persistence, Supply
from serving.replay.route.trace import Trace
from serving.router.policy.protocol import Policy
from serving.router.policy.registry import policy_named
from slurm_green.errors import BadInputError

__all__ = ["FILLS", "Scene", "Told", "compare"]

FILLS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)  # of the capacity, that the oracle tries


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that the policies share; times are on one clock."""

    trace: Trace
    sites: Sequence[Site]
    supply: Supply
    engine: EngineModel
    slo: Slo
    forecast: Forecast | None = None
    patience_s: float = 60.0
    times: Times = field(default_factory=Times)

    def __post_init__(self) -> None:
        """Refuse requests that come when no power is known."""
        if not len(self.trace):
            raise BadInputError("--requests: has none; there is nothing to replay")
        begin_s, end_s = float(self.supply.start_s[0]), self.supply.end_s
        first_s, last_s = float(self.trace.arrival_s[0]), float(self.trace.arrival_s[-1])
        if not begin_s <= first_s <= last_s <= end_s:
            raise BadInputError(
                f"--power: reaches from {begin_s:.10g} to {end_s:.10g} s, the requests arrive from "
                f"{first_s:.10g} to {last_s:.10g} s; give power that covers them, on the same clock"
            )


@dataclass(frozen=True, kw_only=True)
class Told:
    """Figures of one policy, and what they rest on."""

    figures: Figures
    outcome: Outcome
    wall_s: float


def compare(
    scene: Scene,
    names: Sequence[str],
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Told]:
    """Results by policy, in the order given; raises BadInputError for an unknown policy."""
    scene = _from_zero(scene)
    for name in names:
        if name != "oracle":
            policy_named(name, scene.engine, scene.slo)
    found = {}
    for name in names:
        began_s = time.perf_counter()

        def shown(share: float, name: str = name) -> None:
            if progress is not None:
                progress(name, share)

        if name == "oracle":
            outcome = _oracle(scene, shown)
        else:
            policy = policy_named(name, scene.engine, scene.slo)
            outcome = _run(scene, policy, progress=shown)
        found[name] = Told(
            figures=figures(outcome, scene.trace, scene.slo, scene.supply),
            outcome=outcome,
            wall_s=time.perf_counter() - began_s,
        )
    return found


def _from_zero(scene: Scene) -> Scene:
    """From the first arrival on: epoch seconds have too few digits left for an iteration."""
    zero_s = float(scene.trace.arrival_s[0])
    trace = replace(scene.trace, arrival_s=scene.trace.arrival_s - zero_s)
    supply = replace(scene.supply, start_s=scene.supply.start_s - zero_s)
    forecast = None
    if scene.forecast is not None:
        forecast = Forecast(
            supply=supply,
            issued_s=[one - zero_s for one in scene.forecast.issued_s],
            rows=[
                [(at - zero_s, watts, low) for at, watts, low in rows]
                for rows in scene.forecast.rows
            ],
        )
    return replace(scene, trace=trace, supply=supply, forecast=forecast)


def _oracle(scene: Scene, progress: Callable[[float], None]) -> Outcome:
    """The run with the most requests within their SLO."""
    known = replace(scene, forecast=_truth(scene.supply))
    best: Outcome | None = None
    most = -1
    runs: list[tuple[Scene, Policy]] = [(scene, policy_named("prices", scene.engine, scene.slo))]
    runs += [(known, Oracle(scene.engine, scene.slo, scene.trace, fill)) for fill in (None, *FILLS)]
    for number, (its, policy) in enumerate(runs):
        outcome = _run(its, policy, told=its is known)
        good = int(met(outcome, scene.trace, scene.slo).sum())
        if good > most:
            best, most = outcome, good
        progress((number + 1) / len(runs))
    assert best is not None
    return best


def _run(
    scene: Scene,
    policy: Policy,
    *,
    told: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    foresight: Foresight = scene.forecast or Persistence(scene.supply)
    return route_replay(
        scene.trace, scene.sites, scene.supply, scene.engine, policy, foresight,
        patience_s=scene.patience_s, times=scene.times, told=told, progress=progress,
    )  # fmt: skip


def _truth(supply: Supply) -> Forecast:
    rows = [
        (float(at_s), watts, watts)
        for at_s, watts in zip(supply.start_s, supply.watts.T.tolist(), strict=True)
    ]
    return Forecast(supply=supply, issued_s=[float("-inf")], rows=[rows])
