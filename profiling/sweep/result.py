# SPDX-License-Identifier: Apache-2.0
"""What a sweep found, as a profile and as what is said beside it. Pure.

The trap: whatever an emulated GPU fed is simulated, whoever ran on it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from profiling.device.gpu import Identity
from profiling.profile import (
    Engine,
    Gpu,
    InferencePoint,
    Profile,
    Provenance,
    TrainingPoint,
)
from profiling.sweep.records import Point, left_out, points
from profiling.sweep.run import ATTEMPTS, Swept
from profiling.workload.protocol import Load

__all__ = ["profile_of", "said_beside"]


def profile_of(swept: Swept, identity: Identity, *, date: str | None, command: str) -> Profile:
    """The profile of all good windows; ProfileError where there are none of use."""
    observes = swept.before.observes
    loads = {one.name: one for one in swept.loads}
    found = [(loads[one.load], one) for one in points(swept.windows) if one.load in loads]
    source = f"{command} on an emulated GPU" if identity.emulated else command
    if observes:
        source += f"; clocks were not set ({observes}): each is the one that was observed"
    switches = swept.before.switch_s.values()
    return Profile(
        provenance=Provenance.SIMULATED if identity.emulated else Provenance.MEASURED,
        gpu_name=identity.name,
        driver=identity.driver,
        engine_name=swept.facts.get("engine_name"),
        engine_version=swept.facts.get("engine_version"),
        model=swept.facts.get("model"),
        dtype=swept.facts.get("dtype"),
        date=date,
        source=source,
        gpu=Gpu(
            idle_w=swept.before.idle_w,
            parked_w=swept.before.parked_w,
            switch_latency_s=max(switches, default=None),
            clocks=tuple(float(one) for one in swept.before.clocks_mhz),
        ),
        engine=Engine(
            kv_tokens=swept.limits.get("kv_tokens"),
            max_batched_tokens=swept.limits.get("max_batched_tokens"),
            max_num_seqs=swept.limits.get("max_num_seqs"),
        ),
        inference=tuple(_inference(load, point) for load, point in found if load.workers is None),
        training=tuple(_training(load, point) for load, point in found if load.workers is not None),
    )


def said_beside(
    swept: Swept, identities: Sequence[Identity], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The fingerprint, the pre-flight, and all that was left out, for sweep.json and people."""
    given_up = left_out(swept.windows, ATTEMPTS)
    kept = {
        (one.load, one.clock_mhz): one.n
        for one in points(swept.windows)
        if one.load not in swept.failed
    }
    asked = () if swept.before.observes else options.get("clocks_mhz", ())
    return {
        "gpus": [one.uuid for one in identities],
        "gpu_name": identities[0].name,
        "driver": identities[0].driver,
        "workload": dict(swept.facts),
        "options": dict(options),
        "bare_w": swept.bare_w,
        **{f"preflight_{name}": one for name, one in swept.before.to_json().items()},
        "windows": len(swept.windows),
        "rejected": sum(1 for one in swept.windows if one.faults),
        "left_out": [
            {
                "load": load,
                "clock_mhz": clock_mhz,
                "why": _but_for(kept.get((load, clock_mhz), 0)) + "; ".join(window.faults),
            }
            for (load, clock_mhz), window in given_up.items()
        ]
        + [
            {"load": "every load", "clock_mhz": clock_mhz, "why": "the GPU does not hold it"}
            for clock_mhz in asked
            if clock_mhz not in swept.before.clocks_mhz
        ],
        "failed": [{"load": load, "why": why} for load, why in swept.failed.items()],
    }


def _but_for(windows: int) -> str:
    return f"but for {windows} window{'s' * (windows > 1)}: " if windows else ""


def _clock(point: Point) -> float | None:
    if point.clock_mhz is not None:
        return float(point.clock_mhz)
    return None if point.observed_mhz is None else round(point.observed_mhz, 1)


def _inference(load: Load, point: Point) -> InferencePoint:
    return InferencePoint(
        phase=str(load.phase),
        batch=load.batch or 1,
        context_tokens=load.context_tokens,
        tp=load.tp,
        latency_s=point.step_s.value,
        clock_mhz=_clock(point),
        power_w=point.power_w.value,
        n=point.n,
        ci95_latency_s=point.step_s.ci95,
        ci95_power_w=point.power_w.ci95,
    )


def _training(load: Load, point: Point) -> TrainingPoint:
    return TrainingPoint(
        workers=load.workers or 1,
        gpus_per_worker=load.gpus_per_worker,
        rate=point.rate.value,
        clock_mhz=_clock(point),
        power_w=point.power_w.value,
        n=point.n,
        ci95_rate=point.rate.ci95,
        ci95_power_w=point.power_w.ci95,
    )
