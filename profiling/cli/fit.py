# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile fit`: the physics of a GPU from a profile's points."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from profiling.cli.output import (
    Number,
    Whole,
    as_json,
    emit_json,
    emit_table,
    named,
    number,
    percent,
    profile_argument,
)
from profiling.errors import ProfileError

if TYPE_CHECKING:
    from profiling.fit_profile import ProfileFit

# Constant of the GPU -> how it is printed. Those of caps or of clocks alone mean nothing elsewhere.
_BOTH = {
    "knee": "voltage flat up to, of the highest clock",
    "rise": "voltage rise above it",
    "bend": "exponent of the rise",
    "idle_w": "power floor, W",
    "overlap": "overlap of compute and memory",
}
_CLOCK = {"ceiling": "clock that the board sustains, of the highest"}
_CAP = {
    "floor": "lowest clock a cap forces, of the highest",
    "cap_factor": "power let through, of the cap",
}
_QUANTILES = (0.05, 0.95)


@click.command(name="fit", short_help="Fit the physics of a GPU to a profile.")
@profile_argument("profile")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write a new profile there, filled by the fit, and fit.json with its constants.",
)
@click.option(
    "--setting",
    "settings",
    type=Number(min=0, min_open=True),
    multiple=True,
    help="Fill at this clock (MHz) or cap (W); give it several times. Else at all that are known.",
)
@click.option(
    "--batch",
    "batches",
    type=Whole(min=1),
    multiple=True,
    help="Fill at this batch too, by the roofline; give it several times.",
)
@click.option(
    "--context",
    "contexts",
    type=Whole(min=0),
    multiple=True,
    help="Fill at this context too, in tokens; give it several times.",
)
@click.option(
    "--replicas",
    type=Whole(min=2, max=1000),
    default=40,
    show_default=True,
    help="Bootstrap fits behind every interval.",
)
@click.option(
    "--seed",
    type=Whole(min=0),
    default=0,
    show_default=True,
    help="Seed of the bootstrap.",
)
@as_json
def command(
    profile: Path,
    out: Path | None,
    settings: tuple[float, ...],
    batches: tuple[int, ...],
    contexts: tuple[int, ...],
    replicas: int,
    seed: int,
    as_json: bool,
) -> None:
    """Fit clock, voltage, power and time of a GPU to all loads of a profile together.

    Intervals are 90 % of the bootstrap. "Held out" is how far a second fit is off at settings
    it was not shown.
    """
    from profiling.files import read_profile, write_profile
    from profiling.fill import filled
    from profiling.fit_profile import fit_profile
    from profiling.whole import check_new

    if (settings or batches or contexts) and out is None:
        raise ProfileError("--setting, --batch and --context say what --out is filled with")
    if out is not None:
        check_new(out)
    found = read_profile(profile)
    if found.fitted:
        raise ProfileError(f"{profile}: is a fit already; fit the profile it was made of")
    with named(profile):
        fit = fit_profile(found, replicas=replicas, seed=seed)
        made = filled(fit, settings=settings, batches=batches, contexts=contexts) if out else None
    facts = _facts(fit)
    if out is not None and made is not None:
        write_profile(out, made, {"fit.json": json.dumps(facts, indent=2) + "\n"})
    if as_json:
        emit_json({"path": profile, "out": out, **facts})
        return
    _print(facts)
    if out is not None:
        click.echo(f"written: {out}")


def _facts(found: "ProfileFit") -> dict[str, Any]:
    import numpy as np

    from profiling.curve import best_setting

    fit = found.fit
    named = _BOTH | (_CLOCK if fit.knob == "clock_mhz" else _CAP)
    constants = {}
    for name in named:
        drawn = [getattr(one.shape, name) for one in found.replicas]
        constants[name] = {
            "value": float(getattr(fit.shape, name)),
            "p05_p95": np.quantile(drawn, _QUANTILES).tolist(),
        }
    loads = []
    for name in fit.names:
        seen = fit.seen(name)
        grid = np.linspace(seen.min(), seen.max(), 200)
        best: float | None = None
        interval: list[float] | None = None
        if fit.knows_power(name):
            energy_j = [np.prod(one.predict(name, grid), axis=0) for one in (fit, *found.replicas)]
            # Replicas are the law alone, the fit is the law and what it leaves over.
            left = np.exp(fit.left_over(name, grid).sum(axis=0))
            choices = [grid[best_setting(grid, one * left)] for one in energy_j[1:]]
            best = float(grid[best_setting(grid, energy_j[0])])
            interval = np.quantile(choices, _QUANTILES).tolist()
        loads.append({"load": name, "best": best, "best_p05_p95": interval})
    points = len(found.profile.inference) + len(found.profile.training)
    return {
        "knob": fit.knob,
        "highest": fit.top,
        "left_out": points - sum(len(fit.seen(name)) for name in fit.names),
        "constants": constants,
        "noise": {"time": float(fit.noise[0]), "power": float(fit.noise[1])},
        "held_out": {
            "settings": found.held_out.settings,
            "time": found.held_out.time,
            "power": found.held_out.power,
        },
        "loads": loads,
    }


def _print(facts: dict[str, Any]) -> None:
    named = _BOTH | _CLOCK | _CAP
    emit_table(
        ("GPU", "value", "90 % interval"),
        [
            (named[name], number(one["value"]), _interval(one["p05_p95"]))
            for name, one in facts["constants"].items()
        ],
    )
    click.echo()
    unit = "MHz" if facts["knob"] == "clock_mhz" else "W cap"
    emit_table(
        ("load", f"best {unit}", "90 % interval"),
        [
            (one["load"], number(one["best"]), _interval(one["best_p05_p95"]))
            for one in facts["loads"]
        ],
    )
    click.echo()
    if facts["left_out"]:
        why = "power cap" if unit == "W cap" else "clock, or under a power cap"
        click.echo(f"left out: {facts['left_out']} points without a {why}")
    noise, held = facts["noise"], facts["held_out"]
    click.echo(f"noise: time {percent(noise['time'])}, power {percent(noise['power'])}")
    if held["settings"]:
        click.echo(
            f"held out: {held['settings']} settings, mean error of time {percent(held['time'])}, "
            f"power {percent(held['power'])}"
        )
    else:
        click.echo("held out: none, no load has a setting to spare")


def _interval(ends: list[float] | None) -> str:
    return "-" if ends is None else f"{number(ends[0])} to {number(ends[1])}"
