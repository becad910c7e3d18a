# SPDX-License-Identifier: Apache-2.0
"""The status page: one self-contained HTML document about the daemon's last cycle. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from html import escape

from slurm_green.controller.answer import AnswerCounts
from slurm_green.controller.status import Status
from slurm_green.words import grams, length

__all__ = ["status_page"]

_REFRESH_S = 10
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:46em;padding:0 1em;"
    "color:#222;background:#fff}"
    "h1{font-size:1.4em}h2{font-size:1.1em;margin-top:1.6em}"
    "table{border-collapse:collapse;width:100%;table-layout:fixed}"
    "td,th{text-align:left;padding:.2em 1em .2em 0;border-bottom:1px solid #ddd}"
    "td:last-child{font-variant-numeric:tabular-nums}"
    ".bad{color:#a30000;font-weight:bold}.good{color:#136c13}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}"
    "td,th{border-color:#444}.bad{color:#ff8a8a}.good{color:#7fd17f}}"
)


def status_page(status: Status | None, counts: AnswerCounts, *, health: str, healthy: bool) -> str:
    """The page; `health` is /healthz's sentence. All texts are escaped, Slurm's names too."""
    title = "slurm-green"
    if status is not None and status.cluster:
        title += f" on {status.cluster}"
    parts = [f'<p class="{"good" if healthy else "bad"}">{escape(health)}</p>']
    if status is not None:
        parts += _about(status)
    names = [one.name for one in fields(counts) if one.name != "reasons"]
    answers = {name: getattr(counts, name) for name in names}
    parts.append(_section("Answers to the submit hook", _counted(answers)))
    parts.append(_section("Why jobs passed the hook", _counted(counts.passes())))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{_REFRESH_S}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def _about(status: Status) -> list[str]:
    parts = []
    if status.off:
        parts.append('<p class="bad">Switched off: no new job is deferred (sgreen on).</p>')
    if status.signal_problem:
        parts.append(f'<p class="bad">Nothing is deferred: {escape(status.signal_problem)}</p>')
    if status.ledger_problem:
        words = escape(status.ledger_problem)
        parts.append(f'<p class="bad">{words}; jobs are not affected</p>')
    now: list[tuple[str, str]] = [
        ("Deferred jobs", str(status.deferred)),
        ("Saving expected of deferrals since the start", grams(status.expected_save_g)),
        ("Last cycle", status.at_utc),
        ("Cycles, their CPU time", f"{status.cycles}, {length(status.cycle_cpu_s)}"),
        ("Cycles without an answer of Slurm", str(status.slurm_failures)),
        ("Cycles that met a bug (see the log)", str(status.bugs)),
        ("Changes Slurm refused", str(status.changes_refused)),
        ("Slurm", status.slurm_version),
    ]
    parts.append(_section("Now", now))
    if status.plan is not None:
        parts.append(_section("Plan", _plan(status.plan)))
    parts.append(_section("Signal", _signal(status)))
    if status.signal_links:
        parts.append(_section("Where the signal comes from", _links(status)))
    parts.append(_section("Mode by partition", sorted(status.modes.items())))
    parts.append(_section("Events since the start", _counted(status.events)))
    parts.append(_section("Decisions since the start", _counted(status.decisions)))
    return parts


def _plan(plan: Mapping[str, float | int | str | None]) -> Iterable[tuple[str, str]]:
    age_s = plan["age_s"]
    return [
        ("Age", "none is fresh" if age_s is None else length(float(age_s))),
        ("Jobs with a place", str(plan["jobs"])),
        ("Plans made, and failed", f"{plan['plans']}, {plan['failures']}"),
        *([("Why the last one failed", str(plan["problem"]))] if plan["problem"] else []),
    ]


def _signal(status: Status) -> Iterable[tuple[str, str]]:
    if status.signal is None:
        return [("Provider", "none")]
    intensity = status.carbon_g_per_kwh
    return [
        ("Provider", " ".join(filter(None, (status.signal, status.signal_region)))),
        ("Basis", status.signal_basis or "unknown"),
        ("Intensity now", "unknown" if intensity is None else f"{intensity:.0f} g/kWh"),
        ("Age", length(status.signal_age_s)),
        ("Known until", status.signal_until_utc or "unknown"),
    ]


def _links(status: Status) -> list[tuple[str, str]]:
    return [
        (f"{one['kind']} {one['name']}", f"{one['status']}: {one['said']}")
        for one in status.signal_links
    ]


def _counted(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(name, str(count)) for name, count in ordered]


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<h2>{escape(title)}</h2><table>{cells or '<tr><td>none yet</td></tr>'}</table>"
