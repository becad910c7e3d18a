# SPDX-License-Identifier: Apache-2.0
"""What becomes of a sacct export: real ones of three versions, and everything that goes wrong."""

import gzip
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slurm_green.errors import BadInputError
from slurm_green.ledger.store import Store
from slurm_green.plan.files import read_problem
from slurm_green.replay.classes import Speed, Watts
from slurm_green.replay.sacct import SacctTrace, from_sacct, make_trace
from slurm_green.replay.sacct_assumed import Assumed
from slurm_green.replay.sacct_json import json_rows
from slurm_green.replay.sacct_read import read_sacct
from slurm_green.replay.sacct_rows import BadRow, Export, SacctRow
from slurm_green.replay.sacct_signal import plain_signal, site_signal
from slurm_green.replay.sacct_site import write_history
from slurm_green.signals.series import Series

CAPTURES = Path(__file__).parents[1] / "slurm" / "captures"
VERSIONS = ("22.05", "24.11", "26.05")
HOUR = 3600.0
DAY = 86_400.0
HEADER = "JobID|Submit|Eligible|Start|End|ElapsedRaw|State|Timelimit|AllocTRES|Partition|Comment"
T0 = 1_790_000_000


def line(
    job_id="7",
    *,
    submit=T0,
    wait=0,
    ran=600,
    state="COMPLETED",
    limit="01:00:00",
    tres="cpu=4,gres/gpu=2",
    partition="main",
    comment="",
    end=None,
):
    start = submit + wait
    cells = (
        job_id, submit, submit, start, start + ran if end is None else end, ran, state, limit, tres,
        partition, comment,
    )  # fmt: skip
    return "|".join(map(str, cells))


def export(tmp_path, *lines, header=HEADER):
    path = tmp_path / "export.txt"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def reasons(found):
    return {one.reason.split(":")[0]: one.rows for one in found.left_out}


def test_what_means_nothing_in_16_bits_is_a_number_in_json(tmp_path):
    """A run of 65,535 s is no run of unknown length."""
    document = json.loads((CAPTURES / "22.05" / "sacct_export.json").read_text())
    for job in document["jobs"]:
        job["time"] |= {"elapsed": 65535, "limit": 65534}
    path = tmp_path / "export.json"

    rows = list(json_rows(path, json.dumps(document)))

    assert {row.elapsed_s for row in rows} == {65535.0}
    assert {row.limit_s for row in rows} == {65534 * 60.0}


@pytest.mark.parametrize("version", VERSIONS)
def test_real_exports_are_read_alike_as_text_and_json(version: str) -> None:
    """The same jobs, whichever way Slurm wrote them."""
    folder = CAPTURES / version
    found = [from_sacct(folder / f"sacct_export{name}") for name in (".txt", "_epoch.txt", ".json")]

    jobs = [{job.job_id: job for job in one.trace.jobs} for one in found]
    assert jobs[0] == jobs[1]
    # Of two runs of a requeued job either may come first in the list.
    assert jobs[1].keys() == jobs[2].keys()
    assert {job.work for job in jobs[1].values()} == {job.work for job in jobs[2].values()}
    assert {"3_0", "3_1", "3_2", "9+", "11", "11#2", "12"} <= jobs[0].keys()
    assert {one.rows for one in found} == {15}
    for one in found:
        assert one.rows == len(one.trace.jobs) + 1 + sum(out.rows for out in one.left_out)
        assert reasons(one)["still running when exported"] == 1
        assert reasons(one)["ended before they started"] == 1
        assert reasons(one)["without GPUs on a site with GPUs"] == 1
        assert one.trace.gpus == 8
        assert {shape.class_name for shape in one.trace.shapes} == {"gpu-1", "gpu-2"}
    assert jobs[0]["2"].work == DAY
    # A year is how slurmctld writes no limit.
    assert jobs[0]["5"].work == DAY
    # Its comment says green:max-delay=8h.
    assert jobs[0]["12"].deadline_s == jobs[0]["12"].earliest_s + 300 + 8 * HOUR


def test_jobs_get_their_limits_and_slack(tmp_path: Path) -> None:
    """Work by the limit, what it took, and the deadline that follows."""
    path = export(
        tmp_path,
        line("1", wait=100),
        line("2", partition="long", ran=4000),
        line("3", comment="x green:off"),
        line("4", limit="UNLIMITED"),
        line("5", limit="Partition_Limit", ran=9000),
    )
    assumed = Assumed(slack_s=2 * HOUR, slack_by_partition_s={"long": DAY})

    one, two, three, four, five = from_sacct(path, assumed).trace.jobs

    assert (one.work, one.actual_work, one.earliest_s) == (HOUR, 600, T0)
    assert one.deadline_s == T0 + 3 * HOUR
    # It overran its limit; what it took counts.
    assert (two.work, two.deadline_s) == (4000, T0 + 4000 + DAY)
    assert three.deadline_s == T0 + HOUR
    assert (four.work, five.work) == (HOUR, 9000)


@pytest.mark.parametrize(
    ("partition", "tres", "words"),
    [
        ("long", "cpu=8,gres/gpu=2,gres/gpu:H100=2", ("there are long.", "there are h100.")),
        ("", "cpu=8,gres/gpu=2", ("names no partition.", "names no GPU type.")),
    ],
)
def test_a_partition_or_type_that_no_job_has_is_said(
    tmp_path: Path, partition: str, tres: str, words: tuple[str, str]
) -> None:
    """Mistyped, its slack and watts would change nothing unseen."""
    path = export(tmp_path, line("1", partition=partition, tres=tres))
    slack_s = dict.fromkeys(("lnog", partition), DAY)
    given = frozenset({"h10", "h100"} if partition else {"h10"})

    notes = from_sacct(path, Assumed(slack_by_partition_s=slack_s, given_types=given)).trace.notes

    told = [note for note in notes if "changed nothing" in note]
    assert [note.split(",")[0] for note in told] == [
        "No job is of partition lnog",
        "No job is of GPU type h10",
    ]
    assert all(note.endswith(end) for note, end in zip(told, words, strict=True))


def test_what_is_no_job_is_counted_with_its_line(tmp_path: Path) -> None:
    """By reason, with the GPU-hours that go missing."""
    path = export(
        tmp_path,
        line("1"),
        line("1.batch"),
        line("2", end="Unknown", state="RUNNING", ran=7200),
        line("3", ran=0, state="FAILED"),
        line("4", tres="cpu=8"),
        f"5|{T0}|{T0}|Unknown|{T0 + 5}|0|CANCELLED by 7|01:00:00||main|",
        line("5", ran=0, state="CANCELLED by 7", tres=""),
        f"6_[1-9]|{T0}|{T0}|Unknown|Unknown|0|PENDING|01:00:00||main|",
        line("7", state="REVOKED"),
        line("8") + "|more",
        "9|one",
        line("10", limit="soon"),
    )

    found = from_sacct(path)

    assert [job.job_id for job in found.trace.jobs] == ["1"]
    assert {one.reason.split(":")[0]: one.first for one in found.left_out} == {
        "steps, not jobs": (3,),
        "still running when exported": (4,),
        "ran for less than a second": (5,),
        "without GPUs on a site with GPUs": (6,),
        "ended before they started": (7, 8),
        "not started yet": (9,),
        "of another cluster of the federation (REVOKED)": (10,),
        "more fields than the header": (11,),
        "fewer fields than the header": (12,),
        "a time, duration or count that Slurm does not write": (13,),
    }
    (running,) = (one for one in found.left_out if "running" in one.reason)
    assert running.gpu_hours == pytest.approx(4)
    # The running job holds its GPUs beside the first one.
    assert found.trace.gpus == 4


def test_exports_joined_tell_a_run_once(tmp_path: Path) -> None:
    """What ran across the border of two months is in both, in the first one unfinished."""
    across = line("2", state="RUNNING", end="Unknown")
    path = export(tmp_path, line("1"), across, line("1"), line("2", ran=900), line("1", wait=7000))

    found = from_sacct(path)

    assert [job.job_id for job in found.trace.jobs] == ["1", "2", "1#2"]
    assert found.trace.gpus == 4
    assert reasons(found) == {"told twice": 2}
    again = from_sacct(export(tmp_path, line("2", ran=900), across, line("1")))
    assert [job.job_id for job in again.trace.jobs] == ["2", "1"], "the older export last"


@pytest.mark.parametrize(("limit", "gpus"), [("01:00:00", 4), ("02:00:00", 6), ("UNLIMITED", 6)])
def test_a_job_whose_end_accounting_lost_makes_no_site_larger(
    tmp_path: Path, limit: str, gpus: int
) -> None:
    """It "runs" for ever, such as after slurmctld lost its state; until its limit it may have."""
    lost = line("1", state="RUNNING", end="Unknown", ran=9_000_000, limit=limit)
    later = [line(name, submit=T0 + 4000) for name in "23"]

    assert from_sacct(export(tmp_path, lost, *later)).trace.gpus == gpus


def test_local_times_need_their_zone(tmp_path: Path) -> None:
    """The same text is another instant elsewhere, across a change to winter time too."""
    row = (
        "1|2026-10-24T12:00:00|2026-10-24T12:00:00|2026-10-25T12:00:00|2026-10-25T13:00:00|3600|"
        "COMPLETED|02:00:00|gres/gpu=1|main|"
    )
    path = export(tmp_path, row)

    utc = from_sacct(path).trace.jobs[0]
    berlin = from_sacct(path, Assumed(zone=ZoneInfo("Europe/Berlin"))).trace.jobs[0]

    assert utc.earliest_s == datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp()
    assert berlin.earliest_s == utc.earliest_s - 2 * HOUR
    spaced = export(tmp_path, row.replace("T1", " 1"))  # by SLURM_TIME_FORMAT='%F %T'
    again = from_sacct(spaced, Assumed(zone=ZoneInfo("Europe/Berlin"))).trace.jobs[0]
    assert (again.submit_s, again.earliest_s) == (berlin.submit_s, berlin.earliest_s)
    path = export(tmp_path, row)
    rows = read_sacct(path, ZoneInfo("Europe/Berlin")).rows
    assert isinstance(rows[0], SacctRow)
    assert rows[0].start_s == datetime(2026, 10, 25, 11, tzinfo=UTC).timestamp()


def test_a_site_without_gpus_counts_cores(tmp_path: Path) -> None:
    """Its classes are of cores, and nothing draws power when idle."""
    path = export(tmp_path, line("1", tres="cpu=16"), line("2", tres="cpu=4", wait=5))

    trace = from_sacct(path, Assumed(watts=Watts(cpu_core_w=3.0, pue=1.5))).trace

    assert (trace.unit, trace.gpus, trace.idle_w) == ("core", 20, 0.0)
    assert {(one.class_name, one.workers, one.power_w) for one in trace.shapes} == {
        ("core-16", 16, 72.0),
        ("core-4", 4, 18.0),
    }


def test_power_is_what_a_job_adds(tmp_path: Path) -> None:
    """By type where it is known; with a profile a shape for each clock."""
    path = export(
        tmp_path,
        line("1", tres="cpu=8,gres/gpu=2,gres/gpu:H100=2"),
        line("2", tres="cpu=8,gres/gpu=1"),
    )
    watts = Watts(gpu_w=300, gpu_idle_w=100, gpu_share_w=50, cpu_core_w=5, by_type={"h100": 600})

    by_class = {one.class_name: one for one in from_sacct(path, Assumed(watts=watts)).trace.shapes}
    assert by_class["h100-2"].power_w == 2 * 500 + 40
    assert by_class["gpu-1"].power_w == 200 + 40
    speeds = (Speed(clock_mhz=900, rate=0.7, gpu_w=200), Speed(clock_mhz=1400, rate=1, gpu_w=400))
    shapes = from_sacct(path, Assumed(watts=watts, speeds=speeds)).trace.shapes
    assert [(one.clock_mhz, one.rate, one.power_w) for one in shapes][:2] == [
        (900, 0.7, 150 + 40),
        (1400, 1, 350 + 40),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("JobID|Start|End|State|Timelimit|AllocTRES\n", "line 1: no column Submit"),
        (f"{HEADER}\n", "no job in it can be replayed: it has no rows"),
        (f"{HEADER}\n{line('1.0')}\n", "1 steps, not jobs"),
        ('{"jobs": [', "not JSON"),
        ('{"jobs": ' + 9999 * "[", "not JSON"),
        ('{"steps": []}', "no list `jobs`"),
        ('{"jobs": [{"time": 3}, 4]}', "2 not a job as sacct --json writes it"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, text: str, words: str) -> None:
    """One line that names the file."""
    path = tmp_path / "export"
    path.write_text(text)
    with pytest.raises(BadInputError, match=words) as error:
        from_sacct(path)
    assert str(path) in str(error.value)


def test_two_clusters_are_two_sites(tmp_path: Path) -> None:
    """Their GPUs are not one pool."""
    path = export(tmp_path, f"{line('1')}|a", f"{line('2')}|b", header=f"{HEADER}|Cluster")
    with pytest.raises(BadInputError, match="2 clusters \\(a, b\\)"):
        from_sacct(path)


ROWS = st.builds(
    SacctRow,
    at=st.integers(2, 999),
    job_id=st.sampled_from(["1", "1", "2_3", "4+0", "4+1", "5.batch", "6_[1-4]"]),
    state=st.sampled_from(["COMPLETED", "RUNNING", "PENDING", "REQUEUED", "REVOKED", "TIMEOUT"]),
    submit_s=st.none() | st.floats(1e9, 1e9 + 1e6),
    eligible_s=st.none() | st.floats(1e9, 1e9 + 1e6),
    start_s=st.none() | st.floats(1e9, 1e9 + 1e6),
    end_s=st.none() | st.floats(1e9, 1e9 + 1e6),
    elapsed_s=st.none() | st.floats(0, 1e6),
    limit_s=st.none() | st.floats(60, 1e8),
    gpus=st.integers(0, 8),
    cores=st.integers(1, 64),
)


SET_BACK = SacctRow(
    at=2, job_id="1", state="COMPLETED", submit_s=1e9, start_s=1e9, end_s=1e9, elapsed_s=1.0
)


@settings(max_examples=100, deadline=None)
@example([SET_BACK])
@example([replace(SET_BACK, elapsed_s=1e-9)])
@given(st.lists(ROWS | st.builds(BadRow, st.integers(2, 999), st.just("bad")), max_size=20))
def test_no_row_vanishes(rows: list[SacctRow | BadRow]) -> None:
    """Each is a job, a part of one, or counted; jobs are such that a replay accepts them."""
    found: SacctTrace = make_trace(Export(rows=tuple(rows)), Assumed())

    jobs = found.trace.jobs
    out = sum(one.rows for one in found.left_out)
    parts = sum("+" in row.job_id for row in rows if isinstance(row, SacctRow))
    assert len(rows) - parts <= len(jobs) + out + sum("+" in job.job_id for job in jobs)
    assert len(jobs) + out <= len(rows)
    assert len({job.job_id for job in jobs}) == len(jobs)
    names = {shape.class_name for shape in found.trace.shapes}
    for job in jobs:
        assert 0 < job.actual_work <= job.work
        assert job.submit_s <= job.earliest_s < job.deadline_s
        assert job.class_name in names
    assert max((one.workers for one in found.trace.shapes), default=0) <= found.trace.gpus


def signal(tmp_path, start_s, hours, *, name="signal.csv"):
    path = tmp_path / name
    noise = np.random.default_rng(3).normal(0, 9, (2, hours))
    rows = (
        f"{start_s + HOUR * at:.0f},{300 + noise[0, at]:.3f},{300 + noise[1, at]:.3f}"
        for at in range(hours)
    )
    path.write_text("\n".join(["start_s,carbon_g_per_kwh,renewable_w", *rows]) + "\n")
    return path


@pytest.mark.slow
def test_the_signal_is_cut_to_the_jobs_and_its_past_is_learned_from(tmp_path: Path) -> None:
    """The replay begins with the first job; forecasts rest on what came before it."""
    zero = T0 - T0 % 3600 - 40 * DAY
    found = from_sacct(export(tmp_path, line("1"), line("2", wait=7200)))
    out = tmp_path / "out"
    out.mkdir()

    files = write_history(
        found, signal(tmp_path, zero, 24 * 45), out, issue_every_s=6 * HOUR, gpus=4
    )

    problem = read_problem(files.jobs, files.classes, files.signal, gpus=4)
    assert problem.site.start_s == zero + 40 * DAY
    assert problem.site.horizon_s == 27 * HOUR - HOUR
    assert files.forecast is not None
    issued = [float(row.split(",")[0]) for row in files.forecast.read_text().split("\n")[1:-1]]
    assert min(issued) < problem.site.start_s
    assert files.notes == ()


def test_without_a_past_nobody_forecasts(tmp_path: Path) -> None:
    """And it is said."""
    found = from_sacct(export(tmp_path, line("1")))
    out = tmp_path / "out"
    out.mkdir()
    path = signal(tmp_path, T0 - T0 % 3600, 4)

    files = write_history(found, path, out, issue_every_s=6 * HOUR, gpus=2)

    assert files.forecast is None
    assert [words for words in files.notes if "less than four weeks" in words]
    assert [words for words in files.notes if words.startswith("1 jobs have deadlines after")]


def test_a_signal_may_come_through_a_pipe(tmp_path: Path) -> None:
    """`--signal <(xz -dc signal.csv.xz)`: it can be read but once."""
    found = from_sacct(export(tmp_path, line("1")))
    path = signal(tmp_path, T0 - T0 % 3600, 4)
    out, there = os.pipe()
    with os.fdopen(there, "wb") as file:
        file.write(path.read_bytes())

    with os.fdopen(out, "rb"):
        files = write_history(
            found, Path(f"/dev/fd/{out}"), tmp_path, issue_every_s=6 * HOUR, gpus=2
        )

    assert read_problem(files.jobs, files.classes, files.signal, gpus=2).site.slots == 4


def test_a_signal_of_another_time_is_refused(tmp_path: Path) -> None:
    """With both spans, so that one can see what is missing."""
    found = from_sacct(export(tmp_path, line("1")))
    for path in (
        signal(tmp_path, 0, 24, name="undated.csv"),
        signal(tmp_path, T0 + DAY, 24, name="later.csv"),
    ):
        with pytest.raises(BadInputError, match=r"the jobs need 2026-09-21 14:13 to .* UTC"):
            write_history(found, path, tmp_path, issue_every_s=6 * HOUR, gpus=2)


def test_a_dated_history_is_a_signal_too(tmp_path: Path) -> None:
    """Packed, in UTC, with a short gap; a long one is refused."""
    path = tmp_path / "zone.csv.gz"
    rows = ["2026-09-21 00:00:00,100,5", "2026-09-21 01:00:00,,5", "2026-09-21 02:00:00,300,6"]
    columns = "start_utc,carbon_g_per_kwh,renewable_w,base_power_w,price_per_kwh"
    with gzip.open(path, "wt") as file:
        file.write("\n".join([columns, *(f"{row},70,-0.5" for row in rows)]) + "\n")

    found, notes = plain_signal(path, tmp_path)

    zero = datetime(2026, 9, 21, tzinfo=UTC).timestamp()
    lines = [list(map(float, row.split(","))) for row in found.read_text().split("\n")[1:-1]]
    amounts = [[100, 5, 70, -0.5], [200, 5, 70, -0.5], [300, 6, 70, -0.5]]
    assert lines == [[zero + at * HOUR, *row] for at, row in enumerate(amounts)]
    assert notes == ("1 steps without carbon_g_per_kwh are filled in a straight line.",)
    with gzip.open(path, "wt") as file:
        file.write(f"start_utc,carbon_g_per_kwh\n{rows[0][:-2]}\n2026-09-21 09:00:00,3\n")
        file.write("2026-09-21 10:00:00,3\n")
    with pytest.raises(BadInputError, match="8 h are missing from 2026-09-21 01:00 UTC on"):
        plain_signal(path, tmp_path)
    plain = signal(tmp_path, 0, 3)
    assert plain_signal(plain, tmp_path) == (plain, ())
    dated = tmp_path / "dated.csv"
    priceless = "\n".join(f"2026-09-21 0{hour}:00:00,100," for hour in range(9))
    dated.write_text(f"start_utc,carbon_g_per_kwh,price_per_kwh\n{priceless}0.1\n")
    with pytest.raises(BadInputError, match="8 h are missing from 2026-09-21 00:00 UTC on"):
        plain_signal(dated, tmp_path)
    dated.write_text(f"start_utc,carbon_g_per_kwh,price_per_kwh\n{priceless}\n")
    assert plain_signal(dated, tmp_path)[0].read_text().startswith("start_s,carbon_g_per_kwh\n")


def test_of_several_gaps_the_first_long_one_is_told(tmp_path: Path) -> None:
    """Its own length, and when it begins: rows that are not there have no number."""
    path = tmp_path / "zone.csv"
    hours = ("21 00", "21 01", "21 05", "21 06", "21 14", "22 01")
    rows = "".join(f"2026-09-{hour}:00:00,100\n" for hour in hours)
    path.write_text(f"start_utc,carbon_g_per_kwh\n{rows}")

    with pytest.raises(BadInputError, match="7 h are missing from 2026-09-21 07:00 UTC on"):
        plain_signal(path, tmp_path)


def test_the_ledgers_own_signal(tmp_path: Path) -> None:
    """What sgreend was told of that time; not where it does not know all of it."""
    first = datetime(2026, 9, 21, tzinfo=UTC)
    series = Series(
        start_utc=first,
        step_s=HOUR,
        values=np.array([10.0, 20, 30, 40]),
        issued_utc=first,
        provider="neso",
    )
    with Store(tmp_path / "ledger.db") as store:
        store.add_signal(series)
        zero = first.timestamp()
        path, notes = site_signal(store, zero + 3700, zero + 9000, tmp_path)
        assert path.read_text() == (
            f"start_s,carbon_g_per_kwh\n{zero + HOUR:.0f},20\n{zero + 2 * HOUR:.0f},30\n"
        )
        assert notes == ("The signal is what neso told sgreend, average.",)
        with pytest.raises(BadInputError, match="does not know the signal of all of"):
            site_signal(store, zero - 10, zero + 9000, tmp_path)
