# SPDX-License-Identifier: Apache-2.0
"""A serving replay as one HTML page that works offline: figures, and energy against attainment.

The trap: names are other people's text. Everything is escaped, and the page loads nothing.
"""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from slurm_green.cli.output import write_text
from slurm_green.cli.page import page_frame, page_table
from slurm_green.words import clean, number

if TYPE_CHECKING:
    from serving.governor.protocol import Slo
    from serving.replay.compare import Result

__all__ = ["front", "page", "write_page"]

_WIDE, _HIGH = 720, 320
_LEAST_RISE = 1e-3
_COLOURS = 8
_HEADER = (
    "Policy", "kWh", "Against max", "Attained", "TTFT p50, ms", "TTFT p99, ms", "TPOT p50, ms",
    "TPOT p99, ms", "Clock changes", "Carbon, g", "On the front",
)  # fmt: skip


def write_page(path: Path, results: "dict[str, Result]", slo: "Slo", requests: int) -> None:
    """Write the page, whole or not at all; raises BadInputError where it cannot be written."""
    write_text(path, page(results, slo, requests))


def front(results: "dict[str, Result]") -> list[str]:
    """Policies that no other beats in energy and attainment both, by rising energy."""
    found: list[str] = []
    best = -1.0
    by_energy = sorted(results.items(), key=lambda one: (one[1].energy_j, -_attained(one[1])))
    for name, one in by_energy:
        if _attained(one) > best:
            best = _attained(one)
            found.append(name)
    return found


def page(results: "dict[str, Result]", slo: "Slo", requests: int) -> str:
    """The page's HTML."""
    title = f"{requests:,} requests under {len(results)} clock policies"
    goal = f"Simulated. SLOs: {slo.ttft_s * 1e3:g} ms to the first token, {slo.tpot_s * 1e3:g} ms "
    best = front(results)
    body = (
        f"<h1>{escape(title)}</h1><p class=soft>{goal}per further token.</p>"
        f"<section><h2>Energy and attainment</h2>{_picture(results, best)}"
        "<p class=soft>Left is less energy, up is more requests within both SLOs. The line joins "
        "the policies that no other beats in both.</p></section>"
        f"<section><h2>Figures</h2>{_table(results, best)}</section>"
    )
    return page_frame(title, body)


def _attained(one: "Result") -> float:
    return one.attainment or 0.0


def _table(results: "dict[str, Result]", best: list[str]) -> str:
    base = results.get("max")
    rows = []
    for name, one in results.items():
        more = None if base is None or not base.energy_j else one.energy_j / base.energy_j - 1
        rows.append([
            name, f"{one.energy_j / 3.6e6:.4g}", number(more, "+.1%"),
            number(one.attainment, ".2%"), number(one.ttft_p50_ms, ".0f"),
            number(one.ttft_p99_ms, ".0f"), number(one.tpot_p50_ms, ".1f"),
            number(one.tpot_p99_ms, ".1f"), f"{one.clock_changes:,}",
            number(one.carbon_g, ".4g"), "yes" if name in best else "",
        ])  # fmt: skip
    return page_table(_HEADER, rows, numbers=False)


def _picture(results: "dict[str, Result]", best: list[str]) -> str:
    energies = [one.energy_j / 3.6e6 for one in results.values()]
    shares = [_attained(one) for one in results.values()]
    left, wide = min(energies, default=0.0), max(max(energies, default=0.0), 1e-12)
    # Where nobody misses an SLO there is still an axis.
    bottom = min(*shares, 1.0 - _LEAST_RISE)
    span, rise = max(wide - left, 1e-12), 1.0 - bottom
    at = {
        name: ((x - left) / span * _WIDE, (1 - y) / rise * _HIGH)
        for name, x, y in zip(results, energies, shares, strict=True)
    }
    line = " ".join(f"{at[name][0]:.1f},{at[name][1]:.1f}" for name in best)
    drawn = [
        f'<polyline fill="none" style="stroke:var(--green);stroke-width:1.6" points="{line}"/>'
    ]
    for k, (name, (x, y)) in enumerate(at.items()):
        right = x > _WIDE * 0.8
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" style="fill:var(--c{k % _COLOURS})"/>'
            f'<text x="{x + (-9 if right else 9):.1f}" y="{y + 4:.1f}" '
            f'text-anchor="{"end" if right else "start"}" style="fill:var(--ink);font-size:12px">'
            f"{escape(clean(name))}</text>"
        )
    marks = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" style="fill:var(--soft);font-size:12px">'
        f"{text}</text>"
        for x, y, anchor, text in (
            (-8, 4, "end", "100 %"),
            (-8, _HIGH + 4, "end", f"{100 * bottom:.4g} %"),
            (0, _HIGH + 24, "start", f"{left:.3g} kWh"),
            (_WIDE, _HIGH + 24, "end", f"{wide:.3g} kWh"),
        )
    )
    return (
        f'<svg viewBox="-70 -14 {_WIDE + 90} {_HIGH + 46}" width="100%" role="img" '
        f'aria-label="energy against attainment">{"".join(drawn)}{marks}</svg>'
    )
