# SPDX-License-Identifier: Apache-2.0
"""Slurm's short form of node names, "n[1-3,7],gpu[01-02]x", written out."""

import itertools
import re

from slurm_green.errors import BadInputError

__all__ = ["expand_hostlist"]

_MOST_NAMES = 1_000_000
_PIECES = re.compile(r"\[([^\]]*)\]")


def expand_hostlist(text: str) -> tuple[str, ...]:
    """Every node name in the order Slurm lists them; () for Slurm's words for none.

    Raises:
        BadInputError: a bracket without its partner, or a range that is none.
    """
    wanted = text.strip()
    if wanted in {"", "(null)", "None", "None assigned", "N/A", "n/a"}:
        return ()
    names: list[str] = []
    for item in _split(wanted):
        names.extend(_expand_item(item))
        if len(names) > _MOST_NAMES:
            raise BadInputError(f"node list longer than {_MOST_NAMES} names: {text[:60]!r}")
    return tuple(names)


def _split(text: str) -> list[str]:
    """The comma-separated items; commas inside brackets belong to an item."""
    items, depth, begin = [], 0, 0
    for at, char in enumerate(text):
        if char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
        elif char == "," and depth == 0:
            items.append(text[begin:at])
            begin = at + 1
        if depth not in (0, 1):
            break
    if depth != 0:
        raise BadInputError(f"not a node list: {text[:60]!r} has unbalanced brackets.")
    items.append(text[begin:])
    return [item.strip() for item in items if item.strip()]


def _expand_item(item: str) -> list[str]:
    """One item, brackets in several places multiplied out."""
    pieces = _PIECES.split(item)
    choices = [[piece] if at % 2 == 0 else _ranges(piece) for at, piece in enumerate(pieces)]
    return ["".join(parts) for parts in itertools.product(*choices)]


def _ranges(text: str) -> list[str]:
    """ "1-3,07" as its numbers, leading zeros kept."""
    numbers: list[str] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise BadInputError(f"not a range of node numbers: {text[:60]!r}. Write 1-3,7.")
        last = int(high) if dash else int(low)
        if last - int(low) > _MOST_NAMES:
            raise BadInputError(f"range of node numbers too long: {part[:60]!r}")
        numbers.extend(str(number).zfill(len(low)) for number in range(int(low), last + 1))
    return numbers
