# SPDX-License-Identifier: Apache-2.0
"""Nine classes of requests, by length of prompt and answer, as DynamoLLM's are. Pure."""

from itertools import product

__all__ = ["CLASSES", "class_of"]

_PROMPTS = (256, 1024)  # below these: short, medium; else long
_OUTPUTS = (100, 350)
CLASSES = tuple(f"{one}-{two}" for one, two in product("SML", "SML"))


def class_of(prompt_tokens: float, output_tokens: float) -> int:
    """The index in CLASSES."""
    prompt = sum(prompt_tokens >= one for one in _PROMPTS)
    return 3 * prompt + sum(output_tokens >= one for one in _OUTPUTS)
