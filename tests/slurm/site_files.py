# SPDX-License-Identifier: Apache-2.0
"""The files a test site is made of: its configuration and its carbon trace."""

import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from slurm_green.cluster.green import green_paths, toml_text
from slurm_green.cluster.layout import Layout

__all__ = ["HOLD_S", "SiteFiles"]

# Seconds for a cycle to see a new job, on a machine that may be away for some of them.
HOLD_S = 8

_DEFAULTS: dict[str, dict[str, object]] = {
    "general": {"mode": "enforce", "slurm_backend": "commands"},
    "hook": {"hold": f"{HOLD_S}s"},
    "policy": {
        "default_delay": "2m",
        "max_delay": "10m",
        "min_length": "0s",
        "margin_floor": "10s",
        "min_saving_percent": 0.1,
    },
    "controller": {"interval": "1s", "min_interval": "0.2s", "metrics": ""},
    # A plan keeps minutes of margin, and these jobs wait seconds; test_planner_live.py scales time.
    "plan": {"enabled": False},
    "signal": {"read": ["csv"]},
}


class SiteFiles:
    """A cluster's configuration and signal; `sections` are the site's own settings."""

    def __init__(self, layout: Layout, sections: Mapping[str, Mapping[str, object]]) -> None:
        self.layout = layout
        self.directory = layout.directory / "green"
        self.directory.mkdir(exist_ok=True)
        self.trace = self.directory / "trace.csv"
        self.paths = green_paths(layout, self.directory)
        self.ledger = self.paths["ledger"]
        self.status_file = self.paths["status"]
        self.off_marker = self.paths["off"]
        self._falls = False
        self._own = sections

    def seen(self) -> None:
        """Called when the signal has changed: until whoever reads it has."""

    def configure(self, **sections: Mapping[str, object]) -> None:
        """Write the configuration: the tests' defaults, the site's own, these values over them.

        A table in a table is one section more: partition={"main": {"mode": "enforce"}}.
        """
        values: dict[str, dict[str, object]] = {
            "paths": {**self.paths, "ledger": self.ledger},
            **{name: dict(table) for name, table in _DEFAULTS.items()},
        }
        values["signal"]["csv"] = {"path": self.trace}
        for own in (self._own, sections):
            for name, table in own.items():
                values.setdefault(name, {}).update(table)
        self.layout.green_conf.write_text(toml_text(values))

    def write_trace(
        self, g_per_kwh: Callable[[float], float], *, until_s: float = 3600.0, step_s: float = 5.0
    ) -> None:
        """The signal from a minute ago on: intensity by seconds from now, in one step."""
        first = math.floor(time.time()) - 60
        rows = ["start_utc,carbon_g_per_kwh"]
        for index in range(int((until_s + 60) / step_s)):
            at = datetime.fromtimestamp(first + index * step_s, UTC)
            rows.append(f"{at:%Y-%m-%dT%H:%M:%SZ},{g_per_kwh(index * step_s - 60):.6g}")
        self.write_raw_trace("\n".join(rows) + "\n")

    def write_raw_trace(self, text: str) -> None:
        """Whatever text as the signal's file, exchanged in one step."""
        new = self.trace.with_suffix(".new")
        new.write_text(text)
        new.replace(self.trace)
        self._falls = False
        self.seen()

    def falling(self, *, until_s: float = 3600.0) -> None:
        """The later the cleaner: a job starts at its latest start, unless something intervenes."""
        self.write_trace(lambda at_s: 800 * math.exp(-at_s / 300), until_s=until_s)
        self._falls = until_s == 3600

    def valley(self, in_s: float, for_s: float = 120.0) -> None:
        """Clean for a while from `in_s` seconds on, dirty before and behind."""
        self.write_trace(
            lambda at_s: 50 if in_s <= at_s < in_s + for_s else 800, until_s=1500, step_s=1
        )
