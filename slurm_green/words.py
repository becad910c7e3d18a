# SPDX-License-Identifier: Apache-2.0
"""Amounts, times and foreign text as people read them: the same words everywhere. Pure."""

from datetime import datetime, tzinfo

__all__ = ["clean", "grams", "length", "number", "saved", "saving", "when"]


def clean(text: str) -> str:
    """Text of users (job names, comments) without control characters and escape sequences."""
    return "".join(char if char.isprintable() else "?" for char in text)


def when(moment: datetime | None, zone: tzinfo) -> str:
    """A time for people: as Slurm prints it, with the zone's name; `-` for none."""
    if moment is None:
        return "-"
    local = moment.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname() or ''}".rstrip()


def length(seconds: float | None) -> str:
    """A length of time for people: `45 s`, `12 min`, `2 h 05 min`, `3 d 4 h`."""
    if seconds is None:
        return "-"
    whole = round(abs(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def number(value: float | None, form: str) -> str:
    """A number in this form (`.3g`, `+.1%`); `-` for none."""
    return "-" if value is None else format(value, form)


def grams(amount: float | None) -> str:
    """An amount of CO2e for people, three digits of it; `-` when unknown, which is not 0."""
    if amount is None:
        return "-"
    size = abs(amount)
    for unit, name in ((1e6, "t"), (1e3, "kg")):
        if size >= 0.9995 * unit:
            in_unit = size / unit
            places = 2 if in_unit < 9.995 else 1 if in_unit < 99.95 else 0
            return f"{amount / unit:.{places}f} {name}"
    if size >= 9.5 or amount == 0:
        return f"{amount:.0f} g"
    return f"{amount:.2g} g" if size >= 0.001 else "~0 g"


def saving(saves_g: float) -> str:
    """What a choice saves for people, or emits more where that is less than nothing."""
    return f"saves {grams(saves_g)}" if saves_g >= 0 else f"emits {grams(-saves_g)} more"


def saved(saved_g: float | None) -> str:
    """What a choice has saved for people, or has emitted more; `saved -` when unknown."""
    if saved_g is None or saved_g >= 0:
        return f"saved {grams(saved_g)}"
    return f"emitted {grams(-saved_g)} more"
