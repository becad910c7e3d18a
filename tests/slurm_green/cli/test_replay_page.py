# SPDX-License-Identifier: Apache-2.0
"""The page of a replay: whole, offline, true to the results, and light enough to open."""

import re
import shutil

import numpy as np
import pytest

from slurm_green.cli.replay_page import page, write_page
from slurm_green.cli.replay_page_data import MOST_BOXES, MOST_SLOTS, ReplayFacts
from slurm_green.errors import BadInputError
from slurm_green.plan.problem import Jobs, Problem, Shapes, Site
from slurm_green.plan.schedule import Schedule
from slurm_green.replay.inputs import prepared
from slurm_green.replay.result import Replay, result_of
from slurm_green.replay.simulator import Trace
from tests.slurm_green.cli.browser import data_of, opened, parsed

HOUR = 3600.0
NASTY = '</script><img src=x onerror="alert(1)">&\u2028'


def replayed(names=("fifo", "prices", "oracle"), *, jobs=40, weeks=5, gpus=8, ids=None, notes=()):
    """Results in which each policy starts jobs some hours later than the one before it."""
    random = np.random.default_rng(2)
    slots = weeks * 7 * 24
    size = np.array([1, 2])
    earliest_s = np.sort(random.uniform(0, (slots - 60) * HOUR, jobs))
    kind = np.arange(jobs) % 2
    work = random.uniform(0.5, 5, jobs) * HOUR
    problem = Problem(
        site=Site(
            gpus=gpus,
            start_s=0.0,
            step_s=HOUR,
            carbon_g_per_kwh=300 + 100 * np.sin(np.arange(slots) / 4),
            renewable_w=np.where(np.arange(slots) % 24 > 12, 900.0, 0.0),
            base_power_w=np.full(slots, 500.0),
        ),
        shapes=Shapes(
            class_names=("small", "large"),
            first=np.array([0, 1, 2]),
            workers=size,
            clock_mhz=np.array([1410, 1410]),
            gpus=size,
            rate=np.ones(2),
            power_w=size * 300.0,
        ),
        jobs=Jobs(
            ids=tuple(ids or (f"job{at}" for at in range(jobs))),
            class_index=kind,
            work=work,
            earliest_s=earliest_s,
            deadline_s=earliest_s + work + 5 * HOUR,
            preemptible=np.zeros(jobs, dtype=np.bool_),
        ),
    )
    inputs = prepared(problem, notes=notes)
    results = {}
    for at, name in enumerate(names):
        start_s = earliest_s + 4 * HOUR * at
        plan = Schedule(job=np.arange(jobs), shape=kind, start_s=start_s, end_s=start_s + work)
        trace = Trace(schedule=plan, done_s=plan.end_s, decisions=1, pauses=0, refused={})
        results[name] = result_of(name, inputs, trace, 0.5)
    return Replay(inputs=inputs, results=results, lower_bound_g=1000.0)


def test_the_page_is_whole_and_loads_nothing():
    """Well-formed, and its own policy forbids what could come from outside."""
    text = page(replayed())
    elements = parsed(text)

    assert not re.findall(r"https?:|@import|url\(", text)
    assert all(not {"src", "href"} & set(attrs) for _, attrs in elements.seen)
    assert "default-src 'none'" in text
    assert {attrs.get("id") for tag, attrs in elements.seen if tag == "canvas"} == {
        "waits",
        "grams",
        "intensity",
        "jobs",
        "use",
        "power",
    }
    assert "prefers-color-scheme: dark" in text


def test_the_figures_stand_in_it():
    """For who has no JavaScript too: every policy, against every other, with an interval."""
    replay = replayed(notes=("GENERATED EXAMPLE: made up",))
    text = page(replay)
    words = " ".join(parsed(text).texts)

    assert "Replay of 40 jobs on 8 GPUs over 35 days" in words
    assert "GENERATED EXAMPLE: made up" in words
    # The third waits 8 hours for each job, of which the deadlines allow 5.
    assert "8 h 00 min 8 h 00 min 40 0" in words
    assert "No policy can emit less than 1.00 kg" in words
    assert "of 5 weeks as many are drawn" in words
    saved = ReplayFacts(replay=replay).savings["prices", "fifo"]
    assert saved.low <= saved.share <= saved.high
    assert f"{100 * saved.share:.1f} %" in words
    assert f"{100 * saved.low:.1f} to {100 * saved.high:.1f} %" in words
    shown = [attrs for tag, attrs in parsed(text).seen if tag == "table" and "id" in attrs]
    assert [("hidden" in attrs) for attrs in shown] == [True, False, True]


def test_too_few_weeks_have_no_interval():
    """And the page says what would do."""
    words = " ".join(parsed(page(replayed(weeks=2))).texts)
    assert "2 weeks of jobs: too few to say how sure this is; 4 would do" in words


def test_other_peoples_names_stay_text():
    """Ids, policies of other packages, notes."""
    text = page(replayed(names=("fifo", NASTY), jobs=2, ids=[NASTY, "b" * 999], notes=(NASTY,)))
    tags = [tag for tag, _ in parsed(text).seen]

    assert "img" not in tags
    assert tags.count("script") == 2
    assert len(text) < 100_000


def test_the_scripts_data_are_the_replays():
    """Sums over slots agree with the results; waits are sorted."""
    replay = replayed()
    found = data_of(page(replay))

    for shown, one in zip(found["policies"], replay.results.values(), strict=True):
        plan, gpus = one.trace.schedule, replay.inputs.problem.shapes.gpus
        hours = (plan.end_s - plan.start_s) / HOUR @ gpus[plan.shape]
        assert sum(shown["gpus_used"]) == pytest.approx(hours, rel=1e-3)
        assert sum(shown["grams"]) == pytest.approx(one.carbon_g, rel=1e-3)
        assert max(shown["site_w"]) == pytest.approx(one.slot_w.max(), rel=1e-3)
        assert shown["waits_s"] == sorted(shown["waits_s"])
        assert (shown["jobs"]["every"], shown["jobs"]["lanes"]) == (1, 8)
        assert len(shown["jobs"]["late"]) == one.late.sum()
    assert (found["baseline"], found["subject"]) == (0, 1)
    assert found["renewable_w"][13] == 900


def test_the_subject_is_ours_or_the_cleanest_that_could_be_had():
    """The oracle knows what nobody knows."""
    assert ReplayFacts(replay=replayed(("fifo", "oracle", "prices"))).subject == "prices"
    without = ReplayFacts(replay=replayed(("a", "b", "oracle")))
    assert without.subject in {"a", "b"}
    assert without.baseline == "a"
    assert ReplayFacts(replay=replayed(("oracle",))).subject == "oracle"


def test_of_many_jobs_a_sample_is_drawn():
    """None on top of another; sums by slot stay those of all jobs."""
    replay = replayed(("fifo", "prices"), jobs=25_000, gpus=4000)
    text = page(replay)
    found = data_of(text)

    for shown in found["policies"]:
        jobs = shown["jobs"]
        assert jobs["every"] == 3
        assert MOST_BOXES // 6 < len(jobs["start_s"]) <= MOST_BOXES // 2
        assert jobs["lanes"] < 4000
        boxes = sorted(jobs["boxes"], key=lambda box: jobs["start_s"][box[0]])
        until = np.zeros(jobs["lanes"])
        for at, low, count in boxes:
            assert 0 <= low < low + count <= jobs["lanes"]
            # Times are rounded to seconds.
            assert (until[low : low + count] <= jobs["start_s"][at] + 1).all()
            until[low : low + count] = jobs["end_s"][at]
        assert sum(shown["gpus_used"]) > 20_000
    assert "one of 3 as a sample" in text
    assert len(text) < 3_000_000


def test_a_year_of_slots_is_averaged():
    """Means keep means, sums keep sums."""
    replay = replayed(weeks=52, jobs=20)
    found = data_of(page(replay))

    assert len(found["intensity"]) <= MOST_SLOTS
    assert found["step_s"] == 6 * HOUR
    total_g = replay.results["fifo"].carbon_g
    assert sum(found["policies"][0]["grams"]) == pytest.approx(total_g, rel=1e-3)


def test_the_page_appears_whole_or_not_at_all(tmp_path):
    """No half page, no temporary file."""
    replay = replayed(jobs=3)
    write_page(tmp_path / "replay.html", replay)

    assert [one.name for one in tmp_path.iterdir()] == ["replay.html"]
    with pytest.raises(BadInputError, match="cannot be written"):
        write_page(tmp_path / "none" / "replay.html", replay)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("case", [{}, {"names": ("fifo",)}, {"jobs": 1}, {"weeks": 1}])
def test_the_script_runs(tmp_path, case):
    """Every chart of every policy is drawn with finite numbers; the mouse finds jobs."""
    replay = replayed(**case)
    write_page(tmp_path / "replay.html", replay)

    found = opened(tmp_path / "replay.html")

    assert found["whole"] == found["again"]
    assert found["zoomed"] != found["whole"]
    assert {"carbon intensity", "emitted so far"} <= set(found["words"])
    if case == {}:
        assert found["bars"] >= len(replay.inputs.problem.jobs)
        assert set(replay.inputs.problem.jobs.ids) & set(found["words"])
        assert "fifo: power" in found["words"]
