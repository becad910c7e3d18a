# SPDX-License-Identifier: Apache-2.0
"""One law: Python and C agree, and it has the shape that the data have."""

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import load_model, model_names
from profiling.device.emulated.physics import (
    bandwidth_share,
    capped_clock_mhz,
    power_w,
    time_s,
    voltage,
)

Emulate = Callable[..., AbstractContextManager[Bench]]
MODELS = [load_model(name) for name in model_names()]
shares = st.floats(0, 1)
models = st.integers(0, len(MODELS) - 1)


def in_c(bench: Bench, name: str, device: int, *arguments: float) -> float:
    function = getattr(bench._call._lib, f"sgemu_{name}")
    function.restype = ctypes.c_double
    context = {"power_w": 3, "capped_clock_mhz": 3}.get(name)
    types = [ctypes.c_int if i == context else ctypes.c_double for i in range(len(arguments))]
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint32, *types]
    return float(function(bench._call._handle, device, *arguments))


def test_python_and_c_compute_the_same(emulate: Emulate) -> None:
    with emulate(*MODELS) as bench:

        @settings(max_examples=300, deadline=None)
        @given(models, shares, shares, shares, st.booleans(), st.floats(0, 10), st.floats(0, 10))
        def agree(
            at: int,
            part: float,
            sm: float,
            mem: float,
            context: bool,
            compute_s: float,
            memory_s: float,
        ) -> None:
            model = MODELS[at]
            clock = model.min_clock_mhz + part * (model.max_clock_mhz - model.min_clock_mhz)
            memory = model.memory_clocks_mhz[0]
            expected = [
                voltage(clock, model),
                power_w(clock, sm, mem, model, context=context, memory_clock_mhz=memory),
                time_s(clock, compute_s, memory_s, model, host_s=0.1),
                capped_clock_mhz(part * model.limit_max_w, sm, mem, model, context=context),
            ]
            actual = [
                in_c(bench, "voltage", at, clock),
                in_c(bench, "power_w", at, clock, sm, mem, context, memory),
                in_c(bench, "time_s", at, clock, compute_s, memory_s, 0.1),
                in_c(bench, "capped_clock_mhz", at, part * model.limit_max_w, sm, mem, context),
            ]
            assert actual == pytest.approx(
                [one.item() for one in map(np.asarray, expected)], rel=1e-9
            )

        agree()


@given(models, shares, shares, st.booleans())
def test_power_rises_with_clock_and_load_and_the_cap_is_the_highest_step_within(
    at: int, sm: float, mem: float, context: bool
) -> None:
    model = MODELS[at]
    steps = model.clocks_mhz
    watts = power_w(steps, sm, mem, model, context=context)
    assert (np.diff(watts) > 0).all()
    assert (power_w(steps, min(sm + 0.1, 1), mem, model, context=context) >= watts).all()
    clock = capped_clock_mhz(float(watts[len(watts) // 2]), sm, mem, model, context=context)
    assert clock == steps[len(steps) // 2]
    assert capped_clock_mhz(0.0, sm, mem, model, context=context) == steps[0]


@given(models, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_work_takes_longer_at_a_lower_clock_and_as_said_at_the_highest(
    at: int, compute_s: float, memory_s: float, host_s: float
) -> None:
    model = MODELS[at]
    taken = time_s(model.clocks_mhz, compute_s, memory_s, model, host_s=host_s)
    assert (np.diff(taken) <= 1e-12).all()
    assert float(taken[-1]) == pytest.approx((compute_s**4 + memory_s**4) ** 0.25 + host_s)


def test_compute_goes_with_the_clock_and_memory_does_not_above_its_knee() -> None:
    model = load_model("a100-sxm4-80gb")
    assert float(time_s(705, 1.0, 0.0, model)) == pytest.approx(2.0)
    assert float(time_s(1005, 0.0, 1.0, model)) == 1.0
    assert float(bandwidth_share(510, model)) == 0.65
    assert list(voltage([210, 1095, 1410], model)) == pytest.approx([1.0, 1.0, 1.23])
