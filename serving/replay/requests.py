# SPDX-License-Identifier: Apache-2.0
"""Requests of a trace, and the file they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiling.table import COUNT, NUMBER, Column, read_bytes, read_rows

__all__ = ["Request", "read_requests"]

_COLUMNS = (
    Column(name="arrival_s", kind=NUMBER, needed=True, signed=True),
    Column(name="prompt_tokens", kind=COUNT, needed=True),
    Column(name="output_tokens", kind=COUNT, needed=True),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it arrives, how many tokens it brings and how many it will get."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int


def read_requests(path: Path) -> Sequence[Request]:
    """Read R.csv, by arrival; ProfileError names file, line and column."""
    needed = tuple(one.name for one in _COLUMNS)
    rows = read_rows(read_bytes(path), path, needed)
    requests = [Request(**row.values(_COLUMNS)) for row in rows]
    return sorted(requests, key=lambda one: one.arrival_s)
