# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile show`: what a profile holds, and the clock that spends least."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from profiling.cli.output import (
    as_json,
    clean,
    emit_json,
    emit_table,
    number,
    percent,
    profile_argument,
)

if TYPE_CHECKING:
    from profiling.profile import Profile

_HEAD = (
    "gpu_name", "driver", "engine_name", "engine_version", "model", "dtype", "date", "source",
)  # fmt: skip


@click.command(name="show", short_help="Say what a profile holds, and its best clocks.")
@profile_argument("profile")
@as_json
def command(profile: Path, as_json: bool) -> None:
    """Show a profile's origin, its loads and, for each, the setting that spends least energy.

    Energy saved and slower are against the load's highest setting. Power is of all its GPUs, time
    of an iteration or a work unit. Values marked "assumed" are not in the profile: that is what
    readers take instead.
    """
    from profiling.files import read_profile

    found = read_profile(profile)
    facts = _facts(found)
    if as_json:
        emit_json({"path": profile, **facts})
        return
    _print(facts)


def _facts(profile: "Profile") -> dict[str, Any]:
    from profiling.profile import assumed_engine, assumed_gpu

    gpu, gpu_assumed = assumed_gpu(profile)
    engine, engine_assumed = assumed_engine(profile)
    return {
        "provenance": str(profile.provenance),
        "fitted": profile.fitted,
        **{name: getattr(profile, name) for name in _HEAD},
        "gpu": asdict(gpu),
        "engine": asdict(engine),
        "assumed": [f"gpu.{one}" for one in gpu_assumed]
        + [f"engine.{one}" for one in engine_assumed],
        "points": {"inference": len(profile.inference), "training": len(profile.training)},
        "loads": _loads(profile),
    }


def _loads(profile: "Profile") -> list[dict[str, Any]]:
    """Each load's range of settings and best one; none for a profile without a sweep."""
    import numpy as np

    from profiling.curve import best_setting
    from profiling.errors import ProfileError
    from profiling.fit_profile import sweeps_of

    try:
        knob, sweeps = sweeps_of(profile)
    except ProfileError:
        return []
    found = []
    for key, sweep in sweeps.items():
        energy_j = sweep.time_s * sweep.power_w * key.gpus
        known = bool(np.isfinite(energy_j).any())
        best = best_setting(sweep.setting, energy_j) if known else None
        found.append(
            {
                "load": str(key),
                "knob": knob,
                "settings": len(sweep.setting),
                "lowest": sweep.setting[0].item(),
                "highest": sweep.setting[-1].item(),
                "best": None if best is None else sweep.setting[best].item(),
                "best_time_s": None if best is None else sweep.time_s[best].item(),
                "best_power_w": None if best is None else sweep.power_w[best].item() * key.gpus,
                "energy_saved": None
                if best is None
                else 1 - energy_j[best].item() / energy_j[-1].item(),
                "slower": None
                if best is None
                else sweep.time_s[best].item() / sweep.time_s[-1].item() - 1,
            }
        )
    return found


def _print(facts: dict[str, Any]) -> None:
    assumed = set(facts["assumed"])
    fitted = ", filled by a fit" if facts["fitted"] else ""
    click.echo(f"provenance: {facts['provenance']}{fitted}")
    for name in _HEAD:
        click.echo(f"{name}: {clean(facts[name]) if facts[name] else 'not known'}")
    for table in ("gpu", "engine"):
        for name, value in facts[table].items():
            mark = " (assumed)" if f"{table}.{name}" in assumed else ""
            if isinstance(value, tuple):
                text = f"{len(value)} from {value[0]:g} to {value[-1]:g} MHz" if value else "none"
            else:
                text = "not known" if value is None else f"{value:g}"
            click.echo(f"{table}.{name}: {text}{mark}")
    counts = facts["points"]
    click.echo(f"points: {counts['inference']} of inference, {counts['training']} of training")
    if not facts["loads"]:
        click.echo("no clock or power cap is known: there is no best one")
        return
    click.echo()
    unit = "MHz" if facts["loads"][0]["knob"] == "clock_mhz" else "W cap"
    emit_table(
        ("load", "settings", f"best {unit}", "time ms", "power W", "energy saved", "slower"),
        [
            (
                one["load"],
                f"{one['settings']} ({one['lowest']:g} to {one['highest']:g})",
                number(one["best"], 6),
                number(None if one["best_time_s"] is None else 1000 * one["best_time_s"]),
                number(one["best_power_w"]),
                percent(one["energy_saved"]),
                percent(one["slower"]),
            )
            for one in facts["loads"]
        ],
    )
