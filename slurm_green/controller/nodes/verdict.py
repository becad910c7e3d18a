# SPDX-License-Identifier: Apache-2.0
"""One job's clock, or why it gets none: its profile, its time, what it had before. Pure."""

import math
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from profiling.profile import TrainingPoint
from slurm_green.controller.clocks import Clock, Price, choose_clock, points_for, slowdown_at
from slurm_green.controller.nodes.site import NodeSite, Planned
from slurm_green.controller.observed import Observed
from slurm_green.controller.rules import Rules
from slurm_green.hook.decide import exclusion
from slurm_green.hook.options import Options, parse_options
from slurm_green.hook.policy import Policy
from slurm_green.hook.record import Record
from slurm_green.hook.request import request_of
from slurm_green.hook.view import PartitionView, View
from slurm_green.plan.response import PriceCurve
from slurm_green.slurm.records import Job

__all__ = ["Case", "NoClockError", "Wish", "price_over", "wish_of"]

_DAY_S = 86_400.0


class NoClockError(Exception):
    """Why a job gets no clock, as a sentence."""


def price_over(curve: PriceCurve | None, start_s: float, length_s: float) -> Price:
    """The mean price of a stretch, in POSIX seconds; joules where no price is known.

    Up to a day beyond their end the prices of a day before hold.
    """
    if curve is None:
        return Price()
    begin_s = start_s - curve.start_s
    span_s = curve.step_s * curve.slots
    if begin_s >= span_s:
        begin_s -= _DAY_S
    if not 0 <= begin_s < span_s:
        return Price()
    end_s = min(begin_s + max(length_s, 1.0), span_s)
    edges = np.array([begin_s, end_s]) / curve.step_s
    energy, gpu_s = (
        float(np.diff(np.interp(edges, curve.border, area))[0]) / (end_s - begin_s)
        for area in curve.area
    )
    return Price(energy=energy, gpu_s=gpu_s, performance_g=curve.weights.performance_g)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job's owner or its partition asked for."""

    profile: str
    options: Options


def wish_of(job: Job, policy: Policy, rules: Rules) -> Wish | None:
    """The profile that is named for a job; None where nobody names one."""
    if job.submit_utc is None or not (policy.profile or "profile=" in job.comment):
        return None
    options = parse_options(
        job.comment, prefix=rules.comment_prefix, now_utc=job.submit_utc, zone=rules.zone
    )
    name = options.profile or policy.profile
    return Wish(name, options) if name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One job that runs or may start, and what its clock rests on; `was` is the last cycle's."""

    observed: Observed
    site: NodeSite
    rules: Rules
    view: View
    job: Job
    wish: Wish
    record: Record | None
    was: Planned

    def verdict(self) -> tuple[Clock, str]:
        """Its clock and words about it; raises NoClockError."""
        points, partition = self._points(), self.view.partition(self.job.partition)
        trusted = self._trusted
        if trusted is not None and trusted.workers is not None:
            # Planned together with its number of workers: a lower one may not fit its limit.
            if trusted.clock_mhz is None:
                raise NoClockError("planned at full speed")
            kept = trusted.clock_mhz
            clock = Clock(clock_mhz=kept, floor_mhz=kept, slowdown=1.0, energy=1.0)
            return clock, f"{kept} MHz as planned with {trusted.workers} workers"
        if partition is None:
            raise NoClockError("its partition is not known")
        kept_mhz, expected_s = self._kept_mhz(), self._expected_s(partition)
        if expected_s is None:
            if kept_mhz is None:
                raise NoClockError("how long it runs is not known: green:runtime= says it")
            # Chosen when more was known, before a restart; a lower one is not known to fit.
            clock = Clock(clock_mhz=kept_mhz, floor_mhz=kept_mhz, slowdown=1.0, energy=1.0)
            return clock, f"{kept_mhz} MHz as in its record"
        longest_s = expected_s * self.site.safety
        room = self._room_s(partition) / longest_s
        chosen = choose_clock(
            points, room=room, max_slowdown=self.site.max_slowdown, price=self._price(expected_s)
        )
        if chosen is None:
            raise NoClockError("its time limit leaves no room for a lower clock")
        if kept_mhz is not None:
            slowdown = slowdown_at(points, kept_mhz)
            if slowdown > room:
                raise NoClockError("its time limit leaves no room for its clock any more")
            floor_mhz = min(chosen.floor_mhz, kept_mhz)
            chosen = replace(chosen, clock_mhz=kept_mhz, floor_mhz=floor_mhz, slowdown=slowdown)
        if (self._now - self._began).total_seconds() > longest_s * chosen.slowdown:
            raise NoClockError("it runs longer than expected: full speed from now on")
        return chosen, (
            f"{chosen.clock_mhz} MHz (at least {chosen.floor_mhz}) by profile "
            f"{self.wish.profile}: {100 * (chosen.slowdown - 1):.0f}% longer"
        )

    @property
    def _now(self) -> datetime:
        return self.observed.now_utc

    @property
    def _began(self) -> datetime:
        started = self.job.start_utc if self.job.active else None
        return started or self._now

    def _points(self) -> tuple[TrainingPoint, ...]:
        """What its profile says of as many GPUs."""
        job, name = self.job, self.wish.profile
        if job.gpu_freq is None:
            raise NoClockError("pyslurm does not show --gpu-freq; slurm_backend = commands does")
        request = request_of(job, begin_set=False)
        assert request is not None  # it has a wish
        # Whatever keeps it from waiting keeps it from being slowed, but for when it begins.
        anytime = replace(
            request, held=False, restarted=False, begin_set=False, dependent=False, reservation=""
        )
        policy = self.rules.policy_for(job.partition, job.qos)
        refused = exclusion(anytime, self.wish.options, policy, self.view)
        if refused is not None:
            raise NoClockError(refused.sentence or refused.reason)
        if name not in self.site.profiles:
            raise NoClockError(f"there is no profile {name}")
        points = points_for(self.site.profiles[name], job.gpus)
        if not points:
            raise NoClockError(f"profile {name} does not know training on {job.gpus} GPUs or fewer")
        return points

    def _price(self, expected_s: float) -> Price:
        curve = self.site.prices
        planned = self.view.prices.get(self.job.partition)
        if curve is None and planned is not None and planned.resource == 0:
            curve = planned.plain
        price = price_over(curve, self._now.timestamp(), expected_s)
        submitted = self.job.submit_utc or self._began
        waited_s = max((self._began - submitted).total_seconds(), 0.0)
        return replace(price, waited_s=waited_s, length_s=expected_s)

    def _kept_mhz(self) -> int | None:
        """The clock that it has already; in a field that users write it counts for nothing."""
        if not self.job.active:
            return None
        if self._trusted is not None and self._trusted.clock_mhz is not None:
            return self._trusted.clock_mhz
        return self.was.clock_mhz

    @property
    def _trusted(self) -> Record | None:
        """What a field says that users cannot write."""
        return self.record if self.rules.record_field == "admin_comment" else None

    def _expected_s(self, partition: PartitionView) -> float | None:
        """The longest run to be expected at full speed: the user's word, or all that was seen."""
        if self.wish.options.runtime_s is not None:
            return max(self.wish.options.runtime_s, 1.0)
        share = partition.history.longest_run_fraction(user=self.job.user, name=self.job.name)
        limit_s = self._limit_s(partition)
        return None if share is None or limit_s is None else max(share * limit_s, 1.0)

    def _limit_s(self, partition: PartitionView) -> float | None:
        return self.job.time_limit_s or partition.default_time_s or partition.max_time_s

    def _room_s(self, partition: PartitionView) -> float:
        """From its start to whatever ends it."""
        room_s = self._limit_s(partition) or math.inf
        for deadline in (self.wish.options.deadline_utc, self.job.deadline_utc):
            if deadline is not None:
                room_s = min(room_s, (deadline - self._began).total_seconds())
        return room_s
