# SPDX-License-Identifier: Apache-2.0
"""Inference of the evaluation: what a replica draws and serves in time, by clock and request rate.

Azure's conversation trace (2023), thinned to some rates, is replayed on the shipped RTX 4090
profile under each clock and under the governor; in between lie straight lines.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from plan_traces import rows

from profiling.files import read_profile
from profiling.shipped import shipped
from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.governor.registry import policy_named
from serving.replay.requests import Request
from serving.replay.run import figures, replay
from slurm_green.plan.problem import Floats, Ints, Service

__all__ = ["CLOCKS_MHZ", "SLO", "Chat", "Curve", "measured"]

CLOCKS_MHZ = (1005, 1365, 1725, 2190, 2670)
SLO = Slo(ttft_s=2.0, tpot_s=0.06)
_LEVELS_RPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)
_MET = 0.99  # of the requests, for a clock to count as one that keeps the SLOs


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One replica under one policy; entries by rate, the first one without any request."""

    rate_rps: Floats
    power_w: Floats
    met: Floats  # share of the requests
    tpot_s: Floats  # median

    def at(self, rate_rps: Floats) -> tuple[Floats, Floats, Floats]:
        """Power, share in time and time per token at these rates."""
        draw, met, tpot = (
            np.interp(rate_rps, self.rate_rps, one) for one in (self.power_w, self.met, self.tpot_s)
        )
        return draw, met, tpot

    @property
    def most_rps(self) -> float:
        """The rate up to which the SLOs are kept; 0 where they never are."""
        kept = np.append(self.met >= _MET, False)
        return float(self.rate_rps[int(kept.argmin()) - 1])


@dataclass(frozen=True, kw_only=True)
class Chat:
    """The curves of all clocks, slowest first, and the governor's."""

    clocks: tuple[Curve, ...]
    governor: Curve

    @property
    def most_rps(self) -> float:
        """What a replica can serve in time at its best clock."""
        return max(one.most_rps for one in self.clocks)

    def at_clocks(self, clock: Ints, rate_rps: Floats) -> tuple[Floats, Floats, Floats]:
        """Power, share in time and time per token, at one clock (an index) for each rate."""
        table = np.array([one.at(rate_rps) for one in self.clocks])
        draw, met, tpot = table[clock, :, np.arange(len(clock))].T
        return draw, met, tpot

    def service(self, rate_rps: Floats, replicas: int, weight: float) -> Service:
        """The planner's reading: power of each clock is a straight line over the rate."""
        usable = [(at, one) for at, one in enumerate(self.clocks) if one.most_rps > 0]
        low_w, slope = np.array([_line(one) for _, one in usable]).T
        most = np.array([one.most_rps for _, one in usable])
        return Service(
            name="chat",
            load_per_s=rate_rps * replicas,
            clock_mhz=np.array([CLOCKS_MHZ[at] for at, _ in usable]),
            max_rate=most * replicas,
            power_w=(low_w + slope * most) * replicas,
            idle_power_w=low_w * replicas,
            latency_s=np.array([one.tpot_s[0] for _, one in usable]),
            weight=weight,
        )


def measured(window_s: float) -> Chat:
    """The curves, from so many seconds of the trace at each rate (simulated)."""
    engine = EngineModel(read_profile(shipped(Path("rtx-4090-8b"))))
    trace = _trace(window_s)
    samples = [(rate, _thinned(trace, rate, window_s)) for rate in _LEVELS_RPS]
    clocks = tuple(
        _curve(f"static:{mhz}", engine, samples, engine.idle_power_w(engine.index(mhz)))
        for mhz in CLOCKS_MHZ
    )
    governor = _curve("governor", engine, samples, engine.idle_power_w(0))
    return Chat(clocks=clocks, governor=governor)


def _curve(
    policy: str, engine: EngineModel, samples: list[tuple[float, list[Request]]], idle_w: float
) -> Curve:
    make = policy_named(policy, engine, SLO)
    points = []
    for rate, requests in samples:
        run = replay(requests, engine, SLO, make)
        found = figures(run, SLO)
        power_w = found.energy_j / (run.end_s - run.start_s)
        points.append((rate, power_w, found.attainment, (found.tpot_p50_ms or 0.0) / 1e3))
    idle = (0.0, idle_w, 1.0, points[0][3])
    rate, power, met, tpot = np.array([idle, *points], dtype=np.float64).T
    return Curve(rate_rps=rate, power_w=power, met=met, tpot_s=tpot)


def _line(curve: Curve) -> tuple[float, float]:
    """Watts without load and per request a second, where the SLOs are kept."""
    some = (curve.rate_rps > 0) & (curve.rate_rps <= curve.most_rps)
    if some.sum() < 2:
        return float(curve.power_w[some][0]), 0.0
    slope, low = np.polyfit(curve.rate_rps[some], curve.power_w[some], 1)
    return max(float(low), 0.0), float(slope)


def _trace(window_s: float) -> list[Request]:
    _, table = rows("azure_llm_2023/AzureLLMInferenceTrace_conv_part1.csv.xz")
    zero = datetime.fromisoformat(table[0][0][:26])
    found = [
        Request((datetime.fromisoformat(at[:26]) - zero).total_seconds(), int(prompt), int(output))
        for at, prompt, output in table
    ]
    return [one for one in found if one.arrival_s <= window_s]


def _thinned(trace: list[Request], rate_rps: float, window_s: float) -> list[Request]:
    """Requests drawn with one seed, so that more are the same ones and others."""
    drawn = np.random.default_rng(0).random(len(trace)) * len(trace) < rate_rps * window_s
    return [one for one, kept in zip(trace, drawn, strict=True) if kept]
