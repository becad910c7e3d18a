# SPDX-License-Identifier: Apache-2.0
"""Sensors in virtual time: ticks, windows, and that any history adds up."""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pynvml as nvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import GpuModel, load_model
from profiling.device.emulated.physics import power_w

Emulate = Callable[..., AbstractContextManager[Bench]]


def test_the_counter_moves_in_ticks(emulate: Emulate, h100: GpuModel) -> None:
    with emulate(h100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        bench.load(0, 1, 1)
        shown = []
        for _ in range(8):
            bench.advance(0.025)
            shown.append((nvml.nvmlDeviceGetTotalEnergyConsumption(handle), bench.read(0).energy_j))
        assert [one for one, _ in shown[:3]] == [0, 0, 0]
        assert {one for one, _ in shown[3:7]} == {int(1e3 * shown[3][1])}
        assert shown[7][0] == int(1e3 * shown[7][1])


def test_power_is_averaged_where_the_part_does_and_sampled_where_it_does(emulate: Emulate) -> None:
    slow, quick = load_model("rtx-4090"), load_model("a100-sxm4-80gb")
    slow = dataclasses.replace(slow, switch_latency_s=(0.0, 0.0))
    quick = dataclasses.replace(quick, switch_latency_s=(0.0, 0.0, 0.0))
    with emulate(slow, quick) as bench:
        rtx, a100 = map(nvml.nvmlDeviceGetHandleByIndex, (0, 1))
        bench.advance(10)
        idle_w = bench.read(0).power_w
        bench.load(0, 0.5, 0.5)
        busy_w = bench.read(0).power_w
        bench.advance(0.5)
        half_w = nvml.nvmlDeviceGetPowerUsage(rtx) / 1e3
        assert half_w == pytest.approx((idle_w + busy_w) / 2, abs=0.01)
        instant, average = nvml.nvmlDeviceGetFieldValues(rtx, [186, 185])
        assert instant.value.uiVal / 1e3 == pytest.approx(busy_w, abs=0.01)
        assert average.value.uiVal / 1e3 == pytest.approx(half_w, abs=0.01)
        # The A100 looks at the last quarter of each 100 ms only.
        bench.advance(0.5)
        bench.load(1, 0.5, 0.5)
        seen_w = bench.read(1).power_w
        bench.idle(1)
        for _ in range(10):
            bench.advance(0.075)
            bench.load(1, 0.5, 0.5)
            bench.advance(0.025)
            assert nvml.nvmlDeviceGetPowerUsage(a100) == pytest.approx(1e3 * seen_w, abs=1)
            bench.idle(1)
        unseen_w = bench.read(1).power_w
        bench.advance(0.08)
        bench.load(1, 0.5, 0.5)
        bench.advance(0.01)
        bench.idle(1)
        bench.advance(0.01)
        mean_w = (0.010 * seen_w + 0.015 * unseen_w) / 0.025
        assert nvml.nvmlDeviceGetPowerUsage(a100) == pytest.approx(1e3 * mean_w, abs=1)


def test_a_load_lapses_unless_renewed(emulate: Emulate, prompt_h100: GpuModel) -> None:
    with emulate(prompt_h100) as bench:
        bench.load(0, 1, 0, hold_s=2)
        busy_w = bench.read(0).power_w
        bench.advance(1.5)
        bench.load(0, 1, 0, hold_s=2)
        bench.advance(10)
        now = bench.read(0)
        assert (now.sm_activity, now.context) == (0, False)
        assert now.energy_j == pytest.approx(3.5 * busy_w + 8 * now.power_w)


def test_a_day_costs_well_under_a_millisecond(emulate: Emulate, h100: GpuModel) -> None:
    with emulate(h100) as bench:
        bench.load(0, 1, 1)
        bench.advance(1)
        power, before = bench.read(0).power_w, bench.read(0).energy_j
        taken_s = []
        for _ in range(100):
            start_s = time.thread_time()
            bench.advance(86_400)
            bench.read(0)
            taken_s.append(time.thread_time() - start_s)
        assert bench.read(0).energy_j - before == pytest.approx(100 * 86_400 * power)
        assert statistics.median(taken_s) < 0.001


_LOADS = st.tuples(st.just("load"), st.floats(0, 1), st.floats(0, 1))
_STEPS = st.one_of(
    _LOADS,
    st.tuples(st.just("lock"), st.integers(1, 2200), st.integers(1, 2200)),
    st.tuples(st.just("cap"), st.integers(200_000, 700_000)),
    st.tuples(st.just("advance"), st.floats(0, 3)),
    st.tuples(st.just("unlock")),
    st.tuples(st.just("idle")),
)


def _do(bench: Bench, handle: object, what: str, *arguments: float) -> None:
    if what == "load":
        bench.load(0, *arguments)
    elif what == "lock":
        nvml.nvmlDeviceSetGpuLockedClocks(handle, min(arguments), max(arguments))
    elif what == "cap":
        nvml.nvmlDeviceSetPowerManagementLimit(handle, *arguments)
    elif what == "advance":
        bench.advance(*arguments)
    elif what == "unlock":
        nvml.nvmlDeviceResetGpuLockedClocks(handle)
    else:
        bench.idle(0)


def test_any_history_adds_up(emulate: Emulate, h100: GpuModel, prompt_h100: GpuModel) -> None:
    """Energy is the integral, the counter within a tick of it, the cap kept, defaults come back."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(_STEPS, max_size=30), st.booleans())
    def check(steps: list[tuple[Any, ...]], prompt: bool) -> None:
        model = prompt_h100 if prompt else h100
        with emulate(model) as bench:
            handle = nvml.nvmlDeviceGetHandleByIndex(0)
            readings, counters = [bench.read(0)], [0]
            for step in steps:
                _do(bench, handle, *step)
                readings.append(bench.read(0))
                counters.append(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
            for now, counter in zip(readings, counters, strict=True):
                law_w = power_w(
                    now.clock_mhz, now.sm_activity, now.mem_activity, model, context=now.context
                )
                assert now.power_w == pytest.approx(float(law_w), rel=1e-9)
                assert now.power_w <= now.limit_w or now.clock_mhz == model.min_clock_mhz
                assert now.clock_mhz in model.clocks_mhz
                assert now.energy_j - 70.1 <= counter / 1e3 <= now.energy_j
            for a, b in itertools.pairwise(readings):
                span_s = b.now_s - a.now_s
                assert b.energy_j >= a.energy_j
                if prompt:
                    assert b.energy_j - a.energy_j == pytest.approx(a.power_w * span_s, abs=1e-6)
            assert counters == sorted(counters)
            nvml.nvmlDeviceResetGpuLockedClocks(handle)
            default_mw = nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle)
            nvml.nvmlDeviceSetPowerManagementLimit(handle, default_mw)
            bench.load(0, 0.1, 0.1)
            bench.advance(1)
            now = bench.read(0)
            assert (now.lock_low_mhz, now.lock_high_mhz) == (0, math.inf)
            assert (now.clock_mhz, now.limit_w) == (1980, 700)

    check()
