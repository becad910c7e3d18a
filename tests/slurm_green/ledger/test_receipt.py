# SPDX-License-Identifier: Apache-2.0
"""Receipts: energy, carbon and what is unknown."""

import csv
import io
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import builders
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.config.policy import PartitionOverrides
from slurm_green.config.settings import Config
from slurm_green.hook.decide import decide
from slurm_green.ledger.energy import modelled_energy_j, runs_of
from slurm_green.ledger.entries import JobFacts, lookup_in
from slurm_green.ledger.export import receipt_row, write_receipts_csv
from slurm_green.ledger.receipt import Receipt, make_receipt, with_receipt
from slurm_green.plan.power import PowerModel
from slurm_green.signals.series import Series

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
# 1 GPU of 1000 W and nothing else, so that an hour is one kWh.
KILOWATT = PowerModel(gpu_w=1000.0, cpu_core_w=0.0)
JOB = JobFacts(
    cluster="c", job_id=1, submit_utc=NOW, start_utc=NOW + 2 * HOUR, end_utc=NOW + 3 * HOUR,
    gpus=1, mode="enforce", action="defer", state="COMPLETED",
)  # fmt: skip


def signal(*values, start_utc=NOW, **more):
    return Series(
        start_utc=start_utc,
        step_s=3600.0,
        values=np.array(values, dtype=float),
        issued_utc=NOW,
        **{"provider": "neso", "scope": "direct", **more},
    )


def receipt(job=JOB, series=None, power=KILOWATT):
    given = signal(300, 200, 100) if series is None else series
    return make_receipt(job, lookup_in(given), power)


def test_saved_against_start_now():
    """One kWh at 100 g instead of 300 g."""
    got = receipt()
    assert (got.energy_j, got.carbon_g, got.carbon_now_g) == pytest.approx((3.6e6, 100, 300))
    assert (got.saved_g, got.saved_percent) == pytest.approx((200, 200 / 3))
    assert (got.energy_source, got.basis, got.scope) == ("modelled", "average", "direct")
    assert (got.ours, got.notes) == (True, ())
    assert "submitted" in got.counterfactual


def test_a_loss_is_shown():
    """A job moved to a dirtier hour has a negative saving, not zero."""
    assert receipt(series=signal(100, 200, 300)).saved_g == pytest.approx(-200)


def test_the_users_own_begin_is_not_our_saving():
    """A job that asked to start later is compared with that start."""
    got = receipt(replace(JOB, asked_begin_utc=NOW + HOUR))
    assert (got.now_utc, got.carbon_now_g) == (NOW + HOUR, pytest.approx(200))


@pytest.mark.parametrize(
    ("series", "carbon", "now", "words"),
    [
        (signal(300, 200), None, 300, "time it ran"),
        (signal(100, start_utc=NOW + 2 * HOUR), 100, None, "at once"),
        (signal(1, start_utc=NOW + 9 * HOUR), None, None, "time it ran"),
    ],
)
def test_unknown_is_none(series, carbon, now, words):
    """Where the signal does not reach there is no figure but a reason; energy is still known."""
    got = receipt(series=series)
    assert (got.carbon_g, got.carbon_now_g) == (carbon, now)
    assert (got.saved_g, got.saved_percent, got.energy_j) == (None, None, 3.6e6)
    assert (got.provider is None) == (carbon is None and now is None)
    assert words in "; ".join(got.notes)


def test_running_and_never_ran():
    """A running job has no figure yet; one that never ran emitted nothing and saved nothing."""
    running = receipt(replace(JOB, end_utc=None))
    assert (running.energy_j, running.carbon_g, running.notes) == (None, None, ("still running",))
    never = receipt(replace(JOB, start_utc=None, end_utc=NOW, state="CANCELLED"))
    assert (never.energy_j, never.carbon_g, never.saved_g) == (0.0, 0.0, None)
    assert never.notes == ("never ran",)


def test_earlier_runs_count():
    """A preempted hour was used; the counterfactual moves all runs by the same time."""
    job = replace(JOB, restarts=1, earlier_runs=((NOW + HOUR, NOW + 2 * HOUR),), submit_utc=NOW)
    got = receipt(job, signal(300, 200, 100, 50))
    assert (got.energy_j, got.carbon_g, got.carbon_now_g) == pytest.approx((7.2e6, 300, 500))
    assert got.notes == ()


def test_runs_that_are_not_known_are_said():
    """Slurm's restarts without their times are not silently forgotten."""
    for restarts in (1, 2):
        notes = receipt(replace(JOB, restarts=restarts)).notes
        assert notes == (f"{restarts} earlier run(s) not in this receipt",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"mode": "shadow"}, "shadow mode"), ({"action": "pass"}, "not deferred by us")],
)
def test_what_is_not_ours_is_said(changes, words):
    """A difference that the queue made is not claimed."""
    got = receipt(replace(JOB, **changes))
    assert not got.ours
    assert words in got.notes[0]


def test_time_scaled():
    """In a demo at 720 five seconds are an hour of the trace, and the receipt says so."""
    second = timedelta(seconds=1)
    job = replace(JOB, start_utc=NOW + 10 * second, end_utc=NOW + 15 * second)
    series = replace(signal(300, 200, 100), step_s=5.0, time_scale=720.0)
    got = receipt(job, series)
    assert (got.energy_j, got.carbon_g, got.saved_g) == pytest.approx((3.6e6, 100, 200))
    assert got.time_scale == 720
    assert "time-scaled x720" in got.notes[0]


def test_measured_energy_is_used_and_stable():
    """A measured figure wins over the model, also when the row has its receipt already."""
    job = replace(JOB, energy_j=7.2e6, energy_source="measured")
    got = receipt(job)
    assert (got.energy_j, got.energy_source, got.power_w) == (7.2e6, "measured", 2000.0)
    again = receipt(with_receipt(job, got))
    assert (again.energy_j, again.saved_g) == (got.energy_j, got.saved_g)


def test_the_row_says_what_its_receipt_says():
    """Reports add up rows: each figure of a receipt that has a column is in it."""
    second = timedelta(seconds=1)
    job = replace(JOB, start_utc=NOW + 10 * second, end_utc=NOW + 15 * second)
    got = receipt(job, replace(signal(300, 200, 100), step_s=5.0, time_scale=720.0))
    row = with_receipt(job, got)
    shared = {one.name for one in fields(Receipt)} & {one.name for one in fields(JobFacts)}
    assert {"energy_j", "power_w", "carbon_now_g", "saved_g", "basis", "time_scale"} <= shared
    assert {one: getattr(row, one) for one in shared} == {one: getattr(got, one) for one in shared}


def test_modelled_energy_is_modelled_anew():
    """A row's own figure is by the power that the site's GPUs were taken for then."""
    job = with_receipt(JOB, receipt(power=PowerModel(gpu_w=500.0, cpu_core_w=0.0)))
    assert (job.energy_j, job.energy_source) == (1.8e6, "modelled")
    assert receipt(job).energy_j == 3.6e6


def test_what_was_counted_on_a_scaled_day_stays_without_its_signal():
    """The row knows its scale: joules of the trace's time do not become real ones."""
    job = replace(JOB, energy_j=7.2e6, energy_source="measured", time_scale=720.0)
    got = receipt(job, signal(1, start_utc=NOW + 99 * HOUR))
    assert (got.energy_j, got.carbon_g, got.time_scale) == (pytest.approx(7.2e6), None, 720.0)
    assert receipt(job).notes[-1] == "the signal changed its time scale"


def test_kinds_do_not_mix():
    """Average then and marginal now give no saving."""
    first, last = signal(300, 300), signal(100, basis="marginal", start_utc=NOW + 2 * HOUR)

    def look(start, end):
        return next((one for one in (first, last) if one.covers(start, end)), None)

    got = make_receipt(JOB, look, KILOWATT)
    assert (got.carbon_g, got.carbon_now_g, got.saved_g) == (pytest.approx(100), None, None)
    assert "changed its kind" in got.notes[-1]
    assert got.basis == "marginal", "of the carbon that is told"
    # Nor do two runs of one job have a mean of both.
    twice = replace(JOB, restarts=1, earlier_runs=((NOW, NOW + HOUR),))
    assert make_receipt(twice, look, KILOWATT).carbon_g is None


@pytest.mark.parametrize("back_s", [0, 30])
def test_zero_length_run(back_s):
    """A job that failed at once used nothing, and that is known; also if a clock was set back."""
    got = receipt(replace(JOB, end_utc=JOB.start_utc - timedelta(seconds=back_s)))
    assert (got.energy_j, got.carbon_g, got.saved_percent) == (0.0, 0.0, None)


def test_what_was_counted_within_a_second_is_kept():
    """Its start and end are the same second for Slurm."""
    job = replace(JOB, end_utc=JOB.start_utc, energy_j=3.6e5, energy_source="measured")
    got = receipt(job)
    assert (got.energy_j, got.energy_source) == (3.6e5, "measured")
    assert (got.carbon_g, got.carbon_now_g) == pytest.approx((10, 30))
    assert receipt(with_receipt(job, got)) == got


def test_ended_at_the_signals_very_end():
    """The last microsecond belongs to the last step."""
    assert receipt(series=signal(300, 200, 100)).carbon_g == pytest.approx(100)


@pytest.mark.parametrize("asked", ["gpu", "", "gpu,big"])
def test_a_decision_and_the_receipt_of_the_same_run_agree(asked):
    """What was promised to be saved is what the receipt counts, to the last gram."""
    power = load_h100().power_model()
    request = builders.request(partition=asked, gpus=2, cpus=10, nodes=2)
    site = builders.view(power=power)
    made = decide(request, builders.policy(), site, builders.NOW)
    assert made.defer and made.save_g
    ran = replace(
        JOB, submit_utc=builders.NOW, partition="gpu", gpus=2, cpus=10, nodes=2,
        start_utc=made.start_utc,
        end_utc=made.start_utc + timedelta(seconds=made.extent.expected_s),
    )  # fmt: skip
    got = receipt(ran, series=site.signal, power=power)
    assert got.power_w == pytest.approx(1.5 * (2 * (700 * 0.5 + 50) + 10 * 2))
    assert got.power_w == pytest.approx(made.power_w)
    assert got.saved_g == pytest.approx(made.save_g, rel=1e-6)


def load_h100():
    """A site that knows the GPUs of one of its partitions."""
    config = Config()
    power = replace(config.power, gpu_load=0.5, gpu_share_w=50.0, cpu_core_w=2.0, pue=1.5)
    return replace(config, power=power, partition={"gpu": PartitionOverrides(gpu_type="H100")})


def test_energy_of_the_known_runs():
    """Nothing for a job that never ran; every run counts."""
    assert runs_of(replace(JOB, start_utc=None)) == ()
    assert modelled_energy_j(10.0, [(NOW, NOW + HOUR)] * 2) == 72_000.0


@given(st.floats(0, 20), st.floats(0.01, 3), st.lists(st.floats(0, 900), min_size=24, max_size=24))
def test_receipt_is_the_integral(delay_h, length_h, values):
    """Carbon is power times the integral, now and then, wherever the job lies in the steps."""
    start = NOW + delay_h * HOUR
    job = replace(JOB, start_utc=start, end_utc=start + length_h * HOUR)
    got = receipt(job, signal(*values))
    fine = np.arange(0, length_h, 1e-3) + 5e-4
    steps = lambda at: np.array(values)[np.minimum(23, (fine + at).astype(int))]  # noqa: E731
    assert got.carbon_g == pytest.approx(steps(delay_h).mean() * length_h, rel=0.05, abs=3)
    assert got.carbon_now_g == pytest.approx(steps(0).mean() * length_h, rel=0.05, abs=3)
    assert got.saved_g == pytest.approx(got.carbon_now_g - got.carbon_g)


def test_export():
    """JSON keeps null, CSV an empty cell; a job's name cannot become a formula."""
    one = receipt(replace(JOB, name="=cmd|' /C calc'!A0"), signal(1, start_utc=NOW + 9 * HOUR))
    row = receipt_row(one)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert (row["carbon_g"], row["submit_utc"]) == (None, "2026-05-01T00:00:00Z")
    out = io.StringIO()
    write_receipts_csv([one, receipt()], out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert [line["carbon_g"] for line in rows] == ["", "100.0"]
    assert rows[0]["name"].startswith("'=")
    assert "no signal" in rows[0]["notes"]
