# SPDX-License-Identifier: Apache-2.0
"""From the options of `sgreen replay` to the inputs of a replay: the one place that chooses."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from profiling.number import number_of
from slurm_green.cli.params import names_of
from slurm_green.errors import BadInputError

if TYPE_CHECKING:
    from slurm_green.cli.replay_history import Source
    from slurm_green.replay.inputs import Inputs

__all__ = ["Asked", "inputs_of", "options_of", "policies_of"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked for, as it was given."""

    jobs: Path | None
    classes: Path | None
    signal: Path | None
    forecast: Path | None
    gpus: int | None
    power_cap_w: float | None
    ramp_w_per_slot: float | None
    pause_cost_s: float
    idle_w_per_gpu: float | None
    failure_share: float
    seed: int


def inputs_of(asked: Asked, source: "Source | None" = None) -> "Inputs":
    """The inputs that the options name, or the source's; BadInputError where one is missing."""
    from slurm_green.replay.files import read_inputs

    if source is not None:
        asked = _from(asked, source)
    if asked.jobs is None or asked.classes is None or asked.signal is None or asked.gpus is None:
        given = {
            "--jobs": asked.jobs,
            "--classes": asked.classes,
            "--signal": asked.signal,
            "--gpus": asked.gpus,
        }
        missing = [name for name, value in given.items() if value is None]
        raise BadInputError(
            f"missing {', '.join(missing)}: wanted all of {', '.join(given)}, or --example, or "
            "--from-sacct"
        )
    found = read_inputs(
        asked.jobs,
        asked.classes,
        asked.signal,
        gpus=asked.gpus,
        forecast=asked.forecast,
        power_cap_w=math.inf if asked.power_cap_w is None else asked.power_cap_w,
        ramp_w_per_slot=math.inf if asked.ramp_w_per_slot is None else asked.ramp_w_per_slot,
        failure_share=asked.failure_share,
        idle_w_per_gpu=asked.idle_w_per_gpu or 0.0,
        pause_cost_s=asked.pause_cost_s,
        seed=asked.seed,
    )
    return found if source is None else replace(found, notes=(*source.notes, *found.notes))


def _from(asked: Asked, source: "Source") -> Asked:
    """What was asked for with the source's files; power of idle GPUs only where none was given."""
    for option, given in (("--jobs", asked.jobs), ("--classes", asked.classes)):
        if given is not None:
            raise BadInputError(f"{option}: --example and --from-sacct bring theirs; leave it out")
    given_w = asked.idle_w_per_gpu
    return replace(
        asked,
        jobs=source.jobs,
        classes=source.classes,
        signal=source.signal,
        forecast=source.forecast,
        gpus=source.gpus if asked.gpus is None else asked.gpus,
        idle_w_per_gpu=source.idle_w_per_gpu if given_w is None else given_w,
    )


def policies_of(text: str) -> list[str]:
    """The names of `a,b,c`, or of all policies; BadInputError for one unknown or named twice."""
    from slurm_green.plan.policy.registry import entries, entry

    names = names_of(text, "fifo,prices")
    if names == ["all"]:
        return list(entries())
    return [entry(name).name for name in names]


def options_of(pairs: tuple[str, ...]) -> dict[str, float]:
    """The numbers of NAME=NUMBER; BadInputError for anything else."""
    found = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            number = number_of(value)
        except ValueError:
            number = math.nan
        if not name or not math.isfinite(number):
            raise BadInputError(f"--option {pair}: wanted NAME=NUMBER, such as percentile=30")
        found[name.strip()] = number
    return found
