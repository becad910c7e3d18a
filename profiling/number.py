# SPDX-License-Identifier: Apache-2.0
"""A number as files and command lines write one.

The trap: Python's own float and int also take 12_34 (an array task's name, two cells that ran
together) and the digits of every script.
"""

__all__ = ["is_plain", "number_of"]


def is_plain(text: str) -> bool:
    """Whether a text that Python takes for a number is one to others, too."""
    return "_" not in text and text.strip().isascii()


def number_of(text: str) -> float:
    """The number in a text, spaces around it aside; ValueError where it is none."""
    if not is_plain(text):
        raise ValueError("is no number")
    return float(text)
