# SPDX-License-Identifier: Apache-2.0
"""How far one profile is from another."""

from dataclasses import replace

import profile_cases
import pytest

from profiling.compare import compare, optima
from profiling.curve import Curve
from profiling.errors import ProfileError
from profiling.profile import InferencePoint, Profile, Provenance


@pytest.fixture(scope="module")
def made():
    return profile_cases.profile()


def slower(profile, time, power):
    return replace(
        profile,
        inference=tuple(
            replace(one, latency_s=one.latency_s * time, power_w=one.power_w * power)
            for one in profile.inference
        ),
        training=(),
    )


def test_a_profile_is_itself(made):
    found = compare(made, made)
    assert [one.phase for one in found] == ["prefill", "decode", "training"]
    for one in found:
        assert one.points == one.of
        assert one.time_most == pytest.approx(0, abs=1e-12)
        assert one.power_most == pytest.approx(0, abs=1e-12)
    assert all(one.regret == 0 for one in optima(made, made))


def test_differences_are_those_of_the_second_over_the_first(made):
    for one in compare(made, slower(made, 1.1, 0.8)):
        assert (one.time_bias, one.time_mean) == (pytest.approx(0.1), pytest.approx(0.1))
        assert (one.power_bias, one.power_mean) == (pytest.approx(-0.2), pytest.approx(0.2))
        assert one.phase != "training"


def test_only_settings_that_the_second_covers_count(made):
    coarse = profile_cases.profile(batches=(1, 32), contexts=(512,), clocks=(690, 1050, 1410))
    prefill = compare(made, replace(coarse, training=()))[0]
    assert (prefill.points, prefill.of) == (3 * 9, 3 * 2 * 11)
    assert prefill.time_most < 0.05
    other = replace(made, inference=tuple(replace(one, tp=2) for one in made.inference))
    with pytest.raises(ProfileError, match="no setting in common"):
        compare(replace(made, training=()), replace(other, training=()))


def test_regret_is_by_the_figures_of_the_first(made):
    best = optima(made, slower(made, 1.0, 1.0))
    assert [one.batch for one in best] == [1, 1, 8, 8, 32, 32] * 2
    assert len(optima(made, profile_cases.profile(batches=(1, 8), contexts=(512,)))) == 4
    half = replace(
        made, inference=tuple(one for one in made.inference if (one.clock_mhz or 0) > 1300)
    )
    for one in optima(made, half):
        assert one.second_mhz > one.first_mhz
        assert one.regret > 0.01


def test_a_best_clock_is_told_only_where_both_have_points(made):
    """Loads that ran under a cap alone, or of which no context is known, have no clocks."""
    capped = tuple(
        replace(one, batch=64, power_cap_w=300.0) for one in made.inference if one.batch == 32
    )
    vague = tuple(
        replace(one, context_tokens=None) for one in made.inference if one.context_tokens == 512
    )
    more = replace(made, inference=(*made.inference, *capped, *vague))
    wide = profile_cases.profile(batches=(1, 64), contexts=(0, 2048))
    assert optima(more, wide) == optima(made, wide)
    assert len(optima(made, wide)) == 12


def part(profile, keep):
    return replace(profile, inference=tuple(one for one in profile.inference if keep(one)))


def test_best_clocks_are_those_of_each_load_and_width(made):
    """By context, and by the group's own clocks where the two widths differ."""
    two = profile_cases.profile(tp=2, batches=(1, 128), contexts=(128, 2048), training=())
    slow = part(made, lambda one: one.clock_mhz <= 690)
    mixed = replace(slow, inference=(*slow.inference, *two.inference))
    found = {(one.phase, one.tp, one.batch, one.context): one for one in optima(mixed, mixed)}
    curve = Curve.of(mixed)
    assert len(found) == 12 + 8
    for (phase, tp, batch, context), one in found.items():
        assert one.first_mhz == curve.optimal_clock_mhz(phase, batch, context, tp=tp)
        assert (one.second_mhz, one.regret) == (one.first_mhz, 0)
    assert [found["decode", 2, 128, one].first_mhz for one in (128, 2048)] == [690, 510]
    high = part(two, lambda one: one.clock_mhz >= 1320)
    wanted = [one.regret for one in optima(two, high)]
    assert min(wanted) > 0.01
    assert [one.regret for one in optima(mixed, high)] == pytest.approx(wanted)


def test_best_clocks_need_the_phase_in_both(made):
    decode = part(made, lambda one: one.phase == "decode")
    assert {one.phase for one in optima(made, decode)} == {"decode"}
    capped = tuple(
        replace(one, power_cap_w=300.0) if one.phase == "prefill" else one for one in made.inference
    )
    assert {one.phase for one in optima(replace(made, inference=capped), made)} == {"decode"}


def test_contexts_that_nobody_knows_have_best_clocks(made):
    vague = tuple(
        replace(one, context_tokens=None) for one in made.inference if one.context_tokens == 512
    )
    vague = replace(made, inference=vague)
    found = optima(vague, vague)
    assert [(one.batch, one.context) for one in found] == [(1, None), (8, None), (32, None)] * 2


def test_beyond_the_clocks_of_the_first_a_regret_is_not_known(made):
    """A clock at either end is within them."""
    low, high = (part(made, ask) for ask in (
        lambda one: one.clock_mhz <= 960, lambda one: one.clock_mhz >= 960,
    ))  # fmt: skip
    prefill = [one for one in optima(low, made) if one.phase == "prefill"]
    assert {one.second_mhz > 960 for one in prefill} == {True}
    assert all(one.regret is None for one in prefill)
    decode = [one for one in optima(low, high) if one.phase == "decode"]
    assert {one.second_mhz for one in decode} == {960}
    assert all(one.regret > 0 for one in decode)
    decode = [one for one in optima(high, made) if one.phase == "decode"]
    assert all(one.second_mhz < 960 and one.regret is None for one in decode)
    lowest = part(made, lambda one: one.clock_mhz == 510)
    assert all(one.regret is not None for one in optima(made, lowest))


def test_unknown_power_has_no_difference_and_no_best_clock(made):
    blind = Profile(
        provenance=Provenance.PUBLISHED,
        inference=tuple(replace(one, power_w=None) for one in made.inference),
    )
    for one in compare(blind, made):
        assert one.power_bias is None
    assert optima(blind, made) == []
    assert optima(made, blind) == []


def test_profiles_without_clocks_compare_at_none():
    points = tuple(
        InferencePoint(phase="decode", batch=batch, latency_s=0.01 * batch, power_w=300.0)
        for batch in (1, 4)
    )
    one = Profile(provenance=Provenance.PUBLISHED, inference=points)
    assert compare(one, one)[0].points == 2
    assert optima(one, one) == []
