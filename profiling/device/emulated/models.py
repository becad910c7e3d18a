# SPDX-License-Identifier: Apache-2.0
"""GPU models for emulation: every constant with where it comes from, read from TOML.

`published`: the source names the value; `fitted`: chosen so that the law meets what the source
tells; `assumed`: neither. The trap: a constant fitted to one end point (all but the A100's) says
nothing of the shape in between.
"""

import difflib
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiling.errors import ProfileError

__all__ = ["GpuModel", "Provenance", "load_model", "model_names", "model_of_product"]

_DIR = Path(__file__).with_name("models")
_KINDS = ("fitted", "published", "assumed")
# What the state of one emulated GPU has room for; see state.h.
_MOST_TEXT, _MOST_ENTRIES, _MOST_STEPS, _MOST_SAMPLES = 64, 8, 512, 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a constant comes from: fitted | published | assumed, and the source or the reason."""

    kind: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuModel:
    """All that an emulated GPU is; clocks ascend, activities are 0..1."""

    product: str  # what NVML calls it
    brand: int
    architecture: int
    compute_capability: tuple[float, ...]
    pci_device_id: int
    memory_bytes: int
    mig: int  # 1 where it can be cut into instances
    min_clock_mhz: float
    max_clock_mhz: float
    step_mhz: float
    idle_clock_mhz: float  # without a context
    hold_clock_mhz: float  # the most it keeps, whatever is asked for
    memory_clocks_mhz: tuple[float, ...]
    memory_switch: int  # NVML field 298: 0 not supported, 1 deferred, 2 at run time
    base_w: float
    context_w: float
    clocked_w_per_ghz: float
    active_w_per_ghz: float
    memory_w: float
    knee_mhz: float
    voltage_ratio: float  # at the highest clock, over the floor
    limit_min_w: float
    limit_default_w: float
    limit_max_w: float
    bandwidth_clock_mhz: tuple[float, ...]
    bandwidth_share: tuple[float, ...]
    switch_clock_mhz: tuple[float, ...]  # target clocks of `switch_latency_s`
    switch_latency_s: tuple[float, ...]
    power_period_s: float  # how often the power sensor publishes
    power_window_s: float  # over which GetPowerUsage averages; 0: the last sample
    power_duty: float  # share of each period that the sensor looks at
    counter_period_s: float  # how often the energy counter publishes
    ambient_c: float
    thermal_c_per_w: float
    thermal_tau_s: float
    name: str  # of its file
    provenance: Mapping[str, Provenance]  # by constant

    @property
    def clocks_mhz(self) -> NDArray[np.float64]:
        """The SM clock steps, ascending."""
        count = round((self.max_clock_mhz - self.min_clock_mhz) / self.step_mhz) + 1
        return np.asarray(self.min_clock_mhz + self.step_mhz * np.arange(count), dtype=np.float64)


_CONSTANTS = {
    one.name: one.type for one in fields(GpuModel) if one.name not in ("name", "provenance")
}


def model_names() -> list[str]:
    """The models that come with us."""
    return sorted(path.stem for path in _DIR.glob("*.toml"))


def load_model(name: str | Path) -> GpuModel:
    """A model by name, or one of a site's own by the path of its TOML file.

    Raises ProfileError: no such model, or a file that lacks something or says the impossible.
    """
    if isinstance(name, str) and name not in model_names():
        raise ProfileError(
            f"GPU model {name!r}: known are {', '.join(model_names())}{_hint(name, model_names())}"
        )
    path = name if isinstance(name, Path) else _DIR / f"{name}.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ProfileError(f"{path}: {exc.strerror or exc}") from exc
    except ValueError as exc:  # no TOML, not UTF-8, or a number of thousands of digits
        raise ProfileError(f"{path}: not TOML: {exc}") from exc
    model = _model(tables, path)
    for wrong, wanted in _rules(model):
        if wrong:
            raise ProfileError(f"{path}: {wanted}")
    return model


def model_of_product(product: str) -> GpuModel | None:
    """The model that NVML calls so, of those that come with us."""
    models = map(load_model, model_names())
    return next((model for model in models if model.product == product), None)


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _model(tables: Mapping[str, Any], path: Path) -> GpuModel:
    sources, constants = tables.get("sources"), tables.get("constants")
    if not isinstance(sources, dict) or not isinstance(constants, dict) or len(tables) != 2:
        raise ProfileError(f"{path}: wanted the two tables [sources] and [constants]")
    if unknown := sorted(constants.keys() - _CONSTANTS.keys()):
        hint = _hint(unknown[0], _CONSTANTS)
        raise ProfileError(f"{path}: unknown constant {unknown[0]}{hint}")
    values: dict[str, Any] = {}
    provenance = {}
    for key, kind in _CONSTANTS.items():
        if key not in constants:
            raise ProfileError(f"{path}: constant {key} is missing")
        entry, where = constants[key], f"{path}: constant {key}"
        if not isinstance(entry, dict) or entry.keys() != {"value", "provenance", "source"}:
            raise ProfileError(f"{where}: wanted {{ value = ..., provenance = ..., source = ... }}")
        if entry["provenance"] not in _KINDS:
            raise ProfileError(f"{where}: provenance is one of {', '.join(_KINDS)}")
        if entry["source"] not in sources:
            raise ProfileError(f"{where}: source {entry['source']!r} is not in [sources]")
        values[key] = _value(entry["value"], kind, where)
        provenance[key] = Provenance(kind=entry["provenance"], source=sources[entry["source"]])
    return GpuModel(**values, name=path.stem, provenance=provenance)


def _value(value: object, kind: object, where: str) -> object:
    if kind is str:
        if not isinstance(value, str) or not 0 < len(value.encode()) < _MOST_TEXT:
            raise ProfileError(f"{where}: wanted a text of up to {_MOST_TEXT - 1} bytes")
        return value
    if kind is int:
        if type(value) is not int or not 0 <= value < 2**53:
            raise ProfileError(f"{where}: wanted a whole number of 0 or more")
        return value
    if kind is float:
        return _number(value, where)
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_ENTRIES:
        raise ProfileError(f"{where}: wanted a list of 1 to {_MOST_ENTRIES} numbers")
    return tuple(_number(one, where) for one in value)


def _number(value: object, where: str) -> float:
    most = sys.float_info.max  # whole numbers may be beyond any float
    if type(value) not in (int, float) or not 0 <= value <= most:  # type: ignore[operator]
        raise ProfileError(f"{where}: wanted a number of 0 or more")
    return float(value)  # type: ignore[arg-type]


def _rules(m: GpuModel) -> Iterator[tuple[bool, str]]:
    """What would be wrong, and what is wanted instead; later rules rely on earlier ones."""
    yield m.step_mhz == 0 or m.min_clock_mhz == 0, "min_clock_mhz and step_mhz must be above 0"
    steps = (m.max_clock_mhz - m.min_clock_mhz) / m.step_mhz
    yield (
        not 1 <= steps < _MOST_STEPS or steps != round(steps),
        f"max_clock_mhz must lie 1 to {_MOST_STEPS - 1} whole steps above min_clock_mhz",
    )
    clocks = (m.min_clock_mhz, m.idle_clock_mhz, m.hold_clock_mhz, m.max_clock_mhz)
    yield list(clocks) != sorted(clocks), "wanted min <= idle <= hold <= max_clock_mhz"
    yield not m.min_clock_mhz <= m.knee_mhz < m.max_clock_mhz, "knee_mhz must be among the clocks"
    yield m.voltage_ratio < 1, "voltage_ratio is over the floor: 1 or more"
    limits = (m.limit_min_w, m.limit_default_w, m.limit_max_w)
    yield list(limits) != sorted(limits) or limits[0] == 0, "wanted 0 < limit min <= default <= max"
    for key in ("memory_clocks_mhz", "bandwidth_clock_mhz", "switch_clock_mhz"):
        entries = getattr(m, key)
        yield entries[0] == 0 or list(entries) != sorted(set(entries)), f"{key} must ascend from >0"
    yield len(m.bandwidth_clock_mhz) != len(m.bandwidth_share), "bandwidth_* differ in length"
    yield len(m.switch_clock_mhz) != len(m.switch_latency_s), "switch_* differ in length"
    share = m.bandwidth_share
    yield (
        share[0] == 0 or share[-1] != 1 or list(share) != sorted(share),
        "bandwidth_share must rise to 1",
    )
    yield min(m.power_period_s, m.counter_period_s) < 1e-3, "sensor periods are 0.001 s or more"
    yield not 0 < m.power_duty <= 1, "power_duty is a share above 0"
    yield (
        m.power_window_s > _MOST_SAMPLES * m.power_period_s,
        f"power_window_s holds at most {_MOST_SAMPLES} periods",
    )
    yield m.thermal_tau_s == 0, "thermal_tau_s must be above 0"
    yield m.mig > 1 or m.memory_switch > 2, "mig is 0 or 1, memory_switch 0, 1 or 2"
