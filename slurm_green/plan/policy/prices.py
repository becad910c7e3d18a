# SPDX-License-Identifier: Apache-2.0
"""Policy `prices`, ours: what waits starts where it is cheapest at the prices of the hours ahead.

With each slot the forecast is corrected by its errors so far, and prices are found for what runs,
what waits and what usually arrives. At these prices lists say when each job starts, anew when jobs
arrive. Promises come first: who finds no room in time gets the first room there is, before others.
Pure. docs/rolling.md explains it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from slurm_green.plan.policy import demand
from slurm_green.plan.policy.arrivals import Arrivals
from slurm_green.plan.policy.carbon_filter import CarbonFilter
from slurm_green.plan.policy.prices_forecast import Corrections
from slurm_green.plan.policy.prices_split import Choice, Room, Wishes, choose
from slurm_green.plan.policy.protocol import Decision, Job, Outlook, Run, Setup, Start, View
from slurm_green.plan.policy.rolling import Busy, Planned, busy_of, first_rooms, list_of, window
from slurm_green.plan.policy.rolling_prices import Ahead, look_ahead
from slurm_green.plan.policy.waiting import waiting_g_per_kwh
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats, Shapes, Site

__all__ = ["PricesPolicy", "make"]

_AHEAD_H, _AFTER_LONGEST_H = 72.0, 24.0
_ARRIVALS_H = 24  # who comes later has clean hours of its own to wait for
_MOST_SLOTS = 600
_PAUSE_S = 600.0  # between two lists, where nobody is in a hurry
_ROUNDS, _ROUNDS_BETWEEN = 3, 2
_MARGIN = 0.025  # of the time a job can wait: so much earlier it is planned to be done
_LEAST_MARGIN_S, _SOON_S, _TRIES = 300.0, 1.0, 5
_OVERRUN_S = 24 * SECONDS_PER_HOUR  # so long who found no room shows that there is none to spare


class PricesPolicy:
    """The policy, and what it plans beyond this moment.

    With `fills` who comes between two lists gets a place beside the others, who keep theirs but
    where one in a hurry finds none.
    """

    def __init__(self, setup: Setup, *, fills: bool = False) -> None:
        self._setup = setup
        self._fills = fills
        self._arrivals = Arrivals(setup.shapes)
        ahead = max(1, round(96 * SECONDS_PER_HOUR / setup.step_s))
        self._carbon = CarbonFilter(setup.step_s)
        self._supply = Corrections(setup.step_s, ahead)
        self._outlook: Outlook | None = None
        self._site: Site | None = None
        self._waiting_g: Floats = np.zeros(0)
        self._ahead: Ahead | None = None
        self._plan: dict[str, Planned] = {}
        self._pressed: set[str] = set()
        self._listed_s, self._overrun_s = -math.inf, -math.inf
        self._stale = False
        self._free_gpus: Floats = np.zeros(0)
        self._wishes = Wishes()

    @property
    def plan(self) -> Mapping[str, Planned]:
        """By the last decision: the start of each waiting job that runs in one go."""
        return self._plan

    @property
    def ahead(self) -> Ahead | None:
        """By the last decision: the prices of the hours ahead."""
        return self._ahead

    @property
    def energy_g_per_kwh(self) -> Floats:
        """By the last decision: the price of a kWh in each slot, without that of waiting."""
        if self._site is None or self._ahead is None:
            return np.zeros(0)
        counted = self._site.carbon_g_per_kwh
        share = np.divide(self._waiting_g, counted, out=np.zeros_like(counted), where=counted > 0)
        return np.asarray(self._ahead.prices.mu * (1.0 - share))

    def learn(self, jobs: Sequence[Job], now_s: float) -> None:
        """These jobs arrived in the past, in order of time."""
        self._arrivals.add(jobs, now_s)

    def grow(self, shapes: Shapes) -> None:
        """Further classes from now on; those that were known keep their places."""
        self._setup = replace(self._setup, shapes=shapes)
        self._arrivals.grow(shapes)

    def decide(self, view: View) -> Decision:
        """What to start, pause or reshape now."""
        now = view.now_s
        self._arrivals.add(view.arrived, now)
        fresh = view.outlook is not self._outlook
        if fresh:
            self._outlook = view.outlook
            self._site = self._corrected(view)
            self._reprice(view)
            self._wishes = Wishes()
        self._stale = self._stale or bool(view.arrived) or any(one.failed for one in view.done)
        if self._pressed and view.done:
            self._stale = True
        wake = math.inf
        whole = [job for job in view.waiting if not job.preemptible]
        if fresh or self._stale:
            again = self._listed_s + _PAUSE_S
            anew = fresh or now >= again
            if self._fills and not anew:
                self._fill(view, whole)
            if anew or self._hurry(whole, again):
                self._list(view, whole, _ROUNDS if fresh else _ROUNDS_BETWEEN)
            else:
                wake = again
        starts, room, planned = self._due(view, whole)
        choice = self._split(view, room, starts)
        site = view.outlook.site
        next_slot = site.start_s + site.step_s * (
            1 + math.floor((now - site.start_s) / site.step_s)
        )
        return Decision(
            starts=self._in_order(view, [*starts, *choice.starts]),
            pauses=choice.pauses,
            wake_s=min(wake, planned, next_slot),
        )

    def _corrected(self, view: View) -> Site:
        """The next days, with the forecast corrected; later slots count for a little more."""
        site, issued = view.outlook.site, view.outlook.issued_s
        rates = self._setup.shapes.fastest_rate
        longest_h = max(
            (view.work_left[job.job_id] / float(rates[job.class_index]) for job in view.waiting),
            default=0.0,
        ) / SECONDS_PER_HOUR  # fmt: skip
        hours = max(_AHEAD_H, longest_h + _AFTER_LONGEST_H)
        slots = max(1, min(site.slots, _MOST_SLOTS, round(hours * SECONDS_PER_HOUR / site.step_s)))
        carbon = self._carbon.corrected(site.start_s, issued, site.carbon_g_per_kwh)
        self._waiting_g = self._waiting(view, carbon[:slots])
        carbon = carbon[:slots] + self._waiting_g
        supply = site.renewable_w
        if supply.any():
            supply = self._supply.corrected(site.start_s, issued, supply)
        return replace(
            site,
            gpus=self._setup.gpus,
            carbon_g_per_kwh=carbon,
            renewable_w=supply[:slots],
            base_power_w=site.base_power_w[:slots],
            price_per_kwh=None,
            power_cap_w=math.inf,
            ramp_w_per_slot=math.inf,
        )

    def _waiting(self, view: View, carbon: Floats) -> Floats:
        """What each slot counts for beyond its intensity, in g/kWh: waiting has a price."""
        pausing = bool(view.waiting) and all(job.preemptible for job in view.waiting)
        share = 1.0 if pausing else self._leaves_room(view)
        step_s, spread = view.outlook.site.step_s, self._carbon.spread(carbon)
        return waiting_g_per_kwh(carbon, step_s, spread=spread, room=share)

    def _reprice(self, view: View) -> None:
        site, now = self._site, view.now_s
        assert site is not None
        left_h = math.ceil((site.start_s + site.horizon_s - now) / SECONDS_PER_HOUR)
        likely = self._arrivals.likely(now, min(_ARRIVALS_H, left_h))
        jobs, left = demand.movable(view)
        busy = busy_of(_fixed(view.running), self._setup.shapes, now, site)
        problem = window(site, self._setup.shapes, jobs, left, now, busy)
        free = np.maximum(self._setup.gpus - busy.average(busy.gpus, site), 0.0)
        self._free_gpus = free
        # Who shares unsure supply waits longer: not where GPUs hardly do for what must be done.
        sure = not site.green.any() or self._overrun(now)
        sure = sure or demand.tightness(view, site, self._setup, free) > demand.TIGHT
        self._ahead = look_ahead(problem, site.start_s, now, free, likely, self._ahead, sure=sure)

    def _hurry(self, jobs: Sequence[Job], until_s: float) -> bool:
        """Whether somebody who has no plan yet cannot wait so long."""
        return any(
            job.job_id not in self._plan and self._latest_s(job) < until_s + _PAUSE_S
            for job in jobs
        )

    def _list(self, view: View, jobs: Sequence[Job], rounds: int) -> None:
        """Plans the start of all jobs that run in one go; who finds no room goes first."""
        site, now, shapes = self._site, view.now_s, self._setup.shapes
        assert site is not None
        self._listed_s, self._stale = now, False
        in_time = self._in_time(view, jobs)
        self._plan = {}
        if not jobs:
            return
        running = busy_of(_fixed(view.running), shapes, now, site)
        aim = {job.job_id: self._aim_s(job, view) for job in jobs}
        spared = self._spared(view, running)
        # Who had a place in time and finds none now keeps the one it had. Who had none may use
        # all of its time, beyond its aim; without room even then it gets the first room there is,
        # before the others, until it runs.
        kept = {name: place for name, place in in_time.items() if name in self._pressed}
        firm: dict[str, Planned] = {}
        busy, same = running, False
        for tries_left in reversed(range(_TRIES)):
            if not same:
                busy = running.and_also(list(kept.values()), site, shapes)
                pressed = [job for job in jobs if job.job_id in self._pressed - kept.keys()]
                pressed.sort(key=self._latest_s)
                rooms = first_rooms(pressed, view.work_left, site, shapes, now, busy)
                busy = busy.and_also(list(rooms.values()), site, shapes)
                firm = kept | rooms
            self._plan, same = dict(firm), True
            rest = [
                replace(job, deadline_s=aim[job.job_id])
                for job in jobs
                if job.job_id not in self._plan
            ]
            if not rest:
                return
            self._plan |= self._placed(view, rest, busy, rounds, spared)
            missing = [job for job in jobs if job.job_id not in self._plan]
            if not missing:
                return
            for job in missing:
                if job.job_id in in_time:
                    kept[job.job_id] = in_time[job.job_id]
                    same = False
                elif aim[job.job_id] < job.deadline_s:
                    aim[job.job_id] = job.deadline_s
                else:
                    self._pressed.add(job.job_id)
                    self._overrun_s = now
                    same = False
            if tries_left == 1:
                kept, same = in_time, False
            rounds = 1
        for job in missing:
            self._plan |= first_rooms([job], view.work_left, site, shapes, now, busy)

    def _overrun(self, now_s: float) -> bool:
        """Whether somebody found no room lately."""
        return now_s - self._overrun_s < _OVERRUN_S

    def _leaves_room(self, view: View) -> float:
        """From 0 to 1: not where nobody knows for whom, none is to spare, or all run faster."""
        if self._overrun(view.now_s) or not self._arrivals.known(view.now_s):
            return 0.0
        return 1.0 - demand.elastic_share(view.waiting, view.work_left, self._setup)

    def _spared(self, view: View, busy: Busy) -> Floats:
        """GPUs that are left in each slot to jobs that come with little time."""
        site, setup = self._site, self._setup
        assert site is not None
        free = np.maximum(setup.gpus - busy.average(busy.gpus, site), 0.0)
        tightness = demand.tightness(view, site, setup, free)
        usual = self._arrivals.usual_gpus(view.now_s, demand.LITTLE_TIME_S)
        return demand.spared_gpus(site, tightness, self._leaves_room(view) * usual)

    def _placed(
        self, view: View, jobs: Sequence[Job], busy: Busy, rounds: int, spared: Floats
    ) -> dict[str, Planned]:
        """Places of jobs beside what is busy; who finds none may use what is spared, too."""
        site, ahead, shapes, now = self._site, self._ahead, self._setup.shapes, view.now_s
        assert site is not None and ahead is not None
        held = busy.held(site, spared)
        problem = window(site, shapes, jobs, view.work_left, now, busy)
        found = list_of(problem, site.start_s, busy, ahead, rounds=rounds, held=held)
        rest = [job for job in jobs if job.job_id not in found]
        if rest and held is not busy:
            busy = busy.and_also(list(found.values()), site, shapes)
            problem = window(site, shapes, rest, view.work_left, now, busy)
            found |= list_of(problem, site.start_s, busy, ahead, rounds=1)
        return found

    def _fill(self, view: View, jobs: Sequence[Job]) -> None:
        """Plans those that have no place, as far as there is room; the next list sees them all."""
        site, now, shapes = self._site, view.now_s, self._setup.shapes
        assert site is not None
        new = [job for job in jobs if job.job_id not in self._plan]
        if not new:
            return
        old = (self._plan[job.job_id] for job in jobs if job.job_id in self._plan)
        places = [one._replace(start_s=max(one.start_s, now)) for one in old if one.end_s > now]
        running = busy_of(_fixed(view.running), shapes, now, site)
        busy = running.and_also(places, site, shapes)
        wanted = [replace(job, deadline_s=self._aim_s(job, view)) for job in new]
        self._plan |= self._placed(view, wanted, busy, 1, self._spared(view, running))

    def _in_time(self, view: View, jobs: Sequence[Job]) -> dict[str, Planned]:
        """The places that the last list gave these jobs, where they still end in time."""
        shapes, found = self._setup.shapes, {}
        for job in jobs:
            place = self._plan.get(job.job_id)
            if place is None or place.start_s < view.now_s:
                continue
            end_s = place.start_s + view.work_left[job.job_id] / float(shapes.rate[place.shape])
            if place.shape in shapes.of(job.class_index) and end_s <= job.deadline_s:
                found[job.job_id] = place._replace(end_s=end_s)
        return found

    def _aim_s(self, job: Job, view: View) -> float:
        """By when the job is planned to be done: some time before its deadline, while it can."""
        shapes, number = self._setup.shapes, job.class_index
        rate = float(shapes.fastest_rate[number])
        if min(shapes.rate[k] for k in shapes.of(number)) < rate:
            return job.deadline_s  # its margin is that it may still run faster
        shortest = view.work_left[job.job_id] / rate
        slack = job.deadline_s - max(job.earliest_s, job.submit_s) - job.work / rate
        aim = job.deadline_s - max(_LEAST_MARGIN_S, _MARGIN * slack)
        soonest = max(view.now_s, job.earliest_s) + shortest
        return min(job.deadline_s, max(aim, soonest + _SOON_S))

    def _latest_s(self, job: Job) -> float:
        """When the whole job must start."""
        rate = float(self._setup.shapes.fastest_rate[job.class_index])
        return job.deadline_s - job.work / rate

    def _due(self, view: View, jobs: Sequence[Job]) -> tuple[list[Start], Room, float]:
        """The starts whose time has come, what is free beside them, and the next one's time."""
        room = self._room(view)
        due: list[tuple[bool, float, str, int]] = []
        wake = math.inf
        for job in jobs:
            planned = self._plan.get(job.job_id)
            if planned is None or job.earliest_s > view.now_s:
                continue
            if planned.start_s <= view.now_s + _SOON_S:
                pressed = job.job_id in self._pressed
                due.append((not pressed, planned.start_s, job.job_id, planned.shape))
            else:
                wake = min(wake, planned.start_s)
        starts = []
        for _, _, job_id, shape in sorted(due):
            if room.take(shape):
                starts.append(Start(job_id, shape))
                self._pressed.discard(job_id)
            else:
                self._stale = True
        return starts, room, wake

    def _in_order(self, view: View, starts: list[Start]) -> list[Start]:
        """Who gives GPUs back goes before who takes them."""
        gpus = self._setup.shapes.gpus
        held = {run.job.job_id: int(gpus[run.shape]) for run in view.running}
        return sorted(starts, key=lambda one: int(gpus[one.shape]) >= held.get(one.job_id, 0))

    def _room(self, view: View) -> Room:
        """GPUs and watts for what is not yet running or may be paused."""
        setup, fixed = self._setup, _fixed(view.running)
        gpus, power = setup.shapes.gpus, setup.shapes.power_w
        moving = sum(int(gpus[run.shape]) for run in view.running if run.job.preemptible)
        watts = math.inf
        if setup.power_cap_w < math.inf:
            # What never exceeds the cap does not on a slot's average.
            base_w = float(view.outlook.site.base_power_w.max())
            busy_w = sum(float(power[run.shape]) for run in fixed)
            watts = setup.power_cap_w - base_w - busy_w
        return Room(setup.shapes, view.free_gpus + moving, watts)

    def _split(self, view: View, room: Room, starts: Sequence[Start]) -> Choice:
        """Which of the jobs that may pause run now."""
        running: dict[str, Run] = {
            run.job.job_id: run for run in view.running if run.job.preemptible
        }
        waiting = [job for job in view.waiting if job.preemptible and job.earliest_s <= view.now_s]
        if not running and not waiting:
            return Choice(starts=[], pauses=[])
        assert self._site is not None and self._ahead is not None
        left = {job.job_id: view.work_left[job.job_id] for job in waiting}
        left |= {name: run.work_left(view.now_s) for name, run in running.items()}
        jobs = [*waiting, *(run.job for run in running.values())]
        return choose(
            jobs,
            left,
            running,
            room,
            self._site,
            self._ahead.prices,
            self._setup,
            view.now_s,
            self._wishes,
            self._free_gpus,
            self._supply_left_w(view, starts),
        )

    def _supply_left_w(self, view: View, starts: Sequence[Start]) -> float:
        """Of the site's own supply in this slot: what is left beside jobs that run in one go."""
        site, power_w = view.outlook.site, self._setup.shapes.power_w
        shapes = [run.shape for run in _fixed(view.running)] + [start.shape for start in starts]
        return float(site.renewable_w[0] - site.base_power_w[0] - power_w[shapes].sum())


def _fixed(runs: Sequence[Run]) -> list[Run]:
    """Those that cannot be paused."""
    return [run for run in runs if not run.job.preemptible]


def make(setup: Setup) -> PricesPolicy:
    """Our policy for one run."""
    return PricesPolicy(setup)
