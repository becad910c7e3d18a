# SPDX-License-Identifier: Apache-2.0
"""The replica against the scheduler written out, and its energy against its own spans."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.governor.engine import EngineModel
from serving.governor.fixed import Fixed
from serving.governor.governor import Governor
from serving.governor.protocol import Moment, Slo
from serving.governor.registry import policy_named
from serving.replay.replica import Replica, Served
from serving.replay.requests import Request
from serving.replay.run import Run, figures, replay
from tests.serving.made import profile
from tests.serving.replay.naive import serve

SLO = Slo(ttft_s=0.3, tpot_s=0.02)
TIGHT = EngineModel(profile(kv_tokens=1600, max_batched_tokens=256, max_num_seqs=6))

arrivals = st.lists(
    st.tuples(st.floats(0, 0.2), st.integers(1, 600), st.integers(1, 120)), max_size=14
)


def requests_of(drawn: list[tuple[float, int, int]]) -> list[Request]:
    now_s, out = 0.0, []
    for gap_s, prompt, output in drawn:
        now_s += gap_s
        out.append(Request(now_s, prompt, output))
    return out


@settings(max_examples=150, deadline=None)
@given(arrivals)
def test_it_does_what_the_scheduler_written_out_does(drawn: list[tuple[float, int, int]]) -> None:
    requests = requests_of(drawn)
    clock = len(TIGHT.clocks_mhz) - 1
    run = replay(requests, TIGHT, SLO, lambda: Fixed(clock))
    wanted = serve(requests, TIGHT, clock)
    assert len(run.served) == len(wanted)
    for got, want in zip(run.served, wanted, strict=True):
        assert got.first_s == pytest.approx(want.first_s, abs=1e-9)
        assert got.end_s == pytest.approx(want.end_s, abs=1e-9)


class Picky(Fixed):
    """Lets prompts come in pieces by who decodes and who waits."""

    paces = True

    def prompt_tokens(self, moment: Moment) -> int | None:
        assert not moment.batch.chunks
        return picky(moment.batch.decodes, moment.waiting)


def picky(decodes: int, waiting: int) -> int | None:
    return [0, 7, 40, None][(3 * decodes + waiting) % 4]


class Shuffled(Fixed):
    """Has an order of its own."""

    orders = True

    def order(
        self, moment: Moment, begun_tokens: int, waiting: Sequence[tuple[float, int]]
    ) -> list[int]:
        assert len(waiting) > 1
        assert not moment.batch.chunks
        return shuffled(begun_tokens, waiting)


def shuffled(begun_tokens: int, waiting: Sequence[tuple[float, int]]) -> list[int]:
    """By their tokens, the longest or the shortest first."""
    sign = 1 if begun_tokens % 2 else -1
    return sorted(range(len(waiting)), key=lambda number: (sign * waiting[number][1], number))


@settings(max_examples=300, deadline=None)
@given(arrivals)
def test_prompts_come_in_the_policys_order_as_in_the_scheduler_written_out(
    drawn: list[tuple[float, int, int]],
) -> None:
    requests = requests_of(drawn)
    run = replay(requests, TIGHT, SLO, lambda: Shuffled(4))
    for got, want in zip(run.served, serve(requests, TIGHT, 4, orders=shuffled), strict=True):
        assert got.first_s == pytest.approx(want.first_s, abs=1e-9)
        assert got.end_s == pytest.approx(want.end_s, abs=1e-9)


def test_the_oldest_is_who_came_first_whatever_the_order() -> None:
    class Last(Shuffled):
        def order(
            self, moment: Moment, begun_tokens: int, waiting: Sequence[tuple[float, int]]
        ) -> list[int]:
            return sorted(range(len(waiting)), key=lambda number: -waiting[number][0])

        def choose(self, moment: Moment) -> int:
            oldest.append(moment.oldest_s)
            return super().choose(moment)

    oldest: list[float] = []
    run = replay([Request(0.001 * k, 600, 1) for k in range(6)], TIGHT, SLO, lambda: Last(4))
    ends = [one.end_s or 0.0 for one in run.served]
    assert ends[1] > ends[5] > ends[0]
    assert sorted(set(oldest)) == [0.0, 0.001]  # who came second is the last to end


@settings(max_examples=300, deadline=None)
@given(arrivals)
def test_prompts_come_in_pieces_as_in_the_scheduler_written_out(
    drawn: list[tuple[float, int, int]],
) -> None:
    requests = requests_of(drawn)
    run = replay(requests, TIGHT, SLO, lambda: Picky(4))
    for got, want in zip(run.served, serve(requests, TIGHT, 4, picky), strict=True):
        assert got.first_s == pytest.approx(want.first_s, abs=1e-9)
        assert got.end_s == pytest.approx(want.end_s, abs=1e-9)


def test_what_waits_is_let_in_when_nobody_decodes_any_more() -> None:
    class Never(Fixed):
        paces = True

        def prompt_tokens(self, moment: Moment) -> int:
            return 0

    requests = [Request(0.0, 100, 20), Request(0.01, 100, 20), Request(0.02, 100, 20)]
    run = replay(requests, TIGHT, SLO, lambda: Never(4))
    first, second, third = run.served
    assert second.first_s is not None and first.end_s is not None
    assert first.end_s < second.first_s
    assert second.first_s == third.first_s


def test_evictions_happen_in_that_comparison() -> None:
    requests = [Request(0.0, 300, 120) for _ in range(6)]
    run = replay(requests, TIGHT, SLO, lambda: Fixed(4))
    assert figures(run, SLO).evictions > 0
    assert all(one.end_s is not None for one in run.served)


@settings(max_examples=60, deadline=None)
@given(arrivals, st.sampled_from(["max", "min", "two-level", "feedback", "bandit", "governor"]))
def test_energy_is_what_its_spans_add_up_to(drawn: list[tuple[float, int, int]], name: str) -> None:
    requests = requests_of(drawn)
    run = replay(requests, TIGHT, SLO, policy_named(name, TIGHT, SLO), replicas=2, trace_power=True)
    for one in run.replicas:
        spans = one.meter.spans or []
        assert one.meter.energy_j == pytest.approx(sum(w * (e - b) for b, e, w in spans))
        ends = [run.start_s, *(end for _, end, _ in spans)]
        assert [begin for begin, _, _ in spans] == pytest.approx(ends[:-1])
        assert all(end >= begin for begin, end, _ in spans)
        assert ends[-1] == pytest.approx(run.end_s)


def test_a_request_that_never_fits_is_refused_and_counts_as_missed() -> None:
    run = replay([Request(0, 1600, 10), Request(0, 16, 4)], TIGHT, SLO, lambda: Fixed(4))
    found = figures(run, SLO)
    assert (found.refused, found.attainment, found.tokens) == (1, 0.5, 4)


def test_no_requests_are_no_figures() -> None:
    found = figures(replay([], TIGHT, SLO, lambda: Fixed(4)), SLO)
    assert found.energy_j == 0
    assert found.attainment is None
    assert found.ttft_p50_ms is None


def test_a_switch_takes_its_latency_also_within_an_iteration() -> None:
    engine = EngineModel(profile(switch_latency_s=0.01))
    replica = Replica(engine=engine, policy=Fixed(0), slo=SLO, start_s=0.0)
    replica.submit(Request(0.0, 2000, 1), 0)
    replica.advance(1.0)
    fast_s = engine.prompt_s(2000, 4) + 4e-3
    slow_s = engine.prompt_s(2000, 0) + 4e-3
    assert replica.now_s == pytest.approx(0.01 + slow_s * (1 - 0.01 / fast_s))


def test_one_token_has_no_time_per_token_and_meets_it() -> None:
    run = replay([Request(0, 100, 1)], TIGHT, SLO, lambda: Fixed(4))
    found = figures(run, SLO)
    assert found.attainment == 1.0
    assert found.tpot_p50_ms is None


@settings(max_examples=60, deadline=None)
@given(arrivals, st.floats(1e-4, 1.0), st.floats(1e-4, 0.1))
def test_the_governor_stays_within_its_clocks_and_changes(
    drawn: list[tuple[float, int, int]], ttft_s: float, tpot_s: float
) -> None:
    slo = Slo(ttft_s=ttft_s, tpot_s=tpot_s)
    requests = requests_of(drawn)
    run = replay(requests, TIGHT, slo, lambda: Governor(TIGHT, slo))
    assert all(one.end_s is not None for one in run.served)
    # Parking and waking are changes beyond those that the governor rations.
    rations = 3 + 4 * (run.end_s - run.start_s) + 2 * (len(drawn) + 1)
    assert run.replicas[0].meter.changes <= rations


def test_an_slo_that_nothing_meets_gets_the_highest_clock() -> None:
    slo = Slo(ttft_s=1e-4, tpot_s=1e-4)
    requests = [Request(0.01 * i, 200, 50) for i in range(20)]
    fastest = replay(requests, TIGHT, slo, lambda: Fixed(4))
    governed = replay(requests, TIGHT, slo, lambda: Governor(TIGHT, slo))
    assert governed.end_s == pytest.approx(fastest.end_s)


def test_a_light_load_runs_slower_and_keeps_its_slo() -> None:
    engine = EngineModel(profile())
    slo = Slo(ttft_s=1.0, tpot_s=0.05)
    requests = [Request(0.5 * i, 200, 50) for i in range(40)]
    fastest = figures(replay(requests, engine, slo, lambda: Fixed(4)), slo)
    governed = figures(replay(requests, engine, slo, lambda: Governor(engine, slo)), slo)
    assert governed.attainment == 1.0
    assert governed.energy_j < 0.8 * fastest.energy_j


def test_two_replicas_share_what_one_would_queue() -> None:
    engine = EngineModel(profile(max_num_seqs=4))
    requests = [Request(0.0, 500, 40) for _ in range(8)]
    one = replay(requests, engine, SLO, lambda: Fixed(4))
    two = replay(requests, engine, SLO, lambda: Fixed(4), replicas=2)
    assert two.end_s < 0.7 * one.end_s


@pytest.mark.parametrize("clock", [0, 2, 4])
def test_who_has_one_clock_waits_at_it_also_without_a_request(clock: int) -> None:
    engine = EngineModel(profile())
    run = replay([Request(0.0, 500, 40)], engine, SLO, lambda: Fixed(clock), replicas=2)
    assert [one.meter.changes for one in run.replicas] == [0, 0]
    waited_j = engine.idle_power_w(clock) * (run.end_s - run.start_s)
    assert run.replicas[1].meter.energy_j == pytest.approx(waited_j)


def test_a_first_token_at_time_zero_is_one() -> None:
    """Zero is a time like any other."""
    request = Request(-0.1, 10, 1)
    served = Served(request, 0, 10, first_s=0.0, end_s=0.0)
    found = figures(Run(served=[served], replicas=[], start_s=-0.1, end_s=0.0), SLO)
    assert found.ttft_p50_ms == pytest.approx(100)
    assert found.attainment == 1.0
