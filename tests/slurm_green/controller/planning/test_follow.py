# SPDX-License-Identifier: Apache-2.0
"""Whatever a plan says: no job is later than it was promised, and nobody else's job is touched."""

import math
from datetime import timedelta

import numpy as np
import pytest
from builders import DAY, HOUR, NOW, NOW_S, at, rules
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import Site

from slurm_green.controller.planning.advice import Advice, Place
from slurm_green.hook.record import parse
from slurm_green.hook.view import Prices
from slurm_green.plan.outcome import Weights
from slurm_green.plan.response import PriceCurve
from slurm_green.slurm.records import Job

IDS = st.integers(-2, 9)
STARTS = st.one_of(
    st.floats(-1e12, 1e12),
    st.floats(NOW_S - DAY, NOW_S + 2 * DAY),
    st.sampled_from([math.inf, -math.inf, 0.0]),
)
PLACES = st.builds(
    Place, start_s=STARTS, workers=st.integers(-3, 40), clock_mhz=st.integers(-1, 5000)
)


def prices(energy: list[float], gpu: list[float], *, until_s: float = NOW_S + DAY) -> Prices:
    """Half-hourly prices from the example day's morning on."""
    curve = PriceCurve(
        start_s=NOW_S - HOUR,
        step_s=HOUR / 2,
        gpus=8,
        weights=Weights(),
        price=np.array([energy, gpu]),
    )
    return Prices(curve=curve, plain=curve, resource=0, until_s=until_s)


@st.composite
def advices(draw: st.DrawFn) -> Advice:
    """Any plan at all."""
    amounts = st.lists(st.floats(0, 1e6), min_size=48, max_size=48)
    shown = {"gpu": prices(draw(amounts), draw(amounts))} if draw(st.booleans()) else {}
    return Advice(
        at_s=draw(st.sampled_from([NOW_S - HOUR, NOW_S, NOW_S + DAY])),
        until_s=draw(st.sampled_from([NOW_S, NOW_S + 20 * HOUR, math.inf])),
        places=draw(st.dictionaries(IDS, PLACES, max_size=10)),
        prices=shown,
        pauses=draw(st.frozensets(IDS, max_size=6)),
    )


def promised(job: Job) -> float | None:
    record = parse(job.admin_comment)
    return None if record is None else record.latest_utc.timestamp()


@pytest.mark.parametrize(
    ("budget", "follow"),
    [({}, 2), ({"budget_gpus_percent": 50.0}, 1), ({"budget_w": 2500.0}, 1)],
    ids=["none", "GPUs", "watts"],
)
def test_a_plan_is_followed_within_the_sites_budget(budget: dict[str, float], follow: int) -> None:
    """Which it does not know: both would start at once, each with half of the GPUs."""
    site = Site(rules=rules(**budget))
    ids = [site.deferred(gpus=4).job_id for _ in range(2)]
    place = Place(start_s=at(2).timestamp(), workers=1, clock_mhz=0)
    site.cycle(advice=Advice(at_s=NOW_S, until_s=NOW_S + DAY, places=dict.fromkeys(ids, place)))
    records = [parse(site.slurm.jobs[job_id].admin_comment) for job_id in ids]
    assert sum(one is not None and one.start_utc == at(2) for one in records) == follow


@given(advices(), st.integers(0, 6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_plan_keeps_promises_and_leaves_others_alone(
    advice: Advice, ours: int, deadline: bool
) -> None:
    site = Site(rules=rules(pause=True))
    for _ in range(ours):
        site.deferred(deadline_utc=at(14) if deadline else None)
    other = site.slurm.submit(gpus=2)
    running = site.slurm.submit(gpus=2)
    for one in (other, running):
        site.slurm.change(one.job_id, comment="green:off")
    before = {job_id: promised(job) for job_id, job in site.slurm.jobs.items()}
    for _ in range(4):
        site.slurm.run_until(site.slurm.now + timedelta(hours=3))
        shown = dict(site.slurm.jobs)
        outcome = site.cycle(advice=advice)
        assert not {other.job_id, running.job_id} & outcome.changes.keys()
        for job_id, change in outcome.changes.items():
            if change.begin_utc is None:
                continue
            was = shown[job_id].eligible_utc
            assert was is None or change.begin_utc <= max(was, site.slurm.now)
            latest_s = before[job_id]
            assert latest_s is not None
            assert change.begin_utc.timestamp() <= max(latest_s, site.slurm.now.timestamp())
    for job_id, job in site.slurm.jobs.items():
        if before[job_id] is not None and job.start_utc is not None:
            assert job.start_utc.timestamp() <= before[job_id] + 3 * HOUR + 60


@given(advices())
@settings(max_examples=40, deadline=None)
def test_any_prices_give_new_jobs_a_start_within_their_promise(advice: Advice) -> None:
    site = Site()
    site.cycle(advice=advice)
    held = site.submit()
    record = parse(held.admin_comment)
    if record is None:
        assert held.eligible_utc == NOW
        return
    assert NOW <= record.start_utc <= record.latest_utc <= at(12)


def test_a_plan_is_followed() -> None:
    """Its start, not the cleanest one; and not before it."""
    site = Site()
    job_id = site.deferred().job_id
    clean = parse(site.slurm.jobs[job_id].admin_comment).start_utc
    advice = Advice(
        at_s=NOW_S, until_s=NOW_S + DAY, places={job_id: Place(start_s=at(2).timestamp())}
    )
    site.cycle(advice=advice)
    record = parse(site.slurm.jobs[job_id].admin_comment)
    assert record.start_utc == at(2) != clean
    site.slurm.run_until(at(1.9))
    assert site.cycle(advice=advice).deferred == 1
    site.slurm.run_until(at(2) - timedelta(seconds=10))
    assert site.cycle(advice=advice).deferred == 0
    assert site.kinds(job_id)[-1] == "released"


def test_a_new_plan_does_not_flood_slurm_with_records() -> None:
    site = Site(rules=rules(releases_per_cycle=2))
    ids = [site.deferred().job_id for _ in range(5)]
    places = {job_id: Place(start_s=at(3).timestamp()) for job_id in ids}
    advice = Advice(at_s=NOW_S, until_s=NOW_S + DAY, places=places)
    assert [len(site.cycle(advice=advice).changes) for _ in range(4)] == [2, 2, 1, 0]
    site.slurm.run_until(at(3))
    assert site.cycle(advice=advice).deferred == 3


def test_an_old_plan_is_not_followed() -> None:
    site = Site()
    job_id = site.deferred().job_id
    clean = parse(site.slurm.jobs[job_id].admin_comment).start_utc
    site.cycle(
        advice=Advice(
            at_s=NOW_S - HOUR, until_s=NOW_S, places={job_id: Place(start_s=at(2).timestamp())}
        )
    )
    assert parse(site.slurm.jobs[job_id].admin_comment).start_utc == clean


@pytest.mark.parametrize("fresh", [True, False])
def test_new_jobs_respond_to_prices_while_they_are_fresh(fresh: bool) -> None:
    """Free power in the fourth hour only, says the plan; the signal says noon."""
    energy = [1e-4] * 48
    energy[10:14] = [0.0] * 4
    until_s = NOW_S + DAY if fresh else NOW_S
    shown = prices(energy, [0.0] * 48, until_s=until_s)
    site = Site()
    site.cycle(advice=Advice(at_s=NOW_S, until_s=until_s, prices={"gpu": shown}))
    record = parse(site.submit().admin_comment)
    assert (record.start_utc == at(4)) == fresh
    assert record.policy == ("prices" if fresh else "lowest-window")


def test_releases_climb_no_faster_than_the_ramp() -> None:
    """Four jobs of 2 GPUs are due at once; a minute brings room for about one of them."""
    site = Site(rules=rules(ramp_w_per_min=500.0))
    ids = [site.deferred(gpus=2).job_id for _ in range(4)]
    advice = Advice(
        at_s=NOW_S,
        until_s=NOW_S + DAY,
        places={job_id: Place(start_s=at(1).timestamp()) for job_id in ids},
    )
    site.slurm.run_until(at(1))
    left = []
    for _ in range(8):
        left.append(site.cycle(advice=advice).deferred)
        site.slurm.run_until(site.slurm.now + timedelta(seconds=60), step_s=30)
    # 820 W each: one goes on the first minute's 500 W, and its debt is paid before the next.
    assert left == [3, 2, 2, 1, 0, 0, 0, 0]


def test_the_ramp_never_holds_back_a_job_whose_latest_start_has_come() -> None:
    site = Site(rules=rules(ramp_w_per_min=1.0))
    ids = [site.deferred(gpus=2).job_id for _ in range(4)]
    promised_s = [promised(site.slurm.jobs[job_id]) for job_id in ids]
    site.slurm.run_until(at(12) + timedelta(seconds=20))
    assert site.cycle().deferred == 0
    for job_id, latest_s in zip(ids, promised_s, strict=True):
        assert site.slurm.jobs[job_id].eligible_utc.timestamp() <= latest_s
