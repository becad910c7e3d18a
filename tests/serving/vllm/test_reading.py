# SPDX-License-Identifier: Apache-2.0
"""Who decodes is read once, and the policy is told what it would be if all were read each time."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.governor.engine import Batch
from serving.governor.protocol import Moment
from serving.vllm.pilot import Pilot
from serving.vllm.share import Iteration
from tests.serving.vllm.test_pilot import ENGINE, SLO, TOP, Clocks, Request, Rig, Scripted

STEPS = 60


class Told(Scripted):
    """Answers by what it is shown, and keeps that."""

    orders = True

    def __init__(self) -> None:
        super().__init__([])
        self.waited: list[tuple[int, list[tuple[float, int]]]] = []

    def order(
        self, moment: Moment, begun_tokens: int, waiting: Sequence[tuple[float, int]]
    ) -> Sequence[int]:
        self.waited.append((begun_tokens, list(waiting)))
        turned = begun_tokens % 3
        return [*range(turned, len(waiting)), *range(min(turned, len(waiting)))]

    def prompt_tokens(self, moment: Moment) -> int | None:
        self.asked.append(moment)
        return None if moment.waiting % 4 == 3 else 5 + 7 * (moment.waiting % 4)

    def choose(self, moment: Moment) -> int:
        self.moments.append(moment)
        return TOP


class Plain(Pilot):
    """Reads everybody before each batch, and again when it was scheduled, each alone."""

    def prompts(self, now_s: float, running: Any, first: Any, waiting: int) -> Any:
        policy = self.policy
        if policy is None or not self._tokenless:
            return None, None
        begin_s = max(now_s, self._flying[-1].free_s) if self._flying else now_s
        known = [one for one in running if one.request_id in self._live]
        lives = [self._live[one.request_id] for one in known]
        chunks = [one.is_prefill_chunk for one in known]
        context, banks = 0, []
        for one, live in zip(known, lives, strict=True):
            further = one.num_computed_tokens - one.num_prompt_tokens
            if not one.is_prefill_chunk and further + 1 < one.max_tokens:
                first_s = begin_s if live.first_s is None else live.first_s
                banks.append((first_s + further * SLO.tpot_s, further + 1))
                context += one.num_computed_tokens
        begun = [name for name, live in self._live.items() if live.first_s is not None]
        plain = (
            chunks == sorted(chunks)
            and all(one.first_s is None for one, chunk in zip(lives, chunks, strict=True) if chunk)
            and set(begun) <= {one.request_id for one in known}
        )
        batch = Batch(len(banks), context / len(banks) if banks else 0.0)
        moment = self._moment(begin_s, batch, self._clock(), {}, waiting, sorted(banks)[:16])
        order = self._order(policy, moment, first) if len(first) > 1 else None
        if not plain:
            return order, None
        moment.queue = self._queue({})
        tokens = policy.prompt_tokens(moment)
        return order, None if tokens is None else len(banks) + tokens

    def _iteration(
        self, begin_s: float, clock: int, counts: Mapping[str, int]
    ) -> tuple[Iteration, list[tuple[float, int]]]:
        decodes, chunks, banks = [], [], []
        for name, new in counts.items():
            if name not in self._live:
                continue
            live = self._live[name]
            prompt = live.request.num_prompt_tokens
            held = live.request.num_computed_tokens - new
            if live.cached is None:
                live.cached = held
                self._fresh += 0.05 * (1 - held / max(prompt, 1) - self._fresh)
            if new == 1 and held >= prompt:
                decodes.append((name, held))
                if live.first_s is not None:
                    last_s = live.first_s + (held - prompt) * SLO.tpot_s
                    banks.append((last_s, held - prompt + 1))
            else:
                chunks.append((name, held, new))
        context = sum(held for _, held in decodes) / len(decodes) if decodes else 0.0
        batch = Batch(len(decodes), context, [(held, new) for _, held, new in chunks])
        return Iteration(begin_s, begin_s, clock, batch, decodes, chunks), sorted(banks)[:16]

    def _queue(self, counts: Mapping[str, int]) -> list[tuple[float, int]]:
        queue = []
        for name, live in list(self._tokenless.items())[:16]:
            one = live.request
            left = one.num_prompt_tokens - one.num_computed_tokens + counts.get(name, 0)
            if live.cached is None:
                left = round(one.num_prompt_tokens * self._fresh)
            if left > 0:
                queue.append((live.arrival_s, left))
        return queue


class World:
    """vLLM, as far as requests tell of it: batches in flight, cuts, evictions, early ends."""

    def __init__(self, seed: int, ahead: int, odd: frozenset[str]) -> None:
        self.dice, self.ahead, self.odd = random.Random(seed), ahead, odd
        self.now_s, self.count = 0.0, 0
        self.running: list[Request] = []
        self.waiting: list[Request] = []
        self.flying: list[tuple[int, list[Request]]] = []
        self.under_way: dict[str, int] = {}  # tokens
        self.told = [Told(), Told()]
        self.ran: list[list[Iteration]] = [[], []]
        self.pilots = [
            kind(
                Clocks(), slo=SLO, engine=ENGINE, policy=policy, ran=ran.append,
                over=lambda *_: None, failed=_raise,
            )
            for kind, policy, ran in zip((Pilot, Plain), self.told, self.ran, strict=True)
        ]  # fmt: skip

    def chance(self, kind: str, one_in: int) -> bool:
        return kind in self.odd and self.dice.randrange(one_in) == 0

    def arrive(self, name: str, prompt: int, answer: int) -> Request:
        one = Request(prompt, request_id=name, max_tokens=answer)
        if not self.chance("unknown", 6):
            at_s = self.now_s - self.dice.random()
            for pilot in self.pilots:
                pilot.arrived(name, one, at_s)
        return one

    def new(self) -> None:
        self.count += 1
        prompt = self.dice.randint(1, 8 if self.dice.random() < 0.7 else 60)
        self.waiting.append(self.arrive(f"r{self.count}", prompt, self.dice.randint(1, 25)))
        if self.chance("cached", 3):
            self.waiting[-1].num_computed_tokens = self.dice.randrange(prompt)

    def left(self, one: Request) -> int:
        """Tokens to compute, those that are under way included."""
        known = one.num_prompt_tokens + one.num_output_tokens
        return known + self.under_way.get(one.request_id, 0) - one.num_computed_tokens

    def evict(self) -> None:
        one = self.running.pop(self.dice.randrange(len(self.running)))
        one.num_computed_tokens = 0
        self.under_way.pop(one.request_id, None)
        self.waiting.insert(0, one)

    def leave(self, one: Request) -> None:
        self.running = [other for other in self.running if other is not one]
        for pilot in self.pilots:
            pilot.ended(self.now_s, [one.request_id], "aborted")

    def step(self, number: int) -> None:
        self.now_s += 0.01 * self.dice.random()
        if self.running and self.chance("leaves", 8):
            self.leave(self.dice.choice(self.running))
        if self.running and self.chance("evicted", 8):
            self.evict()
        if self.running and self.chance("again", 8):
            # A session of streaming input: the pilot knows another object than vLLM's.
            one = self.dice.choice(self.running)
            self.arrive(one.request_id, self.dice.randint(1, 9), one.max_tokens)
        if self.running and self.chance("lost", 8):
            # Of its cache; it still counts as one that decodes.
            one = self.dice.choice(self.running)
            one.num_computed_tokens = self.dice.randrange(one.num_computed_tokens or 1)
            self.under_way.pop(one.request_id, None)
        if self.chance("turned", 8):
            self.dice.shuffle(self.running)
        tokens = None if "unasked" in self.odd else self.prompts()
        room = self.dice.randint(1, 80) if tokens is None else tokens
        if self.running and self.chance("evicted", 8):
            self.evict()  # by others of the batch: then nobody who waits begins
            counts = self.schedule(room, 0)
        else:
            counts = self.schedule(room, self.dice.randint(0, 40))
        if self.chance("shuffled", 6):
            counts = dict(self.dice.sample(list(counts.items()), len(counts)))
        if self.running and self.chance("leaves", 20):
            self.leave(self.dice.choice(self.running))
        if not counts:
            return
        for pilot in self.pilots:
            pilot.scheduled(self.now_s, counts, number, len(self.waiting), 0.25)
        complete = [one for one in self.running if one.request_id in counts]
        self.flying.append((number, [one for one in complete if not one.is_prefill_chunk]))

    def prompts(self) -> int | None:
        first = self.waiting[:20]
        (order, tokens), plain = [
            pilot.prompts(self.now_s, self.running, first, len(self.waiting))
            for pilot in self.pilots
        ]
        assert (order and [one.request_id for one in order], tokens) == (
            plain[0] and [one.request_id for one in plain[0]],
            plain[1],
        )
        if order is not None:
            self.waiting[: len(order)] = order
        return tokens

    def schedule(self, room: int, most: int) -> dict[str, int]:
        """Who runs, and at most so many of those that wait."""
        counts: dict[str, int] = {}
        for one in self.running + self.waiting[:most]:
            under_way = self.under_way.get(one.request_id, 0)
            if self.left(one) < 1 or (
                under_way and one.num_output_tokens + under_way >= one.max_tokens
            ):
                continue
            if not room or self.chance("short", 30):
                break
            if one in self.waiting:
                self.waiting.remove(one)
                self.running.append(one)
            new = 1 if self.chance("short", 20) else min(self.left(one), room)
            counts[one.request_id] = new
            room -= new
            one.num_computed_tokens += new
            one.is_prefill_chunk = self.left(one) > 0
            if not one.is_prefill_chunk:
                self.under_way[one.request_id] = under_way + 1
        return counts

    def land(self) -> None:
        number, complete = self.flying.pop(0)
        self.now_s += 0.02 * self.dice.random()
        ended = []
        for one in complete:
            if one not in self.running or not self.under_way.get(one.request_id):
                continue  # it was evicted since, or left
            self.under_way[one.request_id] -= 1
            one.num_output_tokens += 1
            if one.num_output_tokens >= one.max_tokens or self.chance("stops", 40):
                ended.append(one)
        self.running = [one for one in self.running if one not in ended]
        for pilot in self.pilots:
            pilot.done(self.now_s, number, [one.request_id for one in ended])


def _raise(error: Exception) -> None:
    raise error


ODD = (
    "unknown", "cached", "leaves", "evicted", "again", "lost", "turned", "unasked", "shuffled",
    "short", "stops",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 1 << 30),
    st.integers(1, 3),
    st.integers(0, 45),
    st.frozensets(st.sampled_from(ODD)),
)
def test_the_policy_is_told_what_it_would_be_if_all_were_read_each_time(
    seed: int, ahead: int, first: int, odd: frozenset[str]
) -> None:
    world = World(seed, ahead, odd)
    for number in range(STEPS):
        for _ in range(first if not number else world.dice.choice((0, 0, 1, 2))):
            world.new()
        world.step(number)
        while len(world.flying) >= ahead or (world.flying and not world.running):
            world.land()
        ours, plain = world.told
        assert ours.moments[-1:] == plain.moments[-1:]
        assert ours.asked[-1:] == plain.asked[-1:]
    assert (ours.moments, ours.asked, ours.waited) == (plain.moments, plain.asked, plain.waited)
    assert (ours.seen, ours.ends) == (plain.seen, plain.ends)
    assert world.ran[0] == world.ran[1]


def test_what_was_read_counts_for_that_batch_only() -> None:
    rig = Rig()
    for name in "ab":
        rig.arrive(name, 10, 0.0)
    rig.schedule(0.0, 1, a=10, b=10)
    rig.done(0.1, 1, tokens=("a", "b"))
    rig.arrive("c", 10, 0.1)
    rig.policy.tokens = 64
    assert rig.most(0.1, "a", "b", waiting=("c",)) == 66
    rig.schedule(0.1, 2, a=1, b=1)
    rig.schedule(0.11, 3, a=1, b=1)
    assert rig.most(0.12, "a", "b", waiting=("c",)) == 66
    rig.requests["a"].num_computed_tokens = 10  # nothing was scheduled
    rig.policy.paces = False
    assert rig.most(0.13, "a", "b", waiting=("c",)) is None
    rig.schedule(0.13, 4, a=1, b=1)
    assert [one.batch.context for one in rig.policy.moments] == [0.0, 10.0, 11.0, 11.0]
