# SPDX-License-Identifier: Apache-2.0
"""From a cycle to a question to a plan: the policy of the replay, fed with Slurm's jobs."""

import pickle
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from builders import DAY, HOUR, NOW, NOW_S, at, days, fresh, job, nodes, policy, rules
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import Site

from slurm_green.controller.observed import Memory
from slurm_green.controller.planning.advice import Place
from slurm_green.controller.planning.adviser import Adviser
from slurm_green.controller.planning.ask import question_of
from slurm_green.controller.planning.pools import shared_nodes
from slurm_green.controller.planning.question import Going, Pool, Question, Waiting, Way
from slurm_green.hook.record import parse
from slurm_green.plan.history import History, RunSample
from slurm_green.slurm.records import Node, Partition, Reservation

ONE = (Way(units=1, power_w=400),)


def waits(number: int, *, gpus: int = 1, hours: float = 2.0, slack_h: float = 12.0) -> Waiting:
    return Waiting(
        job_id=number,
        ways=(Way(units=gpus, power_w=400.0 * gpus),),
        length_s=hours * HOUR,
        submit_s=NOW_S,
        earliest_s=NOW_S,
        latest_s=NOW_S + slack_h * HOUR,
    )


def asked(
    *waiting: Waiting, running: tuple[Going, ...] = (), units: int = 4, at_s: float = NOW_S,
    **signal: Any,
) -> Question:  # fmt: skip
    pool = Pool(
        name="gpu",
        partitions=frozenset({"gpu", "long"}),
        units=units,
        resource=0,
        waiting=waiting,
        running=running,
    )
    series = replace(fresh(days(), NOW), **signal)
    return Question(at_s=at_s, signal=series, pools={"gpu": pool})


def test_jobs_are_spread_over_the_clean_hours_and_priced() -> None:
    """Eight jobs of two hours on four GPUs: noon is not enough for all of them."""
    advice = Adviser(valid_s=HOUR).advise(asked(*[waits(n) for n in range(1, 9)]))
    starts = sorted((place.start_s - NOW_S) / HOUR for place in advice.places.values())
    assert len(starts) == 8
    for when in np.arange(0, 14, 0.25):
        assert sum(start <= when < start + 2 for start in starts) <= 4
    assert 3 <= starts[0] <= starts[-1] <= 8
    prices = advice.prices["long"]
    assert prices.curve is advice.prices["gpu"].curve
    assert prices.curve.price[1].max() > 0
    assert advice.fresh(NOW_S + HOUR - 1)
    assert not advice.fresh(NOW_S + HOUR)


def test_a_plan_that_is_asked_for_has_a_place_for_who_came_since() -> None:
    """However soon after the one before, which may have been of nobody; the others keep theirs."""
    adviser = Adviser(valid_s=HOUR)
    before: dict[int, Place] = {}
    for count in (0, 3, 6, 7):
        jobs = [waits(n, gpus=2) for n in range(1, count + 1)]
        places = adviser.advise(asked(*jobs, at_s=NOW_S + 60 * count)).places
        assert set(places) == set(range(1, count + 1))
        assert {number: places[number] for number in before} == before
        starts = [one.start_s for one in places.values()]
        for when in np.arange(NOW_S, NOW_S + 16 * HOUR, 900):
            assert sum(start <= when < start + 2 * HOUR for start in starts) <= 2
        before = places


def test_who_queues_and_starts_soon_moves_nobody_while_there_is_room() -> None:
    """Somebody's job comes every minute on a busy site; each move of ours is a change in Slurm."""
    adviser = Adviser(valid_s=HOUR)
    ours = [waits(n, gpus=1 + n % 2, hours=1 + n % 3, slack_h=6 + n % 7) for n in range(40)]
    others: list[Waiting] = []
    before = adviser.advise(asked(*ours, units=16)).places
    for minutes in range(1, 6):
        at_s = NOW_S + 60 * minutes
        soon = waits(100 + minutes, hours=0.5)
        others.append(replace(soon, ours=False, earliest_s=at_s + 120, latest_s=at_s + 120))
        assert adviser.advise(asked(*ours, *others, units=16, at_s=at_s)).places == before
    # One that finds no room in time gets it: others wait.
    at_s = NOW_S + 360
    wide = replace(waits(200, gpus=16, hours=0.5), earliest_s=at_s, latest_s=at_s + 600)
    places = adviser.advise(asked(*ours, *others, wide, units=16, at_s=at_s)).places
    assert places[200].start_s < at_s + HOUR
    assert any(places[number] != place for number, place in before.items())


def test_running_jobs_and_others_queues_keep_their_gpus() -> None:
    going = Going(
        job_id=50, ways=(Way(units=4, power_w=1600),), since_s=NOW_S, end_s=NOW_S + 8 * HOUR
    )
    advice = Adviser(valid_s=HOUR).advise(asked(waits(1), running=(going,)))
    assert advice.places[1].start_s >= NOW_S + 8 * HOUR - 1
    queued = replace(
        waits(60, gpus=4, hours=4),
        ours=False, earliest_s=NOW_S + 4 * HOUR, latest_s=NOW_S + 4 * HOUR,
    )  # fmt: skip
    advice = Adviser(valid_s=HOUR).advise(asked(waits(1), queued))
    assert set(advice.places) == {1}
    start = advice.places[1].start_s
    assert start + 2 * HOUR <= NOW_S + 4 * HOUR + 1 or start >= NOW_S + 8 * HOUR - 1


def test_a_time_scaled_signal_gives_the_same_plan_sooner() -> None:
    jobs = [waits(n) for n in range(1, 9)]
    plain = Adviser(valid_s=HOUR).advise(asked(*jobs)).places
    scale = 60.0
    series = fresh(days(), NOW)
    small = replace(
        series,
        start_utc=NOW - (NOW - series.start_utc) / scale,
        step_s=series.step_s / scale,
        time_scale=scale,
    )
    quick = [
        replace(one, length_s=one.length_s / scale, latest_s=NOW_S + (one.latest_s - NOW_S) / scale)
        for one in jobs
    ]
    question = replace(asked(*quick), signal=small)
    found = Adviser(valid_s=HOUR).advise(question).places
    for number, place in plain.items():
        assert abs(found[number].start_s - NOW_S - (place.start_s - NOW_S) / scale) < 0.01


def test_a_moldable_job_takes_the_way_that_fits_the_hours() -> None:
    """Four GPUs do it in the one clean hour; one GPU would need two dirty ones."""
    ways = (
        Way(workers=1, units=1, power_w=400),
        Way(workers=4, units=4, power_w=1500, speed=4.0, clock_mhz=1200),
    )
    one = replace(waits(1, hours=4), ways=ways)
    values = np.full(96, 500.0)
    values[24:26] = 20.0  # noon to one
    advice = Adviser(valid_s=HOUR).advise(
        asked(one, values=values[:96], start_utc=days().start_utc)
    )
    place = advice.places[1]
    assert (place.workers, place.clock_mhz) == (4, 1200)
    assert abs(place.start_s - NOW_S - 6 * HOUR) < HOUR


def test_the_same_question_again_gives_the_same_plan() -> None:
    jobs = [waits(n, gpus=n % 3 + 1) for n in range(1, 12)]
    first, second = (Adviser(valid_s=HOUR).advise(asked(*jobs)) for _ in range(2))
    assert first.places == second.places


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.floats(0.001, 200), st.floats(-1, 90)), max_size=8
    ),
    st.lists(st.tuples(st.integers(0, 4), st.floats(-5, 30)), max_size=4),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_queue_gets_an_answer(
    jobs: list[tuple[int, float, float]], going: list[tuple[int, float]]
) -> None:
    """Too wide, too long, too late, over before it began: advice for the rest."""
    adviser = Adviser(valid_s=HOUR)
    running = tuple(
        Going(
            job_id=100 + n, ways=(Way(units=units, power_w=1.0),), since_s=NOW_S - HOUR,
            end_s=NOW_S + end_h * HOUR,
        )
        for n, (units, end_h) in enumerate(going)
    )  # fmt: skip
    for hours in (0.0, 0.2, 1.0):
        waiting = [
            waits(n, gpus=gpus, hours=length, slack_h=slack)
            for n, (gpus, length, slack) in enumerate(jobs)
        ]
        advice = adviser.advise(asked(*waiting, running=running, at_s=NOW_S + hours * HOUR))
        assert advice.places.keys() <= set(range(len(jobs)))
        assert all(np.isfinite(place.start_s) for place in advice.places.values())


def test_a_cycle_asks_about_its_own_jobs_and_about_the_rest() -> None:
    site = Site()
    site.cycle()
    running = site.slurm.submit(gpus=2, time_limit_s=4 * 3600)
    site.slurm.run_until(at(0.01))
    mine = [site.deferred(gpus=2).job_id for _ in range(2)]
    queued = site.slurm.submit(gpus=8)
    cpus = site.slurm.submit(gpus=0)
    reserved = Reservation(
        name="m", start_utc=at(30), end_utc=at(31), node_names=("n0",), maintenance=True
    )
    site.slurm.reservations = (reserved,)
    outcome = site.cycle()
    question = question_of(site.slurm.observed(site.signal), outcome, site.rules)
    assert question is not None
    pool = question.pools["gpu"]
    assert (pool.units, pool.resource) == (8, 0)
    assert [one.job_id for one in pool.running] == [running.job_id]
    ours = {one.job_id: one for one in pool.waiting if one.ours}
    assert sorted(ours) == mine
    for number, one in ours.items():
        record = parse(site.slurm.jobs[number].admin_comment)
        assert one.latest_s <= record.latest_utc.timestamp()
    others = {one.job_id: one for one in pool.waiting if not one.ours}
    assert others[queued.job_id].earliest_s >= at(4).timestamp() - 60
    assert cpus.job_id not in others
    assert sum(one.ways[0].units == 2 for one in others.values()) == 1, "the reservation"
    assert pickle.loads(pickle.dumps(question)).pools == question.pools


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("limit_s", [3600, None])
def test_an_array_of_others_takes_and_draws_what_its_tasks_do_at_once(
    released: bool, limit_s: int | None
) -> None:
    """Twenty tasks of a GPU each, of which so many run at once as the site has GPUs."""
    site = Site()
    site.cycle()
    begin = {"eligible_utc": site.slurm.now + timedelta(seconds=5)} if released else {}
    one = site.slurm.submit(gpus=8, cpus=32, time_limit_s=3600, eligible_utc=site.slurm.now)
    site.slurm.submit(gpus=1, cpus=4, tasks=20, time_limit_s=limit_s, **begin)
    question = question_of(site.slurm.observed(site.signal), site.cycle(), site.rules)
    assert question is not None
    waiting = {job.job_id: job for job in question.pools["gpu"].waiting}
    array, whole = waiting.pop(one.job_id + 1), waiting.pop(one.job_id)
    assert array.length_s == 3 * (limit_s or site.rules.horizon_s)
    assert array.ways[0].units == 7
    assert array.ways[0].power_w == pytest.approx(whole.ways[0].power_w * 7 / 8, rel=0.01)


def test_a_reservation_and_what_runs_in_it_are_one() -> None:
    site = Site()
    site.cycle()
    course = Reservation(name="c", start_utc=at(-1), end_utc=at(9), node_names=("n0", "n1"))
    site.slurm.reservations = (course,)
    inside = site.slurm.submit(gpus=4, reservation="c")
    site.slurm.change(
        inside.job_id, state="RUNNING", start_utc=at(0), end_utc=at(5), node_names=("n0", "n1")
    )
    site.slurm.submit(gpus=2, reservation="c")
    mine = site.deferred(gpus=4)
    question = question_of(site.slurm.observed(site.signal), site.cycle(), site.rules)
    assert question is not None
    (going,) = question.pools["gpu"].running
    assert going.ways[0].units == 4
    assert going.ways[0].power_w > 1000
    assert [one.job_id for one in question.pools["gpu"].waiting] == [mine.job_id]


@pytest.mark.parametrize(("begins_h", "node"), [(2, "n0"), (-1, "n3")])
def test_what_runs_beside_its_reservation_has_a_place_of_its_own(begins_h: int, node: str) -> None:
    """Before a repeated one begins anew, or on nodes that were replaced in it since."""
    site = Site()
    site.cycle()
    course = Reservation(name="c", start_utc=at(begins_h), end_utc=at(9), node_names=("n0", "n1"))
    site.slurm.reservations = (course,)
    beside = site.slurm.submit(gpus=2, reservation="c")
    site.slurm.change(
        beside.job_id, state="RUNNING", start_utc=at(0), end_utc=at(5), node_names=(node,)
    )
    site.deferred(gpus=2)
    question = question_of(site.slurm.observed(site.signal), site.cycle(), site.rules)
    assert question is not None
    running = {one.job_id: one.ways[0] for one in question.pools["gpu"].running}
    assert running[beside.job_id].units == 2
    assert all(way.power_w == 0 for job_id, way in running.items() if job_id != beside.job_id)


def test_what_runs_and_what_queues_takes_as_long_as_its_owner_says() -> None:
    """Not as long as its limit allows: GPUs that look taken make clean hours look dear."""
    site = Site()
    site.cycle()
    limit_s = 12 * 3600
    wish = {"time_limit_s": limit_s, "comment": "green:runtime=1h"}
    site.slurm.submit(gpus=4, **wish)
    site.slurm.run_until(at(0.01))
    site.slurm.submit(gpus=8, **wish)
    question = question_of(site.slurm.observed(site.signal), site.cycle(), site.rules)
    assert question is not None
    (going,) = question.pools["gpu"].running
    (queued,) = question.pools["gpu"].waiting
    assert (going.end_s - going.since_s, queued.length_s) == (3600, 3600)


@pytest.mark.parametrize(
    ("comment", "hours"),
    [
        ("", 3),
        ("green:runtime=1h", 1),
        # No word of ours, and one that is none: the learned mean, not the cautious length.
        ("runtime=1h", 3),
        ("a=b,runtime=1h green:max-delay=9h", 3),
        ("green:runtime=soon", 3),
        ("green:runtime=0", 3),
    ],
)
def test_how_long_a_job_takes_is_its_owner_s_word_or_what_such_jobs_take_on_average(
    comment: str, hours: int
) -> None:
    """Jobs like it took an eighth or three eighths of twelve hours."""
    runs = [
        RunSample(partition="gpu", user="ada", name="train", fraction=one / 8)
        for one in (1, 3) * 10
    ]
    site = Site(memory=Memory(history=History().with_samples(runs=runs)))
    site.slurm.submit(gpus=4, time_limit_s=12 * 3600, comment=comment)
    site.slurm.run_until(at(0.01))
    question = question_of(site.slurm.observed(site.signal), site.cycle(), site.rules)
    assert question is not None
    (going,) = question.pools["gpu"].running
    assert going.end_s - going.since_s == hours * 3600


def test_without_a_signal_or_switched_off_nothing_is_asked() -> None:
    site = Site(signal=None)
    assert question_of(site.slurm.observed(None), site.cycle(), site.rules) is None
    site = Site()
    seen = site.slurm.observed(site.signal, off=True)
    assert question_of(seen, site.cycle(), site.rules) is None


def test_shadow_bookings_wait_and_run_in_the_plan_instead_of_their_jobs() -> None:
    site = Site(rules=rules(policy=policy(mode="shadow")))
    site.cycle()
    site.slurm.now += timedelta(seconds=30)
    job_id = site.slurm.submit().job_id
    site.slurm.run_until(site.slurm.now + timedelta(seconds=30), step_s=5)
    outcome = site.cycle()
    assert site.slurm.jobs[job_id].state == "RUNNING"
    assert len(outcome.memory.shadow) == 1
    question = question_of(site.slurm.observed(site.signal), outcome, site.rules)
    assert question is not None
    (one,) = question.pools["gpu"].waiting
    assert (one.job_id, question.pools["gpu"].running) == (job_id, ())
    place = Adviser(valid_s=DAY).advise(question)
    site.slurm.run_until(at(6.5))
    outcome = site.cycle(advice=place)
    assert [event.kind for event in outcome.events] == ["shadow-start"]
    question = question_of(site.slurm.observed(site.signal), outcome, site.rules)
    assert [one.job_id for one in question.pools["gpu"].running] == [job_id]
    assert site.cycle(advice=place).events == ()


def test_partitions_that_share_nodes_are_one_pool() -> None:
    shown = [*nodes(3), Node(name="c0", cpus=64)]
    parts = [
        Partition(name="a", node_names=("n0",)),
        Partition(name="cpu", node_names=("c0",)),
        Partition(name="b", node_names=("n1", "n2")),
        Partition(name="all", node_names=("n0", "n1")),
        Partition(name="down", node_names=("n2",), up=False),
    ]
    found = {one.name: (one.units, one.resource) for one in shared_nodes(parts, shown)}
    assert found == {"a,all,b": (6, 0), "cpu": (64, 1)}


def test_the_way_of_a_cpu_partition_is_in_cpus() -> None:
    shown = job(
        1, gpus=0, cpus=8, state="RUNNING", start_utc=NOW, end_utc=at(2), node_names=("n0",)
    )
    site = Site()
    site.slurm.nodes = nodes(2, gpus=0)
    site.slurm.jobs[1] = shown
    question = question_of(site.slurm.observed(site.signal), site.cycle(), site.rules)
    assert question is not None
    (going,) = question.pools["gpu"].running
    assert (going.ways[0].units, question.pools["gpu"].resource) == (8, 1)


def test_jobs_run_on_the_sites_own_supply() -> None:
    """Three hours of sun before the grid's clean noon; base power takes all of the first one."""
    series = fresh(days(), NOW)
    sun, base = np.zeros(len(series.values)), np.zeros(len(series.values))
    at = int((NOW_S - float(series.edges_s[0])) // series.step_s)
    per_hour = round(HOUR / series.step_s)
    sun[at + per_hour : at + 4 * per_hour] = 5000.0
    base[: at + 2 * per_hour] = 5000.0
    own = (
        replace(series, values=sun, quantity="renewable_w"),
        replace(series, values=base, quantity="base_power_w"),
    )
    question = asked(waits(1))
    small = replace(question.pools["gpu"], name="old", units=1, waiting=(waits(2),))
    question = replace(question, pools=question.pools | {"old": small}, own=own)
    advice = Adviser(valid_s=HOUR).advise(question)
    assert abs(advice.places[1].start_s - NOW_S - 2 * HOUR) < 60
    assert advice.places[2].start_s > NOW_S + 4 * HOUR, "it counts in the largest pool alone"
    alone = Adviser(valid_s=HOUR).advise(replace(question, own=()))
    assert alone.places[1].start_s > NOW_S + 4 * HOUR


def test_with_nothing_to_plan_power_still_costs_what_it_emits() -> None:
    """The next job to come is the first one, and should wait for noon."""
    prices = Adviser(valid_s=HOUR).advise(asked()).prices["gpu"]
    slots = prices.curve.price[0] * 3.6e6
    now = int((NOW_S - prices.curve.start_s) // prices.curve.step_s)
    assert abs(slots[now] - days().at(NOW)) < 1.0
    assert slots[now + 12] < 0.5 * slots[now]


def test_prices_for_who_runs_are_without_that_of_waiting() -> None:
    """Noon emits what was forecast, though who looks for a start counts it dearer."""
    prices = Adviser(valid_s=HOUR).advise(asked(waits(1))).prices["gpu"]
    noon = int((NOW_S - prices.curve.start_s) // prices.curve.step_s) + 12
    counted, emitted = (one.price[0, noon] * 3.6e6 for one in (prices.curve, prices.plain))
    assert emitted == pytest.approx(days().at(NOW + timedelta(hours=6)), rel=0.02)
    assert counted > 1.1 * emitted
    assert (prices.plain.price[1] == prices.curve.price[1]).all()


def test_a_running_job_rests_in_a_dirty_hour_if_that_pays_for_its_restart() -> None:
    """It has two hours to go; noon is worth a restart of minutes, and not one of a day's work."""
    going = Going(
        job_id=7, ways=ONE, since_s=NOW_S - HOUR, end_s=NOW_S + 2 * HOUR,
        latest_end_s=NOW_S + 14 * HOUR, may_pause=True,
    )  # fmt: skip
    for cost_s, may_pause, pauses in (
        (300.0, True, {7}), (300.0, False, set()), (DAY, True, set()),
    ):  # fmt: skip
        question = asked(running=(replace(going, may_pause=may_pause),))
        advice = Adviser(valid_s=HOUR).advise(replace(question, pause_cost_s=cost_s))
        assert advice.pauses == pauses


def test_a_job_out_of_sight_for_a_moment_does_not_arrive_twice() -> None:
    """It would make twice as many look likely to come."""
    adviser = Adviser(valid_s=HOUR)
    for minutes, shown in ((0, True), (10, False), (20, True)):
        adviser.advise(asked(*[waits(1)] * shown, at_s=NOW_S + 60 * minutes))
    (pool,) = adviser._pools.values()
    assert pool._policy._arrivals._count == 1


def test_a_reservation_keeps_its_number_and_is_no_arrival() -> None:
    """Its number went with the length of the queue, so that with each plan one more had come."""
    site = Site()
    site.cycle()
    site.slurm.submit(gpus=8)
    reserved = Reservation(name="m", start_utc=at(30), end_utc=at(31), node_names=("n0",))
    site.slurm.reservations = (reserved,)
    adviser, numbers = Adviser(valid_s=DAY), set()
    for _ in range(3):
        site.slurm.submit(gpus=8)
        question = question_of(site.slurm.observed(site.signal), site.cycle(), site.rules)
        assert question is not None
        adviser.advise(question)
        numbers |= {one.job_id for one in question.pools["gpu"].waiting if one.job_id < 0}
    assert len(numbers) == 1
    (pool,) = adviser._pools.values()
    assert pool._policy._arrivals._count == 4


def test_the_tasks_of_an_array_that_waited_do_not_arrive_again_as_they_start() -> None:
    """Slurm shows each task that starts as a job of its own; what waits of the array is one job."""
    adviser = Adviser(valid_s=HOUR)

    def arrived(minutes: int, *waiting: Waiting, running: tuple[Going, ...] = ()) -> int:
        adviser.advise(asked(*waiting, running=running, at_s=NOW_S + 60 * minutes))
        (pool,) = adviser._pools.values()
        return pool._policy._arrivals._count

    def tasks(array: int, *numbers: int) -> tuple[Going, ...]:
        one = Going(job_id=0, ways=ONE, since_s=NOW_S, end_s=NOW_S + HOUR, array_id=array)
        return tuple(replace(one, job_id=number) for number in numbers)

    assert arrived(0, waits(1, gpus=4)) == 1
    assert arrived(1, waits(1, gpus=2), running=tasks(1, 2, 3)) == 1
    assert arrived(2, running=tasks(1, 1, 2, 3, 4)) == 1
    # Of one that never waited all tasks arrive.
    assert arrived(3, running=(*tasks(1, 1, 2, 3, 4), *tasks(5, 5, 6))) == 3


def test_a_cycle_tells_which_array_a_running_task_is_of() -> None:
    site = Site()
    site.cycle()
    site.slurm.submit(gpus=2, array_job_id=9, array_task="4")
    site.slurm.run_until(at(0.01))
    question = question_of(site.slurm.observed(site.signal), site.cycle(), site.rules)
    assert question is not None
    assert [one.array_id for one in question.pools["gpu"].running] == [9]
