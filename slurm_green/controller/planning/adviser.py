# SPDX-License-Identifier: Apache-2.0
"""Answers questions with the policy `prices`, the same code that replays run. Pure.

One policy per pool, which remembers what it has seen. It thinks in seconds of the signal, which a
time-scaled trace lets pass faster than real ones; all that goes in or out here is in POSIX seconds.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from slurm_green.controller.planning.advice import Advice, Place
from slurm_green.controller.planning.catalogue import Catalogue
from slurm_green.controller.planning.question import Going, Pool, Question, Waiting, Way
from slurm_green.hook.view import Prices
from slurm_green.plan.outcome import Weights
from slurm_green.plan.policy.prices import PricesPolicy
from slurm_green.plan.policy.protocol import Done, Job, Outlook, Run, Setup, View
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Site
from slurm_green.plan.response import PriceCurve
from slurm_green.signals.quantity import BASE_POWER, RENEWABLE
from slurm_green.signals.series import Series

__all__ = ["Adviser"]

# So many kinds of jobs are no kinds any more: what was learned is let go with them.
_MOST_CLASSES = 5000
# Jobs that are remembered to have arrived.
_MOST_COUNTED = 50_000


@dataclass(kw_only=True)
class Adviser:
    """One plan after another; `valid_s` is how long each is good for."""

    valid_s: float
    clock: Callable[[], float] = time.monotonic
    _pools: dict[str, "_Pool"] = field(default_factory=dict)

    def advise(self, question: Question) -> Advice:
        """The plan for this moment; raises whatever the policy raises."""
        began_s = self.clock()
        places: dict[int, Place] = {}
        prices: dict[str, Prices] = {}
        pauses: set[int] = set()
        until_s = question.at_s + self.valid_s
        for name, pool in question.pools.items():
            mine = self._pools.get(name)
            if mine is None or not mine.fits(question, pool):
                mine = self._pools[name] = _Pool(question, pool)
            found, rest, curves = mine.advise(question, pool)
            places |= found
            pauses |= rest
            if curves is not None:
                curve, plain = curves
                priced = Prices(curve=curve, plain=plain, resource=pool.resource, until_s=until_s)
                prices |= dict.fromkeys(pool.partitions, priced)
        return Advice(
            at_s=question.at_s,
            until_s=until_s,
            places=places,
            prices=prices,
            pauses=frozenset(pauses),
            solve_s=self.clock() - began_s,
        )


class _Pool:
    """One pool's policy and what it was shown."""

    def __init__(self, question: Question, pool: Pool) -> None:
        signal = question.signal
        self._zero_s = float(signal.edges_s[0])
        self._scale = signal.time_scale
        self._step_s = signal.step_s
        self._units = pool.units
        self._catalogue = Catalogue()
        self._known: dict[int, Job] = {}
        self._counted: dict[int, None] = {}
        self._runs: dict[int, Run] = {}
        self._outlook: Outlook | None = None
        past = sorted(pool.past, key=lambda one: one.submit_s)
        # The policy wants some class to begin with.
        self._catalogue.class_of((Way(units=1, power_w=1.0),))
        classes = [self._catalogue.class_of(one.ways) for one in past]
        self._policy = self._made(question)
        if past:
            learned = []
            for one, number in zip(past, classes, strict=True):
                submit_s = self._time(one.submit_s)
                length_s = one.length_s * self._scale
                learned.append(
                    Job(
                        job_id="",
                        class_index=number,
                        work=length_s,
                        submit_s=submit_s,
                        earliest_s=submit_s,
                        deadline_s=submit_s + length_s + one.slack_s * self._scale,
                    )
                )
            self._policy.learn(learned, learned[0].submit_s)

    def fits(self, question: Question, pool: Pool) -> bool:
        """Whether what was learned still holds."""
        signal = question.signal
        return (
            signal.step_s == self._step_s
            and signal.time_scale == self._scale
            and pool.units == self._units
            and len(self._catalogue) < _MOST_CLASSES
        )

    def advise(
        self, question: Question, pool: Pool
    ) -> tuple[dict[int, Place], set[int], tuple[PriceCurve, PriceCurve] | None]:
        """Places, pauses and prices of this pool."""
        now_s = self._time(question.at_s)
        waiting = [self._job(one) for one in pool.waiting if self._fit(one)]
        running = [self._run(one) for one in pool.running if self._fit(one)]
        arrays = {str(one.job_id): one.array_id for one in pool.running if one.array_id}
        arrived = self._news(waiting, running, arrays)
        done = self._gone(waiting, running, now_s)
        self._policy.grow(self._catalogue.shapes)
        gpus = self._catalogue.shapes.gpus
        decision = self._policy.decide(
            View(
                now_s=now_s,
                outlook=self._look(question, question.own if pool.name == question.largest else ()),
                waiting=waiting,
                work_left={job.job_id: job.work for job in waiting},
                running=running,
                free_gpus=max(self._units - sum(int(gpus[run.shape]) for run in running), 0),
                arrived=arrived,
                done=done,
            )
        )
        ours = {one.job_id for one in pool.waiting if one.ours}
        planned = {int(name): (one.start_s, one.shape) for name, one in self._policy.plan.items()}
        planned |= {int(start.job_id): (now_s, start.shape) for start in decision.starts}
        places = {
            job_id: self._place(start_s, shape)
            for job_id, (start_s, shape) in planned.items()
            if job_id in ours
        }
        return places, {int(name) for name in decision.pauses}, self._curves()

    def _made(self, question: Question) -> PricesPolicy:
        setup = Setup(
            shapes=self._catalogue.shapes,
            gpus=self._units,
            step_s=self._step_s * self._scale,
            pause_cost_s=question.pause_cost_s * self._scale,
        )
        # Who came since the last list has a place; to move the others, too, is work for slurmctld.
        return PricesPolicy(setup, fills=True)

    def _time(self, at_s: float) -> float:
        return (at_s - self._zero_s) * self._scale

    def _real_s(self, time_s: float) -> float:
        return self._zero_s + time_s / self._scale

    def _fit(self, one: Waiting | Going) -> bool:
        return 0 < one.ways[0].units <= self._units

    def _job(self, one: Waiting) -> Job:
        length_s = max(one.length_s, 1.0)
        return Job(
            job_id=str(one.job_id),
            class_index=self._catalogue.class_of(one.ways),
            work=length_s * self._scale,
            submit_s=self._time(one.submit_s),
            earliest_s=self._time(one.earliest_s),
            deadline_s=self._time(max(one.latest_s, one.earliest_s) + length_s),
            preemptible=one.may_pause,
        )

    def _run(self, one: Going) -> Run:
        """The same object as long as it is the same run."""
        number = self._catalogue.class_of(one.ways)
        since_s, ends_by_s = self._time(one.since_s), self._time(one.end_s)
        shape = self._catalogue.shapes.of(number)[0]
        run = self._runs.get(one.job_id)
        if run is not None and (run.since_s, run.ends_by_s, run.shape, run.job.preemptible) == (
            since_s, ends_by_s, shape, one.may_pause,
        ):  # fmt: skip
            return run
        rate = float(self._catalogue.shapes.rate[shape])
        work = max(ends_by_s - since_s, self._scale) * rate
        job = Job(
            job_id=str(one.job_id),
            class_index=number,
            work=work,
            submit_s=since_s,
            earliest_s=since_s,
            deadline_s=max(self._time(one.latest_end_s), ends_by_s),
            preemptible=one.may_pause,
        )
        run = Run(job=job, shape=shape, since_s=since_s, ends_by_s=ends_by_s, rate=rate, work=work)
        self._runs[one.job_id] = run
        return run

    def _news(self, waiting: list[Job], running: list[Run], arrays: Mapping[str, int]) -> list[Job]:
        """Who is here for the first time; out of sight for a moment is not away.

        A task of an array that has waited came with it, and a reservation (its number is below
        nil) is no job of which more may come.
        """
        here = (*waiting, *(run.job for run in running))
        arrived = [
            job
            for job in here
            if int(job.job_id) >= 0
            and int(job.job_id) not in self._counted
            and arrays.get(job.job_id) not in self._counted
        ]
        self._known |= {int(job.job_id): job for job in here}
        self._counted |= dict.fromkeys(int(job.job_id) for job in arrived)
        for job_id in list(self._counted)[: max(len(self._counted) - _MOST_COUNTED, 0)]:
            del self._counted[job_id]
        return sorted(arrived, key=lambda job: job.submit_s)

    def _gone(self, waiting: list[Job], running: list[Run], now_s: float) -> list[Done]:
        here = {int(job.job_id) for job in (*waiting, *(run.job for run in running))}
        gone = [job_id for job_id in self._known if job_id not in here]
        for job_id in gone:
            self._runs.pop(job_id, None)
        return [Done(job=one, work=one.work, end_s=now_s) for one in map(self._known.pop, gone)]

    def _look(self, question: Question, own: tuple[Series, ...]) -> Outlook:
        """The same object as long as the slot and what is expected are the same."""
        signal = question.signal
        slot = int(np.searchsorted(signal.edges_s, question.at_s, "right")) - 1
        slot = min(max(slot, 0), len(signal.values) - 1)
        edges_s = signal.edges_s[slot:]
        watts = {one.quantity: _per_slot(one, edges_s) for one in own}
        nothing = np.zeros(len(edges_s) - 1)
        site = Site(
            gpus=self._units,
            start_s=self._time(float(edges_s[0])),
            step_s=self._step_s * self._scale,
            carbon_g_per_kwh=signal.values[slot:].copy(),
            renewable_w=watts.get(RENEWABLE.name, nothing),
            base_power_w=watts.get(BASE_POWER.name, nothing),
        )
        if self._outlook is None or not _alike(self._outlook.site, site):
            issued_s = self._time(signal.issued_utc.timestamp())
            self._outlook = Outlook(site=site, issued_s=issued_s)
        return self._outlook

    def _place(self, start_s: float, shape: int) -> Place:
        way = self._catalogue.way(shape)
        return Place(start_s=self._real_s(start_s), workers=way.workers, clock_mhz=way.clock_mhz)

    def _curves(self) -> tuple[PriceCurve, PriceCurve] | None:
        """The prices over real slots, with that of waiting and without; None where they are none.

        A time-scaled signal's prices are not scaled: what is compared grows alike.
        """
        ahead = self._policy.ahead
        if ahead is None:
            return None
        gpu = ahead.prices.lam / SECONDS_PER_HOUR
        prices = [
            np.stack([energy / JOULES_PER_KWH, gpu])
            for energy in (ahead.prices.mu, self._policy.energy_g_per_kwh)
        ]
        if not all(np.isfinite(one).all() and (one >= 0).all() for one in prices):
            return None
        curve = PriceCurve(
            start_s=self._real_s(ahead.start_s),
            step_s=self._step_s,
            gpus=self._units,
            weights=Weights(),
            price=prices[0],
        )
        return curve, replace(curve, price=prices[1])


def _alike(one: Site, other: Site) -> bool:
    """Whether the same is expected from the same slot on."""
    return one.start_s == other.start_s and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("carbon_g_per_kwh", "renewable_w", "base_power_w")
    )


def _per_slot(series: Series, edges_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each slot; nothing where nothing is known."""
    return np.asarray(np.diff(series.integral_to(edges_s)) / np.diff(edges_s))
