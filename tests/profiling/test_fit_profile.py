# SPDX-License-Identifier: Apache-2.0
"""Fits of whole profiles, and profiles filled by them."""

from dataclasses import replace

import numpy as np
import profile_cases
import pytest

from profiling.errors import ProfileError
from profiling.fill import filled
from profiling.fit_profile import LoadKey, fit_profile, sweeps_of
from profiling.profile import InferencePoint, Profile, Provenance, assumed_engine


@pytest.fixture(scope="module")
def made():
    return profile_cases.profile(noise=0.004)


@pytest.fixture(scope="module")
def fit(made):
    return fit_profile(made, replicas=8)


def test_every_load_is_a_sweep_and_power_is_per_gpu(made):
    knob, sweeps = sweeps_of(made)
    assert knob == "clock_mhz"
    assert len(sweeps) == 2 * 3 * 2 + 2
    one, two = (sweeps[LoadKey(phase="training", batch=count)] for count in (1, 2))
    assert two.power_w == pytest.approx(one.power_w, rel=0.05)
    shared = profile_cases.profile(tp=2, batches=(1,), contexts=(512,))
    group = sweeps_of(shared)[1][LoadKey(phase="decode", batch=1, context=512, tp=2)]
    assert group.power_w[-1] == pytest.approx(shared.inference[-1].power_w / 2)
    assert (np.diff(group.setting) > 0).all()


def test_the_check_on_settings_left_out_is_honest_and_small(fit):
    assert fit.held_out.settings == 14
    assert 0 < fit.held_out.time < 0.01
    assert 0 < fit.held_out.power < 0.01


def test_the_check_is_of_the_middle_setting_which_the_fit_does_not_see():
    """There time is 10 % over the law, and power 25 %."""
    middle = profile_cases.CLOCKS[len(profile_cases.CLOCKS) // 2]
    lawful = profile_cases.profile(batches=(1,), contexts=(512,), training=())
    odd = tuple(
        replace(one, latency_s=one.latency_s * 1.1, power_w=one.power_w * 1.25)
        if one.clock_mhz == middle
        else one
        for one in lawful.inference
    )
    found = fit_profile(replace(lawful, inference=odd), replicas=1).held_out
    assert found.settings == 2
    assert found.time == pytest.approx(1 - 1 / 1.1, abs=0.003)
    assert found.power == pytest.approx(1 - 1 / 1.25, abs=0.005)


@pytest.mark.parametrize(("clocks", "spared"), [(4, 0), (5, 2)])
def test_a_load_of_few_settings_has_none_to_spare(clocks, spared):
    few = profile_cases.profile(
        batches=(1,), contexts=(512,), clocks=profile_cases.CLOCKS[-clocks:], training=()
    )
    found = fit_profile(few, replicas=1).held_out
    assert found.settings == spared
    assert (found.time is None) == (found.power is None) == (spared == 0)


def test_the_highest_clock_is_the_gpus_and_the_highest_cap_the_sweeps(made):
    low = replace(made, gpu=replace(made.gpu, clocks=(*profile_cases.CLOCKS, 1980.0)))
    assert fit_profile(low, replicas=1).fit.top == 1980
    capped = tuple(
        replace(one, clock_mhz=None, power_cap_w=one.clock_mhz / 5) for one in low.inference
    )
    assert fit_profile(replace(low, inference=capped, training=()), replicas=1).fit.top == 282


def test_a_filled_profile_says_what_it_is(made, fit):
    full = filled(fit)
    assert full.fitted
    assert full.provenance == made.provenance
    assert {one.clock_mhz for one in full.inference} == set(made.gpu.clocks)
    assert len(full.inference) == 12 * len(made.gpu.clocks)
    assert all(one.ci95_latency_s > 0 and one.ci95_power_w > 0 for one in full.inference)
    assert all(one.ci95_rate > 0 for one in full.training)
    by_key = {one.key: one for one in full.inference}
    for one in made.inference:
        assert by_key[one.key].latency_s == pytest.approx(one.latency_s, rel=0.02)
        assert by_key[one.key].power_w == pytest.approx(one.power_w, rel=0.02)
    shapes = {one.key: one for one in full.training}
    for one in made.training:
        assert shapes[one.key].rate == pytest.approx(one.rate, rel=0.02)
        assert shapes[one.key].power_w == pytest.approx(one.power_w, rel=0.02)


def test_combinations_that_nobody_ran_make_no_room_in_the_cache(made):
    """Batch 32 was run at 512 tokens, a context of 2,048 at 8: no GPU showed room for both."""
    ran = tuple(one for one in made.inference if (one.batch, one.context_tokens) != (32, 2048))
    some = replace(made, inference=ran, training=())
    full = filled(fit_profile(some, replicas=1), settings=[900], batches=[128])
    assert (128, 2048) in {(one.batch, one.context_tokens) for one in full.inference}
    assert assumed_engine(full)[0] == assumed_engine(some)[0]
    assert assumed_engine(full)[0].kv_tokens == 16384


def test_intervals_are_those_of_the_replicas(fit):
    """At both ends of what was swept, too."""
    ends = [510.0, 1410.0]
    full = filled(fit, settings=ends)
    decode = LoadKey(phase="decode", batch=8, context=512)
    drawn = np.array([one.predict(str(decode), np.array(ends)) for one in fit.replicas])
    points = [one for one in full.inference if one.key[:4] == ("decode", 1, 8, 512)]
    assert [one.clock_mhz for one in points] == ends
    for at, one in enumerate(points):
        assert one.ci95_latency_s == pytest.approx(1.96 * drawn[:, 0, at].std())
        assert one.ci95_power_w == pytest.approx(1.96 * drawn[:, 1, at].std())
    pair = LoadKey(phase="training", batch=2)
    drawn = np.array([one.predict(str(pair), np.array(ends)) for one in fit.replicas])
    points = [one for one in full.training if one.workers == 2]
    for at, one in enumerate(points):
        assert one.ci95_power_w == pytest.approx(1.96 * 2 * drawn[:, 1, at].std())
        assert one.ci95_rate == pytest.approx(1.96 * drawn[:, 0, at].std() * one.rate**2)


def test_what_the_law_leaves_over_is_filled_in_where_repeats_show_it(made):
    """Memory that slows down in straight pieces: the law alone is a per cent off."""
    points = tuple(
        replace(
            one,
            latency_s=one.latency_s * (1 + max(0.0, 1 - one.clock_mhz / 1050)),
            power_w=one.power_w * (1 + 0.1 * max(0.0, 1 - one.clock_mhz / 1050)),
            n=3,
            ci95_latency_s=1e-9,
            ci95_power_w=1e-6,
        )
        for one in profile_cases.profile(batches=(1, 8), contexts=(512,)).inference
    )
    found = fit_profile(replace(made, inference=points, training=()), replicas=2)
    by_key = {one.key: one for one in filled(found).inference}
    for one in points:
        assert by_key[one.key].latency_s == pytest.approx(one.latency_s, rel=1e-6)
        assert by_key[one.key].power_w == pytest.approx(one.power_w, rel=1e-6)


@pytest.mark.parametrize(("known", "filled_in"), [(None, {None}), (0, {0, 512})])
def test_a_context_that_nobody_knows_is_no_context_of_none(made, known, filled_in):
    blind = tuple(
        replace(one, context_tokens=known) for one in made.inference if one.context_tokens == 512
    )
    found = fit_profile(replace(made, inference=blind, training=()), replicas=2)
    full = filled(found, settings=[600], batches=[4], contexts=[512])
    assert {one.context_tokens for one in full.inference} == filled_in
    assert {one.batch for one in full.inference} == {1, 4, 8, 32}


def test_batches_and_contexts_that_nobody_ran_follow_the_roofline(fit):
    full = filled(fit, settings=[600, 1200], batches=[16], contexts=[1024])
    new = [one for one in full.inference if one.batch == 16 and one.context_tokens == 1024]
    assert len(new) == 4
    for one in new:
        time_s, power_w = profile_cases.run(one.clock_mhz, batch=16, context=1024, phase=one.phase)
        assert one.latency_s == pytest.approx(time_s[0], rel=0.02)
        assert one.power_w == pytest.approx(power_w[0], rel=0.03)


def test_nothing_is_filled_beyond_what_was_swept(fit):
    with pytest.raises(ProfileError, match="clock_mhz 400 is outside of what was swept, 510 to 14"):
        filled(fit, settings=[400.0])


def test_caps_are_swept_where_no_clock_is_known(made):
    capped = tuple(
        replace(one, clock_mhz=None, power_cap_w=100.0 + one.clock_mhz / 5)
        for one in made.inference
    )
    found = fit_profile(replace(made, inference=capped, training=()), replicas=2)
    assert found.fit.knob == "power_cap_w"
    full = filled(found)
    assert {one.power_cap_w for one in full.inference} == {one.power_cap_w for one in capped}
    assert all(one.clock_mhz is None for one in full.inference)


def test_shapes_under_caps_are_filled_at_caps_and_without_replicas_there_is_no_interval(made):
    capped = tuple(
        replace(one, clock_mhz=None, power_cap_w=100.0 + one.clock_mhz / 5) for one in made.training
    )
    full = filled(fit_profile(replace(made, inference=(), training=capped), replicas=0))
    assert {one.key for one in full.training} == {one.key for one in capped}
    assert {(one.ci95_rate, one.ci95_power_w) for one in full.training} == {(None, None)}


def test_a_clock_that_came_of_a_cap_is_no_setting(made):
    """A table of caps may say which clock each let through: caps were set, clocks were not."""
    capped = tuple(
        replace(one, power_cap_w=150.0 + one.clock_mhz / 10, latency_s=3 * one.latency_s)
        for one in made.inference
    )
    slowed = tuple(replace(one, power_cap_w=200.0, rate=one.rate / 3) for one in made.training)
    mixed = replace(made, inference=(*made.inference, *capped), training=(*made.training, *slowed))
    (knob, seen), (_, wanted) = sweeps_of(mixed), sweeps_of(made)
    assert knob == "clock_mhz"
    assert seen.keys() == wanted.keys()
    for key, one in seen.items():
        assert (one.setting.tolist(), one.time_s.tolist()) == (
            wanted[key].setting.tolist(), wanted[key].time_s.tolist(),
        )  # fmt: skip
    knob, seen = sweeps_of(replace(made, inference=capped, training=()))
    assert knob == "power_cap_w"
    assert all(one.setting.tolist() == sorted(one.setting) for one in seen.values())
    assert max(one.setting.max() for one in seen.values()) == 291


def test_unknown_power_is_not_filled(made):
    blind = tuple(replace(one, power_w=None) for one in made.inference)
    full = filled(fit_profile(replace(made, inference=blind), replicas=2), batches=[4])
    assert all(one.power_w is None and one.ci95_power_w is None for one in full.inference)
    assert all(one.power_w is not None for one in full.training)
    some = tuple(replace(one, power_w=None) if one.batch == 8 else one for one in made.inference)
    full = filled(fit_profile(replace(made, inference=some), replicas=2), batches=[4])
    assert {one.batch for one in full.inference if one.power_w is None} == {8}


def test_a_profile_without_a_sweep_cannot_be_fitted():
    point = InferencePoint(phase="decode", batch=1, latency_s=0.1)
    bare = Profile(provenance=Provenance.PUBLISHED, inference=(point,))
    with pytest.raises(ProfileError, match="no point has a clock or a power cap"):
        fit_profile(bare)


def test_the_names_of_loads():
    assert str(LoadKey(phase="training", batch=4, tp=2)) == "training, 4 x 2 GPU"
    assert str(LoadKey(phase="decode", batch=4)) == "decode, batch 4"
    named = str(LoadKey(phase="prefill", batch=1, context=512, tp=2))
    assert named == "prefill, batch 1, context 512, tp 2"
