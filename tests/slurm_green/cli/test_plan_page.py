# SPDX-License-Identifier: Apache-2.0
"""The page of a plan: whole, offline, safe with anybody's names, and light enough to open."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.cli.plan_facts import Facts
from slurm_green.cli.plan_page import page, write_page
from slurm_green.cli.plan_page_data import MOST_BARS, MOST_SLOTS, lanes, page_data
from slurm_green.errors import BadInputError
from slurm_green.plan.outcome import Objective, Outcome, Prices
from slurm_green.plan.problem import Jobs, Problem, Service, Shapes, Site
from slurm_green.plan.start_now import full_clocks, start_now
from tests.slurm_green.cli.browser import data_of, opened, parsed

pytestmark = pytest.mark.slow

HOUR = 3600.0
NASTY = '</script><img src=x onerror="alert(1)">&\u2028'


def facts(jobs=30, *, slots=48, classes=3, gpus=6, cap_w=np.inf, ids=None, **site):
    """A plan of random jobs that start at once, some of them late, one too wide for the site."""
    random = np.random.default_rng(4)
    first = np.arange(0, 2 * classes + 1, 2)
    size = np.arange(classes) + 1
    work = random.uniform(0.2, 6, jobs) * HOUR
    earliest_s = random.uniform(0, max(slots - 8, 1), jobs) * HOUR
    carbon = 300 + 100 * np.sin(np.arange(slots) / 4)
    problem = Problem(
        site=Site(
            gpus=gpus,
            start_s=0.0,
            step_s=HOUR,
            carbon_g_per_kwh=carbon,
            renewable_w=np.where(np.arange(slots) % 24 > 12, 3000.0, 0.0),
            base_power_w=np.full(slots, 500.0),
            power_cap_w=cap_w,
            **site,
        ),
        shapes=Shapes(
            class_names=tuple(f"class{at}" for at in range(classes)),
            first=first,
            workers=np.repeat(size, 2),
            clock_mhz=np.tile([1000, 1410], classes),
            gpus=np.repeat(size, 2),
            rate=np.tile([0.8, 1.0], classes),
            power_w=np.repeat(size, 2) * np.tile([300.0, 500.0], classes),
        ),
        jobs=Jobs(
            ids=tuple(ids or (f"job{at}" for at in range(jobs))),
            class_index=np.arange(jobs) % classes,
            work=work,
            earliest_s=earliest_s,
            deadline_s=np.minimum(earliest_s + 1.5 * work, slots * HOUR),
            preemptible=np.zeros(jobs, dtype=np.bool_),
        ),
        services=(
            Service(
                name="chat",
                load_per_s=np.full(slots, 3.0),
                clock_mhz=np.array([900, 1980]),
                max_rate=np.array([8.0, 10.0]),
                power_w=np.array([300.0, 700.0]),
                idle_power_w=np.array([100.0, 200.0]),
                latency_s=np.array([0.2, 0.1]),
            ),
        ),
    )
    plan = start_now(problem)
    prices = Prices(mu=carbon * 0.9, lam=np.full(slots, 20.0), nu=np.zeros(slots))
    outcome = Outcome(
        objective=Objective.PERFORMANCE_CONSTRAINED,
        schedule=plan,
        service_clock=full_clocks(problem),
        prices=prices,
        response_prices=prices,
        carbon_g=100.0,
        lower_bound_g=99.0,
        gap=1 / 99,
        energy_j=float(plan.energy_j(problem).sum()),
        late_jobs=int(plan.late(problem).sum()),
        unplaced_jobs=int((~plan.placed(problem)).sum()),
        peak_w=3000.0,
        performance=20.0,
        ppc=200.0,
        solve_s=0.5,
    )
    return Facts(problem=problem, outcome=outcome)


def test_the_page_is_whole_and_loads_nothing():
    """Well-formed, and its own policy forbids what could come from outside."""
    text = page(facts())
    elements = parsed(text)

    assert not re.findall(r"https?:|@import|url\(", text)
    assert all(not {"src", "href"} & set(attrs) for _, attrs in elements.seen)
    assert "default-src 'none'" in text
    assert {attrs.get("id") for tag, attrs in elements.seen if tag == "canvas"} == {
        "intensity",
        "jobs",
        "use",
        "power",
        "mu",
        "lam",
    }
    assert "prefers-color-scheme: dark" in text


def test_the_figures_and_the_jobs_in_trouble_stand_in_it():
    """For who has no JavaScript too."""
    one = facts(gpus=2)

    words = " ".join(parsed(page(one)).texts)

    assert one.outcome.late_jobs > 0 < one.outcome.unplaced_jobs
    assert "needs 3 GPUs of 2: offer a smaller shape, or more GPUs" in words
    assert "at most 1.01 % above the least possible" in words
    assert "Late or without a place" in words


def test_other_peoples_names_stay_text():
    """In the list of late jobs and in the data for the script."""
    one = facts(jobs=2, gpus=1, ids=[NASTY, "b" * 5000])
    text = page(one)
    tags = [tag for tag, _ in parsed(text).seen]

    assert "img" not in tags
    assert tags.count("script") == 2
    assert NASTY.replace("\u2028", "?") in data_of(text)["bars"]["ids"]
    assert len(text) < 100_000


def test_the_scripts_data_are_the_plans():
    """Sums by slot agree with the schedule; a lower clock is marked; units are the plan's."""
    one = facts(cap_w=9000.0)
    found = data_of(page(one))
    plan = one.outcome.schedule

    hours = (plan.end_s - plan.start_s) / HOUR @ one.problem.shapes.gpus[plan.shape]
    assert sum(found["gpus_used"]) == pytest.approx(hours, rel=1e-3)
    assert np.sum(found["by_group"]) == pytest.approx(hours, rel=1e-3)
    assert sum(found["jobs_w"]) * HOUR == pytest.approx(one.outcome.energy_j, rel=1e-3)
    assert found["services_w"] == [350.0] * 48
    assert found["cap_w"] == 9000
    assert found["group_names"] == ["class0", "class1", "class2"]
    assert found["bars"]["slow"] == []
    shape = plan.shape.copy()
    shape[4] -= 1
    slower = replace(one, outcome=replace(one.outcome, schedule=replace(plan, shape=shape)))
    assert page_data(slower)["bars"]["slow"] == [4]
    assert "below the class's full clock" in " ".join(parsed(page(slower)).texts)


def test_many_classes_are_grouped_by_size():
    """A colour for each number of GPUs, in powers of two where those are many too."""
    few = page_data(facts(jobs=60, classes=20, gpus=5))
    many = page_data(facts(jobs=60, classes=20, gpus=20))

    assert few["group_names"] == ["1 GPU", "2 GPUs", "3 GPUs", "4 GPUs", "5 GPUs"]
    assert many["group_names"] == [
        "1 GPU",
        "2 GPUs",
        "3 to 4 GPUs",
        "5 to 8 GPUs",
        "9 to 16 GPUs",
        "17 to 32 GPUs",
    ]


def test_a_hundred_thousand_jobs_still_open():
    """Drawn as GPUs in use, a page of a few hundred kilobytes whatever the names."""
    one = facts(
        jobs=100_000, slots=336, gpus=3000, ids=[f"{at}{'x' * 40}" for at in range(100_000)]
    )
    text = page(one)
    found = data_of(text)

    assert len(one.outcome.schedule) > MOST_BARS
    assert found["bars"] is None
    assert 'id="stack"' in text
    assert len(text) < 1_000_000


def test_as_many_bars_as_are_drawn_weigh_little():
    """Below five megabytes at the limit."""
    jobs = MOST_BARS
    one = facts(jobs=jobs, slots=336, gpus=700, ids=[f"{at:06}{'x' * 60}" for at in range(jobs)])
    text = page(one)

    assert data_of(text)["bars"] is not None
    assert len(text.encode()) < 5_000_000


def test_many_slots_are_averaged():
    """Averages keep the sums."""
    one = facts(slots=2 * MOST_SLOTS + 1)
    found = page_data(one)

    assert len(found["mu"]) == (2 * MOST_SLOTS + 1 + 2) // 3
    assert found["step_s"] == 3 * HOUR
    assert np.mean(found["base_w"]) == 500


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 5), st.integers(1, 4)), max_size=30),
    st.integers(4, 9),
)
def test_no_two_jobs_share_a_lane(wanted, total):
    """Every stretch gets as many lanes as it has GPUs, and nobody else has them then."""
    start_s, length_s, gpus = (np.array([one[at] for one in wanted]) for at in range(3))
    fits = np.ones(len(wanted), dtype=bool)
    for at in range(len(wanted)):  # leave out what would need more GPUs than there are
        fits[at] = False
        low, high = start_s[at], start_s[at] + length_s[at]
        meets = fits & (start_s < high + 0.01) & (start_s + length_s > low - 0.01)
        fits[at] = gpus[meets].sum() + gpus[at] <= total
    start_s, end_s, gpus = start_s[fits], (start_s + length_s)[fits], gpus[fits].astype(int)

    found = lanes(start_s, end_s, gpus, total)

    held = np.zeros(len(gpus), dtype=int)
    for one, first, count in found:
        held[one] += count
        assert first >= 0
        assert first + count <= total
    assert held.tolist() == gpus.tolist()
    for at, (one, first, count) in enumerate(found):
        for other, its_first, its_count in found[at + 1 :]:
            apart = end_s[one] <= start_s[other] + 0.01 or end_s[other] <= start_s[one] + 0.01
            assert apart or first + count <= its_first or its_first + its_count <= first


def test_jobs_lie_side_by_side_where_they_can():
    """The tightest gap is taken, and a job in pieces has one rectangle a piece."""
    start_s, end_s = np.array([0.0, 0.0, 0.0, 2.0, 2.0]), np.array([9.0, 2.0, 9.0, 4.0, 4.0])

    assert lanes(start_s, end_s, np.array([2, 1, 2, 1, 2]), 7) == [
        [0, 0, 2],
        [2, 2, 2],
        [1, 4, 1],
        [4, 4, 2],
        [3, 6, 1],
    ]
    ends_s = np.array([9.0, 1.0, 9.0, 1.0, 5.0])
    pieces = lanes(np.array([0.0, 0, 0, 0, 2]), ends_s, np.array([1, 1, 1, 1, 2]), 4)
    assert pieces[4:] == [[4, 1, 1], [4, 3, 1]]


def test_the_page_appears_whole_or_not_at_all(tmp_path):
    """No half page, no temporary file."""
    write_page(tmp_path / "plan.html", facts())

    assert [one.name for one in tmp_path.iterdir()] == ["plan.html"]
    with pytest.raises(BadInputError, match="cannot be written"):
        write_page(tmp_path / "none" / "plan.html", facts())


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize(
    "case", [{}, {"jobs": 0}, {"cap_w": 5000.0}, {"jobs": 21_000, "gpus": 900}]
)
def test_the_script_runs(tmp_path, case):
    """Every chart is drawn with finite numbers, the mouse finds jobs, zooms go back too."""
    one = facts(**case)
    write_page(tmp_path / "plan.html", one)

    found = opened(tmp_path / "plan.html")

    assert found["whole"] == found["again"] == "0 d 00:00 to 2 d 00:00"
    assert found["zoomed"] != found["whole"]
    assert "carbon intensity" in found["words"]
    if case == {}:
        assert found["bars"] >= 2 * len(one.outcome.schedule)
        assert len(set(one.problem.jobs.ids) & set(found["words"])) > 10
