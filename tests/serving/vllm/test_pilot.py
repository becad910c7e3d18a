# SPDX-License-Identifier: Apache-2.0
"""What the policy is told of a scheduler's batches, and what becomes of its wishes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.governor.engine import EngineModel
from serving.governor.protocol import Ended, Moment, Slo
from serving.vllm.pilot import Pilot
from serving.vllm.share import Iteration
from tests.serving.made import CLOCKS, profile

ENGINE = EngineModel(profile())
TOP = len(CLOCKS) - 1
SLO = Slo(0.5, 0.03)


@dataclass
class Request:
    num_prompt_tokens: int
    num_computed_tokens: int = 0
    num_output_tokens: int = 0
    request_id: str = ""
    max_tokens: int = 100
    is_prefill_chunk: bool = False


@dataclass
class Clocks:
    holds_mhz: int | None = None
    since_s: float = 0.0
    pending: bool = False
    asked: list[int | None] = field(default_factory=list)
    parks: list[tuple[float, int] | None] = field(default_factory=list)

    def ask(self, clock_mhz: int | None) -> None:
        self.asked.append(clock_mhz)
        self.holds_mhz = clock_mhz

    def work(self) -> None:
        """Nothing to do here."""

    def rest(self, park: tuple[float, int] | None) -> None:
        self.parks.append(park)


class Scripted:
    """Answers as told, and keeps what it was shown."""

    park_after_s: float | None = 0.05
    paces = True
    orders = False

    def __init__(self, answers: list[int | Exception]) -> None:
        self.answers = answers
        self.moments: list[Moment] = []
        self.seen: list[float] = []
        self.ends: list[Ended] = []
        self.tokens: int | Exception | None = None
        self.asked: list[Moment] = []
        self.begun: list[int] = []
        self.numbers: list[int] = []

    def order(
        self, moment: Moment, begun_tokens: int, waiting: Sequence[tuple[float, int]]
    ) -> Sequence[int]:
        self.asked.append(moment)
        self.begun.append(begun_tokens)
        self.waiting = list(waiting)
        return self.numbers

    def prompt_tokens(self, moment: Moment) -> int | None:
        self.asked.append(moment)
        if isinstance(self.tokens, Exception):
            raise self.tokens
        return self.tokens

    def choose(self, moment: Moment) -> int:
        self.moments.append(moment)
        answer = self.answers.pop(0) if self.answers else TOP
        if isinstance(answer, Exception):
            raise answer
        return answer

    def saw(self, moment: Moment, duration_s: float) -> None:
        self.seen.append(duration_s)

    def finished(self, one: Ended) -> None:
        self.ends.append(one)


class Rig:
    highest_mhz: int | None = None

    def __init__(self, *answers: int | Exception) -> None:
        self.clocks = Clocks()
        self.policy = Scripted(list(answers))
        self.ran: list[Iteration] = []
        self.over: list[tuple[str, str]] = []
        self.failed: list[Exception] = []
        self.requests: dict[str, Request] = {}
        self.pilot = Pilot(
            self.clocks, slo=SLO, engine=ENGINE, policy=self.policy, ran=self.ran.append,
            over=lambda *one: self.over.append(one), failed=self.failed.append,
            highest_mhz=self.highest_mhz,
        )  # fmt: skip

    def arrive(self, name: str, prompt: int, at_s: float) -> Request:
        one = self.requests[name] = Request(prompt, request_id=name)
        self.pilot.arrived(name, one, at_s)
        return one

    def schedule(self, now_s: float, key: object, waiting: int = 0, **counts: int) -> None:
        for name, new in counts.items():
            one = self.requests[name]
            one.num_computed_tokens += new
            # vLLM says so when it schedules, and keeps it until it schedules again.
            one.is_prefill_chunk = one.num_computed_tokens < (
                one.num_prompt_tokens + one.num_output_tokens
            )
        self.pilot.scheduled(now_s, counts, key, waiting)

    def most(self, now_s: float, *running: str, waiting: tuple[str, ...] = ()) -> int | None:
        """Tokens of a batch of these, which run."""
        return self.prompts(now_s, running, waiting)[1]

    def prompts(
        self, now_s: float, running: Sequence[str], waiting: Sequence[str]
    ) -> tuple[list[str] | None, int | None]:
        """Which order the waiting ones should have, and the tokens of the batch."""
        order, tokens = self.pilot.prompts(
            now_s, [self.requests[one] for one in running],
            [self.requests[one] for one in waiting], len(waiting),
        )  # fmt: skip
        return order and [one.request_id for one in order], tokens

    def done(self, now_s: float, key: object, *finished: str, tokens: tuple[str, ...] = ()) -> None:
        for name in tokens:
            self.requests[name].num_output_tokens += 1
        self.pilot.done(now_s, key, finished)


def test_a_request_from_its_prompt_to_its_end() -> None:
    rig = Rig(TOP, TOP, 1, 2)
    rig.arrive("a", 100, 0.9)
    rig.arrive("b", 50, 0.95)
    rig.schedule(1.0, 1, a=60, waiting=1)
    first = rig.policy.moments[0]
    assert (first.batch.decodes, list(first.batch.chunks)) == (0, [(0, 60)])
    assert list(first.queue) == [(0.9, 100), (0.95, 50)]
    assert first.waiting == 1
    assert list(first.banks_s) == []

    rig.done(1.1, 1)
    rig.schedule(1.1, 2, a=40, b=50)
    second = rig.policy.moments[1]
    assert list(second.batch.chunks) == [(60, 40), (0, 50)]
    assert list(second.queue) == [(0.9, 40), (0.95, 50)]

    rig.done(1.2, 2, tokens=("a", "b"))
    rig.schedule(1.21, 3, a=1, b=1)
    third = rig.policy.moments[2]
    assert (third.batch.decodes, third.batch.context) == (2, 75.0)
    assert list(third.queue) == []
    # Its first token came 10 ms ago, and no further one is due yet.
    assert list(third.banks_s) == pytest.approx([-0.01, -0.01])
    assert list(third.made) == [1, 1]
    assert rig.clocks.asked[-1] == CLOCKS[1]

    rig.done(1.25, 3, "b", tokens=("a", "b"))
    rig.schedule(1.25, 4, a=1)
    assert list(rig.policy.moments[3].banks_s) == [pytest.approx(0.03 - 0.05)]
    assert list(rig.policy.moments[3].made) == [2]
    rig.done(1.3, 4, "a", tokens=("a",))
    assert rig.policy.ends == [Ended(0.95, 1.2, 1.25, 2, 50), Ended(0.9, 1.2, 1.3, 3, 100)]
    # Until it ended "b" was in, but never the oldest.
    assert [one.oldest_s for one in rig.policy.moments] == [0.9] * 4
    assert rig.policy.seen == pytest.approx([0.1, 0.1, 0.04, 0.05])
    assert rig.over == [("b", "finished"), ("a", "finished")]
    assert rig.clocks.parks == [(0.05, CLOCKS[0])]


def test_with_a_batch_queued_ahead_the_higher_wish_counts() -> None:
    rig = Rig(3, 1, 0)
    rig.arrive("a", 100, 0.0)
    rig.schedule(0.0, 1, a=100)
    rig.schedule(0.001, 2, a=1)  # its first token is still under way
    ahead = rig.policy.moments[1]
    assert ahead.batch.decodes == 1
    assert list(ahead.queue) == []
    assert list(ahead.banks_s) == []
    # It begins when the first batch is expected to end.
    assert ahead.now_s == pytest.approx(ENGINE.time_s(rig.policy.moments[0].batch, TOP))
    assert rig.clocks.asked == [CLOCKS[3], CLOCKS[3]]
    rig.done(0.01, 1, tokens=("a",))
    rig.schedule(0.011, 3, a=1)
    assert rig.clocks.asked[-1] == CLOCKS[1]
    rig.done(0.02, 2, tokens=("a",))
    assert [(one.begin_s, one.end_s) for one in rig.ran] == [(0.0, 0.01), (0.01, 0.02)]


def test_all_speed_is_the_gpus_own_highest_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rig, "highest_mhz", 1980)
    rig = Rig(TOP, TOP - 1)
    rig.arrive("a", 100, 0.0)
    rig.schedule(0.0, 1, a=50)
    rig.done(0.1, 1)
    rig.schedule(0.1, 2, a=50)
    assert rig.clocks.asked == [1980, CLOCKS[-2]]
    assert [one.clock for one in rig.policy.moments] == [TOP, TOP]


def test_a_preempted_request_computes_again_and_keeps_its_first_token() -> None:
    rig = Rig()
    one = rig.arrive("a", 10, 0.0)
    rig.schedule(0.0, 1, a=10)
    rig.done(0.1, 1, tokens=("a",))
    one.num_computed_tokens = 0
    rig.schedule(0.2, 2, a=11)
    moment = rig.policy.moments[-1]
    assert list(moment.batch.chunks) == [(0, 11)]
    assert list(moment.queue) == []
    rig.done(0.3, 2, "a", tokens=("a",))
    assert rig.policy.ends == [Ended(0.0, 0.1, 0.3, 2, 10)]


def test_who_left_is_accounted_and_teaches_nothing() -> None:
    rig = Rig()
    rig.arrive("a", 10, 0.0)
    rig.schedule(0.0, 1, a=10)
    rig.pilot.ended(0.05, ["a", "nobody"], "aborted")
    rig.done(0.1, 1, "a")
    assert rig.over == [("a", "aborted")]
    assert rig.policy.ends == []
    assert [name for name, _, _ in rig.ran[0].chunks] == ["a"]


def test_who_left_after_a_token_was_work_and_no_more() -> None:
    rig = Rig()
    rig.arrive("a", 10, 0.0)
    rig.arrive("b", 10, 0.01)
    rig.schedule(0.02, 1, a=10, b=10)
    rig.done(0.1, 1, tokens=("a", "b"))
    rig.pilot.ended(0.15, ["a"], "aborted")
    assert rig.policy.ends == [Ended(0.0, 0.1, 0.15, 1, 10, finished=False)]
    rig.schedule(0.2, 2, b=1)
    assert rig.policy.moments[-1].oldest_s == 0.01


def test_who_met_a_stop_string_ended_with_the_last_token() -> None:
    rig = Rig()
    rig.arrive("a", 10, 0.0)
    rig.arrive("b", 10, 0.01)
    rig.schedule(0.02, 1, a=10, b=10)
    rig.done(0.1, 1, tokens=("a", "b"))
    rig.schedule(0.1, 2, a=1, b=1)
    rig.done(0.14, 2, tokens=("a", "b"))
    rig.schedule(0.14, 3, a=1, b=1)  # the front end says so while that runs
    rig.pilot.ended(0.17, ["a"], "stopped")
    assert rig.policy.ends == [Ended(0.0, 0.1, 0.14, 2, 10)]
    assert rig.over == [("a", "finished")]


def test_of_a_prompt_counts_what_was_not_in_the_cache_when_it_came() -> None:
    rig = Rig()
    one = rig.arrive("a", 100, 0.0)
    one.num_computed_tokens = 64
    rig.schedule(0.0, 1, a=36)
    rig.done(0.1, 1, tokens=("a",))
    one.num_computed_tokens = 0  # evicted: what it computes again is no new prompt
    rig.schedule(0.2, 2, a=101)
    rig.done(0.3, 2, "a", tokens=("a",))
    assert rig.policy.ends == [Ended(0.0, 0.1, 0.3, 2, 36, cached_tokens=64)]


def test_prompts_come_in_pieces_beside_those_that_decode_if_the_policy_says_so() -> None:
    rig = Rig()
    rig.policy.tokens = 64
    rig.arrive("a", 100, 0.0)
    rig.schedule(0.0, 1, a=100)
    rig.done(0.1, 1, tokens=("a",))
    rig.schedule(0.1, 2, a=1)
    rig.done(0.12, 2, tokens=("a",))
    assert rig.most(0.12, "a") is None  # no prompt is there
    assert rig.policy.asked == []
    rig.arrive("b", 50, 0.09)
    rig.arrive("c", 70, 0.095)
    rig.schedule(0.12, 3, a=1, b=30)
    rig.done(0.13, 3, tokens=("a",))
    assert rig.most(0.13, "a", "b", waiting=("c",)) == 65
    [seen] = rig.policy.asked
    assert (seen.batch.decodes, seen.batch.context, seen.batch.chunks) == (1, 102.0, ())
    assert list(seen.queue) == [(0.09, 20), (0.095, 70)]
    assert (seen.waiting, seen.now_s, seen.oldest_s) == (1, 0.13, 0.0)
    assert list(seen.banks_s) == pytest.approx([0.1 + 2 * 0.03 - 0.13])
    assert list(seen.made) == [3]
    assert rig.pilot.paced == 1
    rig.policy.tokens = None
    assert rig.most(0.13, "a", "b") is None
    assert rig.pilot.paced == 1
    rig.policy.paces = False
    assert rig.most(0.13, "a", "b") is None
    assert len(rig.policy.asked) == 2


def test_with_a_batch_ahead_who_gets_a_first_token_in_it_has_none_to_lose() -> None:
    rig = Rig()
    rig.policy.tokens = 64
    rig.arrive("a", 100, 0.0)
    rig.schedule(0.0, 1, a=100)
    rig.arrive("b", 50, 0.001)
    assert rig.most(0.002, "a") == 65
    [seen] = rig.policy.asked
    assert seen.now_s == pytest.approx(ENGINE.time_s(rig.policy.moments[0].batch, TOP))
    assert list(seen.banks_s) == [0.0]


@pytest.mark.parametrize(("most", "decodes"), [(1, 0), (2, 0), (3, 1)])
def test_nothing_is_held_up_for_a_last_token_that_is_under_way(most: int, decodes: int) -> None:
    rig = Rig()
    rig.policy.tokens = 64
    one = rig.arrive("a", 100, 0.0)
    one.max_tokens = most
    rig.schedule(0.0, 1, a=100)
    rig.schedule(0.001, 2, a=1)
    rig.arrive("b", 50, 0.001)
    assert rig.most(0.002, "a") == decodes + 64
    assert rig.policy.asked[-1].batch.decodes == decodes


def test_nothing_is_held_up_where_somebody_was_evicted() -> None:
    rig = Rig()
    rig.policy.tokens = 64
    for name in ("a", "b"):
        rig.arrive(name, 10, 0.0)
    rig.schedule(0.0, 1, a=10, b=10)
    rig.done(0.1, 1, tokens=("a", "b"))
    rig.schedule(0.1, 2, a=1, b=1)
    rig.arrive("c", 10, 0.1)
    assert rig.most(0.1, "a", "b") == 66
    rig.requests["b"].num_computed_tokens = 0
    assert rig.most(0.1, "a") is None  # it is in the queue again
    rig.requests["b"].num_computed_tokens = 0
    rig.schedule(0.1, 3, a=1, b=5)
    assert rig.most(0.1, "a", "b") is None  # it computes again
    assert [one.batch.decodes for one in rig.policy.asked] == [2]


def test_a_prompt_before_somebody_who_decodes_would_take_the_tokens_of_both() -> None:
    rig = Rig()
    rig.policy.tokens = 64
    for name in ("a", "b"):
        rig.arrive(name, 10, 0.0)
    rig.schedule(0.0, 1, a=10, b=5)
    rig.done(0.1, 1, tokens=("a",))
    assert rig.most(0.1, "a", "b") == 65
    assert rig.most(0.1, "b", "a") is None


def test_prompts_that_wait_come_in_the_policys_order() -> None:
    rig = Rig()
    rig.policy.orders = True
    for k, name in enumerate("abcde"):
        rig.arrive(name, 10 * (k + 1), 0.01 * k)
    rig.schedule(0.1, 1, a=10, b=5)
    rig.done(0.2, 1, tokens=("a",))
    rig.policy.numbers = [2, 0, 1]
    assert rig.prompts(0.2, "ab", "cde")[0] == list("ecd")
    assert rig.pilot.reordered == 1
    assert rig.policy.begun == [15]
    assert rig.policy.waiting == [(0.02, 30), (0.03, 40), (0.04, 50)]
    rig.policy.tokens = 64
    assert rig.prompts(0.2, "ab", "ecd")[1] == 65
    # The policy sees who is begun, and then who waits as they wait.
    assert [arrival_s for arrival_s, _ in rig.policy.asked[-1].queue] == [0.01, 0.03, 0.04, 0.02]
    rig.policy.numbers = [0, 1, 2]
    assert rig.prompts(0.2, "ab", "ecd")[0] is None
    assert rig.pilot.reordered == 2
    # Who ran before stays, and is computed before the others.
    rig.requests["b"].num_computed_tokens = 0
    rig.policy.numbers = [1, 0]
    assert rig.prompts(0.2, "a", "bed")[0] == list("bde")
    assert rig.policy.begun[-1] == 20
    assert rig.prompts(0.2, "ab", "e")[0] is None
    assert rig.pilot.policy is not None


def test_a_first_token_that_is_under_way_is_no_work() -> None:
    rig = Rig()
    rig.policy.orders, rig.policy.numbers = True, [0, 1]
    for name in "abc":
        rig.arrive(name, 10, 0.0)
    rig.schedule(0.1, 1, a=10)
    rig.schedule(0.101, 2, a=1)
    assert rig.prompts(0.102, "a", "bc")[0] is None
    assert rig.policy.begun == [0]


@pytest.mark.parametrize("numbers", [[0, 0, 1], [0, 1], [0, 1, 3], [0, 1, 2, 3]])
def test_what_is_no_order_loses_nobody(numbers: list[int]) -> None:
    rig = Rig()
    rig.policy.orders, rig.policy.numbers = True, numbers
    for name in "abc":
        rig.arrive(name, 10, 0.0)
    assert rig.prompts(0.1, (), "abc") == (None, None)
    assert rig.pilot.policy is None


def test_of_a_prompt_that_has_not_run_the_cache_has_as_much_as_of_those_before() -> None:
    rig = Rig()
    rig.policy.tokens = 64
    for k in range(200):
        one = rig.arrive(f"r{k}", 1000, 0.0)
        one.num_computed_tokens = 900
        rig.schedule(0.0, k, **{f"r{k}": 100})
        rig.done(0.1, k, f"r{k}", tokens=(f"r{k}",))
    rig.arrive("a", 10, 0.0)
    rig.schedule(0.2, "a", a=10)
    rig.arrive("b", 1000, 0.2)
    assert rig.most(0.2, "a") == 65
    [seen] = rig.policy.asked
    [(_, left)] = seen.queue
    assert 100 <= left <= 150  # of those before a tenth was not there, of the last all


def test_a_policy_that_fails_about_prompts_is_given_up() -> None:
    rig = Rig()
    rig.policy.tokens = ValueError("a bug")
    rig.arrive("a", 10, 0.0)
    rig.schedule(0.0, 1, a=10)
    rig.arrive("b", 10, 0.1)
    assert rig.most(0.1, "a") is None
    assert rig.pilot.policy is None
    assert rig.clocks.asked[-1] is None
    assert rig.most(0.1, "a") is None
    assert [str(one) for one in rig.failed] == ["a bug"]


def test_a_policy_that_fails_is_given_up_and_joules_go_on() -> None:
    rig = Rig(1, ValueError("a bug"))
    rig.arrive("a", 10, 0.0)
    rig.schedule(0.0, 1, a=10)
    rig.done(0.1, 1, tokens=("a",))
    rig.schedule(0.1, 2, a=1)
    rig.done(0.2, 2, "a", tokens=("a",))
    assert rig.clocks.asked == [CLOCKS[1], None]
    assert [str(one) for one in rig.failed] == ["a bug"]
    assert rig.pilot.policy is None
    assert len(rig.ran) == 2
    assert rig.over == [("a", "finished")]


def test_batches_that_never_ran_and_empty_ones_are_forgotten() -> None:
    rig = Rig()
    rig.arrive("a", 10, 0.0)
    rig.schedule(0.0, "lost", a=5)
    rig.schedule(0.1, "run", a=5)
    rig.pilot.scheduled(0.1, {}, "empty", 0)
    rig.requests["stranger"] = Request(10)
    rig.schedule(0.1, "strange", stranger=10)
    rig.done(0.2, "run", tokens=("a",))
    rig.done(0.3, "empty")
    assert len(rig.ran) == 1


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_scheduled_is_seen_once_and_in_order(data: st.DataObject) -> None:
    """A scheduler that admits, cuts, preempts and aborts at will, with one or two batches ahead."""
    rig = Rig(*data.draw(st.lists(st.integers(0, TOP), max_size=80)))
    ahead = data.draw(st.integers(1, 2))
    flying: list[tuple[int, dict[str, int], set[str]]] = []
    running: dict[str, Request] = {}
    now_s, ended, expected = 0.0, set[str](), []
    for step in range(40):
        now_s += 0.01
        if step < 25 and data.draw(st.booleans()):
            name = f"r{step}"
            running[name] = rig.arrive(name, data.draw(st.integers(1, 50)), now_s)
        if running and data.draw(st.integers(0, 9)) == 0:
            name = data.draw(st.sampled_from(sorted(running)))
            del running[name]
            ended.add(name)
            rig.pilot.ended(now_s, [name], "aborted")
        if running and data.draw(st.integers(0, 9)) == 0:
            running[data.draw(st.sampled_from(sorted(running)))].num_computed_tokens = 0
        counts, complete = {}, set()
        for name, one in running.items():
            left = one.num_prompt_tokens + one.num_output_tokens - one.num_computed_tokens
            counts[name] = data.draw(st.integers(1, left)) if left > 1 else 1
            if counts[name] >= left:
                complete.add(name)
        if counts:
            rig.schedule(now_s, step, **counts)
            flying.append((step, counts, complete))
            expected.append(set(counts))
        while len(flying) >= ahead or (flying and not running):
            key, _, complete = flying.pop(0)
            tokens = [name for name in complete if name in running]
            over = [name for name in tokens if data.draw(st.integers(0, 3)) == 0]
            now_s += 0.02
            rig.done(now_s, key, *over, tokens=tuple(tokens))
            for name in over:
                del running[name]
                ended.add(name)
    seen = [{name for name, *_ in (*one.decodes, *one.chunks)} for one in rig.ran]
    assert seen == expected[: len(seen)]
    assert len(expected) - len(seen) <= ahead
    assert all(one.begin_s <= one.end_s for one in rig.ran)
    assert all(a.end_s <= b.begin_s for a, b in pairwise(rig.ran))
    assert sorted(name for name, _ in rig.over) == sorted(ended)
    assert all(one.arrival_s <= one.first_s <= one.end_s for one in rig.policy.ends)
    assert all(mhz in CLOCKS for mhz in rig.clocks.asked)
    assert rig.failed == []
