# SPDX-License-Identifier: Apache-2.0
"""A job's energy from what its nodes' counters told, and when it is not known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.ledger.energy import with_counters
from slurm_green.ledger.entries import JobFacts, NodeEnergy, Query, lookup_in
from slurm_green.ledger.receipt import make_receipt, with_receipt
from slurm_green.ledger.store import Store
from slurm_green.plan.power import PowerModel
from slurm_green.signals.series import Series

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
# Beside the boards 50 W per GPU and 5 W per core: 60 W with PUE.
POWER = PowerModel(gpu_w=450, gpu_share_w=50, cpu_core_w=5, pue=1.2)
JOB = JobFacts(
    cluster="c", job_id=1, submit_utc=NOW, start_utc=NOW, end_utc=NOW + HOUR, gpus=2, cpus=4,
    nodes=2,
)  # fmt: skip
REST_J = 1.2 * (2 * 50 + 4 * 5) * 3600


def told(node: str = "n1", **fields: object) -> NodeEnergy:
    given_ = {
        "cluster": "c", "node": node, "name": f"{node}.json", "job_id": 1, "begin_utc": NOW,
        "end_utc": NOW + HOUR, "gpus": 1, "energy_j": 1e6, "source": "nvml-counter",
    }  # fmt: skip
    return NodeEnergy(**(given_ | fields))  # type: ignore[arg-type]


def test_nodes_are_summed_and_the_rest_of_them_is_modelled() -> None:
    facts = with_counters(JOB, [told("n1"), told("n2", energy_j=2e6)], POWER)
    assert (facts.energy_j, facts.energy_source) == (pytest.approx(1.2 * 3e6 + REST_J), "measured")
    receipt = make_receipt(facts, lookup_in(None), POWER)
    assert (receipt.energy_j, receipt.energy_source) == (facts.energy_j, "measured")
    assert any("counters" in note for note in receipt.notes)


def test_all_that_a_node_told_of_a_run_counts() -> None:
    energies = [told("n1", name="a", energy_j=5e5), told("n1"), told("n2", energy_j=2e6)]
    assert with_counters(JOB, energies, POWER).energy_j == pytest.approx(1.2 * 3.5e6 + REST_J)


@pytest.mark.parametrize(
    ("energies", "note"),
    [
        ([], ""),
        ([told("n1")], "1 of 2 nodes told"),
        ([told("n1"), told("n2", energy_j=None, why="reset")], "n2: reset"),
        ([told("n1"), told("n2", source="guess")], "source guess, nvml-counter"),
        # Its prolog came twice: what it used until then nobody told.
        (
            [told("n1", name="a", energy_j=None, why="no epilog"), told("n1"), told("n2")],
            "n1: no epilog",
        ),
        ([told("n1", name="a"), told("n1")], "1 of 2 nodes told"),
        # Another run's.
        ([told("n1", begin_utc=NOW - 3 * HOUR, end_utc=NOW - 2 * HOUR)], ""),
    ],
)
def test_unknown_stays_unknown(energies: list[NodeEnergy], note: str) -> None:
    facts = with_counters(replace(JOB, energy_j=5.0, energy_source="measured"), energies, POWER)
    assert (facts.energy_j, facts.energy_source, facts.energy_note) == (None, "", note)
    receipt = make_receipt(facts, lookup_in(None), POWER)
    assert receipt.energy_source == "modelled"
    assert any(note in one for one in receipt.notes) or not note


@pytest.mark.parametrize(
    ("begin_s", "end_s", "known"),
    [(-9, 1, True), (-12, 0, False), (0, 12, True), (0, 16, False), (-60, 62, True)],
)
def test_what_its_prolog_and_epilog_saw_is_its_own_within_seconds(
    begin_s: float, end_s: float, known: bool
) -> None:
    """By the middle of it: a run of two seconds, of which one node's GPU drew nothing."""
    job = replace(JOB, end_utc=NOW + timedelta(seconds=2))
    seen = {
        "begin_utc": NOW + timedelta(seconds=begin_s), "end_utc": NOW + timedelta(seconds=end_s),
    }  # fmt: skip
    both = [told("n1", energy_j=0.0, **seen), told("n2", energy_j=50.0, **seen)]
    wanted = pytest.approx(1.2 * 50 + REST_J * 2 / 3600) if known else None
    assert with_counters(job, both, POWER).energy_j == wanted


@given(st.lists(st.sampled_from(["nvml-counter", "amdsmi-counter", "emulated"]), min_size=1))
def test_what_one_emulated_gpu_is_in_is_not_measured(sources: list[str]) -> None:
    energies = [told(f"n{i}", source=source) for i, source in enumerate(sources)]
    facts = with_counters(replace(JOB, nodes=len(sources)), energies, POWER)
    assert facts.energy_source == ("emulated" if "emulated" in sources else "measured")


def test_a_job_that_ran_before_or_runs_still_has_none() -> None:
    both = [told("n1"), told("n2")]
    for job in (
        replace(JOB, end_utc=None),
        replace(JOB, start_utc=None, end_utc=None),
        replace(JOB, earlier_runs=((NOW - HOUR, NOW),)),
    ):
        assert with_counters(job, both, POWER).energy_j is None


def test_a_node_that_tells_late_makes_the_row_anew() -> None:
    """Whatever was said of the job before: why nothing was known, or in which time scale."""
    first = with_counters(JOB, [told("n1")], POWER)
    assert first.energy_note == "1 of 2 nodes told"
    trace = Series(
        start_utc=NOW, step_s=HOUR.total_seconds(), values=np.array([100.0]), issued_utc=NOW,
        provider="t", time_scale=720.0,
    )  # fmt: skip
    row = with_receipt(first, make_receipt(first, lookup_in(trace), POWER))
    assert row.time_scale == 720.0
    both = [told("n1"), told("n2", energy_j=2e6)]
    anew = with_counters(row, both, POWER)
    assert (anew.energy_note, anew.time_scale) == ("", None)
    receipt = make_receipt(anew, lookup_in(trace), POWER)
    assert receipt.energy_j == pytest.approx(720 * (1.2 * 3e6 + REST_J))


def test_the_ledger_keeps_them_once(tmp_path: Path) -> None:
    with Store(tmp_path / "ledger.sqlite") as store:
        store.add([told("n1"), told("n2", energy_j=None, why="lost"), told("n1")])
        store.add([told("n1")])
        found = sorted(store.energies(), key=lambda one: one.node)
        assert found == [told("n1"), told("n2", energy_j=None, why="lost")]
        assert store.energies(Query(job_id=2)) == []
        # Whose a job is, nodes do not tell.
        assert len(store.energies(Query(user="ann", account="ml", partition="gpu"))) == 2
        facts = with_counters(JOB, store.energies(Query(cluster="c", job_id=1)), POWER)
        store.add([with_receipt(facts, make_receipt(facts, lookup_in(None), POWER))])
        assert store.jobs()[0].energy_note == "n2: lost"
        assert store.prune(NOW + 2 * HOUR) == 3
