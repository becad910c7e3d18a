# SPDX-License-Identifier: Apache-2.0
"""Asking for plans: never waited for, given up when late, forgotten when old."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from builders import HOUR, NOW_S, at, days, fresh, job, observed
from simulator import Site

from slurm_green.controller.planning.ask import question_of
from slurm_green.controller.planning.desk import PlanDesk
from slurm_green.controller.planning.pace import PlanPace
from slurm_green.controller.planning.planner import Planner
from slurm_green.controller.planning.question import Question
from slurm_green.plan.price_file import read_prices


def question(site: Site | None = None) -> Question:
    site = site or Site()
    site.cycle()
    site.deferred()
    found = question_of(site.slurm.observed(site.signal), site.cycle(), site.rules)
    assert found is not None
    return found


class Asked:
    """A desk with a way to wait for the end of its question."""

    def __init__(self, *, limit_s: float = 30.0, code: str | None = None) -> None:
        self.rang = threading.Event()
        more = {} if code is None else {"command": (sys.executable, "-c", code)}
        self.desk = PlanDesk(valid_s=HOUR, limit_s=limit_s, woken=self.rang.set, **more)

    def ask(self, one: Question) -> None:
        self.desk.ask(one)
        thread = self.desk._thread
        assert thread is not None
        thread.join(40)
        assert not thread.is_alive()


@pytest.fixture
def made() -> Iterator[list[Asked]]:
    """Desks that are closed afterwards."""
    found: list[Asked] = []
    yield found
    for one in found:
        one.desk.close()


@pytest.mark.slow
def test_the_process_answers_again_and_again_and_comes_back(made: list[Asked]) -> None:
    one = Asked()
    made.append(one)
    asked = question()
    for plans in (1, 2):
        one.ask(asked)
        assert one.rang.is_set()
        advice = one.desk.advice(NOW_S + 60)
        assert advice is not None
        assert len(advice.places) == 1
        assert (one.desk.plans, one.desk.failures) == (plans, 0)
    process = one.desk._process
    assert process is not None
    process.kill()
    process.wait()
    one.ask(asked)
    assert (one.desk.plans, one.desk.failures) == (3, 0)
    assert one.desk.advice(NOW_S + 2 * HOUR) is None


READ = """
import sys
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[1]))
pipe.recv_bytes()
"""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (f"{READ}import time; time.sleep(600)", "longer than 0.5 s"),
        (f"{READ}import os; os._exit(3)", "ended"),
        (f"{READ}pipe.send('ValueError: no such thing')", "no such thing"),
        (f"{READ}pipe.send([1, 2])", "[1, 2]"),
        (f"{READ}pipe.send_bytes(b'no pickle at all')", ""),
        ("raise SystemExit(1)", ""),
    ],
)
def test_a_plan_that_fails_leaves_no_advice(made: list[Asked], code: str, why: str) -> None:
    one = Asked(limit_s=0.5 if "sleep" in code else 30.0, code=code)
    made.append(one)
    one.ask(question())
    assert (one.desk.plans, one.desk.failures) == (0, 1)
    assert why in one.desk.problem
    assert one.desk.advice(NOW_S) is None
    assert not one.desk.busy()


def test_a_new_plan_is_due_when_something_changed() -> None:
    pace = PlanPace(interval_s=600)
    signal = fresh(days(), at(0))

    def seen(seconds: float, *, jobs: int = 20, issued_h: float = 0.0, ours: int = 0) -> bool:
        shown = observed(
            *[job(n) for n in range(jobs)],
            now=at(seconds / 3600),
            signal=replace(signal, issued_utc=at(issued_h)),
        )
        due = pace.due(shown, frozenset(range(ours)))
        if due:
            pace.asked(shown, frozenset(range(ours)))
        return due

    assert seen(0)
    assert not seen(59, jobs=30), "too soon for anything"
    assert not seen(61, jobs=24), "few came"
    assert seen(62, jobs=25), "many came"
    assert not seen(200, jobs=25)
    assert seen(201, jobs=25, issued_h=0.05), "a new forecast"
    assert not seen(800, jobs=25, issued_h=0.05)
    assert seen(801, jobs=25, issued_h=0.05), "the interval is over"
    assert seen(1801, jobs=25, issued_h=0.05), "another slot"
    assert not seen(1830, jobs=25, issued_h=0.05, ours=1), "too soon"
    assert seen(1870, jobs=25, issued_h=0.05, ours=1), "one that the plan does not know"
    assert not seen(1990, jobs=25, issued_h=0.05, ours=0), "one less is no reason"
    assert seen(-600, jobs=25, issued_h=0.05), "the clock was set back"
    assert not seen(-570, jobs=25, issued_h=0.05)


def test_the_planner_publishes_and_tells(tmp_path: Path, made: list[Asked]) -> None:
    from slurm_green.controller.planning.adviser import Adviser

    one = Asked()
    made.append(one)
    path = tmp_path / "prices.json"
    planner = Planner(desk=one.desk, interval_s=600, prices_out=path)
    shown = observed(now=at(0.01))
    assert planner.advice(shown) is None
    assert planner.status(shown)["age_s"] is None
    asked = question()
    one.desk._advice = Adviser(valid_s=HOUR).advise(asked)
    found = planner.advice(shown)
    assert found is not None
    told = planner.status(replace(shown, now_utc=at(0.5)))
    assert (told["jobs"], told["problem"]) == (1, "")
    assert 1700 < told["age_s"] <= 1800
    file = read_prices(path)
    assert file.gpus == 8
    now = int((NOW_S - file.start_s) // file.step_s)
    assert file.prices.mu[now] == pytest.approx(days().at(at(0)))
    curve = found.prices["gpu"].curve
    assert (file.prices.mu[now + 1 :] < curve.price[0, now + 1 :] * 3.6e6).all()


def test_what_goes_wrong_while_asking_is_no_cycle_s_trouble(
    caplog: pytest.LogCaptureFixture, made: list[Asked]
) -> None:
    one = Asked()
    made.append(one)
    planner = Planner(desk=one.desk, interval_s=600)
    planner.ask(observed(), None, None)  # type: ignore[arg-type]
    assert "a bug of slurm-green" in caplog.text
