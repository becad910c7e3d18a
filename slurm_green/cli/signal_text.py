# SPDX-License-Identifier: Apache-2.0
"""The report of `sgreen signal check`, as text and as JSON. Pure."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, tzinfo
from typing import Any

import click

from slurm_green.cli.signal_advice import Advice
from slurm_green.cli.signal_origin import moment, origins, owned, rests_on
from slurm_green.cli.signal_state import State
from slurm_green.signals.bundle import Link
from slurm_green.signals.series import Series
from slurm_green.words import clean, length

__all__ = ["as_json", "lines", "sentence"]

_HEAD = 13
# Head, text and colour of the head.
_Row = tuple[str, str, str | None]
_NOTHING = {
    "carbon_g_per_kwh": "There is no usable carbon signal: nothing is deferred, jobs start at once."
}


def sentence(state: State, now_utc: datetime, zone: tzinfo) -> str:
    """What is believed until when, in short."""
    if state.series is None:
        nothing = f"There is no usable signal of the {state.quantity.what}."
        return _NOTHING.get(state.quantity.name, nothing)
    return rests_on(state.series, origins(state.series, now_utc), now_utc, zone)


def lines(
    state: State,
    advice: Sequence[Advice],
    now_utc: datetime,
    zone: tzinfo,
    width: int | None = None,
) -> Iterator[str]:
    """The report of one quantity for people; `width` of their terminal, None for a pipe."""
    what = state.quantity.what
    yield click.style(f"{what[0].upper()}{what[1:]}", bold=True)
    for head, text, colour in _rows(state, advice, now_utc, zone):
        room = len(clean(text)) + 1 if width is None else max(width - 2 - _HEAD - 1, 20)
        parts = textwrap.wrap(
            clean(text), room, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
        )
        for number, part in enumerate(parts or [""]):
            shown = f"{'' if number else head:{_HEAD}}"
            shown = shown if colour is None or number else click.style(shown, fg=colour)
            yield f"  {shown} {part}".rstrip()


def _rows(
    state: State, advice: Sequence[Advice], now_utc: datetime, zone: tzinfo
) -> Iterator[_Row]:
    order = ", then ".join(f"{name} ({kind})" for name, kind in state.providers.items())
    yield "asked", order or f"nobody: signal.{state.key} names no provider", None
    if len(state.read) != 1 or not state.read[0].startswith("file "):
        yield "read", ", then ".join(state.read), None
    if any(one.startswith("file ") for one in state.read):
        yield "file", _file(state, now_utc, zone), None
    for name, until in state.waiting.items():
        when = moment(until, now_utc, zone)
        yield "waiting", f"{name} wants to be left alone until {when}", "yellow"
    yield from _links("last refresh", state.links)
    if state.asked is not None:
        yield from _links("asked now", state.asked.links)
    for number, past in enumerate(state.pasts):
        until_text = moment(past.end_utc, now_utc, zone)
        text = f"{past.path.name}: {past.days:.1f} days until {until_text}"
        yield "" if number else "past", text, None
    if not state.pasts and state.providers:
        yield "past", "nothing measured is kept", None
    if state.series is not None:
        yield from _signal(state.series, now_utc, zone)
    else:
        yield "signal", state.problem, "red"
    yield "in short", sentence(state, now_utc, zone), None
    if state.asked is not None and state.asked.series is not None:
        fetched = state.asked.series
        yield "if fetched", rests_on(fetched, origins(fetched, now_utc), now_utc, zone), None
    for one in advice:
        yield "to do", f"{one.about}: {one.seen}", "yellow"
        yield "", f"-> {one.todo}", None


def _links(head: str, links: Sequence[Link]) -> Iterator[_Row]:
    for number, one in enumerate(links):
        text = f"{one.status:7} {_called(one)}: {one.said}"
        yield "" if number else head, text, None


def _called(link: Link) -> str:
    """What a link is: providers have two, the others' names say it."""
    role = {"provider": "forecast", "history": "past"}.get(link.kind)
    return link.name if role is None else f"{owned(link.name)} {role}"


def _file(state: State, now_utc: datetime, zone: tzinfo) -> str:
    if state.file_problem:
        return state.file_problem
    if state.written_utc is None:
        return f"{state.path}, a CSV that somebody copied in"
    ago = length(max((now_utc - state.written_utc).total_seconds(), 0.0))
    return f"{state.path}, written {moment(state.written_utc, now_utc, zone)}, {ago} ago"


def _signal(series: Series, now_utc: datetime, zone: tzinfo) -> Iterator[_Row]:
    carbon = series.quantity == "carbon_g_per_kwh"
    kinds = f"basis {series.basis}, scope {series.scope}, " if carbon else ""
    yield "signal", f"{series.unit}, {kinds}region {series.region or 'not given'}", None
    for one in origins(series, now_utc):
        ago = length(max((now_utc - one.issued_utc).total_seconds(), 0.0))
        issued = f"made {ago} ago" if one.kind == "climatology" else f"issued {ago} ago"
        yield "", f"until {moment(one.end_utc, now_utc, zone)}: {one.short}, {issued}", None


def as_json(
    state: State, advice: Sequence[Advice], now_utc: datetime, zone: tzinfo
) -> dict[str, Any]:
    """The same as plain values."""
    series = state.series
    return {
        "usable": series is not None,
        "sentence": sentence(state, now_utc, zone),
        "providers": [{"name": name, "type": kind} for name, kind in state.providers.items()],
        "file": state.path,
        "written_utc": state.written_utc,
        "problem": state.problem or state.file_problem or None,
        "links": [_link(one) for one in state.links],
        "waiting": [{"name": name, "until_utc": at} for name, at in state.waiting.items()],
        "pasts": [
            {
                "source": one.source,
                "file": one.path,
                "days": round(one.days, 2),
                "end_utc": one.end_utc,
                "basis": one.basis,
                "scope": one.scope,
            }
            for one in state.pasts
        ],
        "signal": None if series is None else _series(series, now_utc),
        "asked": None
        if state.asked is None
        else {
            "links": [_link(one) for one in state.asked.links],
            "signal": None if state.asked.series is None else _series(state.asked.series, now_utc),
        },
        "todo": [{"about": one.about, "seen": one.seen, "todo": one.todo} for one in advice],
    }


def _link(one: Link) -> dict[str, str]:
    return {"name": one.name, "kind": one.kind, "status": one.status, "said": one.said}


def _series(series: Series, now_utc: datetime) -> dict[str, Any]:
    return {
        "unit": series.unit,
        "basis": series.basis,
        "scope": series.scope,
        "region": series.region,
        "provider": series.provider,
        "issued_utc": series.issued_utc,
        "age_s": round(series.age_s(now_utc)),
        "end_utc": series.end_utc,
        "origins": [asdict(one) for one in origins(series, now_utc)],
    }
