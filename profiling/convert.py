# SPDX-License-Identifier: Apache-2.0
"""Tables that others published, as profiles; what a table does not say stays unknown. Pure.

The trap: a table holds many models and GPUs, a profile one. Rows that differ in what identifies
a run must be chosen between, never averaged; only repeats of one setting are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from scipy.special import stdtrit

from profiling.errors import ProfileError
from profiling.files import check_watts
from profiling.number import number_of
from profiling.profile import InferencePoint, Profile, Provenance, TrainingPoint
from profiling.table import Row

__all__ = ["Source", "chosen", "convert", "missing"]

P = TypeVar("P", InferencePoint, TrainingPoint)

_LISTED = 6
_HEAD = ("gpu_name", "driver", "engine_name", "engine_version", "model", "dtype", "date")
_TWO_SIDED = 0.975  # 95 % by Student's t


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of table: how its rows become points."""

    name: str
    about: str
    cites: str | None  # what goes into a profile as its source; None: the caller must say
    columns: tuple[str, ...]
    identity: tuple[str, ...]  # columns that must not differ within one profile
    points: Callable[[Row], Iterable[InferencePoint | TrainingPoint]]
    head: Callable[[Row], Mapping[str, Any]] = lambda _row: {}
    repeats: bool = False  # rows of one setting are repeats; else they are runs to choose between
    apart: tuple[str, ...] = ()  # columns in which repeats must not differ


def chosen(rows: Iterable[Row], where: Mapping[str, str]) -> list[Row]:
    """The rows whose cells are as wanted, as text or as numbers; ProfileError for no such row."""
    every = list(rows)
    if not every:
        raise ProfileError("the table has no rows")
    found: list[Row] = []
    seen: dict[str, set[str]] = {name: set() for name in where}
    for row in every:
        for name in where:
            if name not in row.cells:
                known = ", ".join(row.cells)
                raise ProfileError(f"{row.path}: no column {name!r}; it has {known}")
            seen[name].add(row.cells[name].strip())
        if all(_same(row.cells[name].strip(), value) for name, value in where.items()):
            found.append(row)
    if not found:
        tried = "; ".join(f"{name} is {_some(values)}" for name, values in seen.items())
        raise ProfileError(f"{every[0].path}: no row is as wanted; {tried}")
    return found


def convert(source: Source, rows: Sequence[Row], *, cites: str | None = None) -> Profile:
    """A published profile of rows that were chosen; ProfileError where they mix runs."""
    for name in source.identity:
        values = {row.cells[name].strip() for row in rows}
        if len(values) > 1:
            raise ProfileError(
                f"{rows[0].path}: {name} is {_some(values)}; choose one with --where {name}=VALUE"
            )
    said = cites or source.cites
    if not said:
        raise ProfileError(f"a table of kind {source.name} does not say where it is from: give it")
    made = [(row, point) for row in rows for point in source.points(row)]
    for row, point in made:
        check_watts(row, point)
    _check_repeats(source, made)
    points = [point for _, point in made]
    return Profile(
        provenance=Provenance.PUBLISHED,
        source=said,
        inference=_merged([one for one in points if isinstance(one, InferencePoint)]),
        training=_merged([one for one in points if isinstance(one, TrainingPoint)]),
        **source.head(rows[0]),
    )


def missing(profile: Profile) -> list[str]:
    """What a profile does not know: keys of its head, and columns without a single value."""
    unknown = [name for name in _HEAD if getattr(profile, name) is None]
    for part, table in ((profile.gpu, "gpu"), (profile.engine, "engine")):
        unknown += [f"{table}.{one.name}" for one in fields(part) if not getattr(part, one.name)]
    points: tuple[InferencePoint | TrainingPoint, ...]
    for points in (profile.inference, profile.training):
        for name in ("context_tokens", "clock_mhz", "power_w"):
            if points and all(getattr(one, name, 0) is None for one in points):
                unknown.append(name)
    return unknown


def _check_repeats(
    source: Source, made: Sequence[tuple[Row, InferencePoint | TrainingPoint]]
) -> None:
    """Refuse to average rows of one setting that are no repeats or differ in one of `apart`."""
    first: dict[tuple[object, ...], Row] = {}
    found: dict[str, tuple[Row, Row]] = {}
    for row, point in made:
        other = first.setdefault(point.key, row)
        if other is not row and not source.repeats:
            raise ProfileError(
                f"{row.path}: lines {other.line} and {row.line} are two runs of one setting, and a "
                "profile has one; leave one of them out of the table"
            )
        for name in source.apart:
            if not _same(row.cells[name].strip(), other.cells[name].strip()):
                found.setdefault(name, (other, row))
    if not found:
        return
    values = {name: {row.cells[name].strip() for row, _ in made} for name in found}
    # What has the fewest values is most likely what tells runs apart.
    name, *more = sorted(found, key=lambda one: (len(values[one]), one))
    one, two = found[name]
    raise ProfileError(
        f"{one.path}: lines {one.line} and {two.line} are of one setting and differ in {name}, "
        f"which is {_some(values[name])}; say what it is with --map, choose one with --where "
        f"{name}=VALUE, or --ignore {name} and they are averaged"
        + (f"; rows differ in {', '.join(more)}, too" if more else "")
    )


def _merged(points: list[P]) -> tuple[P, ...]:
    """One point per setting."""
    groups: dict[tuple[object, ...], list[P]] = {}
    for one in points:
        groups.setdefault(one.key, []).append(one)
    return tuple(_mean(group) for group in groups.values())


def _mean(group: list[P]) -> P:
    if len(group) == 1:
        return group[0]
    changes: dict[str, Any] = {"n": len(group)}
    for name in ("latency_s", "rate", "power_w"):
        values = [value for one in group if (value := getattr(one, name, None)) is not None]
        if not values:
            continue
        changes[name] = float(np.mean(values))
        changes[f"ci95_{name}"] = None
        # Readers take an interval to be of n values: of fewer it would tell another spread.
        if len(values) == len(group):
            t95 = stdtrit(len(values) - 1, _TWO_SIDED)
            changes[f"ci95_{name}"] = float(t95 * np.std(values, ddof=1) / len(values) ** 0.5)
    return replace(group[0], **changes)


def _same(cell: str, wanted: str) -> bool:
    if cell == wanted.strip():
        return True
    try:
        return number_of(cell) == number_of(wanted)
    except ValueError:
        return False


def _some(values: Iterable[str]) -> str:
    ordered = sorted(set(values))
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return ", ".join(repr(one[:60]) for one in ordered[:_LISTED]) + more
