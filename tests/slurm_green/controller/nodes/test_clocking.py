# SPDX-License-Identifier: Apache-2.0
"""A cycle's orders: who gets a clock, who does not and why, and what a restart finds again."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from builders import NOW, NOW_S, at, job, memory, observed, policy, rules
from clock_points import POINTS, profile
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.controller.clocks import Price
from slurm_green.controller.cycle import cycle
from slurm_green.controller.nodes.site import NodeSite, Planned
from slurm_green.controller.nodes.verdict import price_over
from slurm_green.controller.observed import Memory
from slurm_green.controller.outcome import Outcome
from slurm_green.hook.record import CLOCK, parse
from slurm_green.plan.history import History, RunSample
from slurm_green.plan.outcome import Objective, Prices, Weights
from slurm_green.plan.price_file import PriceFile
from slurm_green.plan.response import PriceCurve
from slurm_green.slurm.records import Job

SITE = NodeSite(profiles={"p": profile(*POINTS)}, cap={"clock_mhz": 1000})
WISH = "green:profile=p,runtime=1h"
RULES = rules(policy=policy(default_delay_s=0.0))

RECORDED = (
    "green:v1 id=- decided=2026-11-23T06:00:00Z start=2026-11-23T06:00:00Z"
    " latest=2026-11-23T06:00:00Z workers=- clock=1200 by=clock save_g=- sig=-"
)


def running(number: int = 1, **fields: Any) -> Job:
    """One GPU for three hours, begun just now."""
    given_: dict[str, Any] = {
        "state": "RUNNING", "start_utc": NOW, "time_limit_s": 10_800, "comment": WISH,
        "node_names": ("n0",),
    }  # fmt: skip
    return job(number, **(given_ | fields))


def run(*jobs: Job, before: Memory | None = None, now: datetime = NOW, **more: Any) -> Outcome:
    shown = observed(*jobs, now=now, nodes_site=more.pop("site", SITE), **more.pop("shown", {}))
    return cycle(shown, before or memory(), more.pop("rules", RULES))


def orders(*jobs: Job, **more: Any) -> Mapping[int, Mapping[str, object]]:
    return run(*jobs, **more).orders.jobs


def why(outcome: Outcome) -> str:
    (event,) = outcome.events
    assert event.kind == "clock-none"
    return event.detail


def test_a_running_job_gets_its_clock_a_record_and_an_event() -> None:
    outcome = run(running())
    assert outcome.orders.jobs == {1: {"clock_mhz": 1200, "floor_mhz": 900}}
    assert (outcome.orders.cap, outcome.orders.known) == ({"clock_mhz": 1000}, {1})
    record = parse(outcome.changes[1].admin_comment or "")
    assert record is not None
    assert (record.policy, record.clock_mhz, record.start_utc) == (CLOCK, 1200, NOW)
    (event,) = outcome.events
    assert (event.kind, event.detail) == (
        "clock", "1200 MHz (at least 900) by profile p: 25% longer",
    )  # fmt: skip


def test_told_and_recorded_once() -> None:
    first = run(running())
    after = running(admin_comment=f"mine {first.changes[1].admin_comment}")
    second = run(after, before=first.memory, now=at(0.01))
    assert (second.changes, second.events) == ({}, ())
    assert second.orders.jobs == first.orders.jobs


def test_a_deferred_jobs_own_record_keeps_the_clock() -> None:
    told = "tool green:v1 id=t1 decided=2026-11-23T05:00:00Z start=2026-11-23T06:00:00Z"
    told += " latest=2026-11-23T09:00:00Z workers=- clock=- by=lowest-window save_g=9 sig=-"
    text = run(running(admin_comment=told)).changes[1].admin_comment or ""
    assert text == told.replace("clock=-", "clock=1200")


def test_a_job_that_may_start_is_known_to_its_prolog() -> None:
    outcome = run(running(state="PENDING", start_utc=None, node_names=()))
    assert outcome.orders.jobs == {1: {"clock_mhz": 1200, "floor_mhz": 900}}
    assert (outcome.changes, outcome.events) == ({}, ())
    later = running(state="PENDING", start_utc=None, eligible_utc=at(3))
    assert orders(later) == {}


def test_shadow_tells_what_it_would_have_given_and_orders_nothing() -> None:
    shadow = rules(policy=policy(mode="shadow"))
    outcome = run(running(), rules=shadow)
    assert (outcome.orders.jobs, outcome.changes) == ({}, {})
    assert [event.kind for event in outcome.events] == ["clock-shadow"]
    assert run(running(), rules=shadow, before=outcome.memory).events == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"comment": "green:profile=none,runtime=1h"}, "there is no profile none"),
        ({"comment": "green:profile=p"}, "how long it runs is not known"),
        ({"time_limit_s": 3900}, "no room for a lower clock"),
        ({"deadline_utc": at(1.1)}, "no room for a lower clock"),
        ({"comment": f"{WISH},deadline=2026-11-23T07:05:00+00:00"}, "no room for a lower clock"),
        ({"comment": f"{WISH},off"}, "opted-out"),
        ({"comment": f"{WISH},nonsense=1"}, "green options ignored"),
        ({"batch": False}, "interactive"),
        ({"name": "my-jupyter", "batch": True}, ""),
        ({"gpu_freq": None}, "pyslurm does not show --gpu-freq"),
        ({"start_utc": at(-1.5)}, "runs longer than expected"),
    ],
)
def test_who_gets_none(fields: dict[str, Any], words: str) -> None:
    excluding = rules(policy=policy(default_delay_s=0.0, exclude_names=("*jupyter*",)))
    outcome = run(running(**fields), rules=excluding)
    assert outcome.orders.jobs == {}
    assert words in why(outcome)
    assert outcome.changes == {}


def test_nobody_asked_nothing_said() -> None:
    for quiet in (running(comment=""), running(gpus=0)):
        outcome = run(quiet)
        assert (outcome.orders.jobs, outcome.events, outcome.changes) == ({}, (), {})
    assert run(running(), site=None).orders.known == frozenset()


def test_a_jobs_own_frequency_is_left_alone_in_any_mode() -> None:
    for mode in ("shadow", "enforce"):
        outcome = run(running(gpu_freq="gpu:low"), rules=rules(policy=policy(mode=mode)))
        assert outcome.orders.jobs == {1: {"own": True}}
        assert outcome.changes == {}
    assert orders(running(gpu_freq="memory=low"))[1] != {"own": True}


def test_a_partitions_profile_is_for_those_who_name_none() -> None:
    site = replace(SITE, profiles={**SITE.profiles, "other": profile(*POINTS[2:])})
    ours = rules(policy=policy(default_delay_s=0.0, profile="other"))
    assert orders(running(comment="green:runtime=1h"), site=site, rules=ours)[1] == {
        "clock_mhz": 1500, "floor_mhz": 1500,
    }  # fmt: skip
    assert orders(running(), site=site, rules=ours)[1]["clock_mhz"] == 1200


def test_the_longest_run_seen_counts_and_few_say_nothing() -> None:
    def seen(*fractions: float) -> Memory:
        runs = [
            RunSample(partition="gpu", user="ada", name="train", fraction=one) for one in fractions
        ]
        return memory(history=History(runs=tuple(runs)))

    silent = running(comment="green:profile=p")
    assert orders(silent, before=seen(*[0.2] * 10))[1] == {"clock_mhz": 1200, "floor_mhz": 900}
    # The longest of them has room for 5 %: 80 % of them would have had it for more.
    assert orders(silent, before=seen(*[0.2] * 9, 0.85))[1]["floor_mhz"] == 1500
    assert orders(silent, before=seen(*[0.2] * 9)) == {}


def test_a_restart_takes_the_clock_from_the_record() -> None:
    text = run(running()).changes[1].admin_comment
    # Another price would choose otherwise, and the history is gone.
    kept = running(comment="green:profile=p", admin_comment=text)
    assert orders(kept)[1] == {"clock_mhz": 1200, "floor_mhz": 1200}
    assert orders(kept, before=run(kept).memory)[1] == {"clock_mhz": 1200, "floor_mhz": 1200}
    known = running(admin_comment=text.replace("clock=1200", "clock=1500") if text else "")
    assert orders(known)[1] == {"clock_mhz": 1500, "floor_mhz": 900}


def test_a_record_that_users_can_write_slows_nobody() -> None:
    forged = RECORDED.replace("clock=1200", "clock=900")
    extra = rules(policy=policy(default_delay_s=0.0), record_field="extra")
    assert orders(running(extra=forged), rules=extra)[1]["clock_mhz"] == 1200
    assert orders(running(extra=forged, comment="green:profile=p"), rules=extra) == {}


def test_a_clock_is_given_back_when_its_time_limit_shrinks_or_it_runs_long() -> None:
    text = run(running()).changes[1].admin_comment
    assert "any more" in why(run(running(admin_comment=text, time_limit_s=4500)))
    # 1 h x 1.1 x 1.25 is 82.5 minutes.
    slowed = running(admin_comment=text)
    assert orders(slowed, now=at(1.37))[1]["clock_mhz"] == 1200
    assert orders(slowed, now=at(1.38)) == {}


def test_the_clock_stays_while_prices_move() -> None:
    planned = memory(clocks={1: Planned(clock_mhz=1500, told="clock")})
    assert orders(running(), before=planned)[1] == {"clock_mhz": 1500, "floor_mhz": 900}


def test_switched_off_orders_nothing() -> None:
    assert orders(running(), shown={"off": True}) == {}


def test_records_are_written_some_at_a_time() -> None:
    few = rules(policy=policy(default_delay_s=0.0), releases_per_cycle=2)
    jobs = [running(number) for number in range(1, 6)]
    outcome = run(*jobs, rules=few)
    assert len(outcome.changes) == 2
    assert len(outcome.orders.jobs) == 5


def curve(start_s: float, **lists: list[float]) -> PriceCurve:
    count = len(next(iter(lists.values())))
    prices = {name: np.array(lists.get(name, [0.0] * count)) for name in ("mu", "lam", "nu")}
    return PriceCurve.of(
        PriceFile(
            start_s=start_s,
            step_s=3600.0,
            gpus=8,
            objective=Objective.PERFORMANCE_CONSTRAINED,
            prices=Prices(**prices),
            made_utc=datetime.fromtimestamp(start_s, UTC),
        )
    )


def test_prices_are_means_over_the_run() -> None:
    prices = curve(NOW_S, mu=[100, 300], lam=[36, 72], nu=[0, 100])
    found = price_over(prices, NOW_S + 1800, 3600)
    assert found.energy * 3.6e6 == pytest.approx((100 + 400) / 2)
    assert found.gpu_s * 3600 == pytest.approx(54)
    # The day after, the same hour; beyond, and before it begins, none.
    tomorrow = price_over(curve(NOW_S, mu=[100.0] * 24), NOW_S + 86_400 + 60, 3600)
    assert tomorrow.energy * 3.6e6 == pytest.approx(100)
    for start_s in (NOW_S - 60, NOW_S + 2 * 86_400 + 60):
        assert price_over(prices, start_s, 3600) == Price()


def test_what_performance_is_worth_keeps_it_fast_unless_it_is_late_anyway() -> None:
    cheap = curve(NOW_S, mu=[100.0] * 4)
    worth = replace(SITE, prices=replace(cheap, weights=Weights(performance_g=1e3)))
    assert orders(running(), site=replace(SITE, prices=cheap))[1]["clock_mhz"] == 1200
    assert orders(running(), site=worth)[1]["clock_mhz"] == 1980
    assert orders(running(submit_utc=at(-1000)), site=worth)[1]["clock_mhz"] == 1200


def test_a_dear_hour_of_a_gpu_keeps_it_fast() -> None:
    dear = replace(SITE, prices=curve(NOW_S, mu=[1.0] * 4, lam=[1e6] * 4))
    assert orders(running(), site=dear)[1]["clock_mhz"] == 1980


@settings(deadline=None)
@given(
    limit_s=st.integers(60, 20_000),
    runs=st.floats(0.05, 1.2),
    ran=st.floats(0, 1.5),
    recorded=st.sampled_from([None, 900, 1200, 1500, 1980]),
    due=st.none() | st.floats(0.3, 1.5),
)
def test_slower_never_means_killed(
    limit_s: int, runs: float, ran: float, recorded: int | None, due: float | None
) -> None:
    """Whatever was recorded: a job that runs as expected ends in time at any clock ordered.

    `runs` and `due` are shares of its limit, `ran` of its run time: every other one gets a clock.
    """
    runtime_s = max(int(runs * limit_s), 60)
    ran_s = int(ran * runtime_s)
    deadline_s = None if due is None else int(due * limit_s)
    start = NOW - timedelta(seconds=ran_s)
    text = "" if recorded is None else RECORDED.replace("clock=1200", f"clock={recorded}")
    end_s = limit_s if deadline_s is None else min(limit_s, deadline_s)
    one = running(
        start_utc=start,
        time_limit_s=limit_s,
        deadline_utc=None if deadline_s is None else start + timedelta(seconds=deadline_s),
        comment=f"green:profile=p,runtime={runtime_s}s",
        admin_comment=text,
    )
    for order in orders(one).values():
        slowdown = {900: 2.0, 1200: 1.25, 1500: 1 / 0.95, 1980: 1.0}
        floor, clock = order["floor_mhz"], order["clock_mhz"]
        assert isinstance(floor, int)
        assert isinstance(clock, int)
        assert floor <= clock
        assert 1.1 * runtime_s * slowdown[floor] <= end_s + 1e-6
        assert ran_s <= 1.1 * runtime_s * slowdown[clock] + 1e-6
