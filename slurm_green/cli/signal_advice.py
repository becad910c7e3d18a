# SPDX-License-Identifier: Apache-2.0
"""What to do about a link that failed, and what else of a signal needs somebody's attention.

Providers say in one sentence what went wrong; the cause is read from its words. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from slurm_green.cli.signal_state import State
from slurm_green.config.settings import Config
from slurm_green.signals.bundle import Link
from slurm_green.signals.quantity import CARBON, PRICE
from slurm_green.words import length

__all__ = ["Advice", "advice_for", "failed_links", "warnings"]

_MODEL_DAYS = 28  # what the built-in forecast needs to be worth having
_KEYS = ("key_file", "password_file", "token_file")
# What the settings of providers call the place they are asked about; for prices some have another.
_ZONES = ("zone", "postcode", "area", "operator", "country", "region_expected", "region")
_PRICE_ZONES = ("bidding_zone", *_ZONES)
# Words of what was said -> what they are a sign of; the first that fits holds.
_SIGNS = (
    ("plan", ("plan does not include", "key's plan")),
    ("key", ("the key is", "key_file", "password", "answered 401", "answered 403")),
    ("limit", ("answered 429", "come back", "too many requests")),
    ("network", ("cannot be reached", "no answer in time", "no whole answer")),
    ("zone", ("asked for zone", "asked for region", "answer is for", " is for '")),
    ("schema", ("did the API change", "is not JSON", "is no object")),
    ("theirs", ("answered 5", "reaches from", "holds no", "leaves a gap", ") has no value")),
    ("clock", ("does not cover now", "in the future")),
    ("past", ("no measured", "nothing is measured", "what is usual needs", "learn from")),
    ("file", ("o such file", "line ", "column ", "no rows before now", "nothing at now")),
    ("asked", ("asked for",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Something that is not as it should be, and what to do."""

    about: str
    seen: str
    todo: str


def failed_links(state: State, links: Sequence[Link], config: Config) -> list[Advice]:
    """What to do about each provider that failed; the rest of the chain follows from it."""
    found: dict[tuple[str, str], Advice] = {}
    for link in links:
        if link.status != "failed" or link.kind == "cache":
            continue
        todo = advice_for(link, state, config)
        # A provider's forecast and its past mostly fail for one reason.
        found.setdefault((link.name, todo), Advice(about=link.name, seen=link.said, todo=todo))
    return list(found.values())


def advice_for(link: Link, state: State, config: Config) -> str:
    """What to do about a failed link, in one sentence."""
    sign = next((sign for sign, words in _SIGNS if any(one in link.said for one in words)), "")
    table = f"provider.{link.name}"
    settings = config.provider.get(link.name)
    if settings is None:
        return _without_provider(link, state, config, sign)
    if sign == "key":
        return _new_key(table, settings)
    if sign == "zone":
        names = _PRICE_ZONES if state.quantity is PRICE else _ZONES
        wrong = next((one for one in names if getattr(settings, one, None)), "zone")
        return f"correct {table}.{wrong}: the provider answers for another one"
    return {
        "plan": f"ask less of it in [{table}], or get a plan of the provider that has it",
        "limit": "nothing, it is asked again by itself; if this goes on, fetch less often "
        "(slurm-green-fetch.timer)",
        "network": "check the network, the name service and the proxy (HTTPS_PROXY) of the host "
        f"that fetches, and {table}.url",
        "schema": "look for a newer slurm-green: the provider changed its answers; "
        "`sgreen signal check --ask` shows whether it still does",
        "theirs": "wait, the trouble is the provider's; a second one in "
        f"signal.{state.key} would stand in",
        "clock": "check the clock of the host that fetches, then the provider's data",
        "past": "nothing, it comes with time; or copy a past of your own into "
        f"{config.paths.signals}",
        "asked": f"correct [{table}]: the provider answers something else than it is asked for",
        "file": f"correct the file that [{table}] names",
    }.get(
        sign,
        f"see the log of the fetching process, and [{table}]; `sgreen signal check --ask` "
        "asks again",
    )


def _new_key(table: str, settings: object) -> str:
    for name in _KEYS:
        path = getattr(settings, name, None)
        if path is not None:
            what = "password" if name.startswith("password") else "key"
            return f"put a new {what} into {path} ({table}.{name}), readable by the fetching user"
        if hasattr(settings, name):
            return f"set {table}.{name} to a file that holds the key"
    return f"correct the credentials in [{table}]"


def _without_provider(link: Link, state: State, config: Config, sign: str) -> str:
    """Of the built-in forecast and of climatology: they live on the past."""
    if link.kind in {"forecast", "climatology"} and sign != "past":
        return "see the log of the fetching process; what comes after it in the chain stands in"
    if link.kind in {"forecast", "climatology"}:
        return (
            "it needs a measured past: wait, name a provider that has one in "
            f"signal.{state.key}, or copy one into {config.paths.signals}"
        )
    return f"correct signal.{state.key}: there is no [provider.{link.name}] any more"


def warnings(state: State, config: Config, now_utc: datetime) -> Iterator[Advice]:
    """What is wrong besides links that failed."""
    about = state.quantity.what
    carbon = state.quantity is CARBON
    if not state.providers and carbon and "csv" not in config.signal.read:
        yield Advice(
            about=about,
            seen="signal.carbon names no provider",
            todo="add a [provider.NAME] table and name it in signal.carbon "
            "(sgreen config reference), or copy a signal file in",
        )
        return
    if state.file_problem and (state.providers or state.problem):
        yield Advice(about=about, seen=state.file_problem, todo=_about_file(state, config))
    elif state.written_utc is not None:
        yield from _silence(state, config, now_utc)
    elif state.providers and not state.file_problem and "file" in config.signal.read:
        yield Advice(
            about=about,
            seen=f"{state.path} is a CSV that somebody copied in, not what `sgreen fetch` writes",
            todo=f"start slurm-green-fetch.timer, or empty signal.{state.key} if this is meant",
        )
    yield from _mixture(state)
    for path in state.damaged:
        yield Advice(
            about=about,
            seen=f"{path} is damaged and not learned from",
            todo="repair it (columns start_utc and the quantity's), or delete it",
        )
    most = max((one.days for one in state.pasts), default=None)
    if most is not None and most < _MODEL_DAYS:
        yield Advice(
            about=about,
            seen=f"the built-in forecast has {most:.0f} days to learn from, under four weeks",
            todo=f"wait, or copy a longer past into {config.paths.signals}",
        )


def _about_file(state: State, config: Config) -> str:
    if "no such file" in state.file_problem:
        start = "start slurm-green-fetch.timer, or run `sgreen fetch` as the fetching user"
        return start if state.providers else f"copy a signal file to {state.path}"
    return f"make it readable, or delete it and run `sgreen fetch` as {_owner(config)}"


def _owner(config: Config) -> str:
    return f"the owner of {config.paths.signals}"


def _silence(state: State, config: Config, now_utc: datetime) -> Iterator[Advice]:
    if state.written_utc is None or not state.providers:
        return
    silent_s = (now_utc - state.written_utc).total_seconds()
    if silent_s > config.controller.stale_signal_s:
        yield Advice(
            about=state.quantity.what,
            seen=f"the fetching process has been silent for {length(silent_s)}, more than "
            f"controller.stale_signal ({length(config.controller.stale_signal_s)})",
            todo="see systemctl status slurm-green-fetch.timer slurm-green-fetch.service",
        )


def _mixture(state: State) -> Iterator[Advice]:
    """Providers of different kinds of numbers: what falls back to another changes its meaning."""
    kinds = {kind for found in state.kinds.values() for kind in found}
    if len(kinds) < 2:
        return
    said = "; ".join(
        f"{name} is {' and '.join(', '.join(kind) for kind in found)}"
        for name, found in state.kinds.items()
    )
    yield Advice(
        about=state.quantity.what,
        seen=f"signal.{state.key} mixes kinds of numbers: {said}",
        todo="prefer providers of one basis and scope: others are never joined to each other, and "
        "falling back changes what the numbers mean",
    )
