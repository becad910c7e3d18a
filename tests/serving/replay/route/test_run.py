# SPDX-License-Identifier: Apache-2.0
"""A trace over sites: power is a hard limit, nobody knows the future, every request ends once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Slo
from serving.replay.route.bound import bound_rps
from serving.replay.route.compare import Scene, compare
from serving.replay.route.figures import met
from serving.replay.route.kernel import library
from serving.replay.route.run import Site
from serving.replay.route.supply import Forecast, Persistence, Supply
from serving.replay.route.trace import Trace
from serving.router.policy.registry import POLICIES
from slurm_green.errors import BadInputError
from tests.serving.made import profile

try:
    library()
except BadInputError:
    pytest.skip("the kernel is not compiled here", allow_module_level=True)

ENGINE = EngineModel(profile())
SLO = Slo(ttft_s=1.0, tpot_s=0.05)
SITES = [Site(name="a", gpus=2, rtt_s=0.01), Site(name="b", gpus=2, rtt_s=0.04)]
NAMES = list(POLICIES)


def scene_of(watts: list[list[float]], *, rate: float = 8.0, step_s: float = 20.0) -> Scene:
    """Sixty seconds of requests; power has a column for each step from -40 s on."""
    rng = np.random.default_rng(3)
    count = round(60 * rate)
    supply = Supply(
        start_s=-40 + step_s * np.arange(len(watts[0])), watts=np.array(watts, dtype=np.float64)
    )
    trace = Trace.of(
        rng.uniform(0, 60, count), rng.integers(50, 2000, count), rng.integers(1, 150, count)
    )
    return Scene(trace=trace, sites=SITES, supply=supply, engine=ENGINE, slo=SLO)


STEADY = [[3000.0] * 6, [3000.0] * 6]
DROP = [[3000.0, 3000.0, 3000.0, 0.0, 0.0, 3000.0], [3000.0, 3000.0, 700.0, 700.0, 900.0, 100.0]]


@pytest.mark.parametrize("name", NAMES)
def test_with_power_enough_all_are_served_in_time(name: str) -> None:
    scene = scene_of(STEADY)
    told = compare(scene, [name])[name]
    assert told.figures.dropped == told.figures.rerouted == 0
    assert told.figures.attainment == pytest.approx(1.0, abs=0.02)
    assert told.figures.e2e_p50_s is not None
    assert (told.outcome.ttft_s > 0.01).all()  # a round trip at least


@pytest.mark.parametrize("name", NAMES)
def test_no_site_draws_more_than_it_has(name: str) -> None:
    told = compare(scene_of(DROP), [name])[name]
    assert told.outcome.peak_over_w <= 1e-6


def test_answers_that_outlast_the_power_file_find_its_last_row() -> None:
    scene = scene_of(STEADY)
    late = Trace.of(np.linspace(79.0, 80.0, 30), np.full(30, 100), np.full(30, 1000))
    told = compare(replace(scene, trace=late), ["per-site"])["per-site"]
    assert told.outcome.last_s > 3.0  # from the first arrival; the file ends after one second
    assert told.figures.unused_wh > 0
    assert told.figures.goodput_rps <= bound_rps(replace(scene, trace=late)) * (1 + 1e-6)


def test_energy_ends_with_the_last_answer() -> None:
    scene = replace(scene_of(STEADY), sites=[Site(name="a", gpus=1, rtt_s=0.02)])
    scene = replace(scene, supply=replace(scene.supply, watts=scene.supply.watts[:1]))
    high = len(ENGINE.clocks_mhz) - 1
    took_s, watts = ENGINE.time_and_power(Batch(chunks=[(0, 100)]), high)
    for name, told in compare(
        replace(scene, trace=Trace.of([3.0], [100], [1])), ["per-site", "prices"]
    ).items():
        needed_j = 0.01 * ENGINE.idle_power_w(high) + took_s * watts
        assert told.figures.energy_j == pytest.approx(needed_j), name
        left_wh = 3000.0 * (0.01 + took_s) / 3600 - needed_j / 3600
        assert told.figures.unused_wh == pytest.approx(left_wh), name


def test_energy_ends_when_a_request_without_a_client_is_there() -> None:
    """No policy's look counts, however far away the site is."""
    scene = replace(scene_of([[3000.0] * 6], step_s=20.0), patience_s=3.0)
    scene = replace(scene, sites=[Site(name="a", gpus=1, rtt_s=10.0)])
    idle_w = ENGINE.idle_power_w(len(ENGINE.clocks_mhz) - 1)
    for name, told in compare(
        replace(scene, trace=Trace.of([0.0], [100], [10])), ["per-site", "wrr-power", "reactive"]
    ).items():
        assert told.figures.dropped == 1, name
        assert told.figures.energy_j == pytest.approx(5.0 * idle_w), name


@pytest.mark.parametrize("rtt_s", [0.0, 1e-9])
def test_a_first_token_came_from_the_site_that_made_it(rtt_s: float) -> None:
    scene = scene_of([[3000.0, 3000.0, 0.0, 0.0, 0.0], [3000.0] * 5])
    sites = [Site(name="a", gpus=1, rtt_s=rtt_s), Site(name="b", gpus=1, rtt_s=0.5)]
    scene = replace(scene, sites=sites, trace=Trace.of([-1.0], [100], [400]))
    found = compare(scene, ["greedy-latency"])["greedy-latency"]
    assert found.figures.rerouted == 1 and found.outcome.site.tolist() == [1]
    high = len(ENGINE.clocks_mhz) - 1
    took_s, _ = ENGINE.time_and_power(Batch(chunks=[(0, 100)]), high)
    assert found.outcome.ttft_s[0] == pytest.approx(took_s, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([one for one in NAMES if one != "oracle"]),
    st.lists(st.lists(st.floats(0, 1500), min_size=6, max_size=6), min_size=2, max_size=2),
    st.floats(1, 60),
)
def test_whatever_the_power_does_figures_add_up(
    name: str, watts: list[list[float]], rate: float
) -> None:
    scene = scene_of(watts, rate=rate)
    told = compare(scene, [name])[name]
    outcome, found = told.outcome, told.figures
    answered = ~np.isnan(outcome.end_s)
    assert found.dropped == (~answered).sum()
    assert set(outcome.site[answered].tolist()) <= {0, 1}
    assert (outcome.ttft_s[answered] <= (outcome.end_s - told_at(scene))[answered] + 1e-9).all()
    assert outcome.peak_over_w <= 1e-6
    assert found.energy_j >= 0
    assert found.unused_wh >= -1e-6
    good = met(outcome, replace(scene.trace, arrival_s=told_at(scene)), SLO).sum()
    span_s = scene.trace.arrival_s[-1] - scene.trace.arrival_s[0]
    assert found.goodput_rps == pytest.approx(good / span_s)
    assert found.goodput_rps <= bound_rps(scene) * (1 + 1e-6) + 1e-6


def told_at(scene: Scene) -> np.ndarray:
    return scene.trace.arrival_s - scene.trace.arrival_s[0]


@pytest.mark.parametrize("name", [one for one in NAMES if one != "oracle"])
def test_another_future_changes_nothing_before_it(name: str) -> None:
    scene = scene_of(DROP, rate=20)
    until_s = 45.0
    other_watts = scene.supply.watts.copy()
    other_watts[:, scene.supply.start_s > until_s] = 1234.0
    later = scene.trace.arrival_s > until_s
    other = replace(
        scene,
        supply=replace(scene.supply, watts=other_watts),
        trace=Trace.of(
            scene.trace.arrival_s,
            np.where(later, 77, scene.trace.prompt_tokens),
            np.where(later, 7, scene.trace.output_tokens),
        ),
    )
    one, two = (compare(it, [name])[name].outcome for it in (scene, other))
    before_s = until_s - scene.trace.arrival_s[0] - 0.1
    at_s = told_at(scene)
    for mine, others in ((one.end_s, two.end_s), (one.ttft_s + at_s, two.ttft_s + at_s)):
        before_mine, before_others = mine < before_s, others < before_s
        assert (before_mine == before_others).all()
        assert mine[before_mine].tolist() == others[before_mine].tolist()


def test_two_runs_are_the_same() -> None:
    scene = scene_of(DROP, rate=20)
    one, two = (compare(scene, ["prices", "reactive", "heron"]) for _ in range(2))
    for name in one:
        assert one[name].figures == two[name].figures


def test_a_site_that_loses_its_power_loses_no_request_where_others_have_room() -> None:
    watts = [[3000.0, 3000.0, 3000.0, 0.0, 0.0, 3000.0], [3000.0] * 6]
    told = compare(scene_of(watts), ["prices"])["prices"]
    assert told.figures.rerouted > 0
    assert told.figures.dropped == 0


def test_a_drop_that_was_forecast_moves_less() -> None:
    watts = [[3000.0, 3000.0, 3000.0, 0.0, 0.0, 0.0], [3000.0] * 6]
    scene = scene_of(watts)
    columns = scene.supply.watts.T.tolist()
    rows = [(at, w, w) for at, w in zip(scene.supply.start_s.tolist(), columns, strict=True)]
    forecast = Forecast(supply=scene.supply, issued_s=[-40.0], rows=[rows])
    blind = compare(scene, ["prices"])["prices"].figures
    warned = compare(replace(scene, forecast=forecast), ["prices"])["prices"].figures
    assert blind.rerouted > 0
    assert warned.rerouted < 0.5 * blind.rerouted


def test_pooling_serves_what_one_site_cannot() -> None:
    watts = [[3000.0] * 6, [100.0] * 6]
    found = compare(scene_of(watts, rate=12), ["per-site", "prices"])
    assert found["per-site"].figures.goodput_rps < 0.6 * found["prices"].figures.goodput_rps


def test_under_overload_prices_keep_serving_in_time() -> None:
    watts = [[600.0] * 6, [400.0] * 6]
    found = compare(scene_of(watts, rate=60), ["power-cap", "prices", "oracle"])
    ours, cap, best = (found[name].figures for name in ("prices", "power-cap", "oracle"))
    assert ours.goodput_rps > 2 * cap.goodput_rps
    assert ours.goodput_rps > 0.85 * best.goodput_rps
    assert ours.e2e_p99_s is not None
    assert cap.e2e_p99_s is not None
    assert ours.e2e_p99_s < 0.48 * cap.e2e_p99_s


def test_times_may_begin_anywhere() -> None:
    scene = scene_of(DROP)
    moved = replace(
        scene,
        trace=replace(scene.trace, arrival_s=scene.trace.arrival_s + 1e9),
        supply=replace(scene.supply, start_s=scene.supply.start_s + 1e9),
    )
    one, two = (compare(it, ["prices"])["prices"].figures for it in (scene, moved))
    assert one.goodput_rps == pytest.approx(two.goodput_rps, rel=0.02)


def test_persistence_rests_on_the_past_only() -> None:
    rng = np.random.default_rng(1)
    watts = rng.uniform(0, 1000, (1, 100))
    supply = Supply(start_s=300.0 * np.arange(100), watts=watts)
    changed = Supply(start_s=supply.start_s, watts=np.where(np.arange(100) > 50, 0.0, watts))
    now_s = 50 * 300.0 + 10
    one, two = (Persistence(it).outlook(0, now_s) for it in (supply, changed))
    assert one == two
    assert all(0 <= step.low_w <= step.supply_w == watts[0, 50] for step in one)
    assert one[1].start_s == pytest.approx(51 * 300.0)


def test_power_that_does_not_cover_the_requests_is_refused() -> None:
    with pytest.raises(BadInputError, match="cover"):
        scene_of([[100.0] * 3, [100.0] * 3])
