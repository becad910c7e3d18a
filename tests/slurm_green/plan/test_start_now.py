# SPDX-License-Identifier: Apache-2.0
"""The carbon-blind counterfactual: order, backfill, and the sums by slot."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.plan.problem import Jobs, Problem, Service, Shapes, Site
from slurm_green.plan.start_now import full_clocks, slot_average, start_now
from slurm_green.plan.verify import check, slot_energy_j

HOUR = 3600.0


def problem(jobs, classes=None, *, gpus=4, slots=10, services=()):
    """Jobs are (class, hours of work, earliest h); classes {name: [(gpus, rate, watts)]}."""
    classes = classes or {"one": [(1, 1.0, 1000.0)], "all": [(4, 1.0, 4000.0)]}
    rows = [row for shapes in classes.values() for row in shapes]
    names = list(classes)
    return Problem(
        site=Site(
            gpus=gpus,
            start_s=0.0,
            step_s=HOUR,
            carbon_g_per_kwh=np.arange(1.0, slots + 1) * 100,
            renewable_w=np.zeros(slots),
            base_power_w=np.zeros(slots),
        ),
        shapes=Shapes(
            class_names=tuple(names),
            first=np.cumsum([0, *(len(one) for one in classes.values())]),
            workers=np.array([row[0] for row in rows]),
            clock_mhz=np.full(len(rows), 1410),
            gpus=np.array([row[0] for row in rows]),
            rate=np.array([row[1] for row in rows]),
            power_w=np.array([row[2] for row in rows]),
        ),
        jobs=Jobs(
            ids=tuple(f"j{at}" for at in range(len(jobs))),
            class_index=np.array([names.index(one[0]) for one in jobs], dtype=np.int64),
            work=np.array([one[1] * HOUR for one in jobs]),
            earliest_s=np.array([one[2] * HOUR for one in jobs]),
            deadline_s=np.full(len(jobs), slots * HOUR),
            preemptible=np.zeros(len(jobs), dtype=np.bool_),
        ),
        services=tuple(services),
    )


def hours(found):
    """{job: (start h, end h)}."""
    rows = zip(found.job, found.start_s / HOUR, found.end_s / HOUR, strict=True)
    return {int(job): (float(start), float(end)) for job, start, end in rows}


def test_a_job_starts_at_once_where_there_is_room():
    """At its earliest start, not on a slot's edge."""
    assert hours(start_now(problem([("one", 2, 1.25)]))) == {0: (1.25, 3.25)}


def test_jobs_wait_in_the_order_of_their_earliest_start():
    """First come, first served."""
    found = start_now(problem([("all", 1, 0.5), ("all", 2, 0), ("all", 1, 0.75)]))

    assert hours(found) == {1: (0, 2), 0: (2, 3), 2: (3, 4)}


def test_backfill_does_not_delay_the_first_in_line():
    """A short job goes ahead of one that waits for the whole site, a long one does not."""
    found = start_now(problem([("one", 3, 0), ("all", 1, 0.1), ("one", 5, 0.2), ("one", 2, 0.3)]))

    assert hours(found) == {
        0: (0, 3),
        1: (3, 4),
        2: (4, 9),
        3: (pytest.approx(0.3), pytest.approx(2.3)),
    }


def test_backfill_may_use_what_the_first_in_line_leaves():
    """Two GPUs are spare beside the reservation, and longer jobs fit there; one at a time."""
    classes = {"one": [(1, 1.0, 1.0)], "half": [(2, 1.0, 1.0)], "most": [(3, 1.0, 1.0)]}
    jobs = [("half", 3, 0), ("most", 1, 0.1), ("one", 6, 0.2), ("one", 6, 0.3)]

    found = hours(start_now(problem(jobs, classes)))

    assert found[1] == (3, 4)
    assert found[2][0] == pytest.approx(0.2)
    assert found[3][0] == 4


def test_a_job_takes_the_shape_that_ends_first():
    """Few GPUs now may beat many later; slower or larger than the site is never taken."""
    classes = {
        "one": [(1, 1.0, 1.0)],
        "any": [(1, 1.0, 1.0), (2, 1.5, 1.0), (3, 1.4, 1.0), (4, 3.0, 1.0), (8, 9.0, 1.0)],
    }
    free = start_now(problem([("any", 3, 0)], classes))
    busy = start_now(problem([("one", 3, 0), ("any", 3, 0)], classes))

    assert (hours(free)[0], classes["any"][free.shape[0] - 1][0]) == ((0, 1), 4)
    assert hours(busy)[1] == (0, 2)


def test_what_cannot_end_before_the_horizon_is_left_out():
    """Too long, too wide, too late; the others do not wait for it."""
    jobs = [("one", 11, 0), ("wide", 1, 0), ("one", 2, 9), ("all", 10, 0), ("one", 10, 0.0)]
    classes = {"one": [(1, 1.0, 1.0)], "all": [(4, 1.0, 1.0)], "wide": [(5, 1.0, 1.0)]}

    assert hours(start_now(problem(jobs, classes))) == {3: (0, 10)}
    assert len(start_now(problem([]))) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["one", "all", "any"]),
            st.floats(0.01, 12),
            st.floats(0, 10),
        ),
        max_size=40,
    ),
    st.integers(1, 5),
)
def test_gpus_and_times_hold(jobs, gpus):
    """Never more GPUs than there are, never before the earliest start, all work done once."""
    classes = {
        "one": [(1, 1.0, 1.0)],
        "all": [(4, 1.0, 1.0)],
        "any": [(1, 1.0, 1.0), (3, 2.0, 1.0)],
    }
    asked = problem(jobs, classes, gpus=gpus)
    found = start_now(asked, depth=5)
    used = asked.shapes.gpus[found.shape]

    for at_s in found.start_s:
        running = (found.start_s <= at_s) & (at_s < found.end_s)
        assert used[running].sum() <= gpus
    assert len(set(found.job.tolist())) == len(found)
    assert (found.start_s >= asked.jobs.earliest_s[found.job]).all()
    assert (found.end_s <= asked.site.horizon_s).all()
    done = (found.end_s - found.start_s) * asked.shapes.rate[found.shape]
    np.testing.assert_allclose(done, asked.jobs.work[found.job], rtol=1e-9)
    # Who could run alone in an empty site from the end of everything else on is not left out.
    last_s = found.end_s.max(initial=0.0)
    for job in set(range(len(jobs))) - set(found.job.tolist()):
        own = asked.shapes.of(int(asked.jobs.class_index[job]))
        rates = [asked.shapes.rate[one] for one in own if asked.shapes.gpus[one] <= gpus]
        start_s = max(last_s, asked.jobs.earliest_s[job])
        assert all(start_s + asked.jobs.work[job] / one > asked.site.horizon_s for one in rates)


def test_slot_averages_are_exact():
    """A stretch counts with the part of each slot it covers, up to the horizon's very end."""
    site = problem([]).site
    found = slot_average(
        site,
        np.array([0.25, 1.0, 9.5, 2.1]) * HOUR,
        np.array([2.5, 2.0, 10.0, 2.2]) * HOUR,
        np.array([4.0, 10.0, 8.0, 20.0]),
    )

    np.testing.assert_allclose(found, [3, 14, 4, 0, 0, 0, 0, 0, 0, 4], atol=1e-12)


def test_slot_averages_and_the_verifier_agree():
    """Two ways to the same sums."""
    jobs = [("one", 0.3 + at / 7, at / 5) for at in range(30)]
    asked = problem(jobs)
    found = start_now(asked)
    power_w = asked.shapes.power_w[found.shape]

    np.testing.assert_allclose(
        slot_average(asked.site, found.start_s, found.end_s, power_w) * HOUR,
        slot_energy_j(asked, found),
        atol=1e-6,
    )
    assert check(asked, found) is None


def test_services_run_at_their_full_clock():
    """The greatest rate that keeps the latency; where none does, the greatest."""
    one = Service(
        name="chat",
        load_per_s=np.array([0.0, 5.0, 10.0, 30.0]),
        clock_mhz=np.array([900, 1980]),
        max_rate=np.array([8.0, 10.0]),
        power_w=np.array([300.0, 700.0]),
        idle_power_w=np.array([100.0, 200.0]),
        latency_s=np.array([0.2, 0.1]),
    )
    asked = problem([], slots=4, services=[one])

    (clock,) = full_clocks(asked)

    assert clock.tolist() == [1, 1, 1, 1]
    slow = replace(one, latency_s=np.array([0.1, 0.2]), latency_slo_s=0.15)
    assert full_clocks(problem([], slots=4, services=[slow]))[0].tolist() == [0, 0, 1, 1]
    assert full_clocks(problem([])) == ()
