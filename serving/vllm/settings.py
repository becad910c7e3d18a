# SPDX-License-Identifier: Apache-2.0
"""What a replica is told: vLLM's --additional-config before the environment. Pure."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.clocks.noded import SOCKET
from slurm_green.errors import BadInputError
from slurm_green.plan.outcome import Objective

__all__ = ["KEY", "PREFIX", "Settings"]

KEY = "slurm_green"  # in --additional-config
PREFIX = "SLURM_GREEN_SERVE_"
_CLOCKS = ("auto", "noded", "nvml", "none")
_OBJECTIVES = tuple(map(str, Objective))
_NUMBERS = ("slo_ttft_ms", "slo_tpot_ms", "ttl_s", "prices_max_age_s", "carbon_budget_g_per_hour")
_PATHS = ("profile", "socket", "nvml_library", "journal", "prices", "ceiling", "learned")
_WORDS = {"clocks": _CLOCKS, "objective": _OBJECTIVES}
_WHOLE = ("job", "default_clock_mhz")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each is a key of `slurm_green` in --additional-config, and SLURM_GREEN_SERVE_KEY."""

    profile: Path | None = None  # without one nothing is governed
    slo_ttft_ms: float | None = None
    slo_tpot_ms: float | None = None
    policy: str = "governor"
    clocks: str = "auto"  # auto is noded where its socket is, else none
    socket: Path = SOCKET
    job: int | None = None
    gpus: str = ""  # of the job on this node, as NVML and Slurm number them
    ttl_s: float = 2.0  # of a lease
    nvml_library: Path | None = None
    journal: Path = Path("/var/lib/slurm-green-node/journal")  # for clocks = nvml
    default_clock_mhz: int | None = None  # what the site locks its GPUs to; for clocks = nvml
    objective: str = Objective.PERFORMANCE_CONSTRAINED
    carbon_budget_g_per_hour: float | None = None  # with carbon-constrained
    prices: Path | None = None  # a plan's price file; without one the carbon is not known
    prices_max_age_s: float = 10_800.0
    ceiling: Path | None = None  # what the site allows; see SiteWord
    learned: Path | None = None  # what the governor keeps over restarts; None: nothing
    metrics: str = ""  # HOST:PORT, or the path of a file; empty: none

    @classmethod
    def of(cls, additional: object, environment: Mapping[str, str]) -> "Settings":
        """From both sources; raises BadInputError."""
        values: dict[str, object] = {
            "job": environment.get("SLURM_JOB_ID"),
            "gpus": environment.get("SLURM_STEP_GPUS") or environment.get("SLURM_JOB_GPUS"),
        }
        known = cls.__dataclass_fields__
        for name, text in environment.items():
            if name.startswith(PREFIX):
                values[_known(name.removeprefix(PREFIX).lower(), known, f"{PREFIX}*")] = text
        own = additional.get(KEY, {}) if isinstance(additional, Mapping) else {}
        if not isinstance(own, Mapping):
            raise BadInputError(f"--additional-config: {KEY}: wanted an object, not {own!r}")
        for name, value in own.items():
            values[_known(str(name), known, f"--additional-config: {KEY}")] = value
        given = {key: _read(key, value) for key, value in values.items() if value not in (None, "")}
        settings = cls(**given)  # type: ignore[arg-type]
        paced = settings.objective == Objective.CARBON_CONSTRAINED
        if paced == (settings.carbon_budget_g_per_hour is None):
            raise BadInputError(
                "carbon_budget_g_per_hour and objective carbon-constrained go together: set both"
                " or neither"
            )
        return settings


def _known(name: str, known: Mapping[str, object], where: str) -> str:
    if name not in known:
        raise BadInputError(f"{where}: {name!r}: no such setting; there are {', '.join(known)}")
    return name


def _read(key: str, value: object) -> object:
    if key in _NUMBERS:
        return _number(key, value)
    if key in _WHOLE:
        return round(_number(key, value))
    if not isinstance(value, str):
        raise BadInputError(f"{key}: wanted text, not {json.dumps(value, default=str)}")
    if key in _PATHS:
        return Path(value)
    if value not in _WORDS.get(key, (value,)):
        raise BadInputError(f"{key}: {value!r}: allowed are {', '.join(_WORDS[key])}")
    return value


def _number(key: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not 0 < number < 1e9:
        raise BadInputError(f"{key}: wanted a number above 0, not {value!r}")
    return number
