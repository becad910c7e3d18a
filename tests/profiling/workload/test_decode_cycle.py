# SPDX-License-Identifier: Apache-2.0
"""A decode cycle keeps to its context, and its prompts to whole blocks of the cache."""

from hypothesis import given
from hypothesis import strategies as st

from profiling.workload.decode_cycle import cycle_of, longest_prompt

contexts = st.integers(1, 10_000)
blocks = st.sampled_from([1, 16, 32, 128, 256])
rooms = st.integers(1, 20_000)
steps = st.integers(1, 20_000)


@given(contexts, blocks, rooms, steps)
def test_the_mean_context_is_the_wanted_one_and_no_sequence_outgrows_its_room(
    context: int, block: int, room: int, wanted: int
) -> None:
    cycle = cycle_of(context, block, room, wanted)
    if cycle is None:
        assert 2 * context - longest_prompt(context, block) > room
        return
    assert cycle.prompt_tokens + cycle.last_context_tokens == 2 * context
    assert cycle.last_context_tokens <= room
    assert cycle.prompt_tokens % block == 1 % block
    assert 0 < cycle.prompt_tokens <= context
    # Only where blocks leave no other choice does a prompt have less than half the context.
    assert (
        2 * cycle.prompt_tokens >= context or longest_prompt(context, block) == cycle.prompt_tokens
    )


@given(contexts, blocks)
def test_the_longest_prompt_is_whole_blocks_and_a_token_within_the_context(
    context: int, block: int
) -> None:
    prompt = longest_prompt(context, block)
    assert (prompt - 1) % block == 0
    assert context - block < prompt <= context


@given(contexts, blocks, steps)
def test_a_cycle_is_as_short_as_it_may_be(context: int, block: int, wanted: int) -> None:
    cycle = cycle_of(context, block, 10**6, wanted)
    assert cycle is not None
    shorter = cycle.prompt_tokens + block
    if shorter <= context:
        assert 2 * (context - shorter) + 1 < wanted


def test_long_contexts_last_long() -> None:
    cycle = cycle_of(8192, 16, 100_000, 5000)
    assert cycle is not None
    assert (cycle.prompt_tokens, cycle.steps) == (5681, 5023)
