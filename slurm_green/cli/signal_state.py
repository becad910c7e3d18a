# SPDX-License-Identifier: Apache-2.0
"""What there is to say of one quantity's signal, gathered from configuration and files.

Nothing here asks a provider. A file that cannot be read is a finding, not an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from slurm_green.cli.source import read_signal
from slurm_green.config.chains import CHAINS, signal_path
from slurm_green.config.providers import PROVIDERS
from slurm_green.config.settings import Config
from slurm_green.errors import SignalError, SlurmGreenError
from slurm_green.fetch.store import Store
from slurm_green.signals.bundle import Bundle, Link, read_bundle
from slurm_green.signals.csv_trace import read_bounded
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import CARBON, Quantity, quantity_named
from slurm_green.signals.series import Series
from slurm_green.words import length

__all__ = ["Past", "State", "gather"]

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A file of measured values that the fetching process learns from."""

    source: str
    path: Path
    days: float
    end_utc: datetime
    basis: str
    scope: str


@dataclass(frozen=True, kw_only=True)
class State:
    """One quantity: who is to be asked, what became of it, and what sgreend reads now."""

    quantity: Quantity
    key: str
    # Name -> type of each provider, in the order of trust.
    providers: Mapping[str, str]
    path: Path
    # What sgreend reads, in order: "file PATH", "csv PATH".
    read: tuple[str, ...]
    # What it believes now, or why it believes nothing.
    series: Series | None = None
    problem: str = ""
    # The signal file as the fetching process left it; None where it is missing or a copied CSV.
    written_utc: datetime | None = None
    links: tuple[Link, ...] = ()
    file_problem: str = ""
    pasts: tuple[Past, ...] = ()
    damaged: tuple[Path, ...] = ()
    waiting: Mapping[str, datetime] = field(default_factory=dict)
    # What sort of numbers each provider gave: (basis, scope).
    kinds: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    # With --ask: what the providers say now.
    asked: Bundle | None = None


def gather(config: Config, now_utc: datetime) -> list[State]:
    """Carbon, and every other quantity that has providers or a file."""
    found = []
    for quantity, key in CHAINS.items():
        if quantity == CARBON.name or getattr(config.signal, key) or _has_file(config, quantity):
            found.append(_state(config, quantity, key, now_utc))
    return found


def _has_file(config: Config, quantity: str) -> bool:
    return signal_path(config, quantity).exists()


def _state(config: Config, quantity: str, key: str, now_utc: datetime) -> State:
    names: tuple[str, ...] = getattr(config.signal, key)
    path = signal_path(config, quantity)
    read = config.signal.read if quantity == CARBON.name else ("file",)
    series, problem = _believed(config, quantity, now_utc)
    bundle, file_problem = _bundle(path) if "file" in read else (None, "")
    store = Store(directory=config.paths.signals)
    pasts, damaged = _pasts(store, names, quantity)
    return State(
        quantity=quantity_named(quantity),
        key=key,
        providers={name: _type(config, name) for name in names},
        path=path,
        read=tuple(f"{one} {path if one == 'file' else config.signal.csv.path}" for one in read),
        series=series,
        problem=problem,
        written_utc=None if bundle is None else bundle.written_utc,
        links=() if bundle is None else bundle.links,
        file_problem=file_problem,
        pasts=pasts,
        damaged=damaged,
        waiting={
            name: until
            for name in names
            if (until := store.wait_until(name)) is not None and until > now_utc
        },
        kinds=_kinds(store, names, quantity, pasts),
    )


def _believed(config: Config, quantity: str, now_utc: datetime) -> tuple[Series | None, str]:
    """What sgreend defers by now, or why it does not."""
    try:
        series = read_signal(config, now_utc, quantity)
    except SlurmGreenError as error:
        return None, str(error)
    old_s, most_s = series.stale_s(now_utc), config.controller.stale_signal_s
    if old_s > most_s:
        return None, (
            f"{series.provider} is {length(old_s)} old, controller.stale_signal allows "
            f"{length(most_s)}"
        )
    return series, ""


def _type(config: Config, name: str) -> str:
    settings = type(config.provider[name])
    return next((word for word, kind in PROVIDERS.items() if kind is settings), settings.__name__)


def _bundle(path: Path) -> tuple[Bundle | None, str]:
    try:
        if not read_bounded(path)[:64].lstrip().startswith(b"{"):
            return None, ""  # a CSV that somebody copied in: it has no links
        return read_bundle(path), ""
    except SignalError as error:
        return None, str(error)


def _pasts(
    store: Store, names: tuple[str, ...], quantity: str
) -> tuple[tuple[Past, ...], tuple[Path, ...]]:
    """The pasts that are kept, and the files among them that nobody can read."""
    found, damaged = [], []
    for name in names:
        pasts = store.pasts(name, quantity)
        found += [_past(name, path, one) for path, one in pasts.items()]
        damaged += sorted({*store.directory.glob(f"{quantity}.{name}.*.csv")} - pasts.keys())
    return tuple(found), tuple(damaged)


def _past(name: str, path: Path, one: Measured) -> Past:
    return Past(
        source=name,
        path=path,
        days=one.known * one.step_s / _DAY_S,
        end_utc=one.end_utc,
        basis=one.basis,
        scope=one.scope,
    )


def _kinds(
    store: Store, names: tuple[str, ...], quantity: str, pasts: tuple[Past, ...]
) -> dict[str, tuple[tuple[str, str], ...]]:
    """What each provider's last good forecast and its past are of."""
    found = {}
    for name in names:
        kinds = {(one.basis, one.scope) for one in pasts if one.source == name}
        try:
            last = store.last(name, quantity)
            kinds.add((last.basis, last.scope))
        except SignalError:
            pass  # none is kept yet
        if kinds:
            found[name] = tuple(sorted(kinds))
    return found
