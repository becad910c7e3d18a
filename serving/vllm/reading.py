# SPDX-License-Identifier: Apache-2.0
"""Who decodes in the batch to come, read once for whoever asks how prompts come and which clock.

Before vLLM schedules, who runs is read; what it scheduled then begins, nearly always, with the
same decodes in the same order, a token each. They are not read again: who was evicted meanwhile
does not come back in the same batch.
The trap: with hundreds of requests this is most of what a decision costs, so those that go on as
before have one short way, and whoever is otherwise a longer one. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from serving.governor.engine import Batch
from serving.vllm.parts import Running, Tracked

__all__ = ["SEEN", "Live", "Reading", "most_urgent"]

SEEN = 16  # requests without a token, and banks, that a policy sees


@dataclass(slots=True)
class Live:
    """A request that has not ended."""

    request: Tracked
    arrival_s: float
    first_s: float | None = None
    cached: int | None = None  # tokens of the prompt that were there when it first ran


@dataclass(slots=True)
class Reading:
    """Who runs, before a batch is scheduled.

    `names` are those that got a token, hold all of the prompt and have more than one token to
    come, and `held` the tokens that they hold. `urgent` is until when the last token of each may
    have come, in seconds, and how many tokens it has then: the least of them, rising. `batch` and
    `banks` are of all who will decode, those too whose first token is in the batch that runs.
    `plain` is whether all others have no token yet and are behind them.
    """

    names: list[str]
    held: list[int]
    urgent: list[tuple[float, int]]
    batch: Batch
    banks: list[tuple[float, int]]
    plain: bool

    @classmethod
    def of(
        cls,
        running: Sequence[Running],
        live: Mapping[str, Live],
        begun: int,
        begin_s: float,
        tpot_s: float,
    ) -> "Reading":
        """Of these; so many of those that live have a token. The batch begins then."""
        known = live.get
        names: list[str] = []
        hold: list[int] = []
        lasts_s, made, others = [], [], []
        for request in running:
            name = request.request_id
            one = known(name)
            held = request.num_computed_tokens
            further = held - request.num_prompt_tokens
            if (
                one is None
                or (first_s := one.first_s) is None
                or request.is_prefill_chunk
                or not 0 <= further < request.max_tokens - 1
            ):
                others.append((len(names), request, one))
                continue
            names.append(name)
            hold.append(held)
            lasts_s.append(first_s + further * tpot_s)
            made.append(further + 1)
        urgent = most_urgent(lasts_s, made)
        found = cls(names, hold, urgent, Batch(), urgent, True)
        found._add(others, begun, begin_s, tpot_s)
        return found

    def _add(
        self,
        others: Sequence[tuple[int, Running, Live | None]],
        begun: int,
        begin_s: float,
        tpot_s: float,
    ) -> None:
        """Those that are otherwise, each with how many of `names` are before it."""
        count = seen = len(self.names)
        context, banks, behind = sum(self.held), [], False
        for before, request, one in others:
            if one is None:
                continue
            seen += one.first_s is not None
            if request.is_prefill_chunk:
                # It was evicted: its next token is late already. Or its prompt would take the
                # tokens of who decodes behind it.
                self.plain &= one.first_s is None and before == len(self.names)
                behind = True
                continue
            self.plain &= not behind
            held = request.num_computed_tokens
            further = held - request.num_prompt_tokens
            if further + 1 >= request.max_tokens:
                continue  # its last token is in the batch that runs
            count += 1
            context += held
            # Without a token yet, its first is in the batch that runs.
            first_s = begin_s if one.first_s is None else one.first_s
            banks.append((first_s + further * tpot_s, further + 1))
        # Who has tokens and does not run was evicted, too.
        self.plain &= seen >= begun
        self.batch = Batch(count, context / count if count else 0.0)
        if banks:
            self.banks = sorted(self.urgent + banks)[:SEEN]

    def begins(self, counts: Mapping[str, int]) -> bool:
        """Whether what was scheduled begins with these, a token each."""
        count = len(self.names)
        ones = list(islice(counts.values(), count)).count(1)
        return ones == count and list(islice(counts, count)) == self.names


def most_urgent(lasts_s: list[float], made: list[int]) -> list[tuple[float, int]]:
    """The least of these, rising, with what belongs to them."""
    if len(lasts_s) <= SEEN:
        return sorted(zip(lasts_s, made, strict=True))
    # Numbers are sorted much faster than pairs.
    most_s = sorted(lasts_s)[SEEN - 1]
    pairs = zip(lasts_s, made, strict=True)
    return sorted([one for one in pairs if one[0] <= most_s])[:SEEN]
