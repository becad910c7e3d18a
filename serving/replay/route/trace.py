# SPDX-License-Identifier: Apache-2.0
"""Requests as columns, for traces of millions, and the file they come from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiling.law import Floats
from serving.replay.requests import read_requests

__all__ = ["Trace", "read_trace"]

_COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")
_MOST = 2**30


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Requests by arrival: when they come, tokens they bring, tokens they will get."""

    arrival_s: Floats
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def span_s(self) -> float:
        """From the first arrival to the last; a second where they are one moment."""
        return float(self.arrival_s[-1] - self.arrival_s[0]) or 1.0

    @staticmethod
    def of(arrival_s: Any, prompt_tokens: Any, output_tokens: Any) -> "Trace":
        """From any three sequences, sorted by arrival."""
        at_s = np.asarray(arrival_s, dtype=np.float64)
        order = np.argsort(at_s, kind="stable")
        return Trace(
            arrival_s=np.ascontiguousarray(at_s[order]),
            prompt_tokens=np.ascontiguousarray(np.asarray(prompt_tokens, dtype=np.int32)[order]),
            output_tokens=np.ascontiguousarray(np.asarray(output_tokens, dtype=np.int32)[order]),
        )


def read_trace(path: Path) -> Trace:
    """Read R.csv; ProfileError names file, line and column."""
    columns = _quickly(path)
    if columns is None:
        # Something is wrong, or unusual: the slow reader says what and where.
        requests = read_requests(path, _MOST)
        columns = np.array(
            [(one.arrival_s, one.prompt_tokens, one.output_tokens) for one in requests]
        ).reshape(-1, 3)
    return Trace.of(*columns.T)


def _quickly(path: Path) -> Floats | None:
    """The three columns, or None where anything is not plain numbers as they should be."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = [name.strip() for name in file.readline().split(",")]
            if any(header.count(name) != 1 for name in _COLUMNS):
                return None
            lines = _even((line for line in file if line.strip()), len(header) - 1)
            first = next(lines, None)
            if first is None:
                return None
            columns = np.loadtxt(
                chain([first], lines),
                delimiter=",",
                comments=None,
                ndmin=2,
                usecols=[header.index(name) for name in _COLUMNS],
            )
    except (OSError, ValueError, UnicodeDecodeError):
        return None
    whole = columns[:, 1:]
    good = np.isfinite(columns).all() and (whole == np.floor(whole)).all()
    good = good and ((whole >= 1) & (whole <= _MOST)).all()
    return columns if good and len(columns) else None


def _even(lines: Iterable[str], commas: int) -> Iterator[str]:
    """The lines; ValueError at one with more or fewer cells, which would be read from others."""
    for line in lines:
        if line.count(",") != commas:
            raise ValueError(line)
        yield line
