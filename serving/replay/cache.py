# SPDX-License-Identifier: Apache-2.0
"""Blocks of the KV cache, counted without looking at every request in every iteration. Pure.

A sequence that decodes needs a new block once in 16 steps. Sequences are kept by the step in
which they do, modulo 16, so that a step looks up one number.
"""

__all__ = ["BLOCK", "Cache", "blocks"]

BLOCK = 16


def blocks(tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return -(-tokens // BLOCK)


class Cache:
    """Free blocks, and which decoding sequences need one when."""

    def __init__(self, kv_tokens: int) -> None:
        self.size = kv_tokens // BLOCK
        self.free = self.size
        self._due = [0] * BLOCK

    def join(self, tokens: int, step: int) -> None:
        """A sequence that holds `tokens` decodes from the step after `step` on."""
        self._due[(step - tokens) % BLOCK] += 1

    def leave(self, tokens: int, step: int) -> None:
        """It ends, or gives way, holding `tokens` after `step`; its blocks are free."""
        self._due[(step - tokens) % BLOCK] -= 1
        self.free += blocks(tokens)

    def wanted(self, step: int) -> int:
        """New blocks that the step after `step` needs."""
        return self._due[step % BLOCK]
