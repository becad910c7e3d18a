# SPDX-License-Identifier: Apache-2.0
"""A small TOML file: values checked as they are asked for, and written back.

The trap: a parser knows no lines once it is done, so the line of a bad value is looked up in the
text, table by table.
"""

import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from profiling.errors import ProfileError
from profiling.table import read_bytes

__all__ = ["TomlFile", "toml_value"]

_KEY = re.compile(r"\s*(?:\[\s*(?P<table>[\w-]+)\s*\]|(?P<key>[\w-]+)\s*=)")


@dataclass(frozen=True, kw_only=True)
class TomlFile:
    """A file's values; each getter raises ProfileError with file, line and key."""

    path: Path
    body: str
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "TomlFile":
        """Parse a file."""
        try:
            body = read_bytes(path).decode("utf-8-sig")
            return cls(path=path, body=body, values=tomllib.loads(body))
        except UnicodeDecodeError:
            raise ProfileError(f"{path}: not UTF-8 text; save it as UTF-8") from None
        except ValueError as error:  # TOML's own, or a number of thousands of digits
            raise ProfileError(f"{path}: not TOML: {error}") from None

    def word(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of the words allowed; needed."""
        value = self.values.get(name)
        if value not in allowed:
            shown = "is missing" if value is None else f"{value!r} is not allowed"
            self._refuse(name, f"{shown}; wanted one of {', '.join(allowed)}")
        return str(value)

    def flag(self, name: str) -> bool:
        """true or false; false where it is missing."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            self._refuse(name, f"{value!r} is not allowed; wanted true or false")
        return bool(value)

    def text(self, name: str) -> str | None:
        """A text, number or date as text; None where it is missing."""
        value = self.values.get(name)
        if isinstance(value, dict | list):
            self._refuse(name, "wanted a text")
        return None if value is None else str(value)

    def number(self, name: str, table: str) -> float | None:
        """A number from 0; None where it is missing."""
        value = self._table(table).get(name)
        return None if value is None else self._amount(value, name, table, zero=True)

    def count(self, name: str, table: str) -> int | None:
        """A whole number from 1; None where it is missing."""
        value = self._table(table).get(name)
        if value is None:
            return None
        if type(value) is not int or value < 1:
            self._refuse(name, f"{value!r} is not allowed; wanted a whole number from 1", table)
        return int(value)

    def numbers(
        self, name: str, table: str, ends: tuple[float, float], unit: str
    ) -> tuple[float, ...]:
        """Numbers within both ends, which are above 0, rising; empty where they are missing."""
        values = self._table(table).get(name, [])
        if not isinstance(values, list):
            self._refuse(name, f"{values!r} is not allowed; wanted a list of numbers", table)
        found = sorted({self._amount(one, name, table) for one in values})
        least, most = ends
        for one in found:
            if not least <= one <= most:
                wanted = f"numbers of {unit} from {least:g} to {most:g}"
                self._refuse(name, f"{one:g} is not allowed; wanted {wanted}", table)
        return tuple(found)

    def _amount(self, value: Any, name: str, table: str, *, zero: bool = False) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(name, f"{value!r} is no number", table)
        # Whole numbers may be beyond any float.
        if not (0 < value <= sys.float_info.max or (zero and value == 0)):
            least = "from" if zero else "above"
            self._refuse(name, f"{value!r} is not allowed; wanted a number {least} 0", table)
        return float(value)

    def _table(self, name: str) -> dict[str, Any]:
        table = self.values.get(name, {})
        if not isinstance(table, dict):
            self._refuse(name, f"wanted a table [{name}]")
        return dict(table)

    def _refuse(self, name: str, why: str, table: str = "") -> NoReturn:
        within, place = "", ""
        for number, line in enumerate(self.body.splitlines(), 1):
            found = _KEY.match(line)
            if found is None:
                continue
            within = found["table"] or within
            if found["key"] == name and within == table:
                place = f"line {number}: "
                break
        label = f"[{table}] {name}" if table else name
        raise ProfileError(f"{self.path}: {place}{label}: {why}")


def toml_value(value: Any) -> str:
    """Text, number, flag or tuple of them, as TOML writes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, float):
        return f"{value:.9g}"
    # JSON's strings are TOML's but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
