# SPDX-License-Identifier: Apache-2.0
"""The price file: a plan's prices as JSON, for a later plan to start from and for hot paths.

`{"format": "slurm-green prices 1", "start_s": ..., "step_s": ..., "gpus": N, "objective": ...,
"weights": {"carbon": 1, "performance_g": 0}, "mu_g_per_kwh": [...], "lam_g_per_gpu_hour": [...],
"nu_g_per_kwh": [...], "made_utc": ...}`, one entry per slot in each list. Unknown keys are
ignored; what changes the meaning of a known one gets another number in `format`.

The trap: these are the prices that a job's best response takes, together with `weights`; those
that prove the plan's bound stand in its summary. With least carbon both are the same.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from profiling.whole import whole_file
from slurm_green.errors import BadInputError
from slurm_green.plan.outcome import Objective, Prices, Weights
from slurm_green.plan.problem import Floats

__all__ = ["FORMAT", "MAX_BYTES", "PriceFile", "read_prices", "regrid", "write_prices"]

FORMAT = "slurm-green prices 1"
MAX_BYTES = 16 * 2**20
_DAY_S = 86_400.0
_MAX_ABS_S = 1e10  # three centuries; what lies beyond is not seconds
_MAX_PRICE = 1e15
# Prices -> their key in the file.
_KEYS = {"mu": "mu_g_per_kwh", "lam": "lam_g_per_gpu_hour", "nu": "nu_g_per_kwh"}


@dataclass(frozen=True, kw_only=True)
class PriceFile:
    """What the file says; `start_s` is in the time of the signal that was planned with."""

    start_s: float
    step_s: float
    gpus: int
    objective: Objective
    weights: Weights = field(default_factory=Weights)
    prices: Prices
    made_utc: datetime

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.prices.mu)


def write_prices(path: Path, file: PriceFile) -> None:
    """Write the file, whole or not at all; raises BadInputError where it cannot be written."""
    lists = {key: getattr(file.prices, name).tolist() for name, key in _KEYS.items()}
    content = {
        "format": FORMAT,
        "start_s": file.start_s,
        "step_s": file.step_s,
        "gpus": file.gpus,
        "objective": str(file.objective),
        "weights": {
            "carbon": file.weights.carbon,
            "performance_g": file.weights.performance_g,
        },
        **lists,
        "made_utc": file.made_utc.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    text = json.dumps(content, allow_nan=False) + "\n"
    try:
        # A daemon of another user reads it.
        with whole_file(path, sync=True) as out:
            out.write(text)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_prices(path: Path) -> PriceFile:
    """Read and check a price file; raises BadInputError."""
    try:
        if not path.is_file():
            why = "is not a plain file" if path.exists() else "no such file"
            raise BadInputError(f"{path}: {why}; wanted one that sgreen plan --prices-out wrote")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise BadInputError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, no price file is")
    try:
        raw = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}: line {line}" if line else f"{path}"
        raise BadInputError(
            f"{where}: is no JSON ({getattr(error, 'msg', error)}), cut or damaged; write it again "
            "with sgreen plan --prices-out"
        ) from error
    return _checked(raw, str(path))


def regrid(file: PriceFile, *, start_s: float, step_s: float, slots: int) -> Prices:
    """The prices on another signal's slots: averages where the file covers them.

    Elsewhere those of the same hour a day earlier, or of the last day before that there is;
    zero where there is none.
    """
    edges_s = start_s - file.start_s + step_s * np.arange(slots + 1, dtype=np.float64)
    return Prices(**{name: _moved(getattr(file.prices, name), file, edges_s) for name in _KEYS})


def _moved(values: Floats, file: PriceFile, edges_s: Floats) -> Floats:
    """Averages between edges, which are seconds from the file's start."""
    end_s = file.step_s * len(values)
    own_edges_s = file.step_s * np.arange(len(values) + 1, dtype=np.float64)
    area = np.concatenate(([0.0], np.cumsum(values * file.step_s)))
    low_s, high_s = edges_s[:-1], edges_s[1:]
    least_s = 1e-6 * float(edges_s[1] - edges_s[0])
    # A slot that does not even begin before the end looks whole days back, so that it does.
    days = np.maximum(np.floor((low_s - end_s + least_s) / _DAY_S) + 1.0, 0.0)
    begin_s = np.clip(low_s - days * _DAY_S, 0.0, end_s)
    until_s = np.clip(high_s - days * _DAY_S, 0.0, end_s)
    covered_s = until_s - begin_s
    total = np.interp(until_s, own_edges_s, area) - np.interp(begin_s, own_edges_s, area)
    found = np.where(covered_s > least_s, total / np.maximum(covered_s, least_s), 0.0)
    # Differences of long sums: what is left of a price of zero may be a hair below it.
    return np.asarray(np.clip(found, 0.0, values.max()))


def _checked(raw: Any, where: str) -> PriceFile:
    if not isinstance(raw, dict):
        raise BadInputError(f"{where}: holds no JSON object; wanted a price file of sgreen plan")
    if raw.get("format") != FORMAT:
        said = str(raw.get("format"))[:40]
        raise BadInputError(
            f"{where}: key format: {said!r}; this version reads {FORMAT!r}: write it again with "
            "sgreen plan --prices-out"
        )
    prices = {name: _list(raw, key, where) for name, key in _KEYS.items()}
    lengths = {_KEYS[name]: len(values) for name, values in prices.items()}
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{key} has {count}" for key, count in lengths.items())
        raise BadInputError(f"{where}: lists of one length wanted, but {shown} entries")
    weights = raw.get("weights")
    if not isinstance(weights, dict):
        raise BadInputError(f"{where}: key weights: wanted carbon and performance_g, an object")
    gpus = _number(raw, "gpus", where, least=1, most=1e9)
    if gpus != int(gpus):
        raise BadInputError(f"{where}: key gpus: {gpus:g} is not a whole number")
    inside = f"{where}: in weights"
    return PriceFile(
        start_s=_number(raw, "start_s", where, least=-_MAX_ABS_S, most=_MAX_ABS_S),
        step_s=_number(raw, "step_s", where, least=1e-3, most=_MAX_ABS_S),
        gpus=int(gpus),
        objective=_objective(raw.get("objective"), where),
        weights=Weights(
            carbon=_number(weights, "carbon", inside, least=0, most=_MAX_PRICE),
            performance_g=_number(weights, "performance_g", inside, least=0, most=_MAX_PRICE),
        ),
        prices=Prices(**prices),
        made_utc=_made(raw.get("made_utc"), where),
    )


def _list(raw: dict[str, Any], key: str, where: str) -> Floats:
    found = raw.get(key)
    if not isinstance(found, list) or not found:
        raise BadInputError(f"{where}: key {key}: wanted a list with one price per slot")
    for place, one in enumerate(found, 1):
        if isinstance(one, bool) or not isinstance(one, int | float) or not 0 <= one <= _MAX_PRICE:
            raise BadInputError(
                f"{where}: key {key}: entry {place}: {str(one)[:40]!r} is not a number from 0 to "
                f"{_MAX_PRICE:g}"
            )
    return np.array(found, dtype=np.float64)


def _number(raw: dict[str, Any], key: str, where: str, *, least: float, most: float) -> float:
    found = raw.get(key)
    # An integer of thousands of digits compares well and only then fails to become a float.
    if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most:
        said = "missing" if key not in raw else repr(str(found)[:40])
        raise BadInputError(
            f"{where}: key {key}: {said}; wanted a number from {least:g} to {most:g}"
        )
    return float(found)


def _objective(said: object, where: str) -> Objective:
    try:
        return Objective(str(said))
    except ValueError as error:
        known = ", ".join(Objective)
        raise BadInputError(
            f"{where}: key objective: {str(said)[:40]!r} is none of {known}"
        ) from error


def _made(said: object, where: str) -> datetime:
    try:
        when = datetime.fromisoformat(str(said))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadInputError(
            f"{where}: key made_utc: {str(said)[:40]!r} is not a time like 2026-01-31T12:00:00Z"
        ) from error


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not allowed")
