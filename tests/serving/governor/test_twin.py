# SPDX-License-Identifier: Apache-2.0
"""The twin does what the replica would have done at the highest clock."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiling.files import read_profile
from profiling.shipped import shipped
from serving.governor.ceiling import Capped
from serving.governor.engine import Batch, EngineModel
from serving.governor.fixed import Fixed
from serving.governor.governor import Governor, Tuning
from serving.governor.protocol import Ended, Moment, Slo
from serving.governor.twin import Twin
from serving.replay.replica import Replica
from serving.replay.requests import Request
from serving.replay.run import figures, replay
from tests.serving.made import profile
from tests.serving.replay.test_replica import requests_of

SLO = Slo(ttft_s=0.3, tpot_s=0.02)
ENGINE = EngineModel(profile(kv_tokens=1600, max_batched_tokens=256, max_num_seqs=6))
TOP = len(ENGINE.clocks_mhz) - 1
# No two at once: who of them was first is not told.
arrivals = st.lists(
    st.tuples(st.floats(1e-5, 0.2), st.integers(1, 600), st.integers(1, 120)), max_size=14
)
WORKS_OFF = [Request(900.0 + k, 16, 60) for k in range(40)]  # the twin needs iterations to catch up


class Watched(Fixed):
    """One clock, and a twin of the replica."""

    def __init__(self, clock: int, ratio: float = 1.0) -> None:
        super().__init__(clock)
        self.twin = Twin(ENGINE, SLO)
        self.lost: list[float] = []
        self._ratio = ratio

    def saw(self, moment: Moment, duration_s: float) -> None:
        self.twin.ran(moment, moment.now_s + duration_s, self._ratio)
        self.lost += self.twin.go_on(moment.oldest_s)

    def finished(self, one: Ended) -> None:
        self.twin.ended(one)


def watched(requests: Sequence[Request], clock: int) -> Watched:
    run = replay([*requests, *WORKS_OFF], ENGINE, SLO, lambda: Watched(clock))
    policy = run.replicas[0].policy
    assert isinstance(policy, Watched)
    return policy


@settings(max_examples=30, deadline=None)
@given(arrivals)
def test_of_a_replica_at_the_highest_clock_it_is_a_copy(
    drawn: list[tuple[float, int, int]],
) -> None:
    policy = watched(requests_of(drawn), TOP)
    fitting = [one for one in requests_of(drawn) if one.prompt_tokens + one.output_tokens <= 1600]
    assert len(fitting) <= policy.twin.requests
    assert policy.lost == pytest.approx([0.0] * len(policy.lost), abs=1e-6)
    assert policy.twin.late == policy.twin.late_anyway


@settings(max_examples=30, deadline=None)
@given(arrivals, st.integers(0, TOP))
def test_it_tells_who_was_late_and_who_would_have_been(
    drawn: list[tuple[float, int, int]], clock: int
) -> None:
    requests = requests_of(drawn)
    told = {
        at: figures(replay([*requests, *WORKS_OFF], ENGINE, SLO, lambda at=at: Fixed(at)), SLO)
        for at in (clock, TOP)
    }
    twin = watched(requests, clock).twin
    count = len(requests) + len(WORKS_OFF)
    left = count - twin.requests  # the last ones
    for late, at in ((twin.late, clock), (twin.late_anyway, TOP)):
        attained = told[at].attainment
        assert attained is not None
        assert 0 <= round((1 - attained) * count) - late <= left


def test_what_the_highest_clock_would_have_drawn() -> None:
    requests = [Request(0.4 * k, 200, 40) for k in range(50)]
    full = replay([*requests, *WORKS_OFF], ENGINE, SLO, lambda: Fixed(TOP)).replicas[0]
    slow = replay([*requests, *WORKS_OFF], ENGINE, SLO, lambda: Watched(1)).replicas[0]
    assert isinstance(slow.policy, Watched)
    assert slow.policy.twin.energy_j == pytest.approx(full.meter.energy_j, rel=0.01)
    assert slow.meter.energy_j < 0.9 * full.meter.energy_j


def test_a_machine_that_is_slow_is_not_the_governors_doing() -> None:
    """Iterations take twice what the profile says, and the twin's do as well."""
    twin = Twin(ENGINE, SLO)
    for ratio, late in ((1.0, 0), (8.0, 1)):
        twin.ran(Moment(0.0, Batch(1, 10.0), TOP, 0.0), 100.0, ratio)
        first_s, end_s = 0.01 * ratio, 0.01 * ratio + 0.005 * ratio * 9
        twin.ended(Ended(0.0, first_s, end_s, 10, 100))
        for _ in range(20):
            twin.go_on(200.0)
        assert twin.late_anyway == late
        twin = Twin(ENGINE, SLO)


@pytest.mark.parametrize("ratio", [0.25, 2.0])
def test_a_slow_machine_draws_the_profiles_watts_for_longer(ratio: float) -> None:
    energy_j = []
    for times in (1.0, ratio):
        twin = Twin(ENGINE, SLO)
        twin.ran(Moment(0.0, Batch(1, 10.0), TOP, 0.0), 100.0, times)
        for _ in range(2):  # the second one's prompt beside the first one's tokens
            twin.ended(Ended(0.0, 1.0, 2.0, 20, 300))
        for _ in range(40):
            twin.go_on(50.0)
        assert twin.requests == 2
        energy_j.append(twin.energy_j)
    assert energy_j[1] == pytest.approx(ratio * energy_j[0])


def test_a_profile_that_is_wrong_is_put_right() -> None:
    """All takes 1.2 times what the policy believes: its twin ends when the replica did."""

    class Wrong(EngineModel):
        def time_s(self, batch: Batch, clock: int) -> float:
            return super().time_s(batch, clock) / 1.2

    engine = EngineModel(profile())
    [served] = replay([Request(0.0, 200, 50)], engine, SLO, lambda: Fixed(TOP)).served
    assert served.first_s is not None and served.end_s is not None
    just = Slo(ttft_s=9.0, tpot_s=(served.end_s - served.first_s) / 49)  # hardly in time
    twin = Twin(Wrong(profile()), just)
    twin.ran(Moment(0.0, Batch(1, 10.0), TOP, 0.0), 100.0, 1.2)
    twin.ended(Ended(0.0, served.first_s, served.end_s, 50, 200))
    lost = [one for _ in range(60) for one in twin.go_on(50.0)]
    assert lost == pytest.approx([0.0], abs=1e-6)


def test_what_was_found_in_the_cache_is_read_by_it_too() -> None:
    """A long prefix that others had makes tokens slow, at the highest clock as well."""
    engine = EngineModel(profile())
    requests = [Request(0.0, 40, 50, cached_tokens=3000) for _ in range(6)]
    run = replay(requests, engine, SLO, lambda: Fixed(TOP))
    [(first_s, end_s)] = {(one.first_s, one.end_s) for one in run.served}
    assert first_s is not None and end_s is not None
    twin = Twin(engine, Slo(ttft_s=9.0, tpot_s=(end_s - first_s) / 49))  # hardly in time
    for _ in requests:
        twin.ended(Ended(0.0, first_s, end_s, 50, 40, cached_tokens=3000))
    lost = [one for _ in range(60) for one in twin.go_on(50.0)]
    assert lost == pytest.approx([0.0] * 6, abs=1e-6)


def test_what_was_found_in_the_cache_is_read_by_its_request_alone() -> None:
    """By its prompt as by its tokens, and by nobody after it."""

    class Watching(Fixed):
        def choose(self, moment: Moment) -> int:
            batch = moment.batch
            seen.append((batch.context, list(batch.chunks)))
            return super().choose(moment)

    seen: list[tuple[float, list[tuple[int, int]]]] = []
    requests = [Request(0.0, 40, 3, cached_tokens=3000), Request(9.0, 50, 3)]
    replay(requests, EngineModel(profile()), SLO, lambda: Watching(TOP))
    assert seen == [
        (0.0, [(3000, 40)]), (3040.0, []), (3041.0, []),
        (0.0, [(0, 50)]), (50.0, []), (51.0, []),
    ]  # fmt: skip


def test_a_ceiling_holds_for_it_too() -> None:
    requests = [Request(0.05 * k, 400, 60) for k in range(60)]
    run = replay([*requests, *WORKS_OFF], ENGINE, SLO, lambda: Capped(Watched(TOP), lambda: 1))
    capped = run.replicas[0].policy
    assert isinstance(capped, Capped)
    assert isinstance(capped.policy, Watched)
    twin = capped.policy.twin
    assert twin.late_anyway > 0
    assert twin.late == pytest.approx(twin.late_anyway, abs=1)


def test_who_waits_for_the_oldest_request_is_not_forgotten() -> None:
    twin = Twin(ENGINE, SLO)
    for k in range(5):
        twin.ended(Ended(1.0 + k, 1.1 + k, 1.2 + k, 5, 50))
    for _ in range(50):
        twin.go_on(0.5)
    assert twin.requests == 0
    for _ in range(50):
        twin.go_on(100.0)
    assert twin.requests == 5


def test_what_a_request_that_hangs_holds_up_does_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.governor.twin._HELD", 10)
    twin = Twin(ENGINE, SLO)
    for k in range(50):
        twin.ended(Ended(1.0 + k, 1.1 + k, 1.2 + k, 5, 50))
        assert twin.go_on(0.5) == []
    assert twin.behind == 10
    for _ in range(100):
        twin.go_on(100.0)
    assert (twin.behind, twin.requests) == (0, 10)


def test_who_left_is_work_for_it_and_not_compared() -> None:
    twin = Twin(ENGINE, SLO)
    twin.ended(Ended(0.0, 5.0, 9.0, 50, 500, finished=False))
    twin.ended(Ended(0.1, 0.1, 0.1, 0, 500, finished=False))
    lost = [one for _ in range(200) for one in twin.go_on(20.0)]
    assert (lost, twin.requests, twin.late) == ([], 0, 0)
    assert twin.energy_j > 0


@pytest.mark.parametrize("tokens", [1, 2, 50])
def test_a_late_first_token_counts_whole_however_short_the_answer(tokens: int) -> None:
    twin = Twin(ENGINE, SLO)
    twin.ended(Ended(0.0, 9.0, 9.0 + 0.001 * (tokens - 1), tokens, 10))
    [lost] = [one for _ in range(60) for one in twin.go_on(20.0)]
    assert lost > 0.8
    assert (twin.late, twin.late_anyway) == (1, 0)


def test_it_takes_few_iterations_at_a_time() -> None:
    twin = Twin(ENGINE, SLO)
    twin.ended(Ended(0.0, 0.1, 3.0, 100, 100))
    ran = 0
    while not twin.go_on(10.0):
        ran += 1
    assert 30 <= ran <= 100


@pytest.mark.slow
def test_the_governor_loses_hardly_more_than_it_may_where_a_fixed_price_does() -> None:
    engine = EngineModel(read_profile(shipped(Path("h100-sxm-8b"))))
    slo = Slo(ttft_s=0.5, tpot_s=0.03)
    dice, now_s, requests = random.Random(1), 0.0, []
    for _ in range(3000):
        now_s += dice.expovariate(8.0)
        prompt = int(min(dice.lognormvariate(6.5, 1.0), 4000)) + 1
        requests.append(Request(now_s, prompt, int(min(dice.lognormvariate(4, 1.0), 600)) + 1))
    low = Tuning(miss_requests=5.0, most_wait=0.0)
    late = {}
    for name, policy in (
        ("max", Fixed(len(engine.clocks_mhz) - 1)),
        ("price", Governor(engine, slo, replace(low, most_lost=None))),
        ("steered", Governor(engine, slo, low)),
    ):
        told = figures(replay(requests, engine, slo, lambda policy=policy: policy), slo)
        assert told.attainment is not None
        late[name] = 1 - told.attainment
    assert late["price"] - late["max"] > 0.005
    assert late["steered"] - late["max"] < 0.0025


def test_a_replica_runs_as_many_iterations_as_it_is_told() -> None:
    replica = Replica(engine=ENGINE, policy=Fixed(TOP), slo=SLO, start_s=0.0)
    replica.submit(Request(0.0, 10, 5), 0)
    replica.advance(10.0, 2)
    assert replica.step == 1
    replica.advance(10.0)
    assert [one.produced for one in replica.ended] == [5]
