# SPDX-License-Identifier: Apache-2.0
"""A profile's directory: `profile.toml`, `inference.csv`, `training.csv`.

The trap: an empty cell means that nobody knows, and so does a missing column that is optional.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from profiling.errors import ProfileError
from profiling.profile import (
    PHASES,
    Engine,
    Gpu,
    InferencePoint,
    Profile,
    Provenance,
    TrainingPoint,
)
from profiling.shipped import shipped, shipped_names
from profiling.table import COUNT, NUMBER, Column, Row, read_bytes, read_rows
from profiling.toml_file import TomlFile, toml_value
from profiling.whole import write_directory

__all__ = [
    "CLOCK",
    "INFERENCE",
    "TRAINING",
    "check_watts",
    "profile_files",
    "read_profile",
    "write_profile",
]

P = TypeVar("P", InferencePoint, TrainingPoint)

_TOML = "profile.toml"
_TEXTS = (
    "gpu_name", "driver", "engine_name", "engine_version", "model", "dtype", "date", "source",
)  # fmt: skip
# What no GPU comes near: beyond lies another unit, such as NVML's mW and people's GHz.
_CLOCKS_MHZ = (10.0, 10_000.0)
_MOST_W = 10_000.0
CLOCK = Column(name="clock_mhz", kind=NUMBER, least=_CLOCKS_MHZ[0], most=_CLOCKS_MHZ[1], unit="MHz")
_COMMON = (
    CLOCK,
    Column(name="power_w", kind=NUMBER),
    Column(name="n", kind=COUNT),
    Column(name="ci95_power_w", kind=NUMBER, zero=True),
    Column(name="power_cap_w", kind=NUMBER),
)
INFERENCE = (
    Column(name="phase", kind="word", words=PHASES, needed=True),
    Column(name="batch", kind=COUNT, needed=True),
    Column(name="context_tokens", kind=COUNT, zero=True),
    Column(name="latency_s", kind=NUMBER, needed=True),
    Column(name="tp", kind=COUNT, default=1),
    Column(name="ci95_latency_s", kind=NUMBER, zero=True),
    *_COMMON,
)
TRAINING = (
    Column(name="workers", kind=COUNT, needed=True),
    Column(name="gpus_per_worker", kind=COUNT, default=1),
    Column(name="rate", kind=NUMBER, needed=True),
    Column(name="ci95_rate", kind=NUMBER, zero=True),
    *_COMMON,
)
_NEEDED = {
    "inference.csv": ("phase", "batch", "context_tokens", "clock_mhz", "latency_s", "power_w"),
    "training.csv": ("workers", "gpus_per_worker", "clock_mhz", "rate", "power_w"),
}
# Written where a point has them.
_OPTIONAL = ("tp", "n", "ci95_latency_s", "ci95_rate", "ci95_power_w", "power_cap_w")


def profile_files(path: Path) -> list[Path]:
    """What `read_profile` reads of a directory or a shipped name; not all need be there."""
    if not path.exists():
        path = shipped(path)
    return [path / name for name in (_TOML, *_NEEDED)]


def read_profile(path: Path) -> Profile:
    """Read and check a profile's directory, or one of those that come with us, by its name.

    ProfileError names file, line and column.
    """
    if not path.exists():
        path = shipped(path)
    if not path.is_dir():
        why = "is no directory" if path.exists() else "no such directory"
        raise ProfileError(
            f"{path}: {why}; wanted a profile: {_TOML} and inference.csv, or one that comes with "
            f"us: {', '.join(shipped_names())}"
        )
    inference = _points(path / "inference.csv", InferencePoint, INFERENCE)
    training = _points(path / "training.csv", TrainingPoint, TRAINING)
    if not (inference or training):
        raise ProfileError(f"{path}: holds no point; wanted rows in inference.csv or training.csv")
    head = TomlFile.read(path / _TOML)
    provenance = Provenance(head.word("provenance", tuple(Provenance)))
    texts = {name: head.text(name) for name in _TEXTS}
    try:
        return Profile(
            provenance=provenance,
            fitted=head.flag("fitted"),
            gpu=Gpu(
                idle_w=head.number("idle_w", "gpu"),
                parked_w=head.number("parked_w", "gpu"),
                switch_latency_s=head.number("switch_latency_s", "gpu"),
                clocks=head.numbers("clocks", "gpu", _CLOCKS_MHZ, "MHz"),
            ),
            engine=Engine(
                kv_tokens=head.count("kv_tokens", "engine"),
                max_batched_tokens=head.count("max_batched_tokens", "engine"),
                max_num_seqs=head.count("max_num_seqs", "engine"),
            ),
            inference=inference,
            training=training,
            **texts,
        )
    except ProfileError as error:
        where = "" if str(head.path) in str(error) else f"{head.path}: "
        raise ProfileError(f"{where}{error}") from None


def write_profile(path: Path, profile: Profile, extra: Mapping[str, str] | None = None) -> None:
    """Write a new directory, with `extra` files by name; whole or not at all.

    Raises ProfileError where the place is taken or cannot be written.
    """
    texts = {_TOML: _toml(profile), **(extra or {})}
    if profile.inference:
        texts["inference.csv"] = _csv(profile.inference, _NEEDED["inference.csv"])
    if profile.training:
        texts["training.csv"] = _csv(profile.training, _NEEDED["training.csv"])
    write_directory(path, texts)


def check_watts(row: Row, point: InferencePoint | TrainingPoint) -> None:
    """Raise ProfileError where a row's point has more watts than any GPU draws: mW, say."""
    if (point.power_w or 0.0) > _MOST_W * point.gpus:
        raise ProfileError(
            f"{row.path}: line {row.line}: column power_w: {point.power_w:g} is not allowed for "
            f"{point.gpus} GPU; wanted a number of W up to {_MOST_W:g} each"
        )


def _points(path: Path, kind: type[P], columns: tuple[Column, ...]) -> tuple[P, ...]:
    if not path.exists():
        return ()
    points: list[P] = []
    lines: dict[tuple[object, ...], int] = {}
    for row in read_rows(read_bytes(path), path, _NEEDED[path.name]):
        point = kind(**row.values(columns))
        check_watts(row, point)
        if point.key in lines:
            raise ProfileError(
                f"{path}: line {row.line}: the same setting as line {lines[point.key]}; leave one "
                "out, or average them"
            )
        lines[point.key] = row.line
        points.append(point)
    return tuple(points)


def _csv(points: tuple[Any, ...], needed: tuple[str, ...]) -> str:
    default = {one.name: one.default for one in dataclasses.fields(points[0])}
    optional = [
        name
        for name in _OPTIONAL
        if name in default and any(getattr(one, name) != default[name] for one in points)
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*needed, *optional])
    for one in points:
        writer.writerow([_cell(getattr(one, name)) for name in (*needed, *optional)])
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _toml(profile: Profile) -> str:
    lines = [f"provenance = {toml_value(str(profile.provenance))}"]
    lines += ["fitted = true"] if profile.fitted else []
    for name in _TEXTS:
        if (text := getattr(profile, name)) is not None:
            lines.append(f"{name} = {toml_value(text)}")
    for table, part in (("gpu", profile.gpu), ("engine", profile.engine)):
        known = {
            one.name: value
            for one in dataclasses.fields(part)
            if (value := getattr(part, one.name)) not in (None, ())
        }
        if known:
            lines += ["", f"[{table}]"]
            lines += [f"{name} = {toml_value(value)}" for name, value in known.items()]
    return "\n".join(lines) + "\n"
