# SPDX-License-Identifier: Apache-2.0
"""Prompts delay answers beside them: what is still to come at each replica."""

import pytest

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.router.policy.prices import Prices
from serving.router.policy.protocol import Moment, ReplicaView, RequestView, SiteView
from serving.router.policy.stalls import Stalls
from tests.serving.made import profile

ENGINE = EngineModel(profile())


def test_a_bucket_drains_and_never_below_empty() -> None:
    stalls = Stalls()
    stalls.fit(2, 0.0)
    stalls.put(1, 0.6, 0.0)
    assert stalls.level_s(1, 1.0, 0.5) == pytest.approx(0.1)
    assert stalls.level_s(1, 2.0, 0.5) == 0.0
    stalls.fit(2, 1.0)
    assert stalls.level_s(1, 1.0, 0.5) == pytest.approx(0.1)
    stalls.fit(3, 1.0)
    assert stalls.level_s(1, 1.0, 0.5) == 0.0


def taken(*tokens: int, prompt: int = 2000) -> int:
    """Of 30 prompts at once, after answers of so many tokens; each could have its own first token
    in time."""
    policy = Prices(ENGINE, Slo(ttft_s=100.0, tpot_s=0.05))
    views = [ReplicaView(site=0, clock_mhz=1800.0)]
    moment = Moment(0.0, [SiteView("a", 0.01, 1)], views)
    policy.control(moment)
    for one in tokens * 40:
        policy.finished(RequestView(2000), 0, 0.1, 0.01, one)
    policy.control(moment)
    count = 0
    for _ in range(30):
        found = policy.route(RequestView(prompt, tokens[0]), moment)
        count += found is not None
        views[0].running += found is not None
    return count


def test_prices_keep_prompts_away_from_short_answers_that_they_would_delay() -> None:
    assert 1 <= taken(10) < taken(60) <= 30


def test_an_answer_of_one_token_has_none_that_a_prompt_could_delay() -> None:
    """Nor has an embedding, which has no token at all."""
    assert taken(60, 1) >= taken(60)
    assert taken(60, 0) >= taken(60)


def test_answers_of_two_tokens_do_not_keep_a_replica_for_themselves() -> None:
    """Long ones beside them bear more, and a prompt hardly ever meets one that is so short."""
    assert taken(60, 2, prompt=500) == taken(60, 6, prompt=500) > 1
