# SPDX-License-Identifier: Apache-2.0
"""The demo's picture and receipts as one HTML file that needs nothing else. Pure."""

import base64
from collections.abc import Sequence
from html import escape

from slurm_green.demo.account import Line
from slurm_green.demo.clock import Clock

__all__ = ["html_page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #26323a; max-width: 72rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } img { max-width: 100%; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #dfe5e8;
         vertical-align: top; }
th { color: #6d7b84; font-weight: 600; } td.n, th.n { text-align: right; white-space: nowrap; }
.saved { color: #1f8a4c; font-weight: 600; } .note { color: #6d7b84; }
pre { background: #f4f6f7; padding: .8rem; overflow-x: auto; white-space: pre-wrap; }
"""
_COLUMNS = ("Submitted", "Started", "g/kWh then", "g/kWh got", "kWh", "At once", "Actual", "Saved")


def html_page(
    *,
    png: bytes,
    headline: str,
    lines: Sequence[Line],
    clock: Clock,
    texts: Sequence[tuple[str, str]],
) -> str:
    """The page; `texts` are a command each and what it printed."""
    picture = base64.b64encode(png).decode("ascii")
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in _COLUMNS)
    rows = "\n".join(_row(line, clock) for line in lines)
    printed = "\n".join(
        f"<h2>{escape(command)}</h2>\n<pre>{escape(text)}</pre>" for command, text in texts
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>slurm-green demo</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(headline)}</h1>
<p class="note">Slurm, sbatch and the jobs are real. The GPUs are emulated: prolog and sgreen-noded
set their clocks, and their joules follow a law. The carbon day is a generated example that passes
in two minutes: energy and carbon are those of the example's time.</p>
<img alt="Carbon intensity over the day with each job's bar" src="data:image/png;base64,{picture}">
<table>
<tr><th>Job</th>{head}</tr>
{rows}
</table>
{printed}
</body>
</html>
"""


def _row(line: Line, clock: Clock) -> str:
    row = line.row
    cells = (
        clock.text(row.submit_utc),
        clock.text(row.started_utc),
        f"{line.submit_g_per_kwh:.0f}",
        _number(line.run_g_per_kwh, 0),
        _number(line.energy_kwh, 1),
        _grams(line.carbon_now_g),
        _grams(line.carbon_g),
    )
    numbers = "".join(f'<td class="n">{escape(cell)}</td>' for cell in cells)
    saved = _grams(line.saved_g) if row.submitted.wish.deferred else ""
    about = f'<br><span class="note">{escape(row.submitted.wish.story)}</span>'
    name = f"<td>{escape(row.submitted.name)}{about}</td>"
    return f'<tr>{name}{numbers}<td class="n saved">{escape(saved)}</td></tr>'


def _number(value: float | None, digits: int) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


def _grams(value: float | None) -> str:
    return "unknown" if value is None else f"{value / 1000:.2f} kg"
