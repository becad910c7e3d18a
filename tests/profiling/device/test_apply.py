# SPDX-License-Identifier: Apache-2.0
"""A setting comes back as requested, accepted and observed, and what went wrong is a reason."""

import itertools

import pytest

from profiling.device.apply import Observed, Setting, apply, restore
from profiling.device.gpu import Events, RefusedError, Why, snapped
from tests.profiling.device.fake_gpu import CLOCKS_MHZ, FakeGpu


def test_a_clock_is_snapped_down_and_locked() -> None:
    gpu = FakeGpu()

    applied = apply(gpu, Setting(clock_mhz=1100))

    assert gpu.lock == (1095, 1095)
    assert applied.requested.clock_mhz == 1100
    assert applied.accepted.clock_mhz == 1095
    assert applied.observed.clock_mhz == 1095
    assert applied.reasons == ("1095 MHz is the clock it has for 1100 MHz",)
    assert applied.took


def test_a_floor_lets_an_idle_gpu_rest() -> None:
    gpu = FakeGpu(busy=False)

    applied = apply(gpu, Setting(clock_mhz=1095, floor_mhz=0))

    assert gpu.lock == (210, 1095)
    assert applied.observed.clock_mhz == 210
    assert applied.reasons == ()


def test_the_lowest_clock_is_taken_where_all_are_above() -> None:
    assert snapped(CLOCKS_MHZ, 5) == 210
    assert snapped(CLOCKS_MHZ, 5000) == 1980


def test_accepted_but_clamped_is_seen() -> None:
    applied = apply(FakeGpu(clamp_mhz=1500), Setting(clock_mhz=1830))

    assert applied.accepted.clock_mhz == 1830
    assert applied.observed.clock_mhz == 1500
    assert applied.reasons == ("runs at 1500 MHz, accepted 1830 MHz",)


def test_accepted_but_ignored_is_seen() -> None:
    applied = apply(FakeGpu(ignores_locks=True), Setting(clock_mhz=1095))

    assert applied.reasons == ("runs at 1980 MHz, accepted 1095 MHz",)


@pytest.mark.parametrize(
    ("runs_mhz", "reasons"),
    [(1080, ()), (1110, ()), (1079, ("runs at 1079 MHz, accepted 1095 MHz",))],
)
def test_a_step_off_is_no_difference(runs_mhz: int, reasons: tuple[str, ...]) -> None:
    gpu = FakeGpu()
    gpu.clock_mhz = lambda: runs_mhz

    assert apply(gpu, Setting(clock_mhz=1095)).reasons == reasons


def test_what_holds_the_clock_back_is_told() -> None:
    gpu = FakeGpu(clamp_mhz=1500)
    gpu.events = lambda: Events.POWER_CAP | Events.SW_THERMAL

    assert apply(gpu, Setting(clock_mhz=1830)).reasons == (
        "runs at 1500 MHz, accepted 1830 MHz (power cap, sw thermal)",
    )


@pytest.mark.parametrize(
    ("off_w", "reasons"),
    [(1.0, ()), (-1.0, ()), (50.0, ("its power limit is 450 W, accepted 400 W",))],
)
def test_a_power_limit_that_is_another_is_seen(off_w: float, reasons: tuple[str, ...]) -> None:
    gpu = FakeGpu()
    gpu.power_limit_w = lambda: gpu.limit_w + off_w

    applied = apply(gpu, Setting(power_limit_w=400))

    assert applied.observed.power_limit_w == 400 + off_w
    assert applied.reasons == reasons
    assert applied.took


def test_what_a_gpu_does_not_tell_is_no_difference() -> None:
    gpu = FakeGpu()
    gpu.power_limit_w = gpu.clock_mhz = lambda: None

    applied = apply(gpu, Setting(clock_mhz=1095, power_limit_w=400), settle_s=60, sleep=_never)

    assert (applied.took, applied.reasons) == (True, ())
    restore(gpu, Setting())
    assert gpu.at_default


def _never(_: float) -> None:
    raise AssertionError


def test_a_gpu_lost_after_the_setting_was_set() -> None:
    gpu = FakeGpu(refuses={"clock_mhz": Why.LOST})

    applied = apply(gpu, Setting(clock_mhz=1095))

    assert applied.accepted == Setting(clock_mhz=1095, floor_mhz=1095)
    assert applied.refused == (Why.LOST,)
    assert applied.took
    assert applied.observed == Observed()


def test_a_switch_is_waited_for() -> None:
    gpu = FakeGpu(ignores_locks=True)
    ticks = itertools.count()

    def sleep(_: float) -> None:
        gpu.ignores_locks = next(ticks) < 3

    applied = apply(gpu, Setting(clock_mhz=1095), settle_s=60, sleep=sleep)

    assert applied.observed.clock_mhz == 1095
    assert applied.reasons == ()


@pytest.mark.parametrize("why", Why)
def test_a_refused_clock_is_a_reason(why: Why) -> None:
    gpu = FakeGpu(refuses={"lock_clocks": why})

    applied = apply(gpu, Setting(clock_mhz=1095, power_limit_w=400))

    assert applied.accepted == Setting(power_limit_w=400)
    assert applied.refused == (why,)
    assert applied.reasons == (f"clock not set: lock_clocks: {why.value}",)
    assert not applied.took


def test_a_refused_power_limit_is_a_reason() -> None:
    applied = apply(FakeGpu(), Setting(clock_mhz=1095, power_limit_w=100))

    assert applied.accepted == Setting(clock_mhz=1095, floor_mhz=1095)
    assert applied.refused == (Why.INVALID,)
    (reason,) = applied.reasons
    assert reason.startswith("power limit not set: power limit 100 W")
    assert not applied.took


def test_a_lost_gpu_is_a_reason() -> None:
    applied = apply(FakeGpu(refuses={"*": Why.LOST}), Setting(clock_mhz=1095))

    assert applied.reasons[0].endswith(Why.LOST.value)

    assert applied.refused == (Why.LOST,)
    assert not applied.took


@pytest.mark.parametrize(
    ("gpu", "words"), [(FakeGpu(cut=True), "MIG"), (FakeGpu(pids=(7, 8)), "process 8")]
)
def test_a_divided_or_shared_gpu_is_only_observed(gpu: FakeGpu, words: str) -> None:
    applied = apply(gpu, Setting(clock_mhz=1095, power_limit_w=400), ours=lambda pid: pid == 7)

    assert gpu.at_default
    assert words in applied.reasons[0]
    assert applied.observed.clock_mhz == 1980


def test_restore_is_the_sites_default() -> None:
    gpu = FakeGpu(lock=(1095, 1095), limit_w=300)

    restore(gpu, Setting(clock_mhz=1800, floor_mhz=0, power_limit_w=650))

    assert gpu.lock == (210, 1800)
    assert gpu.limit_w == 650


def test_restore_leaves_a_limit_nobody_touched() -> None:
    gpu = FakeGpu(lock=(1095, 1095), limit_w=500)

    restore(gpu, Setting(), power=False)

    assert (gpu.lock, gpu.limit_w) == (None, 500)


def test_a_gpu_without_a_power_limit_is_given_none_back() -> None:
    gpu = FakeGpu(lock=(1095, 1095))
    gpu.power_range = lambda: None

    restore(gpu, Setting())

    assert gpu.lock is None
    assert "set_power_limit" not in gpu.calls


@pytest.mark.parametrize("now_w", [650.0, 701.5])
def test_a_limit_that_does_not_come_back_is_told(now_w: float) -> None:
    gpu = FakeGpu(limit_w=300)
    gpu.power_limit_w = lambda: now_w

    with pytest.raises(RefusedError, match=f"power limit {now_w:g} W after setting 700 W"):
        restore(gpu, Setting())

    now_w = 701.0
    restore(gpu, Setting())


def test_restore_tries_everything_and_then_tells() -> None:
    gpu = FakeGpu(limit_w=300, refuses={"reset_clocks": Why.OTHER})

    with pytest.raises(RefusedError, match="reset_clocks"):
        restore(gpu, Setting())

    assert gpu.limit_w == 700


def test_what_a_gpu_cannot_do_nobody_has_set() -> None:
    restore(FakeGpu(refuses={"reset_clocks": Why.NOT_SUPPORTED}), Setting())
