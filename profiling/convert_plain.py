# SPDX-License-Identifier: Apache-2.0
"""Any table as a profile, its columns named by the caller. Pure.

The trap: a profile's units are seconds, watts and MHz, the table's perhaps not: hence factors. And
a column that nobody mapped may be a setting, such as the memory's clock: its rows are no repeats.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from profiling.convert import Source
from profiling.errors import ProfileError
from profiling.files import INFERENCE, TRAINING
from profiling.number import number_of
from profiling.profile import InferencePoint, TrainingPoint
from profiling.table import Row

__all__ = ["Formula", "plain"]


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A cell of a table, times a factor or inverted."""

    column: str
    factor: float = 1.0
    inverse: bool = False

    @classmethod
    def read(cls, text: str, header: Container[str]) -> "Formula":
        """Parse COLUMN, COLUMN*FACTOR or FACTOR/COLUMN; ProfileError where it is none of them."""
        column, star, factor = text.rpartition("*")
        inverse = False
        if not star:
            factor, slash, column = text.partition("/")
            factor, column, inverse = (factor, column, True) if slash else ("1", text, False)
        # A column's own name may hold these signs.
        if text in header:
            column, factor, inverse = text, "1", False
        try:
            found = cls(column=column.strip(), factor=number_of(factor), inverse=inverse)
        except ValueError:
            raise ProfileError(
                f"{text!r}: wanted COLUMN, COLUMN*FACTOR or FACTOR/COLUMN, with a number as FACTOR"
            ) from None
        if found.column not in header:
            raise ProfileError(f"no column {found.column!r} in the table")
        return found

    def of(self, row: Row) -> str:
        """The cell's new text; what is no number is left for the reader to refuse."""
        cell = row.cells[self.column].strip()
        if self.factor == 1 and not self.inverse:
            return cell
        try:
            value = number_of(cell)
            return repr(self.factor / value if self.inverse else self.factor * value)
        except (ValueError, ZeroDivisionError):
            return cell


def plain(
    names: Mapping[str, str],
    values: Mapping[str, str],
    header: Iterable[str],
    *,
    table: Sequence[Row] = (),
    ignore: Sequence[str] = (),
) -> Source:
    """Any table: `names` maps our columns to its own, a COLUMN, COLUMN*FACTOR or FACTOR/COLUMN.

    `values` gives columns it has not. A column of the same name needs no mapping. Rows that
    differ in what looks like a setting over all rows of the `table`, but for `ignore`, are no
    repeats. Raises ProfileError for what is no column of ours or of the table.
    """
    own = set(header)
    for name in ignore:
        if name not in own:
            raise ProfileError(f"--ignore: no column {name!r} in the table")
    ours = {one.name for one in (*INFERENCE, *TRAINING)}
    for target in (*names, *values):
        if target not in ours:
            raise ProfileError(f"{target!r} is no column of a profile; {', '.join(sorted(ours))}")
    if both := sorted(names.keys() & values.keys()):
        raise ProfileError(f"{both[0]}: --map and --set both say what it is; give one of them")
    formulas = {name: Formula.read(text, own) for name, text in names.items()}
    filled = set(values) | set(names) | own
    training = "rate" in filled and "latency_s" not in filled
    kind, columns = (TrainingPoint, TRAINING) if training else (InferencePoint, INFERENCE)
    needed = [one.name for one in columns if one.needed]
    for name in needed:
        if name not in filled:
            raise ProfileError(
                f"nothing for column {name}: name the table's column with --map {name}=COLUMN, or "
                f"give a value with --set {name}=VALUE"
            )

    read = {one.column for one in formulas.values()} | set(ignore)
    read |= {one.name for one in columns} - set(formulas) - set(values)

    def points(row: Row) -> Iterable[InferencePoint | TrainingPoint]:
        cells = {**row.cells, **values}
        cells |= {name: formula.of(row) for name, formula in formulas.items()}
        yield kind(**Row(path=row.path, line=row.line, cells=cells).values(columns))

    return Source(
        name="csv",
        about="any table, with --map and --set",
        cites=None,
        columns=(),
        identity=(),
        points=points,
        repeats=True,
        apart=tuple(name for name in sorted(own - read) if _is_setting(name, table)),
    )


def _is_setting(name: str, table: Sequence[Row]) -> bool:
    """Whether it holds words, or numbers of which each comes twice or more on average.

    What was measured hardly ever comes again to the last digit.
    """
    seen: set[float] = set()
    for row in table:
        try:
            seen.add(float(row.cells[name]))
        except ValueError:
            continue
    return not seen or 2 * len(seen) <= len(table)
