# SPDX-License-Identifier: Apache-2.0
"""One job's best response against the planner's own, and against looking everywhere."""

import io
import json
import math
import re
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import BadInputError
from slurm_green.plan.certificate import lower_bound_g
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Objective, Prices, Weights
from slurm_green.plan.price_file import PriceFile, read_prices, write_prices
from slurm_green.plan.problem import Jobs, Problem, Shapes, Site
from slurm_green.plan.response import PriceCurve, best_response, why_none
from slurm_green.plan.split import split_response

DOCUMENT = Path(__file__).parents[3] / "docs" / "price-file.md"
HOUR, KW = 3600.0, 1000.0
BEGIN_S = 1.8e9  # POSIX: what is left of a double are fractions of a microsecond


def shapes_of(*rows):
    """One class; a row is (gpus, rate, power_w)."""
    gpus, rate, power = (np.array(column) for column in zip(*rows, strict=True))
    return Shapes(
        class_names=("a",),
        first=np.array([0, len(rows)]),
        workers=gpus.astype(np.int64),
        clock_mhz=1000 + 10 * np.arange(len(rows)),
        gpus=gpus.astype(np.int64),
        rate=rate.astype(np.float64),
        power_w=power.astype(np.float64),
    )


def prices_file(mu, lam=None, nu=None, *, step_s=HOUR, gpus=8, weights=None):
    """What a planner would have written."""
    mu = np.asarray(mu, dtype=np.float64)
    nothing = np.zeros(len(mu))
    return PriceFile(
        start_s=BEGIN_S,
        step_s=step_s,
        gpus=gpus,
        objective=Objective.PERFORMANCE_CONSTRAINED,
        weights=weights or Weights(),
        prices=Prices(
            mu=mu,
            lam=nothing if lam is None else np.asarray(lam, dtype=np.float64),
            nu=nothing if nu is None else np.asarray(nu, dtype=np.float64),
        ),
        made_utc=datetime(2026, 11, 24, tzinfo=UTC),
    )


def curve_of(mu, lam=None, nu=None, **more):
    """A curve of these prices."""
    return PriceCurve.of(prices_file(mu, lam, nu, **more))


ONE_KW = shapes_of((1, 1.0, KW))  # work is seconds, and an hour of it a kWh


def paid_g(file, shapes, stretches):
    """Slot by slot, in plain arithmetic."""
    total = 0.0
    for one in stretches:
        for slot in range(file.slots):
            begin = BEGIN_S + slot * file.step_s
            over = min(one.end_s, begin + file.step_s) - max(one.start_s, begin)
            if over > 0:
                energy_kwh = over * shapes.power_w[one.shape] / 3.6e6
                total += energy_kwh * (file.prices.mu[slot] + file.prices.nu[slot])
                total += over / HOUR * shapes.gpus[one.shape] * file.prices.lam[slot]
    return float(total)


class Case(NamedTuple):
    """A drawn question; times in slots from the start."""

    file: PriceFile
    shapes: Shapes
    work: float
    early: float
    window: float

    @property
    def given(self):
        """The arguments of best_response."""
        step_s = self.file.step_s
        return {
            "work": self.work,
            "earliest_s": BEGIN_S + self.early * step_s,
            "deadline_s": BEGIN_S + (self.early + self.window) * step_s,
        }

    @property
    def problem(self):
        """The same as a problem of one job."""
        slots, step_s = self.file.slots, self.file.step_s
        return Problem(
            site=Site(
                gpus=self.file.gpus,
                start_s=BEGIN_S,
                step_s=step_s,
                carbon_g_per_kwh=np.full(slots, 1e9),
                renewable_w=np.zeros(slots),
                base_power_w=np.zeros(slots),
            ),
            shapes=self.shapes,
            jobs=Jobs(
                ids=("j",),
                class_index=np.array([0]),
                work=np.array([self.work]),
                earliest_s=np.array([self.early * step_s]),
                deadline_s=np.array([min((self.early + self.window), slots) * step_s]),
                preemptible=np.array([True]),
            ),
        )


@st.composite
def cases(draw, weighted=True):
    """A few slots and shapes; quarters of a slot often, so that kinks meet."""
    slots = draw(st.integers(1, 9))
    price = st.lists(
        st.sampled_from([0.0, 0.0, 1.0, 3.0, 250.5]) | st.floats(0, 500),
        min_size=slots,
        max_size=slots,
    )
    size = st.integers(1, 12).map(lambda n: n / 4) | st.floats(0.01, 5)
    rows = draw(
        st.lists(
            st.tuples(st.integers(1, 4), size, st.sampled_from([0.0, 400.0, 777.7, 3000.0])),
            min_size=1,
            max_size=4,
        )
    )
    worth = draw(st.sampled_from([0.0, 0.0, 40.0, 900.0])) if weighted else 0.0
    step_s = draw(st.sampled_from([HOUR, 300.0, 37.5]))
    file = prices_file(
        draw(price),
        draw(price),
        draw(price),
        step_s=step_s,
        gpus=draw(st.sampled_from([4, 4, 2])),
        weights=Weights(performance_g=worth),
    )
    early = draw(st.integers(0, 4 * slots).map(lambda n: n / 4) | st.floats(0, slots))
    window = draw(st.integers(0, 40).map(lambda n: n / 4) | st.floats(0, 10))
    return Case(file, shapes_of(*rows), draw(size) * step_s, early, window)


def asked(case, **more):
    """The answer to a case."""
    return best_response(PriceCurve.of(case.file), case.shapes, **case.given, **more)


@given(cases())
def test_it_is_the_planners_answer(case):
    """The same least cost as the vectorised best response, by arithmetic of its own."""
    problem = case.problem
    options = options_of(problem, np.array([0]), problem.jobs.deadline_s)
    found = asked(case, tolerance=0.0)
    if not len(options):
        assert found is None or found.late
        return

    wanted = options.respond(problem, case.file.prices, case.file.weights).cost_g.min()
    assert found is not None
    assert not found.late
    took_s = found.end_s - case.given["earliest_s"]
    worth = case.file.weights.performance_g * float(problem.fastest_s[0]) / took_s
    paid = paid_g(case.file, case.shapes, found.stretches)
    assert found.cost_g == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert found.cost_g == pytest.approx(paid - worth, rel=1e-5, abs=1e-5 * (1 + paid + worth))


@given(cases())
def test_no_start_anywhere_is_cheaper(case):
    """Every shape, from every 40th of a slot on; and the earliest start costs what it says."""
    found = asked(case, tolerance=0.0)
    if found is None or found.late:
        return
    step_s, shapes = case.file.step_s, case.shapes
    first, until = case.given["earliest_s"], case.given["deadline_s"]
    until = min(until, BEGIN_S + case.file.slots * step_s)
    allowed = [k for k in range(len(shapes.rate)) if shapes.gpus[k] <= case.file.gpus]
    fastest = max(shapes.rate[k] for k in allowed)
    now = []
    for shape in allowed:
        length_s = case.work / shapes.rate[shape]
        latest = until - length_s
        for start_s in (
            np.append(np.arange(first, latest, step_s / 40), latest) if latest >= first else []
        ):
            run = replace(
                found.stretches[0], start_s=start_s, end_s=start_s + length_s, shape=shape
            )
            took_s = run.end_s - first
            worth = case.file.weights.performance_g * case.work / float(fastest) / took_s
            cost = paid_g(case.file, shapes, [run]) - worth
            assert cost >= found.cost_g - 1e-5 * (1 + abs(cost) + worth)
            if start_s == first and shapes.rate[shape] == fastest:
                now.append(cost)
    if now:
        assert found.earliest_cost_g == pytest.approx(min(now), rel=1e-5, abs=1e-3)


@given(cases(), st.sampled_from([0.0, 0.002, 0.3]), st.booleans())
def test_what_holds_for_every_answer(case, tolerance, preemptible):
    """Inside the window, all work done, one thing at a time, never worse than starting now."""
    found = asked(case, tolerance=tolerance, preemptible=preemptible)
    curve = PriceCurve.of(case.file)
    reason = why_none(curve, case.shapes, work=case.work, earliest_s=case.given["earliest_s"])

    assert (found is None) == (reason is not None)
    if found is None:
        return
    rate = case.shapes.rate[[one.shape for one in found.stretches]]
    length = np.array([one.end_s - one.start_s for one in found.stretches])
    assert (length > 0).all()
    assert float(rate @ length) == pytest.approx(case.work, rel=1e-6, abs=1e-5)
    assert all(one.end_s <= two.start_s for one, two in pairwise(found.stretches))
    assert found.start_s == found.stretches[0].start_s >= case.given["earliest_s"] - 1e-5
    assert found.end_s == found.stretches[-1].end_s <= curve.end_s + 1e-3
    assert found.late == (found.end_s > case.given["deadline_s"] + 1.1e-3)
    assert found.saved_g >= 0
    assert all(case.shapes.gpus[one.shape] <= curve.gpus for one in found.stretches)
    if found.late:
        assert found.start_s == case.given["earliest_s"]
    least = asked(case, tolerance=0.0, preemptible=preemptible).cost_g
    if not curve.weights.performance_g:
        assert found.cost_g <= least * (1 + tolerance) ** 2 + 1e-9
        paid = paid_g(case.file, case.shapes, found.stretches)
        assert found.cost_g == pytest.approx(paid, rel=1e-5, abs=1e-5 * (1 + paid))


@given(cases(weighted=False))
def test_a_split_is_the_planners(case):
    """The same least cost as the best response of the planner's preemptible jobs."""
    found = asked(case, tolerance=0.0, preemptible=True)
    if found is None or found.late:
        return
    problem = case.problem
    wanted = split_response(problem, case.file.prices, np.array([0]), problem.jobs.deadline_s)

    # A window that is too short by less than a millisecond holds a job in one go, but no split.
    if math.isfinite(wanted.cost_g[0]):
        assert found.cost_g == pytest.approx(float(wanted.cost_g[0]), rel=1e-6, abs=1e-6)


def test_from_file_to_answer(tmp_path):
    """Two hours of 1 kW, six hours known: the cheapest two are the last but one and before."""
    path = tmp_path / "prices.json"
    write_prices(path, prices_file([500, 400, 300, 10, 20, 300], lam=[0, 0, 0, 5, 0, 0]))

    found = best_response(
        PriceCurve.of(read_prices(path)), ONE_KW, work=2 * HOUR, earliest_s=BEGIN_S + 1800
    )

    assert (found.start_s, found.end_s) == (BEGIN_S + 3 * HOUR, BEGIN_S + 5 * HOUR)
    assert (found.shape, found.workers, found.clock_mhz, found.late) == (0, 1, 1000, False)
    assert found.cost_g == pytest.approx(10 + 5 + 20)
    assert found.earliest_cost_g == pytest.approx(250 + 400 + 150)
    assert found.saved_g == pytest.approx(800 - 35)


@pytest.mark.parametrize(
    ("mu", "work_h", "start_h", "grams"),
    [
        ([400, 100, 300, 900], 0.5, 1.0, 50),  # the first of equals within the clean hour
        ([400, 100, 300, 900], 1.5, 1.0, 250),  # starts at a border: after is cleaner than before
        ([400, 100, 300, 900], 2.5, 0.5, 600),  # ends at a border
        ([400, 100], 0.5, 1.0, 50),  # starts at the last border
        ([400, 100], 1.5, 0.5, 300),  # ends where the prices do
    ],
)
def test_where_the_least_lies(mu, work_h, start_h, grams):
    """Kinks by hand."""
    found = best_response(curve_of(mu), ONE_KW, work=work_h * HOUR, earliest_s=BEGIN_S)

    assert (found.start_s - BEGIN_S) / HOUR == start_h
    assert found.cost_g == pytest.approx(grams)


def test_the_last_border_of_a_window():
    """Just before the latest start, and as cheap."""
    found = best_response(
        curve_of([400, 100, 50]),
        ONE_KW,
        work=0.5 * HOUR,
        earliest_s=BEGIN_S,
        deadline_s=BEGIN_S + 2.6 * HOUR,
    )

    assert found.start_s == BEGIN_S + 2 * HOUR


def test_of_equals_the_earliest():
    """Constant prices, also within the tolerance; and the window need not begin at a border."""
    flat = replace(curve_of([7] * 48), start_s=0.0)
    near = curve_of([100.1, 100, 100])

    for earliest_s in (0.1 * np.arange(1000)).tolist():
        found = best_response(flat, ONE_KW, work=HOUR, earliest_s=earliest_s, tolerance=0)
        assert found.start_s == earliest_s
    assert best_response(near, ONE_KW, work=HOUR, earliest_s=BEGIN_S).start_s == BEGIN_S
    assert (
        best_response(near, ONE_KW, work=HOUR, earliest_s=BEGIN_S, tolerance=5e-4).start_s
        == BEGIN_S + HOUR
    )


def test_of_shapes_that_cost_the_same_the_first_to_end():
    """Also where a slower one starts earlier: an hour of 6 kW at 5, or three of 1 kW at 30."""
    pair = shapes_of((1, 1.0, KW), (2, 3.0, 6 * KW))

    found = best_response(curve_of([10, 5, 15, 15]), pair, work=3 * HOUR, earliest_s=BEGIN_S)

    assert found.cost_g == pytest.approx(30)
    assert (found.workers, found.end_s) == (2, BEGIN_S + 2 * HOUR)


def test_gpu_hours_choose_the_shape():
    """The wide shape saves energy; from some price of a GPU-hour on the narrow one is cheaper."""
    pair = shapes_of((1, 1.0, KW), (4, 3.0, 2 * KW))
    wide = best_response(curve_of([100] * 9), pair, work=3 * HOUR, earliest_s=BEGIN_S)
    narrow = best_response(
        curve_of([100] * 9, lam=[150] * 9), pair, work=3 * HOUR, earliest_s=BEGIN_S
    )

    assert (wide.workers, wide.cost_g) == (4, pytest.approx(200))
    assert (narrow.workers, narrow.cost_g) == (1, pytest.approx(300 + 450))


def test_shapes_wider_than_the_site_are_none():
    """Not for a job that is late without them, nor in a split; nor is performance by them."""
    pair = shapes_of((1, 1.0, KW), (16, 16.0, KW))
    found = best_response(
        curve_of([100] * 9, weights=Weights(performance_g=160)),
        pair,
        work=2 * HOUR,
        earliest_s=BEGIN_S,
        deadline_s=BEGIN_S + HOUR,
    )

    assert (found.workers, found.late) == (1, True)
    assert found.cost_g == pytest.approx(200 - 160)
    split = best_response(
        curve_of([10, 900, 10]), pair, work=2 * HOUR, earliest_s=BEGIN_S, preemptible=True
    )
    assert [one.shape for one in split.stretches] == [0, 0]


def test_performance_is_worth_starting_now():
    """Waiting two hours saves 90 g and costs two thirds of the performance."""
    curve = curve_of([100, 50, 10])
    given = {"work": HOUR, "earliest_s": BEGIN_S}
    now = best_response(curve, ONE_KW, **given, weights=Weights(performance_g=140))
    then = best_response(curve, ONE_KW, **given, weights=Weights(performance_g=130))

    assert (now.start_s, now.cost_g) == (BEGIN_S, pytest.approx(100 - 140))
    assert (then.start_s, then.cost_g) == (BEGIN_S + 2 * HOUR, pytest.approx(10 - 130 / 3))


@pytest.mark.parametrize(
    ("mu", "early_h", "work_h", "worth_g", "start_h", "cost_g"),
    [
        ([100, 50, 50], 0.5, 0.75, 60, 1.0, 37.5 - 60 * 0.75 / 1.25),  # starts at a border
        ([100, 10, 900], 0.25, 1.5, 70, 0.5, 60 - 70 * 1.5 / 1.75),  # ends at one
        ([90, 10], 0.0, 1.25, 70, 0.75, 32.5 - 70 * 1.25 / 2),  # at the latest start
        ([10, 900, 10], 0.0, 1.5, 1, 0.0, 459),
        ([20.01, 10], 0.0, 1.0, 20, 0.0, 0.01),  # within the tolerance of what is paid
    ],
)
def test_performance_counts_from_the_earliest_start(mu, early_h, work_h, worth_g, start_h, cost_g):
    """Whatever kind of start is best, by hand; a job that may be split is not, as in a plan."""
    found = best_response(
        curve_of(mu, weights=Weights(performance_g=worth_g)),
        ONE_KW,
        work=work_h * HOUR,
        earliest_s=BEGIN_S + early_h * HOUR,
        preemptible=True,
    )

    assert (found.start_s - BEGIN_S) / HOUR == start_h
    assert found.cost_g == pytest.approx(cost_g)
    assert len(found.stretches) == 1


@pytest.mark.parametrize("deadline_h", [-5.0, 0.0, 1.0, 1.999])
def test_a_deadline_that_cannot_be_met(deadline_h):
    """At once, in the fastest shape, whatever it costs; also where it lies before the earliest."""
    pair = shapes_of((1, 1.0, KW), (4, 2.0, 9 * KW))
    found = best_response(
        curve_of([900, 900, 1, 1, 1, 1, 1, 1]),
        pair,
        work=4 * HOUR,
        earliest_s=BEGIN_S + 600,
        deadline_s=BEGIN_S + deadline_h * HOUR,
        preemptible=True,
    )

    assert found.late
    assert (found.start_s, found.workers) == (BEGIN_S + 600, 4)
    assert found.end_s == pytest.approx(BEGIN_S + 600 + 2 * HOUR)
    assert found.saved_g == 0


def test_a_window_of_no_width():
    """A deadline that leaves one start, up to a millisecond."""
    for over_s in (0.0, 0.0009, -0.0009):
        found = best_response(
            curve_of([9, 5, 1, 1]),
            ONE_KW,
            work=1.5 * HOUR,
            earliest_s=BEGIN_S + 0.25 * HOUR,
            deadline_s=BEGIN_S + 1.75 * HOUR + over_s,
        )
        assert not found.late
        assert found.cost_g == pytest.approx(0.75 * 9 + 0.75 * 5, abs=1e-2)


def test_one_slot():
    """Fits, just fits, does not fit."""
    curve = curve_of([50])
    assert best_response(curve, ONE_KW, work=60, earliest_s=BEGIN_S).start_s == BEGIN_S
    assert best_response(curve, ONE_KW, work=HOUR, earliest_s=BEGIN_S).cost_g == pytest.approx(50)
    assert best_response(curve, ONE_KW, work=HOUR + 1, earliest_s=BEGIN_S) is None


def test_where_the_prices_do_not_say():
    """Before the curve, past its end, too wide: None and the reason."""
    curve = curve_of([50, 60], gpus=1)
    wide = shapes_of((2, 1.0, KW))
    for shapes, job, said in (
        (ONE_KW, {"work": 60, "earliest_s": BEGIN_S - 30}, "begin 30 s after"),
        (
            ONE_KW,
            {"work": HOUR, "earliest_s": BEGIN_S + 4000},
            "end 3200 s after the earliest start, the job takes 3600 s",
        ),
        (
            ONE_KW,
            {"work": 60, "earliest_s": BEGIN_S + 9 * HOUR},
            "end 25200 s before the earliest start",
        ),
        (wide, {"work": 60, "earliest_s": BEGIN_S}, "fits on 1 GPUs"),
    ):
        assert best_response(curve, shapes, **job) is None
        assert said in why_none(curve, shapes, **job)
    assert why_none(curve, ONE_KW, work=60, earliest_s=BEGIN_S) is None


def test_a_deadline_past_the_end_counts_as_the_end():
    """The job ends where prices are known."""
    curve = curve_of([50, 40, 30])
    found = [
        best_response(curve, ONE_KW, work=HOUR, earliest_s=BEGIN_S, deadline_s=deadline_s)
        for deadline_s in (curve.end_s, curve.end_s + 9 * HOUR, math.inf)
    ]

    assert found[0].end_s == curve.end_s
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("work", math.nan),
        ("work", math.inf),
        ("work", 0.0),
        ("work", -1.0),
        ("earliest_s", math.nan),
        ("earliest_s", math.inf),
        ("deadline_s", math.nan),
        ("deadline_s", -math.inf),
        ("tolerance", math.nan),
        ("tolerance", -0.1),
    ],
)
def test_nonsense_is_refused(name, value):
    """One line that says what is allowed."""
    given = {"work": HOUR, "earliest_s": BEGIN_S, name: value}

    with pytest.raises(BadInputError, match="wanted") as caught:
        best_response(curve_of([50, 40]), ONE_KW, **given)

    assert "\n" not in str(caught.value)


def test_another_class():
    """Indices count in all shapes."""
    both = Shapes(
        class_names=("a", "b"),
        first=np.array([0, 1, 3]),
        workers=np.array([1, 2, 3]),
        clock_mhz=np.array([1, 2, 3]),
        gpus=np.array([1, 2, 3]),
        rate=np.array([9.0, 1.0, 1.0]),
        power_w=np.array([1.0, 900.0, 800.0]),
    )

    found = best_response(curve_of([1, 1]), both, work=HOUR, earliest_s=BEGIN_S, class_index=1)

    assert (found.shape, found.workers, found.clock_mhz) == (2, 3, 3)


def hours_of(found):
    """Stretches as (start, end, shape), hours from the beginning."""
    return [
        ((one.start_s - BEGIN_S) / HOUR, (one.end_s - BEGIN_S) / HOUR, one.shape)
        for one in found.stretches
    ]


FAST_AND_SLOW = shapes_of((1, 1.0, KW), (1, 0.5, 0.4 * KW))


@pytest.mark.parametrize(
    ("mu", "shapes", "work_h", "hours", "grams"),
    [
        ([10, 900, 20, 900, 15], ONE_KW, 2.5, [(0, 1, 0), (2, 2.5, 0), (4, 5, 0)], 35),
        # A part of a slot touches what follows, or what went before.
        ([20, 10, 900, 10], ONE_KW, 2.5, [(0.5, 2, 0), (3, 4, 0)], 30),
        ([900, 10, 20, 900, 10], ONE_KW, 2.5, [(1, 2.5, 0), (4, 5, 0)], 30),
        # Of equals the earlier.
        ([5, 900] * 20, ONE_KW, 3, [(0, 1, 0), (2, 3, 0), (4, 5, 0)], 15),
        # All of the work, to the last seconds.
        ([10, 900, 20], ONE_KW, 1.0078125, [(0, 1, 0), (2, 2.0078125, 0)], 10.15625),
        # The slow shape alone would never end in time; within a slot it goes on before the fast.
        ([10, 500, 400], FAST_AND_SLOW, 2, [(0, 1, 0), (1, 3, 1)], 10 + 200 + 160),
        ([101, 100], FAST_AND_SLOW, 1.25, [(0, 1.5, 1), (1.5, 2, 0)], 40.4 + 20 + 50),
    ],
)
def test_a_split_buys_the_cheapest_seconds(mu, shapes, work_h, hours, grams):
    """By hand, with as few interruptions as the slots allow."""
    found = best_response(
        curve_of(mu), shapes, work=work_h * HOUR, earliest_s=BEGIN_S, preemptible=True
    )

    assert hours_of(found) == hours
    assert found.cost_g == pytest.approx(grams)
    assert (found.start_s, found.end_s) == (found.stretches[0].start_s, found.stretches[-1].end_s)


def test_a_split_that_saves_little_is_none():
    """Nothing at equal prices, or less than the tolerance."""
    given = {"work": 1.5 * HOUR, "earliest_s": BEGIN_S, "preemptible": True}

    for mu, tolerance, parts in (
        ([5, 5, 5], 0.0, 1),
        ([10, 11, 10], 0.0, 2),
        ([10, 11, 10], 0.1, 1),
    ):
        found = best_response(curve_of(mu), ONE_KW, **given, tolerance=tolerance)
        assert len(found.stretches) == parts


def test_a_job_of_half_a_millisecond_in_no_window():
    """In time by the tolerance on times, and too short to be split."""
    at_s = BEGIN_S + HOUR
    found = best_response(
        curve_of([5, 5, 5]),
        ONE_KW,
        work=5e-4,
        earliest_s=at_s,
        deadline_s=at_s,
        preemptible=True,
    )

    assert (found.start_s, found.late, len(found.stretches)) == (at_s, False, 1)


def documented(tmp_path, monkeypatch):
    """The document's file, what its code defines, and what that prints."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    response, _, bound = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "prices.json").write_text(example, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names, printed = {"open": lambda name: io.StringIO(Path(name).read_text())}, io.StringIO()
    with redirect_stdout(printed):
        exec(response + bound, names)
    return read_prices(tmp_path / "prices.json"), names, printed.getvalue().strip()


def test_the_documents_code_answers_the_same(tmp_path, monkeypatch):
    """It prints what the text says, and agrees about jobs of many lengths."""
    file, code, printed = documented(tmp_path, monkeypatch)
    cost_g, start_s = json.loads(printed.replace("(", "[").replace(")", "]"))

    assert f"prints `({cost_g:.2f}, {start_s})`" in DOCUMENT.read_text(encoding="utf-8")
    for quarter in range(1, 20):
        found = best_response(
            PriceCurve.of(file),
            shapes_of((1, 1.0, 430.0)),
            work=quarter * 900.0,
            earliest_s=1000.0,
            deadline_s=20_000.0,
            tolerance=0.0,
        )
        wanted = code["best"](1000.0, 20_000.0, quarter * 900.0, 430.0, 1)[0]
        assert found.cost_g == pytest.approx(wanted)


@pytest.mark.parametrize("cap_w", [None, 800.0])
def test_the_documents_bound_is_the_certificates(tmp_path, monkeypatch, cap_w):
    """Three jobs of two shapes, with renewable supply and base load."""
    file, code, _ = documented(tmp_path, monkeypatch)
    if cap_w:
        code["second"] = [(mu, 7.0, lam) for mu, _, lam in code["second"]]
        file = replace(file, prices=replace(file.prices, nu=np.full(6, 7.0)))
    rows = [(1, 1.0, 700.0), (1, 0.75, 430.0)]
    jobs = [(7200.0, 0.0, 21600.0), (7200.0, 1800.0, 9100.0), (3600.0, 0.0, 14400.0)]
    base_w, green_w = np.full(6, 50.0), np.array([0, 0, 300.0, 500.0, 500.0, 0])
    work, early, deadline = (np.array(column) for column in zip(*jobs, strict=True))
    problem = Problem(
        site=Site(
            gpus=2,
            start_s=0.0,
            step_s=HOUR,
            carbon_g_per_kwh=np.full(6, 500.0),
            renewable_w=green_w,
            base_power_w=base_w,
            power_cap_w=cap_w or math.inf,
        ),
        shapes=shapes_of(*rows),
        jobs=Jobs(
            ids=("a", "b", "c"),
            class_index=np.zeros(3, dtype=np.int64),
            work=work,
            earliest_s=early,
            deadline_s=deadline,
            preemptible=np.zeros(3, dtype=np.bool_),
        ),
    )
    none = np.zeros(3, dtype=np.bool_)

    found = code["bound_g"]([("a", *job) for job in jobs], {"a": rows}, base_w, green_w, cap_w)

    assert found == pytest.approx(lower_bound_g(problem, file.prices, late=none, unplaced=none))
