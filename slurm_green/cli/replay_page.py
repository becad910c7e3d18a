# SPDX-License-Identifier: Apache-2.0
"""A replay as one HTML page that works offline: savings and how sure they are, waits, pictures."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from slurm_green.cli.output import write_text
from slurm_green.cli.page import page_chart, page_frame, page_script, page_table
from slurm_green.cli.plan_facts import amount, kwh, watts
from slurm_green.cli.replay_page_data import ReplayFacts
from slurm_green.cli.replay_page_script import SCRIPT
from slurm_green.replay.example import NOTES
from slurm_green.replay.weeks import LEAST_WEEKS, Saving
from slurm_green.words import clean, grams, length

if TYPE_CHECKING:
    from slurm_green.replay.result import Replay

__all__ = ["page", "write_page"]

_COLOURS = 8
_STYLE = """
section { margin: 1rem 0; }
td.n { text-align: right; } th.n { text-align: right; }
select { font: inherit; color: var(--ink); background: var(--panel); padding: .15rem .5rem;
  border: 1px solid var(--rule); border-radius: 6px; }
.ci { position: relative; height: 1.1em; min-width: 14rem; }
.ci i { position: absolute; top: .42em; height: .26em; background: var(--jobs); opacity: .55; }
.ci b { position: absolute; top: .2em; width: .7em; height: .7em; margin-left: -.35em;
  border-radius: 50%; background: var(--jobs); }
.ci u { position: absolute; top: -.3em; bottom: -.3em; width: 1px; background: var(--soft); }
ul.soft { padding-left: 1.2rem; margin: .3rem 0; font-size: .87rem; }
"""
_FIGURES = (
    "Policy", "Carbon", "Saved", "Mean wait", "95 % wait", "Late", "Without a place", "Peak power",
    "Energy of jobs", "PPC",
)  # fmt: skip


def write_page(path: Path, replay: "Replay") -> None:
    """Write the page, whole or not at all; raises BadInputError where it cannot be written."""
    write_text(path, page(replay))


def page(replay: "Replay") -> str:
    """The page's HTML."""
    facts = ReplayFacts(replay=replay)
    problem = replay.inputs.problem
    site, jobs = problem.site, len(problem.jobs)
    title = (
        f"Replay of {jobs:,} {'job' if jobs == 1 else 'jobs'} on {site.gpus:,} "
        f"{'GPU' if site.gpus == 1 else 'GPUs'} over {site.horizon_s / 86_400:.3g} days"
    )
    data = facts.data()
    notes = "".join(
        f"<li{' class=bad' if note in NOTES else ''}>{escape(clean(note))}</li>"
        for note in replay.inputs.notes
    )
    every = max(one["jobs"]["every"] for one in data["policies"])
    choice = "".join(
        f"<option{' selected' if name == facts.subject else ''}>{escape(clean(name))}</option>"
        for name in facts.names
    )
    body = f"""<header>
<h1>{escape(title)}</h1>
<p class="soft">Simulated, nothing here was measured; {escape(facts.clock.about)}.</p>
</header>
{f'<section><h2>What it rests on</h2><ul class="soft">{notes}</ul></section>' if notes else ""}
<section><h2>Figures</h2>{_figures(facts)}</section>
<div id="bar"><label>Policy <select id="policy">{choice}</select></label>
<button id="whole" type="button">Whole span</button><span class="soft" id="span"></span>
<span class="soft">Drag across a chart to zoom in, double-click to zoom out. Keys: + &minus;
&larr; &rarr; 0.</span></div>
<section><h2>Carbon that <span class="chosen">{escape(clean(facts.subject))}</span> saved against
each other policy</h2>{_against(facts)}
<p class="soft">{_about_weeks(facts)}</p></section>
<noscript><p class="bad">The charts are drawn by JavaScript, which is off; the figures stand in the
tables.</p></noscript>
<main id="charts" tabindex="0">
{_panels(facts, every)}
</main>
<footer class="soft">Made by sgreen replay. PPC is performance per kgCO2e, where a job that ran at
once at full speed counts 1. The power of jobs is as given in the input files.</footer>
"""
    return page_frame(title, body, style=_STYLE, script=page_script(data, SCRIPT))


def _figures(facts: ReplayFacts) -> str:
    rows = []
    for name, one in facts.replay.results.items():
        figures = one.json()
        saved = facts.savings.get((name, facts.baseline))
        rows.append(
            (
                clean(name),
                grams(one.carbon_g),
                "-" if saved is None else _percent(saved.share),
                length(figures["mean_wait_s"]),
                length(figures["p95_wait_s"]),
                f"{figures['late_jobs']:,}",
                f"{figures['unplaced_jobs']:,}",
                watts(figures["peak_w"]),
                kwh(figures["energy_j"]),
                amount(figures["ppc"]),
            )
        )
    bound_g = facts.replay.lower_bound_g
    least = "" if bound_g is None else f" No policy can emit less than {grams(bound_g)}."
    return (
        f"{page_table(_FIGURES, rows)}<p class='soft'>"
        f"Saved: against {escape(clean(facts.baseline))}.{escape(least)}</p>"
    )


def _against(facts: ReplayFacts) -> str:
    """A table for each policy; the script shows the chosen one."""
    if len(facts.names) < 2:
        return "<p>There is no other policy.</p>"
    ends = [0.0]
    for one in facts.savings.values():
        ends += [value for value in (one.share, one.low, one.high) if value is not None]
    # A baseline that emits next to nothing would press all others together.
    low, high = max(min(ends), -1.0), min(max(ends), 1.0)
    tables = []
    for at, name in enumerate(facts.names):
        rows = "".join(
            f"<tr><td>{escape(clean(other))}</td><td class=n>{_percent(one.share)}</td>"
            f"<td class=n>{_interval(one)}</td><td>{_bar(one, low, high)}</td></tr>"
            for other in facts.names
            if name != other
            for one in (facts.savings[name, other],)
        )
        tables.append(
            f'<table id="against{at}"{"" if name == facts.subject else " hidden"}><tr>'
            "<th>Against</th><th class=n>Saved</th><th class=n>95 % of draws</th><th></th></tr>"
            f"{rows}</table>"
        )
    return "".join(tables)


def _about_weeks(facts: ReplayFacts) -> str:
    weeks = next((one.weeks for one in facts.savings.values()), 0)
    if 0 < weeks < LEAST_WEEKS:
        return (
            f"{weeks} {'week' if weeks == 1 else 'weeks'} of jobs: too few to say how sure this"
            f" is; {LEAST_WEEKS} would do."
        )
    return (
        f"How sure it is: of {weeks} weeks as many are drawn again and again, both policies'"
        " together; 95 % of the draws lie in the interval. It says what other weeks like these"
        " would do, not what other years, jobs or sites would."
    )


def _percent(share: float | None) -> str:
    # + 0.0 turns -0.0 into 0.0
    return "-" if share is None else f"{round(100 * share, 1) + 0.0:.1f} %"


def _interval(one: Saving) -> str:
    if one.low is None or one.high is None:
        return "-"
    return f"{100 * one.low:.1f} to {100 * one.high:.1f} %"


def _bar(one: Saving, low: float, high: float) -> str:
    """A dot for the saving on its interval, over a line at nothing saved."""
    if one.share is None or high <= low:
        return ""

    def at(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / (high - low)

    found = f'<u style="left:{at(0):.2f}%"></u>'
    if one.low is not None and one.high is not None:
        left, right = at(one.low), at(one.high)
        found += f'<i style="left:{left:.2f}%;width:{right - left:.2f}%"></i>'
    return f'<div class="ci">{found}<b style="left:{at(one.share):.2f}%"></b></div>'


def _panels(facts: ReplayFacts, every: int) -> str:
    """A figure per chart, each with its legend; the script finds the canvas by its id."""
    site, classes = facts.replay.inputs.problem.site, facts.replay.inputs.problem.shapes.class_names
    chosen = f'<span class="chosen">{escape(clean(facts.subject))}</span>'
    lines = [
        ("line" if at < _COLOURS else "dash", f"c{at % _COLOURS}", clean(name))
        for at, name in enumerate(facts.names)
    ]
    colours = [("box", f"c{at}", clean(name)) for at, name in enumerate(classes[:_COLOURS])]
    if len(classes) > _COLOURS:
        colours.append(("box", "paper", f"and {len(classes) - _COLOURS} more classes, in turn"))
    colours += [
        ("frame", "late", "late"),
        ("box", "tint", "background: carbon intensity, darker is dirtier"),
    ]
    if site.renewable_w.any():
        colours.append(("box", "green", "upper edge: share of the load that own supply covers"))
    sample = f", one of {every} as a sample" if every > 1 else ""
    plain = ("line", "soft", f"{clean(facts.baseline)}, to compare with")
    power = [("box", "base", "base and idle GPUs"), ("box", "jobs", "jobs"), plain]
    if site.renewable_w.any():
        power.append(("line", "green", "own renewable supply"))
    return "\n".join(
        (
            page_chart("waits", "How long jobs waited: share of jobs that waited no longer", lines),
            page_chart("grams", "Carbon emitted so far", lines),
            page_chart("intensity", "Carbon intensity of the grid, g/kWh", []),
            page_chart("jobs", f"Jobs on the site's GPUs{sample}", colours, chosen),
            page_chart("use", "GPUs in use", [("box", "jobs", "jobs"), plain], chosen),
            page_chart("power", "Power of the site", power, chosen),
        )
    )
