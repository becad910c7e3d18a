# SPDX-License-Identifier: Apache-2.0
"""The planner's files: what is read, what is refused and where, and what is written."""

import csv
import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import BadInputError
from slurm_green.plan.files import read_problem, write_schedule
from slurm_green.plan.problem import Problem
from slurm_green.plan.schedule import Schedule

JOBS = """\
job_id,class,work,earliest_s,deadline_s,preemptible
a,big,7200,100,9000,0
b,small,10,,,1
"""
CLASSES = """\
class,workers,gpus_per_worker,clock_mhz,rate,power_w
big,4,2,1400,1.0,3000
small,1,1,900,0.5,200
big,8,2,1400,1.8,6000
"""
SIGNAL = """\
start_s,carbon_g_per_kwh,renewable_w,price_per_kwh,base_power_w
100,400,0,0.1,50
3700,200,500,-0.1,60
7300,300,0,0.2,55
"""
SERVICES = """\
service,clock_mhz,max_rate,power_w,latency_s,idle_power_w,latency_slo_s,weight
chat,900,10,300,0.2,100,0.25,2
chat,1400,20,600,0.1,,,
"""
RATES = "start_s,carbon_g_per_kwh,chat_rate\n0,100,5\n60,100,0\n"

Read = Callable[..., Problem]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read these texts (or bytes) as files; what is not given is the example's."""

    def reader(
        jobs: str | bytes = JOBS,
        classes: str | bytes = CLASSES,
        signal: str | bytes = SIGNAL,
        services: str | bytes | None = None,
        **limits: float,
    ) -> Problem:
        paths = {}
        for name, text in (("J", jobs), ("C", classes), ("S", signal), ("V", services)):
            if text is not None:
                paths[name] = tmp_path / f"{name}.csv"
                paths[name].write_bytes(text if isinstance(text, bytes) else text.encode())
        given: dict[str, float] = {"gpus": 16, **limits}
        return read_problem(paths["J"], paths["C"], paths["S"], services=paths.get("V"), **given)  # type: ignore[arg-type]

    return reader


def test_the_example_is_read_as_the_contract_says(read: Read) -> None:
    problem = read(power_cap_w=9000.0, ramp_w_per_slot=4000.0)
    site, shapes, jobs = problem.site, problem.shapes, problem.jobs
    assert (site.gpus, site.start_s, site.step_s, site.slots) == (16, 100.0, 3600.0, 3)
    assert (site.power_cap_w, site.ramp_w_per_slot) == (9000.0, 4000.0)
    assert site.carbon_g_per_kwh.tolist() == [400, 200, 300]
    assert site.renewable_w.tolist() == [0, 500, 0]
    assert site.base_power_w.tolist() == [50, 60, 55]
    assert site.price_per_kwh is not None
    assert site.price_per_kwh.tolist() == [0.1, -0.1, 0.2]
    assert shapes.class_names == ("big", "small")
    assert shapes.first.tolist() == [0, 2, 3]
    assert shapes.workers.tolist() == [4, 8, 1]
    assert shapes.clock_mhz.tolist() == [1400, 1400, 900]
    assert shapes.gpus.tolist() == [8, 16, 1]
    assert shapes.rate.tolist() == [1.0, 1.8, 0.5]
    assert shapes.power_w.tolist() == [3000, 6000, 200]
    assert jobs.ids == ("a", "b")
    assert jobs.class_index.tolist() == [0, 1]
    assert jobs.work.tolist() == [7200, 10]
    assert jobs.earliest_s.tolist() == [0, 0]
    assert jobs.deadline_s.tolist() == [8900, 10800]
    assert jobs.preemptible.tolist() == [False, True]
    assert problem.services == ()


def test_what_is_optional_may_be_missing(read: Read) -> None:
    problem = read(
        jobs="deadline_s,work,note,class,earliest_s,job_id\n50000,5,x,c,-7,j\n,6,,c,9,k\n",
        classes="class,workers,clock_mhz,rate,power_w\nc,3,0,2,0\n",
        signal="carbon_g_per_kwh,start_s\n0,40\n",
    )
    site = problem.site
    assert (site.start_s, site.step_s, site.horizon_s) == (40.0, 3600.0, 3600.0)
    assert site.price_per_kwh is None
    assert (site.renewable_w.tolist(), site.base_power_w.tolist()) == ([0.0], [0.0])
    assert problem.jobs.earliest_s.tolist() == [0, 0]
    assert problem.jobs.deadline_s.tolist() == [3600, 3600]
    assert problem.jobs.preemptible.tolist() == [False, False]
    assert problem.shapes.gpus.tolist() == [3]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\n\n  \n, ,,\n"),
        lambda text: text.rstrip("\n"),
        lambda text: "\n".join(",".join(f'"{c}"' for c in row.split(",")) for row in text.split()),
        lambda text: text.replace(",", " , ").replace("\n", " , \n"),
    ],
    ids=["crlf", "bom", "blank lines", "no last line end", "quotes", "spaces and surplus commas"],
)
def test_other_ways_to_write_the_same(read: Read, change: Callable[[str], str]) -> None:
    plain, other = read(), read(change(JOBS), change(CLASSES), change(SIGNAL))
    assert [text.strip() for text in other.jobs.ids] == ["a", "b"]
    for part in ("site", "shapes", "jobs"):
        for field in dataclasses.fields(getattr(plain, part)):
            if field.name != "ids":
                expected = getattr(getattr(plain, part), field.name)
                np.testing.assert_array_equal(
                    getattr(getattr(other, part), field.name), expected, field.name
                )


def test_no_jobs_are_an_empty_plan(read: Read, tmp_path: Path) -> None:
    problem = read(jobs=JOBS.splitlines()[0], classes=CLASSES.splitlines()[0])
    assert (len(problem.jobs), problem.shapes.class_names) == (0, ())
    assert problem.fastest_s.tolist() == []
    none = np.empty(0, dtype=np.int64)
    write_schedule(
        tmp_path / "plan.csv",
        Schedule(job=none, shape=none, start_s=np.empty(0), end_s=np.empty(0)),
        problem,
    )
    assert (
        tmp_path / "plan.csv"
    ).read_text() == "job_id,start_s,end_s,workers,clock_mhz,energy_j\n"


def test_steps_rounded_to_a_millisecond_are_uniform(read: Read) -> None:
    rows = "".join(f"{at / 3:.3f},1\n" for at in range(0, 40000, 1000))
    assert read(signal="start_s,carbon_g_per_kwh\n" + rows).site.step_s == pytest.approx(1000 / 3)


def jobs_with(cell: str, column: str) -> str:
    return with_cell(JOBS, cell, column)


def with_cell(text: str, cell: str, column: str, line: int = 3) -> str:
    """The same file with one cell of its third line replaced."""
    rows = [row.split(",") for row in text.splitlines()]
    rows[line - 1][rows[0].index(column)] = cell
    return "\n".join(map(",".join, rows)) + "\n"


@pytest.mark.parametrize(
    ("file", "text", "column", "cells"),
    [
        ("J", JOBS, "work", ["", "x", "nan", "inf", "0", "-1", "1e300", "1e-300", "1;5"]),
        ("J", JOBS, "earliest_s", ["x", "nan", "-inf", "1e300"]),
        ("J", JOBS, "deadline_s", ["x", "nan", "inf", "1e300"]),
        ("J", JOBS, "preemptible", ["2", "yes", "0.5", "-1", "nan"]),
        ("J", JOBS, "job_id", ["", " ", "a"]),
        ("J", JOBS, "class", ["", "none"]),
        ("C", CLASSES, "class", ["", "  "]),
        ("C", CLASSES, "workers", ["", "0", "-1", "1.5", "x", "nan", "inf", "1e300"]),
        ("C", CLASSES, "gpus_per_worker", ["0", "-1", "1.5", "x", "nan", "1e300"]),
        ("C", CLASSES, "clock_mhz", ["", "-1", "1.5", "x", "nan", "1e300"]),
        ("C", CLASSES, "rate", ["", "0", "-1", "x", "nan", "inf", "1e300", "1e-300"]),
        ("C", CLASSES, "power_w", ["", "-1", "x", "nan", "inf", "1e300"]),
        ("S", SIGNAL, "start_s", ["", "x", "nan", "inf", "1e300", "1e14", "100", "99", "3800"]),
        ("S", SIGNAL, "carbon_g_per_kwh", ["", "-1", "x", "nan", "inf", "1e300"]),
        ("S", SIGNAL, "renewable_w", ["-1", "x", "nan", "inf", "1e300"]),
        ("S", SIGNAL, "base_power_w", ["-1", "x", "nan", "inf", "1e300"]),
        ("S", SIGNAL, "price_per_kwh", ["", "x", "nan", "inf", "1e300"]),
        ("V", SERVICES, "service", [""]),
        ("V", SERVICES, "clock_mhz", ["", "x", "-1", "0.5", "900"]),
        ("V", SERVICES, "max_rate", ["", "0", "x", "nan", "inf"]),
        ("V", SERVICES, "power_w", ["", "-1", "x", "nan"]),
        ("V", SERVICES, "latency_s", ["", "0", "x", "nan"]),
        ("V", SERVICES, "idle_power_w", ["-1", "601", "x", "nan"]),
        ("V", SERVICES, "latency_slo_s", ["0", "0.3", "x", "nan"]),
        ("V", SERVICES, "weight", ["-1", "3", "x", "nan"]),
    ],
)
def test_a_bad_cell_is_named(
    read: Read, file: str, text: str, column: str, cells: list[str]
) -> None:
    names = {"J": "jobs", "C": "classes", "S": "signal", "V": "services"}
    texts = {"signal": RATES, "services": SERVICES} if file == "V" else {}
    if file == "C":
        texts["classes"] = text.replace("small", "big")  # no class may go missing beside it
    for cell in cells:
        bad = with_cell(texts.get(names[file], text), cell, column)
        wanted = rf"/{file}\.csv: line 3: column {column}: .+[a-z].*; .+"
        with pytest.raises(BadInputError) as caught:
            read(**{**texts, names[file]: bad})
        assert re.search(wanted, str(caught.value)), (cell, str(caught.value))
        assert "\n" not in str(caught.value)


def test_empty_optional_cells_stand_for_what_is_usual(read: Read) -> None:
    problem = read(
        jobs_with("", "preemptible"),
        with_cell(CLASSES, "", "gpus_per_worker", line=2),
        with_cell(with_cell(SIGNAL, "", "renewable_w"), "", "base_power_w"),
    )
    assert problem.jobs.preemptible.tolist() == [False, False]
    assert problem.shapes.gpus.tolist() == [4, 16, 1]
    assert problem.site.renewable_w.tolist() == [0, 0, 0]
    assert problem.site.base_power_w.tolist() == [50, 0, 55]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ({"jobs": ""}, r"J\.csv: is empty; wanted a header line job_id,class"),
        ({"classes": "\n \n"}, r"C\.csv: is empty"),
        ({"jobs": "job_id,class\na,big\n"}, r"J\.csv: line 1: no column work "),
        ({"jobs": "a,big,7200,100,9000,0\n"}, r"J\.csv: line 1: no column job_id "),
        ({"classes": CLASSES.replace("rate", "speed")}, r"C\.csv: line 1: no column rate "),
        ({"signal": "\n" + SIGNAL.replace("start_s", "t")}, r"S\.csv: line 2: no column start_s "),
        ({"jobs": JOBS.replace("preemptible", "work")}, r"J\.csv: line 1: column work is .*twice"),
        ({"jobs": JOBS + "c,big,5\n"}, r"J\.csv: line 4: column earliest_s: missing: 3 cells"),
        ({"jobs": JOBS + "c,big,1,5,0,9,0\n"}, r"J\.csv: line 4: column 7: 7 cells"),
        ({"classes": CLASSES.splitlines()[0]}, r"J\.csv: line 2: column class: .*C\.csv has no"),
        ({"signal": SIGNAL.splitlines()[0]}, r"S\.csv: has a header but no rows"),
        ({"jobs": JOBS + "c,big,123_4,,,\n"}, r"J\.csv: line 4: column work: '123_4' is no number"),
        (
            {"jobs": JOBS + "c,big,5,0,\u0661\u0660,\n"},
            r"J\.csv: line 4: column deadline_s: '..' is no number",
        ),
        (
            {"signal": "start_s,carbon_g_per_kwh\n0,1\n6e11,1\n"},
            r"spans 1.2e\+12 s; wanted at most",
        ),
        ({"jobs": JOBS.encode() + b"\xff,big,1,,,\n"}, r"J\.csv: line 4: not UTF-8"),
        ({"jobs": JOBS.encode("utf-16")}, r"J\.csv: line 1: "),
        ({"jobs": JOBS + "c\0,big,1,,,\n"}, r"J\.csv: line 4: holds a NUL"),
        ({"jobs": JOBS + 'c"d",big,1,,,\n"e"f,big,1,,,\n'}, r"J\.csv: line 5: not CSV"),
        ({"jobs": JOBS + '"c\n\n",big,x,,,\n'}, r"J\.csv: line 4: column work: 'x'"),
        ({"jobs": "\n\n" + JOBS + "\nb,big,1,,,\n"}, r"line 7: column job_id: 'b' is .* line 5 "),
        ({"services": SERVICES}, r"S\.csv: line 1: no column chat_rate.*V\.csv: line 2"),
        (
            {"services": SERVICES, "signal": RATES.replace("60,100,0", "60,100,-1")},
            r"S\.csv: line 3: column chat_rate: -1",
        ),
        (
            {"services": SERVICES, "signal": RATES.replace("60,100,0", "60,100,")},
            r"S\.csv: line 3: column chat_rate: is empty",
        ),
    ],
)
def test_a_bad_file_is_named(read: Read, texts: dict[str, str], wanted: str) -> None:
    with pytest.raises(BadInputError, match=wanted):
        read(**texts)


@pytest.mark.parametrize("gap", ["7200", "7300"])
def test_a_missing_row_is_found_where_it_is(read: Read, gap: str) -> None:
    starts = ["0", "3600", gap, *map(str, range(10800 + int(gap) - 7200, 90000, 3600))]
    starts.remove("18000" if gap == "7200" else "10900")
    line = starts.index("21600" if gap == "7200" else gap) + 2
    text = "start_s,carbon_g_per_kwh\n" + "".join(f"{at},1\n" for at in starts)
    with pytest.raises(BadInputError, match=rf"line {line}: column start_s: a step of .* uniform"):
        read(signal=text)


def test_of_two_steps_the_longer_one_is_the_gap(read: Read) -> None:
    """There is no more of either, and no file has a step that is half of both together."""
    told = r"S\.csv: line 4: column start_s: a step of 7200 s where most have 3600 s"
    with pytest.raises(BadInputError, match=told):
        read(signal="start_s,carbon_g_per_kwh\n0,1\n3600,1\n10800,1\n")


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({"gpus": -1}, "-1 GPUs"),
        ({"gpus": 10**20}, "GPUs"),
        ({"power_cap_w": -1.0}, "power cap of -1 W"),
        ({"power_cap_w": float("nan")}, "power cap of nan W"),
        ({"ramp_w_per_slot": -1.0}, "ramp of -1 W"),
        ({"ramp_w_per_slot": float("nan")}, "ramp of nan W"),
        ({"power_cap_w": 59.0}, r"S\.csv: line 3: column base_power_w: 60 W .* cap of 59 W"),
        ({"ramp_w_per_slot": 9.0}, r"S\.csv: line 3: column base_power_w: rises by 10 W"),
    ],
)
def test_bad_limits_are_refused(read: Read, limits: dict[str, float], wanted: str) -> None:
    with pytest.raises(BadInputError, match=wanted):
        read(**limits)


def test_limits_that_the_base_just_keeps(read: Read) -> None:
    assert read(power_cap_w=60.0, ramp_w_per_slot=10.0, gpus=0).site.gpus == 0


def test_what_is_no_file_is_refused(read: Read, tmp_path: Path) -> None:
    read()
    with pytest.raises(BadInputError, match=r"none\.csv: no such file"):
        read_problem(tmp_path / "none.csv", tmp_path / "C.csv", tmp_path / "S.csv", gpus=1)
    with pytest.raises(BadInputError, match="is not a plain file"):
        read_problem(tmp_path / "J.csv", tmp_path, tmp_path / "S.csv", gpus=1)


def test_services_have_clocks_and_a_load(read: Read) -> None:
    (chat,) = read(services=SERVICES, signal=RATES).services
    assert chat.name == "chat"
    assert chat.load_per_s.tolist() == [5, 0]
    assert chat.clock_mhz.tolist() == [900, 1400]
    assert chat.max_rate.tolist() == [10, 20]
    assert chat.power_w.tolist() == [300, 600]
    assert chat.idle_power_w.tolist() == [100, 600]  # no value: as under load
    assert chat.latency_s.tolist() == [0.2, 0.1]
    assert (chat.latency_slo_s, chat.weight) == (0.25, 2.0)
    plain = "service,clock_mhz,max_rate,power_w,latency_s\n" + "chat,5,1,2,3\nx,5,1,2,3\n"
    rates = "start_s,carbon_g_per_kwh,chat_rate,x_rate\n0,100,0,1\n"
    services = read(services=plain, signal=rates).services
    assert [one.name for one in services] == ["chat", "x"]
    assert [(one.latency_slo_s, one.weight) for one in services] == [(np.inf, 1.0)] * 2
    assert services[0].load_per_s.tolist() == [0]


# Writing.


def plan(**columns: list[float]) -> Schedule:
    return Schedule(
        job=np.array(columns["job"], dtype=np.int64),
        shape=np.array(columns["shape"], dtype=np.int64),
        start_s=np.array(columns["start_s"], dtype=np.float64),
        end_s=np.array(columns["end_s"], dtype=np.float64),
    )


def test_a_plan_is_written_in_the_callers_time(read: Read, tmp_path: Path) -> None:
    problem = read(jobs=JOBS.replace("b,", '"b,""1",'))
    schedule = plan(
        job=[1, 0, 1], shape=[2, 1, 2], start_s=[5.25, 0, 0], end_s=[10, 7200 / 1.8, 1 / 3]
    )
    write_schedule(tmp_path / "plan.csv", schedule, problem)
    assert (tmp_path / "plan.csv").read_text().splitlines() == [
        "job_id,start_s,end_s,workers,clock_mhz,energy_j",
        "a,100,4100,8,1400,24000000",
        '"b,""1",100,100.333333,1,900,66.6666666667',
        '"b,""1",105.25,110,1,900,950',
    ]


def test_any_id_comes_back(read: Read, tmp_path: Path) -> None:
    ids = ["a\rb", "c\nd", " e", 'f,"g', "0"]
    cells = ['"' + one.replace('"', '""') + '"' for one in ids]
    head = JOBS.splitlines()[0]
    problem = read(jobs="\n".join([head, *(f"{one},small,10,,,1" for one in cells)]))
    every = range(len(ids))
    write_schedule(
        tmp_path / "plan.csv",
        plan(job=[*every], shape=[2 for _ in every], start_s=[*every], end_s=[20 for _ in every]),
        problem,
    )
    with (tmp_path / "plan.csv").open(newline="") as file:
        assert [row["job_id"] for row in csv.DictReader(file)] == ids


@given(
    st.floats(-1e9, 1e12),
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(1e-3, 1e5)), min_size=1, max_size=5),
)
def test_written_times_are_exact_and_keep_their_order(
    tmp_path_factory: pytest.TempPathFactory, start_s: float, stretches: list[tuple[float, float]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, text in (("J", JOBS), ("C", CLASSES), ("S", SIGNAL)):
        (folder / f"{name}.csv").write_text(text)
    problem = read_problem(folder / "J.csv", folder / "C.csv", folder / "S.csv", gpus=1)
    problem = dataclasses.replace(problem, site=dataclasses.replace(problem.site, start_s=start_s))
    schedule = plan(
        job=[0] * len(stretches),
        shape=[0] * len(stretches),
        start_s=[begin for begin, _ in stretches],
        end_s=[begin + length for begin, length in stretches],
    )
    write_schedule(folder / "plan.csv", schedule, problem)
    with (folder / "plan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    order = np.argsort(schedule.start_s, kind="stable")
    starts = np.array([float(row["start_s"]) for row in rows])
    ends = np.array([float(row["end_s"]) for row in rows])
    np.testing.assert_allclose(starts - start_s, schedule.start_s[order], atol=5e-4)
    np.testing.assert_allclose(ends - start_s, schedule.end_s[order], atol=5e-4)
    energies = [float(row["energy_j"]) for row in rows]
    np.testing.assert_allclose(energies, schedule.energy_j(problem)[order], rtol=1e-9)
    assert (np.diff(starts) >= 0).all()
    assert max(len(row["start_s"]) for row in rows) <= 20


def test_a_plan_is_written_whole_or_not_at_all(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = read()
    schedule = plan(job=[0], shape=[0], start_s=[0], end_s=[7200])
    out = tmp_path / "out" / "plan.csv"
    with pytest.raises(BadInputError, match=r"plan\.csv: cannot be written: No such file"):
        write_schedule(out, schedule, problem)
    out.parent.mkdir()
    out.write_text("the old plan")
    with pytest.raises(BadInputError, match="is not a plain file"):
        write_schedule(out.parent, schedule, problem)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BadInputError, match="cannot be written: No space left"):
            write_schedule(out, schedule, problem)
    assert out.read_text() == "the old plan"
    assert list(out.parent.iterdir()) == [out]
    write_schedule(out, schedule, problem)
    assert out.read_text().startswith("job_id,")
    assert out.stat().st_mode & 0o777 == 0o644
    assert list(out.parent.iterdir()) == [out]
