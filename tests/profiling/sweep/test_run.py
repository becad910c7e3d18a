# SPDX-License-Identifier: Apache-2.0
"""Whole sweeps: what they measure, what they leave out, and that no kill changes the result."""

import os
import signal
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiling.device.apply import Setting
from profiling.device.gpu import Events, RefusedError, Why
from profiling.errors import DeviceError, ProfileError, ProfilingError
from profiling.profile import Provenance
from profiling.sweep.result import said_beside
from profiling.sweep.rig import Rig
from profiling.sweep.run import ATTEMPTS, Options
from profiling.sweep.signals import Stopped, ended_by_signals
from profiling.workload.protocol import Load
from tests.profiling.device.fake_gpu import Killed
from tests.profiling.sweep.world import SWITCH_S, Work, World

FIXED = Options(window_s=0.5, repeats=2, clocks_mhz=(1005, 1500, 1980))
SHORT = Options(window_s=0.4, repeats=2, clocks_mhz=(1005, 1980))
ADAPTIVE = Options(window_s=0.5, repeats=1)


def the_same(one, other):
    """Two profiles that agree but for where the sensors' ticks fell: a look of 10 ms in 0.2 s."""
    assert [point.key for point in one.inference] == [point.key for point in other.inference]
    for a, b in zip(one.inference, other.inference, strict=True):
        assert a.n == b.n
        assert a.latency_s == pytest.approx(b.latency_s, rel=1e-6)
        assert a.power_w == pytest.approx(b.power_w, rel=0.05)
    assert one.gpu.clocks == other.gpu.clocks
    for name in ("idle_w", "parked_w"):
        assert getattr(one.gpu, name) == pytest.approx(getattr(other.gpu, name), rel=0.05)
    assert one.gpu.switch_latency_s == pytest.approx(other.gpu.switch_latency_s, abs=0.003)


def test_a_sweep_finds_what_is_there(tmp_path):
    world = World()
    profile = world.profile(world.swept(tmp_path, Work(world), FIXED))

    assert world.gpus[0].at_default
    assert list((tmp_path / "owed").iterdir()) == []
    assert profile.provenance is Provenance.SIMULATED
    assert [(one.batch, one.clock_mhz) for one in profile.inference] == [
        (batch, clock) for batch in (1, 8) for clock in (1005, 1500, 1980)
    ]
    for one in profile.inference:
        clock = (one.clock_mhz or 0) / 1980
        assert one.latency_s == pytest.approx(0.005 + 0.0005 * one.batch / clock)
        true_w = 70 + 300 * (0.5 + one.batch / 32) * clock**2.5 + 40 * clock
        assert one.power_w == pytest.approx(true_w, rel=0.01)
        assert one.n == 2
        assert one.ci95_power_w is not None
    assert profile.gpu.idle_w == pytest.approx(110, rel=0.01)
    assert profile.gpu.parked_w == pytest.approx(70 + 40 * 210 / 1980, rel=0.01)
    assert profile.gpu.switch_latency_s == pytest.approx(SWITCH_S, abs=0.003)


def test_a_gpu_that_is_real_is_measured(tmp_path):
    world = World()
    world.gpus[0].driver = "580.1"
    assert world.profile(world.swept(tmp_path, Work(world), FIXED)).provenance == "measured"


_UNCUT = {}


def uncut(tmp_path_factory, options):
    if options not in _UNCUT:
        world = World()
        place = tmp_path_factory.mktemp("uncut")
        _UNCUT[options] = world.profile(world.swept(place, Work(world), options))
    return _UNCUT[options]


def killed_and_resumed(place, fuses, options, half_line=b""):
    """A sweep that dies after so many calls, again and again, and is then left to end."""
    world = World()
    owed = place / "owed"
    for fuse in (*fuses, None):
        world.fuse = fuse
        try:
            swept = world.swept(place, Work(world), options, resume=True)
            break
        except Killed:
            assert world.gpus[0].lock is None or list(owed.iterdir()), "nobody knows of the lock"
            with (place / "sweep.jsonl").open("ab") as file:
                file.write(half_line)
    assert world.gpus[0].at_default
    assert list(owed.iterdir()) == []
    return world.profile(swept)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    fuses=st.lists(st.integers(1, 6_000), max_size=3),
    half_line=st.sampled_from([b"", b"{", b'{"kind": "window", "po']),
)
def test_no_kill_changes_the_result_or_leaves_a_lock(tmp_path_factory, fuses, half_line):
    place = tmp_path_factory.mktemp("killed")
    found = killed_and_resumed(place, fuses, SHORT, half_line)
    the_same(found, uncut(tmp_path_factory, SHORT))


@pytest.mark.slow
def test_an_adaptive_sweep_chooses_the_same_after_a_kill(tmp_path_factory):
    place = tmp_path_factory.mktemp("adaptive")
    found = killed_and_resumed(place, [9_000, 30_000], ADAPTIVE)
    the_same(found, uncut(tmp_path_factory, ADAPTIVE))
    assert len({one.clock_mhz for one in found.inference}) >= 5
    assert min(one.clock_mhz for one in found.inference) >= 0.36 * 1980


@pytest.mark.slow
def test_a_round_that_was_cut_off_ends_as_it_was_begun(tmp_path):
    """What its first windows say must not change which ones the rest of it measures."""
    world, options = World(), replace(ADAPTIVE, repeats=2)

    def cut_off(_):
        if (tmp_path / "sweep.jsonl").read_text().count('"round": 1,') == 2:
            raise Killed

    with pytest.raises(Killed):
        world.swept(tmp_path, Work(world, before_run=cut_off), options)
    profile = world.profile(world.swept(tmp_path, Work(world), options, resume=True))
    assert {one.n for one in profile.inference if one.n < 2} == set()


@pytest.mark.slow
def test_a_load_that_broke_before_a_kill_counts_in_the_rounds_before_it(tmp_path):
    """They chose their clocks with it, so a sweep that goes on does so, too."""
    names = tuple(Load(phase="decode", batch=one, context_tokens=512) for one in (1, 32, 8))

    def sweeps(place, kills):
        world, killed = World(), []
        place.mkdir()

        def disturb(work):
            said = (place / "sweep.jsonl").read_text()
            if work.up == names[1] and said.count('"kind": "window"') == 18:
                raise ProfilingError("it broke")
            if kills and not killed and '{"kind": "window", "round": 1,' in said:
                killed.append(work.up)
                raise Killed

        if kills:
            with pytest.raises(Killed):
                world.swept(place, Work(world, names=names, before_run=disturb), ADAPTIVE)
        work = Work(world, names=names, before_run=disturb)
        swept = world.swept(place, work, ADAPTIVE, resume=kills)
        assert swept.failed == {names[1].name: "it broke"}
        # Rounds after the cut see other ticks of the sensors, and may choose by them.
        known = [one for one in swept.windows if one.round < 2]
        return [(one.round, one.load, one.order, one.clock_mhz) for one in known]

    assert sweeps(tmp_path / "killed", True) == sweeps(tmp_path / "uncut", False)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(bad=st.sets(st.integers(40, 140), max_size=30))
def test_windows_with_events_are_measured_again_and_never_enter(tmp_path_factory, bad):
    """Whenever one is bad its power is, too; none of it is in the profile."""
    world = World()

    def disturb(work):
        gpu = world.gpus[0]
        gpu.event = Events.HW_THERMAL if work.runs in bad else Events(0)
        gpu.clamp_mhz = 600 if work.runs in bad else None

    swept = world.swept(tmp_path_factory.mktemp("events"), Work(world, before_run=disturb), FIXED)
    whole = {one.key: one for one in uncut(tmp_path_factory, FIXED).inference}
    for one in world.profile(swept).inference:
        assert one.power_w == pytest.approx(whole[one.key].power_w, rel=0.02)
    said = said_beside(swept, [world.gpus[0].identity], {})
    assert said["rejected"] == sum(1 for one in swept.windows if one.faults)


def test_a_load_that_does_not_fit_is_left_out_and_listed(tmp_path):
    world = World()
    work = Work(world, most=4, names=(*Work(world).names, Load(phase="decode", batch=1, tp=2)))
    swept = world.swept(tmp_path, work, FIXED)
    assert [one.batch for one in swept.loads] == [1]
    assert swept.failed == {
        "decode, batch 8, context 512, tp 1": "batch 8 does not fit",
        "decode, batch 1, context None, tp 2": "needs 2 GPUs, given 1",
    }


@pytest.mark.parametrize("after", [0, 30])
def test_a_load_that_breaks_its_engine_costs_itself_only(tmp_path, after):
    """In the pre-flight, or in a window."""
    world = World()
    broken = Load(phase="decode", batch=1, context_tokens=512)

    def breaks(work):
        if work.up == broken and work.runs > after:
            raise ProfilingError("vLLM, run: ended by SIGKILL")

    swept = world.swept(tmp_path, Work(world, before_run=breaks), FIXED)
    assert swept.failed == {broken.name: "vLLM, run: ended by SIGKILL"}
    profile = world.profile(swept)
    assert [(one.batch, one.n) for one in profile.inference] == [(8, 2)] * 3
    assert profile.gpu.idle_w == pytest.approx(110, rel=0.01)
    assert world.gpus[0].at_default


def test_where_every_load_breaks_its_engine_the_first_reason_is_told(tmp_path):
    world = World()

    def breaks(work):
        if work.runs > 30:
            raise ProfilingError(f"batch {work.up.batch} broke")

    with pytest.raises(ProfileError, match="no load could be run: batch 1 broke"):
        world.swept(tmp_path, Work(world, before_run=breaks), FIXED)
    assert world.gpus[0].at_default


def test_where_every_load_broke_resume_tries_them_anew(tmp_path):
    """A GPU after an error of its memory, a model's file server that was away: no load's fault."""
    world = World()

    def breaks(work):
        if work.runs > 30:
            raise ProfilingError("CUDA error: uncorrectable ECC error")

    with pytest.raises(ProfileError, match="uncorrectable"):
        world.swept(tmp_path, Work(world, before_run=breaks), FIXED)
    swept = world.swept(tmp_path, Work(world), FIXED, resume=True)
    assert swept.failed == {}
    assert [one.n for one in world.profile(swept).inference] == [2] * 6


@pytest.mark.slow
def test_a_load_that_does_not_come_up_again_costs_itself_only(tmp_path):
    world = World()
    loads = tuple(Load(phase="decode", batch=one, context_tokens=512) for one in (6, 8))
    work = Work(world, names=loads)
    starts, start = [], work.start

    def start_once(load):
        starts.append(load.batch)
        if starts == [6, 8, 6, 8]:
            raise ProfilingError("no memory")
        start(load)

    work.start = start_once
    swept = world.swept(tmp_path, work, ADAPTIVE)
    assert swept.failed == {loads[1].name: "no memory"}
    assert {one.batch for one in world.profile(swept).inference} == {6}


def test_no_load_at_all_is_an_error(tmp_path):
    world = World()
    with pytest.raises(ProfileError, match="no load could be run: batch 1 does not fit"):
        world.swept(tmp_path, Work(world, most=0), FIXED)


def test_training_counts_the_power_of_all_its_gpus(tmp_path):
    world = World(gpus=2)
    work = Work(world, names=(Load(workers=1), Load(workers=2)))
    profile = world.profile(world.swept(tmp_path, work, FIXED))
    one, two = (
        next(at for at in profile.training if at.workers == n and at.clock_mhz == 1500)
        for n in (1, 2)
    )
    assert two.rate == pytest.approx(2 * one.rate)
    assert two.power_w == pytest.approx(2 * (one.power_w or 0), rel=0.02)
    assert all(gpu.at_default for gpu in world.gpus)


@pytest.mark.slow
def test_a_clock_that_does_not_hold_ends_the_grid(tmp_path):
    world = World()
    world.gpus[0].clamp_mhz = 1800
    swept = world.swept(tmp_path, Work(world), Options(window_s=0.5, repeats=1))
    profile = world.profile(swept)
    assert max(profile.gpu.clocks) == max(one.clock_mhz for one in profile.inference) == 1800
    assert not any(one.faults for one in swept.windows)


def test_a_clock_asked_for_that_does_not_hold_is_listed(tmp_path):
    world = World()
    world.gpus[0].clamp_mhz = 1800
    swept = world.swept(tmp_path, Work(world), SHORT)
    assert {one.clock_mhz for one in world.profile(swept).inference} == {1005}
    said = said_beside(swept, [world.gpus[0].identity], asdict(SHORT))
    assert said["left_out"] == [
        {"load": "every load", "clock_mhz": 1980, "why": "the GPU does not hold it"}
    ]
    # Where nothing came out, the first is told as the reason.
    bad = [replace(one, faults=("x",), attempt=ATTEMPTS) for one in swept.windows]
    none = replace(swept, windows=bad)
    first, *_ = said_beside(none, [world.gpus[0].identity], asdict(SHORT))["left_out"]
    assert (first["clock_mhz"], first["why"]) == (1005, "x")


def test_a_clock_that_holds_at_first_is_told_as_kept_in_part(tmp_path):
    world = World()

    def heat(work):
        good = '"clock_mhz": 1980, "reference": false, "faults": []'
        hot = good in (tmp_path / "sweep.jsonl").read_text() and world.gpus[0].lock == (1980, 1980)
        world.gpus[0].event = Events.HW_THERMAL if hot else Events(0)

    names = Work(world).names[:1]
    swept = world.swept(tmp_path, Work(world, names=names, before_run=heat), FIXED)
    assert [(one.clock_mhz, one.n) for one in world.profile(swept).inference][-1] == (1980, 1)
    said = said_beside(swept, [world.gpus[0].identity], asdict(FIXED))
    assert said["left_out"] == [
        {"load": names[0].name, "clock_mhz": 1980, "why": "but for 1 window: held back: hw thermal"}
    ]
    # Nothing of a load that broke its engine later on is in the profile.
    broke = replace(swept, failed={names[0].name: "broke"})
    (said,) = said_beside(broke, [world.gpus[0].identity], {})["left_out"]
    assert said["why"] == "held back: hw thermal"


def test_where_no_clock_asked_for_holds_nothing_is_measured(tmp_path):
    world = World()
    world.gpus[0].clamp_mhz = 1800
    with pytest.raises(ProfileError, match="none of the clocks asked for is held; it holds 210 to"):
        world.swept(tmp_path, Work(world), replace(SHORT, clocks_mhz=(1980,)))
    assert world.gpus[0].at_default


def test_a_clock_that_the_gpu_has_not_is_refused_before_anything_runs(tmp_path):
    world = World()
    work = Work(world)
    with pytest.raises(ProfileError, match=r"--clocks 1000: .*; the nearest is 1005 MHz"):
        world.swept(tmp_path, work, replace(SHORT, clocks_mhz=(1000, 1980)))
    assert "lock_clocks" not in world.gpus[0].calls
    assert work.runs == 0


@pytest.mark.slow
def test_a_capped_load_is_measured_at_the_clock_it_reaches(tmp_path):
    world = World()

    def cap(work):
        capped = work.up.batch == 8
        world.gpus[0].event = Events.POWER_CAP if capped and wants() > 1700 else Events(0)
        world.gpus[0].clamp_mhz = 1700 if capped else None

    def wants():
        lock = world.gpus[0].lock
        return lock[1] if lock else 1980

    swept = world.swept(tmp_path, Work(world, before_run=cap), Options(window_s=0.5, repeats=1))
    tops = {
        batch: max(one.clock_mhz for one in world.profile(swept).inference if one.batch == batch)
        for batch in (1, 8)
    }
    assert tops == {1: 1980, 8: 1695}
    assert [
        one["clock_mhz"] for one in said_beside(swept, [world.gpus[0].identity], {})["left_out"]
    ] == [1980]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda gpu: gpu.refuses.update(lock_clocks=Why.NO_PERMISSION), "only root may do that"),
        (lambda gpu: setattr(gpu, "ignores_locks", True), "was accepted, and it ran at 1980"),
        (lambda gpu: gpu.refuses.update(lock_clocks=Why.NOT_SUPPORTED), "cannot do that"),
    ],
)
def test_where_clocks_cannot_be_set_one_clock_is_swept(tmp_path, spoil, said):
    world = World()
    spoil(world.gpus[0])
    profile = world.profile(world.swept(tmp_path, Work(world), Options(window_s=0.5, repeats=2)))
    assert [(one.batch, one.clock_mhz, one.n) for one in profile.inference] == [
        (1, 1980.0, 2),
        (8, 1980.0, 2),
    ]
    assert "clocks were not set" in (profile.source or "")
    assert said in (profile.source or "")
    assert profile.gpu.parked_w is profile.gpu.switch_latency_s is None
    assert world.gpus[0].at_default


def test_read_only_touches_nothing(tmp_path):
    world = World()
    options = Options(window_s=0.5, repeats=1, read_only=True)
    profile = world.profile(world.swept(tmp_path, Work(world), options))
    assert not {"lock_clocks", "reset_clocks", "set_power_limit"} & set(world.gpus[0].calls)
    assert {one.clock_mhz for one in profile.inference} == {1980.0}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda gpu: setattr(gpu, "cut", True), "divided"),
        (lambda gpu: setattr(gpu, "pids", (1,)), "process 1 of somebody else"),
    ],
)
def test_a_gpu_that_is_not_ours_alone_is_refused(tmp_path, spoil, said):
    world = World()
    spoil(world.gpus[0])
    with pytest.raises(DeviceError, match=said):
        world.swept(tmp_path, Work(world), FIXED)
    assert "lock_clocks" not in world.gpus[0].calls


def test_a_gpu_lost_on_the_way_ends_the_sweep_and_it_can_go_on(tmp_path):
    world = World()

    def lose(work):
        if work.runs == 60:
            world.gpus[0].refuses["*"] = Why.LOST

    with pytest.raises(RefusedError, match="lost"):
        world.swept(tmp_path, Work(world, before_run=lose), FIXED)
    world.gpus[0].refuses.clear()
    swept = world.swept(tmp_path, Work(world), FIXED, resume=True)
    assert len(world.profile(swept).inference) == 6
    assert world.gpus[0].at_default


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_give_the_clocks_back(tmp_path, number):
    world = World()

    def stop(work):
        if work.runs == 60:
            assert world.gpus[0].lock is not None
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, ended_by_signals():
        world.swept(tmp_path, Work(world, before_run=stop), FIXED)
    assert stopped.value.status == 128 + number
    assert world.gpus[0].at_default
    assert list((tmp_path / "owed").iterdir()) == []
    assert signal.getsignal(number) is before


def test_who_ignores_the_end_of_the_terminal_goes_on():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_gpu_that_lists_no_clocks_is_swept_as_it_is(tmp_path):
    world = World()
    world.gpus[0].supported_clocks_mhz = lambda: ()
    swept = world.swept(tmp_path, Work(world), Options(window_s=0.5, repeats=1))
    assert swept.before.observes == "it lists no clocks"
    assert {one.clock_mhz for one in world.profile(swept).inference} == {1980.0}


def test_who_may_not_set_clocks_cannot_go_on_with_a_sweep_that_did(tmp_path):
    world = World()
    with Rig(world.gpus, world.time, None, Setting()) as rig:
        assert rig.set_clock(1, None) is False
        with pytest.raises(RefusedError, match="begun with clocks set: only root"):
            rig.set_clock(1, 1500)
    assert world.gpus[0].at_default
