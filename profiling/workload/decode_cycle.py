# SPDX-License-Identifier: Apache-2.0
"""How many decode iterations keep to a context though each of them adds to it. Pure.

A cycle begins with sequences somewhat shorter than the wanted context and ends as much longer, so
the mean context is the wanted one, and so is the mean time, which goes linearly with the context.
Then the same prompts begin anew. A prompt of whole cache blocks and one token more is found in the
prefix cache but for that token: the first iteration of a cycle computes one token per sequence,
as every other does.
"""

from dataclasses import dataclass

__all__ = ["Cycle", "cycle_of", "longest_prompt"]


@dataclass(frozen=True, slots=True)
class Cycle:
    """Prompts of so many tokens, continued for so many iterations."""

    prompt_tokens: int
    steps: int

    @property
    def last_context_tokens(self) -> int:
        """Tokens that a sequence holds in the last iteration."""
        return self.prompt_tokens + self.steps - 1


def longest_prompt(context_tokens: int, block_tokens: int) -> int:
    """The longest prompt of whole blocks and one token that is no longer than the context."""
    return (context_tokens - 1) // block_tokens * block_tokens + 1


def cycle_of(
    context_tokens: int, block_tokens: int, room_tokens: int, wanted_steps: int
) -> Cycle | None:
    """The shortest cycle around a context that lasts as wanted, else the longest there may be.

    Prompts are at least half the context where blocks allow, and no sequence outgrows
    `room_tokens`. None: even the shortest cycle would.
    """
    prompt = longest_prompt(context_tokens, block_tokens)
    found = None
    while prompt > 0:
        cycle = Cycle(prompt, 2 * (context_tokens - prompt) + 1)
        too_wide = found is not None and 2 * prompt < context_tokens
        if cycle.last_context_tokens > room_tokens or too_wide:
            break
        found = cycle
        if cycle.steps >= wanted_steps:
            break
        prompt -= block_tokens
    return found
