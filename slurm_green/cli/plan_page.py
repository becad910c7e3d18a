# SPDX-License-Identifier: Apache-2.0
"""A plan as one HTML page that works offline: jobs over carbon, power, prices, figures."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from slurm_green.cli.output import write_text
from slurm_green.cli.page import page_chart, page_frame, page_script
from slurm_green.cli.plan_facts import Facts, amount, watts
from slurm_green.cli.plan_page_data import page_data
from slurm_green.cli.plan_page_script import SCRIPT
from slurm_green.cli.plan_words import (
    BAD,
    TROUBLE_COLUMNS,
    figures,
    headline,
    tightness,
    trouble_rows,
)
from slurm_green.words import clean

__all__ = ["page", "write_page"]

_LISTED = 200


def write_page(path: Path, facts: Facts) -> None:
    """Write the page, whole or not at all; raises BadInputError where it cannot be written."""
    write_text(path, page(facts))


def page(facts: Facts) -> str:
    """The page's HTML."""
    data = page_data(facts)
    title = headline(facts)
    head, _, goal = title.partition(": ")
    body = f"""<header>
<h1>{escape(head)}</h1>
<p class="soft">{escape(goal[:1].upper() + goal[1:])}; {escape(facts.clock.about)}.</p>
</header>
<div class="cards">
<section><h2>Figures</h2>{_rows(figures(facts))}</section>
<section><h2>Where it is tight</h2>{_rows(tightness(facts))}
<p class="soft">A price is what one more kWh or GPU-hour would cost in that slot, in grams of CO2e.
Power is free where the site's own supply covers the load.</p></section>
</div>
<div id="bar"><button id="whole" type="button">Whole span</button>
<span class="soft" id="span"></span>
<span class="soft">Drag across a chart to zoom in, double-click to zoom out. Keys: + &minus;
&larr; &rarr; 0.</span></div>
<noscript><p class="bad">The charts are drawn by JavaScript, which is off; the figures stand in the
tables.</p></noscript>
<main id="charts" tabindex="0">
{_panels(facts, data["group_names"], data["bars"])}
</main>
{_troubles(facts)}
<footer class="soft">Made by sgreen plan. Start-now starts every job as soon as it can, in the shape
that ends first, whatever the carbon. All power and energy is as given in the input files.</footer>
"""
    return page_frame(head, body, script=page_script(data, SCRIPT))


def _rows(rows: Iterable[tuple[str, str, str]]) -> str:
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="{verdict}">{escape(words)}</td></tr>'
        for name, words, verdict in rows
    )
    return f"<table>{cells}</table>"


def _panels(facts: Facts, groups: list[str], bars: dict[str, Any] | None) -> str:
    """A figure per chart, each with its legend; the script finds the canvas by its id."""
    problem, site = facts.problem, facts.problem.site
    renewable, cap = bool(site.renewable_w.any()), bool(np.isfinite(site.power_cap_w))
    colours = [("box", f"c{at}", name) for at, name in enumerate(groups)]
    behind = [("box", "tint", "background: carbon intensity, darker is dirtier")]
    if renewable:
        behind.append(("box", "green", "upper edge: share of the load that own supply covers"))
    limit = ("dash", "ink", f"{site.gpus:,} GPUs")
    parts = [page_chart("intensity", "Carbon intensity of the grid, g/kWh", [])]
    if bars is not None:
        marks = [("frame", "late", "late")] if bars["late"] else []
        marks += [("box", "rule", "pale: below the class's full clock")] if bars["slow"] else []
        parts.append(page_chart("jobs", "Jobs on the site's GPUs", [*colours, *marks, *behind]))
        parts.append(page_chart("use", "GPUs in use", [("box", "jobs", "jobs"), limit]))
    else:
        title = f"GPUs in use, {len(facts.outcome.schedule):,} stretches of jobs"
        parts.append(page_chart("stack", title, [*colours, limit, *behind]))
    power = [("box", "base", "base")] if site.base_power_w.any() else []
    power += [("box", "services", "services")] if problem.services else []
    power += [("box", "jobs", "jobs")]
    power += [("line", "green", "own renewable supply")] if renewable else []
    power += [("dash", "bad", f"cap {watts(site.power_cap_w)}")] if cap else []
    parts.append(page_chart("power", "Power of the site", power))
    mu = [("box", "mu", "mu"), ("line", "intensity", "carbon intensity, the most mu can be")]
    if facts.outcome.prices.nu.any():
        mu.append(("line", "bad", "mu + nu, where the cap binds"))
    parts.append(page_chart("mu", "Price of power, g per kWh", mu))
    top = amount(float(facts.outcome.prices.lam.max()))
    parts.append(
        page_chart("lam", "Price of a GPU, g per GPU-hour", [("box", "lam", f"lam, at most {top}")])
    )
    return "\n".join(parts)


def _troubles(facts: Facts) -> str:
    total = len(facts.late) + len(facts.unplaced)
    if not total:
        return "<section><h2>Late or without a place</h2><p>No job.</p></section>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in TROUBLE_COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(clean(cell))}</td>" for cell in row) + "</tr>"
        for row in trouble_rows(facts, _LISTED)
    )
    more = f"<p>and {total - _LISTED:,} more: see --json.</p>" if total > _LISTED else ""
    jobs = "job" if total == 1 else "jobs"
    return (
        f'<section><h2 class="{BAD}">Late or without a place: {total:,} {jobs}</h2>'
        f"<table><tr>{head}</tr>{rows}</table>{more}</section>"
    )
