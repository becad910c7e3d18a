# SPDX-License-Identifier: Apache-2.0
"""The governor with a latency model that is a fifth off, on bursts of requests."""

import random

import pytest

from serving.governor.engine import Batch, EngineModel
from serving.governor.governor import Governor
from serving.governor.protocol import Slo
from serving.governor.registry import policy_named
from serving.replay.requests import Request
from serving.replay.run import figures, replay
from tests.serving.made import profile

SLO = Slo(ttft_s=0.5, tpot_s=0.02)


class Wrong(EngineModel):
    """Believes that everything takes `off` times less than it does."""

    off = 1.0

    def time_s(self, batch: Batch, clock: int) -> float:
        return super().time_s(batch, clock) / self.off

    def prompt_s(self, tokens: int, clock: int) -> float:
        return super().prompt_s(tokens, clock) / self.off


def bursts() -> list[Request]:
    """Two requests a second on average, some of them together; short and long answers."""
    dice, now_s, out = random.Random(7), 0.0, []
    for _ in range(1500):
        now_s += dice.expovariate(8.0 if dice.random() < 0.3 else 1.6)
        prompt = min(int(dice.lognormvariate(6.5, 0.9)) + 10, 3000)
        out.append(Request(now_s, prompt, int(dice.expovariate(1 / 80)) + 5))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("off", [0.8, 1.0, 1.2])
def test_a_fifth_off_it_attains_what_the_highest_clock_does(off: float) -> None:
    engine, believed = EngineModel(profile()), Wrong(profile())
    believed.off = off
    requests = bursts()
    most = figures(replay(requests, engine, SLO, policy_named("max", engine, SLO)), SLO)
    told = figures(replay(requests, engine, SLO, lambda: Governor(believed, SLO)), SLO)
    assert most.attainment is not None and told.attainment is not None
    assert 0.97 < most.attainment < 1.0, "a load that asks for something"
    assert told.attainment > most.attainment - 0.005
    assert told.energy_j < 0.8 * most.energy_j
