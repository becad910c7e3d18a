# SPDX-License-Identifier: Apache-2.0
"""Whether a plan is allowed, and what it draws: found out from the plan alone.

It shares nothing with the planner but the types. The trap: GPUs are counted at instants of a
millisecond, where what ends makes room for what begins; power is an average over each slot. Pure.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints, Problem, Service
from slurm_green.plan.schedule import Schedule

__all__ = [
    "carbon_g",
    "check",
    "peak_w",
    "service_clocks_allowed",
    "service_power_w",
    "slot_energy_j",
]

_TOLERANCE_S = 1e-3
_TOLERANCE = 1e-6


def service_power_w(service: Service) -> Floats:
    """What each clock draws in each slot, shape (clocks, slots)."""
    share = np.minimum(service.load_per_s / service.max_rate[:, None], 1.0)
    idle_w = service.idle_power_w[:, None]
    return np.asarray(idle_w + (service.power_w[:, None] - idle_w) * share)


def service_clocks_allowed(service: Service) -> NDArray[np.bool_]:
    """Which clocks may be used in which slots, shape (clocks, slots); in each slot at least one."""
    serves = service.max_rate[:, None] * (1 + _TOLERANCE) >= service.load_per_s
    allowed = serves & (service.latency_s <= service.latency_slo_s * (1 + _TOLERANCE))[:, None]
    strongest = service.max_rate == service.max_rate.max()
    return np.asarray(np.where(allowed.any(axis=0), allowed, strongest[:, None]))


def slot_energy_j(
    problem: Problem, schedule: Schedule, service_clock: Sequence[Ints] = ()
) -> Floats:
    """What jobs and services draw in each slot, shape (slots,); the base is not in it."""
    site = problem.site
    power_w = problem.shapes.power_w[schedule.shape]
    start_s, end_s = np.maximum(schedule.start_s, 0.0), np.minimum(schedule.end_s, site.horizon_s)
    first = np.clip(start_s // site.step_s, 0, site.slots - 1).astype(np.int64)
    last = np.clip(end_s // site.step_s, first, site.slots - 1).astype(np.int64)
    # The slot it starts in, the one it ends in, and the whole ones between them.
    head_s = np.minimum(end_s, (first + 1) * site.step_s) - start_s
    tail_s = np.where(last > first, end_s - last * site.step_s, 0.0)
    through_w = np.bincount(first + 1, power_w, site.slots + 1) - np.bincount(
        np.maximum(last, first + 1), power_w, site.slots + 1
    )
    energy_j = np.maximum(np.cumsum(through_w)[: site.slots], 0.0) * site.step_s
    energy_j = energy_j + np.bincount(first, power_w * np.maximum(head_s, 0.0), site.slots)
    energy_j = energy_j + np.bincount(last, power_w * tail_s, site.slots)
    for service, clock in zip(problem.services, service_clock, strict=True):
        energy_j = energy_j + site.step_s * service_power_w(service)[clock, np.arange(site.slots)]
    return np.asarray(energy_j)


def carbon_g(problem: Problem, schedule: Schedule, service_clock: Sequence[Ints] = ()) -> float:
    """The site's carbon: in each slot what is drawn beyond the renewable supply, base included."""
    net_w = _average_w(problem, schedule, service_clock) - problem.site.renewable_w
    grams = problem.site.carbon_g_per_kwh * np.maximum(net_w, 0.0)
    return float(grams.sum() * problem.site.step_s / JOULES_PER_KWH)


def peak_w(problem: Problem, schedule: Schedule, service_clock: Sequence[Ints] = ()) -> float:
    """The greatest average power of a slot, base included, before renewables."""
    return float(_average_w(problem, schedule, service_clock).max())


def check(problem: Problem, schedule: Schedule, service_clock: Sequence[Ints] = ()) -> str | None:
    """What is wrong first, in one sentence; None where the plan is allowed.

    Late jobs and jobs without a stretch are allowed: whether they could be avoided is not asked.
    """
    return (
        _wrong_stretch(problem, schedule)
        or _wrong_job(problem, schedule)
        or _wrong_gpus(problem, schedule)
        or _wrong_clock(problem, service_clock)
        or _wrong_power(problem, schedule, service_clock)
    )


def _average_w(problem: Problem, schedule: Schedule, service_clock: Sequence[Ints]) -> Floats:
    planned_j = slot_energy_j(problem, schedule, service_clock)
    return np.asarray(problem.site.base_power_w + planned_j / problem.site.step_s)


def _wrong_stretch(problem: Problem, schedule: Schedule) -> str | None:
    jobs, shapes = problem.jobs, problem.shapes
    job, shape, start_s, end_s = schedule.job, schedule.shape, schedule.start_s, schedule.end_s
    if not len(job) == len(shape) == len(start_s) == len(end_s):
        return "the columns of the plan are not equally long"
    unknown = (job < 0) | (job >= len(jobs))
    if unknown.any():
        return f"there is no job {int(job[np.argmax(unknown)])}"
    of_class = jobs.class_index[job]
    foreign = (shape < shapes.first[of_class]) | (shape >= shapes.first[of_class + 1])
    if foreign.any():
        at = int(np.argmax(foreign))
        name = shapes.class_names[of_class[at]]
        return f"job {jobs.ids[job[at]]} runs in shape {shape[at]}, not one of its class {name}"
    # Negated, so that NaN is wrong too.
    for right, text in (
        (end_s >= start_s - _TOLERANCE_S, "ends before it starts"),
        (start_s >= jobs.earliest_s[job] - _TOLERANCE_S, "starts before its earliest start"),
        (end_s <= problem.site.horizon_s + _TOLERANCE_S, "runs past the horizon"),
    ):
        if not right.all():
            at = int(np.argmin(right))
            return f"job {jobs.ids[job[at]]} {text}: from {start_s[at]:.3f} s to {end_s[at]:.3f} s"
    return None


def _wrong_job(problem: Problem, schedule: Schedule) -> str | None:
    jobs, job = problem.jobs, schedule.job
    rate = problem.shapes.rate[schedule.shape]
    count = np.bincount(job, minlength=len(jobs))
    done = np.bincount(job, rate * (schedule.end_s - schedule.start_s), len(jobs))
    fastest = np.zeros(len(jobs))
    np.maximum.at(fastest, job, rate)
    short = (count > 0) & (done < jobs.work * (1 - _TOLERANCE) - _TOLERANCE_S * fastest)
    if short.any():
        at = int(np.argmax(short))
        return f"job {jobs.ids[at]} does {done[at]:.9g} of {jobs.work[at]:.9g} work"
    split = (count > 1) & ~jobs.preemptible
    if split.any():
        at = int(np.argmax(split))
        return f"job {jobs.ids[at]} is split into {count[at]} though not preemptible"
    order = np.lexsort((schedule.start_s, job))
    same = job[order][1:] == job[order][:-1]
    ahead_s = schedule.end_s[order][:-1] - schedule.start_s[order][1:]
    overlaps = same & (ahead_s > _TOLERANCE_S)
    if overlaps.any():
        at = int(np.argmax(overlaps))
        when_s = schedule.start_s[order][at + 1]
        return f"job {jobs.ids[job[order][at]]} overlaps itself at {when_s:.3f} s"
    return None


def _wrong_gpus(problem: Problem, schedule: Schedule) -> str | None:
    gpus = problem.shapes.gpus[schedule.shape]
    instant = np.round(np.concatenate((schedule.start_s, schedule.end_s)) / _TOLERANCE_S)
    change = np.concatenate((gpus, -gpus))
    order = np.lexsort((change, instant))
    used = np.cumsum(change[order])
    if used.max(initial=0) > problem.site.gpus:
        at = int(np.argmax(used > problem.site.gpus))
        when_s = instant[order[at]] * _TOLERANCE_S
        return f"{used[at]} GPUs are used at {when_s:.3f} s, the site has {problem.site.gpus}"
    return None


def _wrong_clock(problem: Problem, service_clock: Sequence[Ints]) -> str | None:
    if len(service_clock) != len(problem.services):
        return f"there are clocks for {len(service_clock)} of {len(problem.services)} services"
    for service, clock in zip(problem.services, service_clock, strict=True):
        if len(clock) != problem.site.slots:
            return f"service {service.name} has clocks for {len(clock)} slots"
        known = (clock >= 0) & (clock < len(service.clock_mhz))
        if not known.all():
            return f"service {service.name} has no clock {int(clock[np.argmin(known)])}"
        right = service_clocks_allowed(service)[clock, np.arange(len(clock))]
        if not right.all():
            slot = int(np.argmin(right))
            return (
                f"service {service.name} may not run at {service.clock_mhz[clock[slot]]} MHz in "
                f"slot {slot}: too slow for its load or its latency"
            )
    return None


def _wrong_power(problem: Problem, schedule: Schedule, service_clock: Sequence[Ints]) -> str | None:
    site, power_w = problem.site, _average_w(problem, schedule, service_clock)
    over = power_w > site.power_cap_w * (1 + _TOLERANCE)
    if over.any():
        slot = int(np.argmax(over))
        return (
            f"{power_w[slot]:.9g} W are drawn in slot {slot}, the cap is {site.power_cap_w:.9g} W"
        )
    rise_w = np.diff(power_w)
    steep = rise_w > site.ramp_w_per_slot + _TOLERANCE * power_w[1:]
    if steep.any():
        slot = int(np.argmax(steep))
        return (
            f"power rises by {rise_w[slot]:.9g} W to slot {slot + 1}, "
            f"the ramp allows {site.ramp_w_per_slot:.9g} W"
        )
    return None
