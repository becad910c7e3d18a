# SPDX-License-Identifier: Apache-2.0
"""Where each part of a signal comes from, in the words that people get everywhere. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo

from slurm_green.signals.climatology import CLIMATOLOGY
from slurm_green.signals.quantity import BASE_POWER, CARBON, PRICE, RENEWABLE
from slurm_green.signals.series import Series
from slurm_green.words import clean, length

__all__ = [
    "BUILT_IN",
    "FORECAST",
    "LAST_GOOD",
    "NAIVE",
    "Origin",
    "moment",
    "origins",
    "owned",
    "rests_on",
]

FORECAST = "forecast"
LAST_GOOD = "last good forecast"
BUILT_IN = "built-in forecast"
NAIVE = "naive"  # the built-in forecast with less than four weeks to learn from
_TRACE = "trace"
_OURS = re.compile(r"(forecast|built-?in)\b")
_WRAPPED = re.compile(r"([a-z-]+)\((.*)\)")
# What sgreend calls the files that it reads itself: they say nothing of who made them.
_FILES = {"csv", "file"}
_SUBJECT = {
    CARBON.name: "Decisions rest",
    PRICE.name: "The price rests",
    RENEWABLE.name: "On-site renewable supply rests",
    BASE_POWER.name: "Base power rests",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One stretch of a signal: whose it is, when it was issued, and what it holds for."""

    provider: str
    kind: str
    issued_utc: datetime
    start_utc: datetime
    end_utc: datetime

    @property
    def sort(self) -> str:
        """Provider's forecast, last good one, built-in one, naive, trace or climatology."""
        if self.kind == CLIMATOLOGY:
            return CLIMATOLOGY
        wrapper = self._wrapped[0]
        if wrapper == "cache":
            return LAST_GOOD
        if self.kind == NAIVE:
            return NAIVE
        if _OURS.match(self.provider):
            return BUILT_IN
        return _TRACE if self.kind == _TRACE or self.provider in _FILES else FORECAST

    @property
    def whose(self) -> str:
        """The provider behind it, without what we put around its name."""
        return clean(self._wrapped[1])

    @property
    def what(self) -> str:
        """The same as a noun: "neso's forecast"."""
        return {
            CLIMATOLOGY: "what is usual at that hour of the week",
            LAST_GOOD: f"the last good forecast of {self.whose}",
            BUILT_IN: "the built-in forecast",
            NAIVE: "the built-in forecast, from under four weeks",
            _TRACE: f"the trace of {self.whose}" if self.whose not in _FILES else "a file's trace",
            FORECAST: f"{owned(self.whose)} forecast",
        }[self.sort]

    @property
    def short(self) -> str:
        """The same for a heading of a line: few characters."""
        return {
            CLIMATOLOGY: "what is usual",
            LAST_GOOD: f"last good forecast of {self.whose}",
            BUILT_IN: BUILT_IN,
            NAIVE: "forecast from a short past",
            _TRACE: f"trace of {self.whose}" if self.whose not in _FILES else "a file's trace",
            FORECAST: f"forecast by {self.whose}",
        }[self.sort]

    @property
    def _wrapped(self) -> tuple[str, str]:
        found = _WRAPPED.fullmatch(self.provider)
        return ("", self.provider) if found is None else (found[1], found[2])


def owned(name: str) -> str:
    """The name of whom something is of: `neso's`, `electricity-maps'`."""
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def origins(series: Series, from_utc: datetime | None = None) -> list[Origin]:
    """All stretches that end after an instant, neighbours of one origin joined."""
    found: list[Origin] = []
    at = 0
    for one in series.stretches:
        start_utc = series.start_utc + timedelta(seconds=at * series.step_s)
        at += one.steps
        end_utc = series.start_utc + timedelta(seconds=at * series.step_s)
        if from_utc is not None and end_utc <= from_utc:
            continue
        now = Origin(
            provider=one.provider,
            kind=one.kind,
            issued_utc=one.issued_utc,
            start_utc=start_utc,
            end_utc=end_utc,
        )
        if found and replace(found[-1], end_utc=end_utc) == replace(
            now, start_utc=found[-1].start_utc
        ):
            now = replace(now, start_utc=found.pop().start_utc)
        found.append(now)
    return found


def rests_on(series: Series, parts: Sequence[Origin], now_utc: datetime, zone: tzinfo) -> str:
    """The sentence that says what is trusted until when; `parts` as `origins` gives them."""
    said = []
    for number, one in enumerate(parts):
        age = (now_utc - one.issued_utc).total_seconds()
        aged = one.sort in {FORECAST, LAST_GOOD} and age >= 0
        of = f" of {length(age)} ago" if aged else ""
        until = f" until {moment(one.end_utc, now_utc, zone)}"
        said.append(f"{'then ' if number else ''}on {one.what}{of}{until}")
    return f"{_SUBJECT[series.quantity]} {', '.join(said)}."


def moment(when_utc: datetime, now_utc: datetime, zone: tzinfo) -> str:
    """A time near now for people: `Thu 14:00`, with the date where that could be misread."""
    local = when_utc.astimezone(zone)
    if abs((when_utc - now_utc).total_seconds()) < 6 * 86_400:
        return f"{local:%a %H:%M}"
    return f"{local:%a} {local.day} {local:%b %H:%M}"
