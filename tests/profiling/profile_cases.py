# SPDX-License-Identifier: Apache-2.0
"""A made-up GPU that obeys the law exactly, or with noise, and profiles of it."""

from dataclasses import replace

import numpy as np

from profiling.fit import Sweep
from profiling.law import Load, Shape, at_cap, at_clock
from profiling.profile import Gpu, InferencePoint, Profile, Provenance, TrainingPoint

TOP_MHZ = 1410.0
CLOCKS = tuple(float(one) for one in range(510, 1411, 90))
SHAPE = Shape(
    knee=0.74,
    rise=0.3,
    bend=1.5,
    idle_w=50.0,
    ceiling=1.0,
    ceiling_sharpness=40.0,
    overlap=4.0,
    floor=0.2,
    floor_sharpness=12.0,
    cap_factor=0.98,
)


def load(batch=8, context=1024, phase="decode"):
    """A load as the roofline has it: compute per token, weights and cache, host per sequence."""
    tokens = batch * context if phase == "prefill" else batch
    one = {
        "compute_s": 4e-5 * tokens + 2e-9 * tokens * context,
        "memory_s": 8e-3 + 4e-8 * batch * context,
        "host_s": 5e-4 + 1e-5 * batch,
        "switching_w": 180.0,
        "memory_w": 70.0,
        "base_w": SHAPE.idle_w,
        "cap_sharpness": 10.0,
    }
    return Load(**{name: np.array([[value]]) for name, value in one.items()})


def run(setting, *, knob="clock_mhz", **asked):
    """Time and power per GPU at settings, MHz or W."""
    at = np.atleast_2d(np.asarray(setting, dtype=float))
    found = (
        at_clock(at / TOP_MHZ, load(**asked), SHAPE)
        if knob == "clock_mhz"
        else at_cap(at, load(**asked), SHAPE)
    )
    return found[0][0], found[1][0]


def sweep(name, setting, *, noise=0.0, seed=0, **asked):
    """A load's sweep, with relative noise."""
    time_s, power_w = run(setting, **asked)
    rng = np.random.default_rng(seed)
    return Sweep(
        name=name,
        setting=np.asarray(setting, dtype=float),
        time_s=time_s * np.exp(noise * rng.standard_normal(len(time_s))),
        power_w=power_w * np.exp(noise * rng.standard_normal(len(time_s))),
    )


def profile(*, batches=(1, 8, 32), contexts=(512, 2048), clocks=CLOCKS, tp=1, noise=0.0, **changes):
    """A simulated profile: prefill and decode, and training with one and two workers."""
    rng = np.random.default_rng(1)

    def seen(value):
        return float(value * np.exp(noise * rng.standard_normal()))

    inference, training = [], []
    for phase in ("prefill", "decode"):
        for batch in batches:
            for context in contexts:
                time_s, power_w = run(clocks, batch=batch, context=context, phase=phase)
                inference += [
                    InferencePoint(
                        phase=phase,
                        batch=batch,
                        context_tokens=context,
                        clock_mhz=clock,
                        latency_s=seen(time_s[at]),
                        power_w=seen(power_w[at] * tp),
                        tp=tp,
                    )
                    for at, clock in enumerate(clocks)
                ]
    for workers in (1, 2):
        time_s, power_w = run(clocks, batch=64, context=512, phase="prefill")
        training += [
            TrainingPoint(
                workers=workers,
                clock_mhz=clock,
                rate=seen(0.95 ** (workers - 1) * workers / time_s[at]),
                power_w=seen(power_w[at] * workers),
            )
            for at, clock in enumerate(clocks)
        ]
    made = Profile(
        provenance=Provenance.SIMULATED,
        gpu_name="Law-100",
        driver="535.0 emulated",
        model="made-up",
        gpu=Gpu(idle_w=SHAPE.idle_w, clocks=tuple(float(one) for one in range(510, 1411, 15))),
        inference=tuple(inference),
        training=tuple(training),
    )
    return replace(made, **changes)
