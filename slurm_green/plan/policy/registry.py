# SPDX-License-Identifier: Apache-2.0
"""Which policies there are: ours and the baselines, and those of other packages.

Another package names a function `make(setup)` in the entry-point group `slurm_green.policies`.
"""

import difflib
import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from slurm_green.errors import BadInputError
from slurm_green.plan.policy.protocol import Policy, Setup, Truth

__all__ = ["GROUP", "OWN", "Entry", "check_options", "entries", "entry"]

GROUP = "slurm_green.policies"
_HERE = "slurm_green.plan.policy"
# The greatest value of each setting of our policies; the least is 0.
_MOST = {"congestion": math.inf, "delay": math.inf, "percentile": 100.0, "power-cap-w": math.inf}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One policy: a line about it, where it comes from, and whether it is told the truth.

    `options` are the settings that it reads; None where nobody knows them (other packages').
    """

    name: str
    about: str
    source: str
    load: Callable[[], Any]
    knows: bool = False
    options: tuple[str, ...] | None = ()

    def made(self, setup: Setup, truth: Truth | None = None) -> Policy:
        """The policy for one run; `truth` only reaches one that knows."""
        make = self.load()
        policy: Policy = make(setup, truth) if self.knows else make(setup)
        return policy


def _own(name: str, about: str, source: str, *options: str, knows: bool = False) -> Entry:
    module = f"{_HERE}.{name.replace('-', '_')}"
    return Entry(
        name=name,
        about=about,
        source=source,
        load=lambda: importlib.import_module(module).make,
        knows=knows,
        options=options,
    )


# Each module says where our reading of the source is an assumption.
OWN = {
    one.name: one
    for one in (
        _own("fifo", "First come, first served with backfill; blind to carbon.", "Slurm"),
        _own("max", "At once, with all workers at the highest clock.", "CA-RM 2026, our reading"),
        _own("min", "At once, as slow and narrow as is in time.", "CA-RM 2026, our reading"),
        _own("energy-cost", "Where electricity costs least.", "CA-RM 2026, our reading"),
        _own(
            "power-cap",
            "At once below a fixed power cap.",
            "CA-RM 2026, our reading",
            "power-cap-w",
        ),
        _own("wait-awhile", "In the slots of least carbon.", "Let's Wait Awhile 2021, GAIA 2024"),
        _own("lowest-window", "In the window of least carbon.", "GAIA 2024"),
        _own("carbon-saving-per-time", "Most saving per second of wait and run.", "GAIA 2024"),
        _own("carbon-scaler", "More workers where a gram buys more work.", "CarbonScaler 2024"),
        _own(
            "threshold",
            "While carbon is low for the day ahead.",
            "Ecovisor 2023, GAIA 2024",
            "percentile",
        ),
        _own(
            "coast",
            "Best response to carbon, delay and congestion.",
            "COAST 2026, its idea",
            "congestion",
            "delay",
        ),
        _own(
            "prices",
            "Plans again and again by prices, with room for jobs still to come.",
            "slurm-green",
        ),
        _own(
            "oracle",
            "Knows all jobs and signals: the planner's schedule.",
            "slurm-green",
            knows=True,
        ),
    )
}


def entries() -> dict[str, Entry]:
    """All policies by name: ours in the order of the contract, then other packages'."""
    from importlib.metadata import entry_points

    others = {
        point.name: Entry(
            name=point.name,
            about=f"Of another package: {point.value}.",
            source=point.dist.name if point.dist is not None else "another package",
            load=point.load,
            options=None,
        )
        for point in entry_points(group=GROUP)
        if point.name not in OWN
    }
    return OWN | dict(sorted(others.items()))


def entry(name: str) -> Entry:
    """A policy by its name; raises BadInputError with the names there are."""
    if name in OWN:
        return OWN[name]
    known = entries()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise BadInputError(f"no policy {name!r}: {hint}there are {', '.join(known)}")


def check_options(asked: Iterable[Entry], options: Mapping[str, float]) -> None:
    """Raises BadInputError for a setting that none of these policies reads, or out of range."""
    known = [one.options for one in asked]
    ours = {name for mine in known for name in mine or ()}
    for name in options.keys() & _MOST.keys() & ours:
        if not 0 <= options[name] <= _MOST[name]:
            wanted = "0 or more" if _MOST[name] == math.inf else f"0 to {_MOST[name]:g}"
            raise BadInputError(f"--option {name}={options[name]:g}: wanted {wanted}")
    if None in known:
        return
    for name in options:
        if not any(name in (mine or ()) for mine in known):
            takes = [f"{one.name}: {', '.join(one.options)}" for one in OWN.values() if one.options]
            raise BadInputError(
                f"--option {name}: no policy of this replay has such a setting; "
                f"there are {'; '.join(takes)}"
            )
