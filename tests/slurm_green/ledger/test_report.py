# SPDX-License-Identifier: Apache-2.0
"""The site's figure and its reconciliation with the receipts."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.ledger.entries import Decision, JobFacts, lookup_in
from slurm_green.ledger.export import report_row
from slurm_green.ledger.fifo import Capacity
from slurm_green.ledger.report import build_report
from slurm_green.ledger.site import Run, site_carbon
from slurm_green.plan.power import PowerModel
from slurm_green.signals.series import Series

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
POWER = PowerModel(gpu_w=1000.0, cpu_core_w=0.0, gpu_idle_w=100.0)
SITE = Capacity(gpus=2, cpus=8)


def signal(*values, **more):
    return Series(
        start_utc=NOW, step_s=3600.0, values=np.array(values, dtype=float), issued_utc=NOW,
        provider="t", **more,
    )  # fmt: skip


def job(job_id, submit_h=0.0, start_h=0.0, length_h=1.0, ours=False, **more):
    return JobFacts(
        **{
            "cluster": "c", "job_id": job_id, "submit_utc": NOW + submit_h * HOUR,
            "start_utc": NOW + start_h * HOUR, "end_utc": NOW + (start_h + length_h) * HOUR,
            "gpus": 2, "state": "COMPLETED", "user": "ann", "account": "ml",
            "partition": "gpu", "mode": "enforce", "action": "defer" if ours else "pass", **more,
        }
    )  # fmt: skip


def report(jobs, series, decisions=(), capacity=SITE, power=POWER):
    return build_report(jobs, decisions, signal=lookup_in(series), power=power, capacity=capacity)


def test_one_deferred_job_on_an_idle_site():
    """Idle GPUs burn at the dirty hour instead: the site saves less than the receipt says."""
    got = report([job(1, start_h=2, ours=True)], signal(300, 200, 100))
    assert got.receipts_saved_g == pytest.approx(400)  # 2 kWh x 200 g
    # 2 GPUs idle: 0.2 kWh at 300 and 200 g actually, at 200 and 100 g in the FIFO.
    assert (got.site.idle_g, got.site.saved_g) == pytest.approx((40, 360))
    assert (got.site.queue_g, got.site.displaced_g) == pytest.approx((0, 0))
    assert got.site.saved_percent == pytest.approx(100 * 360 / 660)
    assert (got.energy_j, got.unknown) == (pytest.approx(2 * 3.6e6), 0)


def test_what_a_displaced_job_emitted_is_not_saved():
    """Two jobs that swap places save nothing, whatever the receipt says."""
    moved = job(1, start_h=1, ours=True)
    other = job(2, start_h=0)
    got = report([moved, other], signal(300, 100))
    assert got.receipts_saved_g == pytest.approx(400)
    assert got.site.saved_g == pytest.approx(0)
    assert got.site.displaced_g == pytest.approx(400)


def test_queueing_anyway_is_not_saved():
    """A job that FIFO would have started just as late has saved nothing."""
    first = job(1, submit_h=0, start_h=0)
    second = job(2, submit_h=0, start_h=1, ours=True)
    got = report([first, second], signal(300, 100))
    assert (got.receipts_saved_g, got.site.queue_g) == pytest.approx((400, 400))
    assert got.site.saved_g == pytest.approx(0)


def test_the_replay_goes_by_time_limits():
    """What ran as FIFO by limits starts it has saved nothing."""
    limits = {"time_limit_s": 3 * 3600}
    first = job(1, gpus=1, **limits)
    head = job(2, submit_h=0.1, start_h=1.2, ours=True, **limits)
    between = job(3, submit_h=0.2, start_h=0.2, gpus=1, time_limit_s=2 * 3600)
    got = report([first, head, between], signal(300, 100, 500, 50)).site
    assert (got.saved_g, got.displaced_g) == pytest.approx((0, 0))
    assert got.queue_g == pytest.approx(got.receipts_g)


def test_a_run_that_ends_before_it_began_draws_nothing():
    """A clock that was set back."""
    assert report([job(1, length_h=-0.5)], signal(1, 1)).site.energy_j == 0


def test_a_job_in_two_time_scales_is_left_out():
    """Submitted before the signal was scaled."""
    scaled = signal(1, 1, 1, 1, time_scale=720.0)
    got = build_report(
        [job(1, start_h=2, ours=True)], (), power=POWER, capacity=SITE,
        signal=lambda start, _: signal(1, 1, 1, 1) if start == NOW else scaled,
    )  # fmt: skip
    assert (got.site.left_out, got.site.reason) == (1, "no job of a known run")
    assert got.unknown == 1


runs = st.lists(
    st.tuples(st.floats(0, 10), st.floats(0, 5), st.floats(0, 4), st.integers(0, 2), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(runs, st.lists(st.floats(0, 900), min_size=70, max_size=70))
def test_figures_reconcile_to_the_gram(made, values):
    """receipts - queue - displaced - idle = site, always; and both schedules use as much energy."""
    jobs = [
        job(i, submit, submit + wait, length, ours=ours, gpus=gpus)
        for i, (submit, wait, length, gpus, ours) in enumerate(made)
    ]
    site = report(jobs, signal(*values)).site
    total = site.receipts_g - site.queue_g - site.displaced_g - site.idle_g
    assert site.saved_g == pytest.approx(total, abs=1e-6)
    assert site.left_out == 0


def test_energy_does_not_depend_on_the_schedule():
    """Over one span, moving a job changes carbon and not energy."""
    at = NOW.timestamp()
    kwargs = {"gpus": 4, "idle_w_per_gpu": 50.0, "signal": signal(500, 100, 300), "begin_s": at,
              "end_s": at + 3 * 3600}  # fmt: skip
    made = [
        site_carbon([Run(start_s=at + s, end_s=at + s + 1800, power_w=700, gpus=2)], **kwargs)
        for s in (0, 3600, 7200)
    ]
    assert len({round(one.energy_j, 3) for one in made}) == 1
    assert [round(one.jobs_g, 6) for one in made] == [175.0, 35.0, 105.0]


def test_idle_alone():
    """A site without jobs emits what its GPUs idle."""
    at = NOW.timestamp()
    got = site_carbon([], gpus=10, idle_w_per_gpu=100.0, signal=signal(500), begin_s=at,
                      end_s=at + 3600)  # fmt: skip
    assert (got.idle_g, got.total_g, got.energy_j) == pytest.approx((500, 500, 3.6e6))


def test_more_busy_than_there_are():
    """Nodes that were added later do not make idle power negative."""
    at = NOW.timestamp()
    busy = [Run(start_s=at, end_s=at + 3600, power_w=0, gpus=9)]
    got = site_carbon(busy, gpus=2, idle_w_per_gpu=100.0, signal=signal(500), begin_s=at,
                      end_s=at + 3600)  # fmt: skip
    assert got.idle_g == 0


@pytest.mark.parametrize(
    ("jobs", "series", "capacity", "words"),
    [
        ([job(1)], signal(1, 1), None, "not known"),
        ([job(1, start_h=5, ours=True)], signal(1, 1), SITE, "no signal"),
        ([job(1, end_utc=None)], signal(1, 1), SITE, "no job"),
        ([], signal(1), SITE, "no job"),
    ],
)
def test_no_figure_without_its_facts(jobs, series, capacity, words):
    """The site's figure is None with a reason, never 0."""
    got = report(jobs, series, capacity=capacity)
    assert words in got.site.reason
    assert (got.site.saved_g, got.site.actual_g) == (None, None)


def test_left_out_and_unknown_are_counted():
    """Running, never run, too large and uncovered jobs are counted, not dropped."""
    got = report(
        [
            job(1),
            job(2, end_utc=None),
            job(3, start_utc=None),
            job(4, gpus=99),
            job(5, start_h=1, ours=True, submit_h=-3),
            job(6, start_h=2, length_h=0, state="CANCELLED"),
        ],
        signal(1, 1, 1),
    )
    assert (got.jobs, got.deferred, got.unknown) == (6, 1, 2)
    assert got.site.left_out == 4
    assert got.energy_sources == {"modelled": 5, "unknown": 1}
    assert got.bases == {"average, unknown": 4, "unknown": 2}
    sums = (got.energy_j / 3.6e6, got.carbon_g, got.receipts_saved_g)
    assert sums == pytest.approx((103, 103, 0))


def test_groups_delays_and_order():
    """By user with the largest emitter first; delays of ours apart from the others'."""
    got = report(
        [
            job(1, start_h=2, ours=True, user="bob"),
            job(2, start_h=0, length_h=2, user="ann"),
            job(3, start_h=2, user="ann", account="bio"),
            job(4, start_h=3, length_h=0, state="CANCELLED", ours=True, user="ann"),
            job(5, start_h=3, length_h=0, state="NODE_FAIL", user="ann"),  # with its partition
        ],
        signal(300, 200, 100, 100),
        capacity=Capacity(gpus=8, cpus=8),
    )
    assert [(g.name, g.jobs, g.deferred) for g in got.by_user] == [("ann", 4, 1), ("bob", 1, 1)]
    assert [g.name for g in got.by_account] == ["ml", "bio"]
    assert sum(g.saved_g for g in got.by_partition) == pytest.approx(got.receipts_saved_g)
    assert (got.delays_deferred.jobs, got.delays_deferred.max_s) == (1, 7200)
    others = got.delays_others
    assert (others.jobs, others.mean_s, others.max_s) == (2, 3600, 7200)
    assert (others.p50_s, others.p90_s, others.p99_s) == pytest.approx((3600, 6480, 7128))


def test_promises():
    """Kept by the first promise made, arrays through their own; deadlines as Slurm ended them."""

    def promise(job_id, hours, at_h=0.0):
        return Decision(
            cluster="c", job_id=job_id, decided_utc=NOW + at_h * HOUR, mode="enforce",
            action="defer", latest_utc=NOW + hours * HOUR,
        )  # fmt: skip

    jobs = [
        job(1, eligible_utc=NOW + HOUR, deadline_utc=NOW + 9 * HOUR),
        job(2, eligible_utc=NOW + 2 * HOUR, deadline_utc=NOW + HOUR / 2),
        job(
            4,
            array_job_id=3,
            array_task="1",
            eligible_utc=NOW + HOUR,
            deadline_utc=NOW + 9 * HOUR,
        ),
        job(5, start_utc=None, end_utc=NOW + HOUR, state="DEADLINE", deadline_utc=NOW + 2 * HOUR),
        job(6, start_utc=None, end_utc=None, deadline_utc=NOW + 2 * HOUR),
        job(7, end_utc=None, deadline_utc=NOW + 2 * HOUR),
        job(8, start_utc=None, state="CANCELLED", deadline_utc=NOW + 2 * HOUR),
        job(9, start_h=1, length_h=0, state="CANCELLED", deadline_utc=NOW + 2 * HOUR),
    ]
    made = [promise(1, 1), promise(2, 3, at_h=1), promise(2, 1), promise(3, 5), promise(5, 1)]
    got = report(jobs, signal(1, 1, 1), decisions=made).promises
    assert (got.made, got.kept, got.broken, got.unknown) == (4, 2, 1, 1)
    assert (got.deadlines, got.deadlines_met, got.deadlines_missed, got.deadlines_unknown) == (
        8, 2, 2, 4,
    )  # fmt: skip


def test_a_promise_is_about_the_first_run():
    """Requeued, by preemption as by hand, a job is a new submission, later than any promise."""
    promise = Decision(
        cluster="c", job_id=1, decided_utc=NOW, mode="enforce", action="defer",
        latest_utc=NOW + HOUR,
    )  # fmt: skip
    first = job(1, eligible_utc=NOW + HOUR, state="REQUEUED")
    then = job(1, submit_utc=NOW + HOUR / 2, eligible_utc=NOW + 6 * HOUR, restarts=1)
    # Within the minute that a submission may be ahead of its decision.
    soon = job(1, submit_h=0.01, eligible_utc=NOW + 6 * HOUR, restarts=1)
    for runs, kept in ([first, then], 1), ([then], 0), ([first, soon], 1):
        got = report(runs, signal(1, 1, 1), decisions=[promise]).promises
        assert (got.made, got.kept, got.broken, got.unknown) == (1, kept, 0, 1 - kept)


def test_who_puts_a_job_off_by_hand_breaks_no_promise_of_ours():
    promise = Decision(
        cluster="c", job_id=1, decided_utc=NOW, mode="enforce", action="defer",
        latest_utc=NOW + HOUR,
    )  # fmt: skip
    # Where the job's record is lost an eligible time of ours passes for the user's: it was kept.
    for eligible_h, kept in (6, 0), (1, 1):
        begin = NOW + eligible_h * HOUR
        one = job(1, eligible_utc=begin, asked_begin_utc=begin)
        got = report([one], signal(1, 1, 1), decisions=[promise]).promises
        assert (got.made, got.kept, got.broken, got.unknown) == (1, kept, 0, 1 - kept)


def test_shadow_decisions_promise_nothing():
    """What was only recorded was not promised."""
    shadow = Decision(
        cluster="c", job_id=1, decided_utc=NOW, mode="shadow", action="defer", latest_utc=NOW
    )
    assert report([job(1)], signal(1, 1), decisions=[shadow]).promises.made == 0


def test_report_as_json():
    """No NaN, and the receipts can be left out."""
    got = report([job(1, start_h=1, ours=True)], signal(2, 1))
    row = report_row(got)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert len(row["receipts"]) == 1
    assert "receipts" not in report_row(got, receipts=False)


def test_time_scaled_site():
    """The site's figure is scaled as the receipts are."""
    second = timedelta(seconds=1)
    one = job(1, ours=True, start_utc=NOW + 10 * second, end_utc=NOW + 15 * second)
    series = Series(
        start_utc=NOW, step_s=5.0, values=np.array([300.0, 200.0, 100.0]), issued_utc=NOW,
        provider="t", time_scale=720.0,
    )  # fmt: skip
    got = report([one], series)
    assert (got.time_scale, got.receipts_saved_g) == (720.0, pytest.approx(400))
    assert (got.site.receipts_g, got.site.saved_g) == pytest.approx((400, 360))
    # Of the trace's time: two GPUs run for an hour and wait for two.
    assert got.site.energy_j == pytest.approx(2 * (1000 + 2 * 100) * 3600)
