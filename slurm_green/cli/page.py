# SPDX-License-Identifier: Apache-2.0
"""What the HTML pages share: the frame around them, tables, and figures that a script fills. Pure.

The trap: names are other people's text. Everything is escaped, a script puts text in as text only,
and the page's own policy forbids loading anything.
"""

import json
from collections.abc import Iterable, Sequence
from html import escape

from slurm_green.cli.page_style import STYLE
from slurm_green.words import clean

__all__ = ["page_chart", "page_frame", "page_script", "page_table"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page_frame(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """The whole page; `title` is text, `body` and `script` (see page_script) are HTML."""
    policy = f"{_POLICY}; script-src 'unsafe-inline'" if script else _POLICY
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
{body}{script}</body>
</html>
"""


def page_script(data: object, script: str) -> str:
    """The script, its data and the box for what the mouse points at."""
    content = json.dumps(data, allow_nan=False, separators=(",", ":"))
    # "<" would end the script element; the others end lines in old browsers' JavaScript.
    content = content.replace("<", "\\u003c").replace("\u2028", " ").replace("\u2029", " ")
    return f"""<div id="tip" hidden></div>
<script type="application/json" id="data">{content}</script>
<script>{script}</script>
"""


def page_chart(
    name: str, title: str, legend: Iterable[tuple[str, str, str]], chosen: str = ""
) -> str:
    """A chart with its legend (kind, colour, words); the script finds the canvas by its name.

    `chosen` is HTML that says what the chart is of.
    """
    keys = "".join(
        f'<span><i class="{kind}" style="--k:var(--{colour})"></i>{escape(words)}</span>'
        for kind, colour, words in legend
    )
    of = f" {chosen}: " if chosen else ""
    return (
        f'<figure><figcaption><b>{of}{escape(title)}</b><span class="keys">{keys}</span>'
        f'</figcaption><canvas id="{name}" role="img" aria-label="{escape(title, quote=True)}">'
        "</canvas></figure>"
    )


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
