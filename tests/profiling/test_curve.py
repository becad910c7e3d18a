# SPDX-License-Identifier: Apache-2.0
"""What others read of a profile: points unchanged, rules between and beyond them."""

from dataclasses import replace

import numpy as np
import profile_cases
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.curve import Curve, best_setting
from profiling.errors import ProfileError
from profiling.grid import Grid
from profiling.profile import InferencePoint, Profile, Provenance

pytestmark = pytest.mark.slow


def curve(*points):
    return Curve.of(Profile(provenance=Provenance.PUBLISHED, inference=points))


def point(**changes):
    base = {"phase": "decode", "batch": 1, "context_tokens": 512, "clock_mhz": 1000.0}
    return InferencePoint(**{"latency_s": 0.1, "power_w": 200.0, **base, **changes})


@pytest.fixture(scope="module")
def made():
    return profile_cases.profile()


def test_points_come_back_unchanged(made):
    whole = Curve.of(made)
    for one in made.inference:
        at = (one.phase, one.batch, one.context_tokens, one.clock_mhz)
        assert whole.latency_s(*at) == pytest.approx(one.latency_s, rel=1e-12)
        assert whole.power_w(*at) == pytest.approx(one.power_w, rel=1e-12)
    for one in made.training:
        assert whole.rate(one.workers, one.clock_mhz) == pytest.approx(one.rate, rel=1e-12)
        assert whole.training_power_w(one.workers, one.clock_mhz) == pytest.approx(one.power_w)


axis = st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True).map(sorted)


@given(axis, axis, axis, st.data())
def test_any_ragged_set_of_points_comes_back_and_nothing_is_out_of_its_range(
    contexts, batches, clocks, data
):
    cells = [(c, b, f) for c in contexts for b in batches for f in clocks]
    kept = data.draw(st.sets(st.sampled_from(cells), min_size=1))
    values = st.tuples(st.floats(0.01, 10), st.floats(10, 900))
    points = {tuple(map(float, at)): data.draw(values) for at in kept}
    grid = Grid.of(points)
    for at, (time_s, power_w) in points.items():
        assert grid.time_at(*at) == pytest.approx(time_s)
        assert grid.power_at(*at) == pytest.approx(power_w)
        assert grid.covers(*at)
    power = grid.power_at(np.arange(70)[:, None, None], np.arange(1, 70)[:, None], np.arange(1, 70))
    least, most = (end(one[1] for one in points.values()) for end in (min, max))
    assert power.min() >= least * (1 - 1e-9)
    assert power.max() <= most * (1 + 1e-9)


def test_between_points_time_is_linear_in_batch_context_and_one_over_the_clock():
    one = curve(
        point(), point(batch=3, latency_s=0.3), point(clock_mhz=500.0, latency_s=0.2),
        point(batch=3, clock_mhz=500.0, latency_s=0.4), point(context_tokens=1024, latency_s=0.3),
    )  # fmt: skip
    assert one.latency_s("decode", 2, 512, 1000) == pytest.approx(0.2)
    assert one.latency_s("decode", 1, 768, 1000) == pytest.approx(0.2)
    assert one.latency_s("decode", 1, 512, 1 / (0.5 / 1000 + 0.5 / 500)) == pytest.approx(0.15)


def test_between_points_power_is_linear_in_the_clock_and_the_doublings_of_the_batch():
    one = curve(
        point(), point(batch=4, power_w=400.0), point(clock_mhz=500.0, power_w=100.0),
        point(batch=4, clock_mhz=500.0, power_w=100.0),
    )  # fmt: skip
    assert one.power_w("decode", 2, 512, 1000) == pytest.approx(300)
    assert one.power_w("decode", 1, 512, 750) == pytest.approx(150)


def test_beyond_the_points_a_clock_is_held_and_time_goes_on_with_batch_and_context():
    one = curve(
        point(batch=2, latency_s=0.2), point(batch=4, latency_s=0.3, power_w=300.0),
        point(batch=2, context_tokens=1024, latency_s=0.4),
        point(batch=4, context_tokens=1024, latency_s=0.5),
        point(batch=2, clock_mhz=500.0, latency_s=0.4),
    )  # fmt: skip
    for clock in (1000, 1500, 1e9):
        assert one.latency_s("decode", 2, 512, clock) == pytest.approx(0.2)
    for clock in (500, 10):
        assert one.latency_s("decode", 2, 512, clock) == pytest.approx(0.4)
    assert one.latency_s("decode", 8, 512, 1000) == pytest.approx(0.5)
    assert one.latency_s("decode", 2, 2048, 1000) == pytest.approx(0.8)
    assert one.latency_s("decode", 1, 0, 1000) == pytest.approx(0.2)
    assert one.power_w("decode", 64, 512, 1000) == pytest.approx(300)
    assert one.power_w("decode", 1, 512, 1000) == pytest.approx(200)


def test_beyond_the_points_time_never_falls_below_what_was_seen():
    one = curve(point(batch=2, latency_s=0.3), point(batch=4, latency_s=0.2))
    for batch in (4, 8, 1000):
        assert one.latency_s("decode", batch, 512, 1000) == pytest.approx(0.2)


def test_a_load_without_the_low_clocks_of_others_slows_as_it_last_did():
    one = curve(
        point(clock_mhz=1000.0, latency_s=0.1), point(clock_mhz=500.0, latency_s=0.15),
        point(batch=2, clock_mhz=250.0, latency_s=9.0),
    )  # fmt: skip
    assert one.latency_s("decode", 1, 512, 250) == pytest.approx(0.25)


def test_a_batch_that_a_context_lacks_is_filled_from_its_others():
    one = curve(
        point(), point(batch=2, latency_s=0.2, power_w=300.0),
        point(context_tokens=1024, latency_s=0.3),
        point(context_tokens=1024, batch=4, latency_s=0.9, power_w=400.0),
    )  # fmt: skip
    assert one.latency_s("decode", 4, 512, 1000) == pytest.approx(0.4)
    assert one.power_w("decode", 4, 512, 1000) == pytest.approx(300)
    assert one.latency_s("decode", 2, 1024, 1000) == pytest.approx(0.5)
    assert one.power_w("decode", 2, 1024, 1000) == pytest.approx(300)


def test_a_context_without_power_takes_it_from_those_around():
    one = curve(
        point(context_tokens=0), point(context_tokens=1, power_w=None),
        point(context_tokens=3, power_w=400.0),
    )  # fmt: skip
    assert one.power_w("decode", 1, 1, 1000) == pytest.approx(300)


def test_an_unknown_clock_or_context_serves_only_where_no_other_is_known():
    one = curve(point(clock_mhz=None, context_tokens=None, batch=8))
    assert one.latency_s("decode", 8, 4096, 700) == pytest.approx(0.1)
    assert not one.grid("decode").covers(0, 8, 700)
    both = curve(point(), point(clock_mhz=None, latency_s=9.0), point(context_tokens=None, batch=2))
    assert both.latency_s("decode", 1, 512, 1000) == pytest.approx(0.1)
    assert both.grid("decode").batches.tolist() == [1.0]


def test_points_under_a_cap_are_left_out():
    assert curve(point(), point(power_cap_w=200.0, latency_s=9.0)).latency_s(
        "decode", 1, 512, 1000
    ) == pytest.approx(0.1)


def test_a_profile_of_power_caps_alone_says_so():
    capped = curve(point(clock_mhz=None, power_cap_w=200.0))
    for ask in (lambda: capped.latency_s("decode", 1, 512, 1000), lambda: capped.rate(1, 1000)):
        with pytest.raises(ProfileError, match="it has points under a power cap only; power_c"):
            ask()


def test_unknown_power_is_nan_and_has_no_best_clock():
    one = curve(point(power_w=None), point(power_w=None, clock_mhz=500.0))
    assert np.isnan(one.power_w("decode", 1, 512, 700))
    assert one.optimal_clock_mhz("decode", 1, 512) is None
    some = curve(point(), point(power_w=None, clock_mhz=500.0))
    assert some.power_w("decode", 1, 512, 700) == pytest.approx(200)


def test_the_best_clock_is_the_least_energy_within_a_latency(made):
    whole = Curve.of(made)
    at = ("prefill", 8, 2048)
    free = whole.optimal_clock_mhz(*at)
    clocks = np.array(profile_cases.CLOCKS)
    energy_j = whole.latency_s(*at, clocks) * whole.power_w(*at, clocks)
    assert free == clocks[energy_j.argmin()]
    fast = float(whole.latency_s(*at, 1320.0))
    assert whole.optimal_clock_mhz(*at, max_latency_s=fast * 1.0001) == 1320
    assert whole.optimal_clock_mhz(*at, max_latency_s=fast / 100) == 1410


def test_the_best_clock_is_that_of_its_own_batch_and_context():
    watts = {
        (4, 1, 1000.0): 400.0,
        (4, 1, 500.0): 100.0,
        (1, 4, 1000.0): 100.0,
        (1, 4, 500.0): 90.0,
    }
    one = curve(
        *(
            point(batch=batch, context_tokens=context, clock_mhz=mhz, latency_s=1 / mhz, power_w=w)
            for (batch, context, mhz), w in watts.items()
        )
    )
    assert one.optimal_clock_mhz("decode", 4, 1) == 500
    assert one.optimal_clock_mhz("decode", 1, 4) == 1000
    by_context = Curve.of(profile_cases.profile(batches=(1, 128), contexts=(128, 2048)))
    found = [by_context.optimal_clock_mhz("decode", 128, context) for context in (128, 2048)]
    assert found == [690, 510]


def test_of_equal_energies_the_fastest_wins():
    assert best_setting(np.array([1.0, 2, 3, 4]), np.array([5, 5.004, 5.1, np.nan])) == 1


def test_what_a_profile_has_not_is_refused(made):
    whole = Curve.of(replace(made, training=()))
    with pytest.raises(
        ProfileError, match="no decode at tp 2; it has decode at tp 1, prefill at t"
    ):
        whole.latency_s("decode", 1, 1, 1, tp=2)
    with pytest.raises(ProfileError, match="no training with 3 x 1 GPUs; it has inference"):
        whole.rate(3, 1000)
    with pytest.raises(ProfileError, match="no decode at tp 1; it has training"):
        Curve.of(replace(made, inference=())).latency_s("decode", 1, 1, 1)
    with pytest.raises(ProfileError, match="it has 1 x 1, 2 x 1"):
        Curve.of(made).rate(3, 1000)
