# SPDX-License-Identifier: Apache-2.0
"""The simulated cluster: what is allowed, what a policy is told, and that work is conserved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import HOUR, make
from replay_cases import Script, drawn, run, wrong

from slurm_green.plan.certificate import carbon_g
from slurm_green.plan.policy.protocol import Decision, Start
from slurm_green.replay.inputs import prepared
from slurm_green.replay.result import result_of

ONE = ((1, 1.0, 1000.0),)
ELASTIC = ((1, 1.0, 400.0), (2, 2.0, 900.0))


def stretches(trace):
    """(job, shape, start, end) in hours, by start."""
    schedule = trace.schedule
    rows = zip(
        schedule.job.tolist(),
        schedule.shape.tolist(),
        (schedule.start_s / HOUR).tolist(),
        (schedule.end_s / HOUR).tolist(),
        strict=True,
    )
    return sorted(rows, key=lambda row: (row[2], row[0]))


def start(job, shape=0):
    """A decision to start one job."""
    return Decision(starts=[Start(job, shape)])


def test_jobs_are_seen_from_their_submission_and_run_for_their_real_work():
    """The limit is all that a policy knows until a job has ended."""
    problem = make([ONE], [(0, 4, 2, 10, False)], [100] * 12)
    inputs = prepared(problem, submit_s=np.array([HOUR]), actual_work=np.array([3.0]))
    script = Script(h1=Decision(), h2=start("j0"))

    trace = run(inputs, script)

    assert [view.now_s / HOUR for view in script.views] == [1, 2, 5]
    first, second, last = script.views
    assert [job.job_id for job in first.arrived] == ["j0"]
    assert first.work_left == {}  # it has started since: the dictionary is live
    assert second.waiting[0].work == 4
    assert last.done[0].work == 3
    assert last.done[0].end_s == 5 * HOUR
    assert last.free_gpus == 4
    assert stretches(trace) == [(0, 0, 2, 5)]


def test_shapes_wider_than_the_site_are_not_there():
    """No policy may count on them; a class that has no others keeps them, and waits for ever."""
    wide = (64, 40.0, 30_000.0)
    jobs = [(0, 4, 0, 10, False), (1, 4, 0, 10, False), (2, 4, 0, 10, False)]
    inputs = prepared(make([(ONE[0], wide), (wide,), ELASTIC], jobs, [100] * 12))

    shapes = inputs.problem.shapes
    assert [shapes.gpus[shapes.of(one)].tolist() for one in range(3)] == [[1], [64], [1, 2]]
    assert (shapes.fastest_rate * HOUR).round(9).tolist() == [1.0, 40.0, 2.0]
    assert inputs.possible.tolist() == [True, False, True]


def test_a_run_is_shown_by_its_limit():
    """Ends by its limit; work left shrinks with time."""
    problem = make([ONE], [(0, 4, 0, 10, False), (0, 1, 1, 10, False)], [100] * 12)
    script = Script(h0=start("j0"))

    run(prepared(problem, actual_work=np.array([3.0, np.nan])), script)

    [seen] = script.views[1].running
    assert seen.ends_by_s == 4 * HOUR
    assert seen.work_left(HOUR) == pytest.approx(3)


@pytest.mark.parametrize(
    ("decision", "reason"),
    [
        (start("j0"), "before its earliest start"),
        (start("nobody"), "no such job waits"),
        (start("j1", 5), "not a shape of its class"),
        (Decision(starts=[Start("j1", 0), Start("j2", 2)]), "not enough free GPUs"),
        (Decision(starts=[Start("j1", 0)], pauses=["j1"]), "no such job runs"),
        (start("j3", 3), "power cap or ramp"),
    ],
)
def test_what_is_not_allowed_is_refused_and_counted(decision, reason):
    """Nothing else happens, and the policy is asked again in the next slot."""
    jobs = [
        (0, 1, 5, 20, False),
        (0, 1, 0, 20, False),
        (1, 1, 0, 20, False),
        (2, 1, 0, 20, False),
    ]
    classes = [ONE, ((3, 1.0, 10.0), (4, 1.0, 10.0)), ((1, 1.0, 5000.0),)]
    problem = make(classes, jobs, [100] * 24, power_cap_w=4000.0)
    inputs = prepared(problem, submit_s=np.zeros(4))
    script = Script(h0=decision)

    trace = run(inputs, script)

    assert trace.refused == {reason: 1}
    assert HOUR in [view.now_s for view in script.views]
    assert wrong(inputs, trace) is None


def test_rigid_jobs_are_neither_paused_nor_changed():
    """What they asked for is what they get."""
    problem = make([ELASTIC], [(0, 4, 0, 20, False)], [100] * 24)
    script = Script(h0=start("j0"), h1=Decision(pauses=["j0"]), h2=start("j0", 1))

    trace = run(prepared(problem), script)

    assert trace.refused == {
        "a change of a job that may not be paused": 1,
        "a pause of a job that may not be paused": 1,
    }
    assert stretches(trace) == [(0, 0, 0, 4)]


def test_a_pause_and_a_change_cost_what_a_restart_costs():
    """Power is drawn for it, no work is done."""
    problem = make([ELASTIC], [(0, 6, 0, 20, True)], [100] * 24)
    inputs = prepared(problem, pause_cost_s=HOUR / 2)
    script = Script(h0=start("j0"), h2=Decision(pauses=["j0"]), h5=start("j0"), h7=start("j0", 1))

    trace = run(inputs, script)

    # 2 of 6 done at 2, 1.5 more until 7, then 2.5 at twice the speed after half an hour.
    assert stretches(trace) == [(0, 0, 0, 2), (0, 0, 5, 7), (0, 1, 7, 8.75)]
    assert trace.pauses == 2
    assert wrong(inputs, trace) is None


def test_a_failed_job_is_over_and_said_to_have_failed():
    """It ends where it fails."""
    problem = make([ONE], [(0, 4, 0, 10, False)], [100] * 12)
    script = Script(h0=start("j0"))
    inputs = prepared(problem, fails_at_work=np.array([1.0]))

    trace = run(inputs, script)

    assert script.views[-1].done[0].failed
    assert trace.done_s[0] == HOUR
    assert result_of("one", inputs, trace, 0.0).json()["failed_jobs"] == 1


def test_the_last_slot_is_the_end():
    """A job may end with it; one that goes on is cut, late and not placed."""
    jobs = [(0, 2, 0, 4, False), (0, 3, 0, 4, False), (0, 5, 0, 4, False)]
    inputs = prepared(make([ONE], jobs, [100] * 4))
    script = Script(h2=Decision(starts=[Start("j0", 0), Start("j1", 0), Start("j2", 0)]))

    trace = run(inputs, script)
    result = result_of("one", inputs, trace, 0.0)

    assert stretches(trace) == [(0, 0, 2, 4), (1, 0, 2, 4)]
    assert result.late.tolist() == [False, True, True]
    assert result.unplaced_jobs == 2
    assert "1 job cannot end before the last slot" in inputs.notes[0]
    assert all(job.job_id != "j2" for view in script.views for job in view.waiting)


def test_idle_gpus_draw_power():
    """They are a part of the base, in carbon and peak."""
    inputs = prepared(make([ONE], [(0, 1, 0, 4, False)], [100] * 4), idle_w_per_gpu=50.0)
    result = result_of("one", inputs, run(inputs, Script(h0=start("j0"))), 0.0)

    assert result.slot_w.tolist() == [1200, 200, 200, 200]
    assert result.carbon_g == pytest.approx(100 * 1.8)
    assert result.energy_j == pytest.approx(1000 * HOUR)


def test_work_beyond_the_limit_is_cut_and_said():
    """As Slurm kills what runs longer."""
    inputs = prepared(make([ONE], [(0, 1, 0, 4, False)], [100] * 4), actual_work=np.array([2.0]))

    assert inputs.problem.jobs.work.tolist() == [1]
    assert inputs.notes == ("1 job would run past the limit and end there",)


class Chaos:
    """Starts, changes and pauses whatever its random numbers say."""

    def __init__(self, inputs, seed):
        self.random = np.random.default_rng(seed)
        self.shapes = len(inputs.problem.shapes.gpus)

    def decide(self, view):
        """Some of everything, allowed or not."""
        running = [run.job.job_id for run in view.running]
        anyone = [*(job.job_id for job in view.waiting), *running]
        picked = [one for one in anyone if self.random.random() < 0.7]
        return Decision(
            starts=[Start(one, int(self.random.integers(0, self.shapes))) for one in picked],
            pauses=[one for one in running if self.random.random() < 0.3],
            wake_s=view.now_s + float(self.random.uniform(0, 2 * HOUR)),
        )


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    pause_cost_s=st.sampled_from([0.0, 600.0]),
    cap_w=st.sampled_from([np.inf, 2600.0]),
    ramp_w=st.sampled_from([np.inf, 900.0]),
    flexible=st.sampled_from([0.0, 0.7]),
)
def test_whatever_a_policy_does_the_cluster_keeps_its_rules(
    seed, pause_cost_s, cap_w, ramp_w, flexible
):
    """GPUs, shapes, work and cap hold; a second run is the same; the ledger is the planner's."""
    inputs = drawn(
        seed,
        jobs=15,
        days=2,
        pause_cost_s=pause_cost_s,
        flexible=flexible,
        power_cap_w=cap_w,
        ramp_w_per_slot=ramp_w,
    )
    trace = run(inputs, Chaos(inputs, seed))
    result = result_of("chaos", inputs, trace, 0.0)
    again = run(inputs, Chaos(inputs, seed))

    assert wrong(inputs, trace) is None
    assert result.slot_w.max() <= cap_w * (1 + 1e-6)
    if not trace.pauses:  # a pause may uncover a rise that was allowed beside what it takes away
        assert np.diff(result.slot_w).max() <= ramp_w * (1 + 1e-5)
    assert result.carbon_g == pytest.approx(carbon_g(inputs.problem, trace.schedule))
    assert stretches(trace) == stretches(again)


def test_starts_are_refused_that_would_raise_the_power_too_fast():
    """The ramp holds between slot averages, into the slot and out of it."""
    problem = make(
        [((1, 1.0, 600.0),)], [(0, 3, 0, 20, False)] * 3, [100] * 24, ramp_w_per_slot=600.0
    )
    everyone = Decision(starts=[Start(f"j{at}", 0) for at in range(3)])
    script = Script(h0=Decision(), h1=everyone, h2=everyone, h3=everyone)

    trace = run(prepared(problem), script)

    assert stretches(trace) == [(0, 0, 1, 4), (1, 0, 2, 5), (2, 0, 3, 6)]
