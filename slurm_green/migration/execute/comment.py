# SPDX-License-Identifier: Apache-2.0
"""Our words in a job's comment: what its user wrote for a move, and the token of a move. Pure."""

import re
import signal as signals
from dataclasses import dataclass

from slurm_green.errors import BadInputError

__all__ = ["TOKEN_PREFIX", "Declared", "declared", "tokens_of", "without_tokens"]

TOKEN_PREFIX = "green-move:"
_SIGNALS = {one.name.removeprefix("SIG") for one in signals.Signals} - {"KILL", "STOP"}
_OFF = frozenset({"no", "never", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """`green:checkpoint=DIR[,signal=USR1][,move=no]`; `B:USR1` goes to the batch script."""

    checkpoint: str
    signal: str | None


def declared(comment: str, *, prefix: str = "green:") -> Declared | None:
    """What the comment says of checkpoints; None where it says nothing.

    Raises BadInputError where it forbids a move, and for a word that is none.
    """
    values: dict[str, str] = {}
    for words in re.findall(rf"(?<!\w){re.escape(prefix)}(\S*)", comment):
        for part in words.split(","):
            key, _, value = part.partition("=")
            values[key] = value
    if "off" in values or values.get("move") in _OFF:
        word = f"{prefix}off" if "off" in values else f"move={values['move']}"
        raise BadInputError(f"its comment keeps it here: {word}")
    if "checkpoint" not in values:
        return None
    if not values["checkpoint"]:
        raise BadInputError(f"{prefix}checkpoint= in its comment names no directory")
    signal = values.get("signal") or None
    if signal is not None:
        signal = signal.removeprefix("SIG")
        if signal.removeprefix("B:") not in _SIGNALS:
            raise BadInputError(
                f"signal={signal[:40]!r} in its comment: write one it can catch, such as USR1 or"
                " B:USR1"
            )
    return Declared(checkpoint=values["checkpoint"], signal=signal)


def tokens_of(comment: str) -> list[str]:
    """The tokens of moves in a comment."""
    words = comment.split()
    return [word.removeprefix(TOKEN_PREFIX) for word in words if word.startswith(TOKEN_PREFIX)]


def without_tokens(comment: str) -> str:
    """The user's own words."""
    return " ".join(word for word in comment.split() if not word.startswith(TOKEN_PREFIX))
