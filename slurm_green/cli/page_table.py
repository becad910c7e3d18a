# SPDX-License-Identifier: Apache-2.0
"""A table of texts as HTML. Pure."""

from collections.abc import Iterable, Sequence
from html import escape

from slurm_green.words import clean

__all__ = ["page_table"]


def page_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True
) -> str:
    """The table, all texts escaped; with `numbers` all columns but the first have the class `n`."""

    def line(tag: str, row: Sequence[str]) -> str:
        cells = (
            f"<{tag}{' class=n' if numbers and at else ''}>{escape(clean(cell))}</{tag}>"
            for at, cell in enumerate(row)
        )
        return f"<tr>{''.join(cells)}</tr>"

    return f"<table>{line('th', header)}{''.join(line('td', row) for row in rows)}</table>"
