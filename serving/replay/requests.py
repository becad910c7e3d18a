# SPDX-License-Identifier: Apache-2.0
"""Requests of a trace, and the file they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profiling.table import COUNT, NUMBER, Column, read_bytes, read_rows

__all__ = ["Request", "read_requests"]

_COLUMNS: tuple[Column, ...] = (
    Column(name="arrival_s", kind=NUMBER, needed=True, signed=True),
    Column(name="prompt_tokens", kind=COUNT, needed=True),
    Column(name="output_tokens", kind=COUNT, needed=True),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it arrives, how many tokens it brings and how many it will get.

    `cached_tokens` come before those of its prompt: they are read, and neither computed nor held
    for it, as others hold them.
    """

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0


def read_requests(path: Path, most_tokens: int | None = None) -> Sequence[Request]:
    """Read R.csv, by arrival; ProfileError names file, line and column.

    A prompt, or an answer, of more than `most_tokens` is an error, too.
    """
    columns = _COLUMNS
    if most_tokens is not None:
        columns = (columns[0], *(replace(one, most=float(most_tokens)) for one in columns[1:]))
    needed = tuple(one.name for one in columns)
    rows = read_rows(read_bytes(path), path, needed)
    requests = [Request(**row.values(columns)) for row in rows]
    return sorted(requests, key=lambda one: one.arrival_s)
