# SPDX-License-Identifier: Apache-2.0
"""A plan in words: its figures, what is dear when, jobs in trouble. Pure.

The trap: a gap is a distance to what is proven, not to what is possible; and a plan that places
other jobs than start-now has not saved the difference.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from slurm_green.cli.plan_facts import GOALS, Facts, Trouble, amount, kwh, watts
from slurm_green.plan.outcome import Objective
from slurm_green.plan.problem import Floats
from slurm_green.words import clean, grams, length

__all__ = ["BAD", "GOOD", "TROUBLE_COLUMNS", "figures", "headline", "tightness", "trouble_rows"]

GOOD, BAD = "good", "bad"
TROUBLE_COLUMNS = ("Job", "Class", "Deadline", "Ends", "Late by", "Why, and what to do")
_NAMED = 4  # services, and clocks of one
_NONE = 1e-6  # what is smaller is no price, no carbon


def headline(facts: Facts) -> str:
    """What was planned, and what for."""
    site, count = facts.problem.site, len(facts.problem.jobs)
    return (
        f"Plan of {count:,} {'job' if count == 1 else 'jobs'} on {site.gpus:,} "
        f"{'GPU' if site.gpus == 1 else 'GPUs'} over {length(site.horizon_s)}: "
        f"{GOALS[facts.outcome.objective]}"
    )


def figures(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """(name, words, GOOD or BAD or "") of each figure."""
    found, site = facts.outcome, facts.problem.site
    yield "Carbon", _carbon(facts), ""
    yield "Against start-now", *_start_now(facts)
    yield "Jobs", *_jobs(facts)
    yield "Energy", f"{kwh(found.energy_j)} of the jobs", ""
    cap = "" if np.isinf(site.power_cap_w) else f", the cap is {watts(site.power_cap_w)}"
    yield "Peak power", f"{watts(found.peak_w)}{cap}", ""
    if (share := facts.gpu_share) is not None:
        most = float(facts.gpus_used.max())
        most_text = f"{round(most, 0 if most >= 100 else 1):,}".removesuffix(".0")
        filled = f"{most_text} of {site.gpus:,} in the fullest slot"
        yield "GPU use", f"{100 * share:.1f} % of the GPU-hours, {filled}", ""
    of_most = _at_most(found.performance_at_most, found.performance)
    counted = "a job that runs at once at full speed counts 1"
    yield "Performance", f"{amount(found.performance)} ({counted}){of_most}", ""
    ppc = f"{amount(found.ppc)} performance per kgCO2e"
    yield "PPC", f"{ppc}{_at_most(found.ppc_at_most, found.ppc)}", ""
    if facts.problem.services:
        yield "Services", _services(facts), ""
    stopped = (
        "" if found.stopped == "done" else f", stopped by the {found.stopped}: the best so far"
    )
    yield "Solved in", f"{found.solve_s:.1f} s{stopped}", ""


def tightness(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """(price, words, ""): how often it is paid and when it is highest."""
    prices, site = facts.outcome.prices, facts.problem.site
    free = f"free in {int((prices.mu <= _NONE).sum())} of {site.slots} slots"
    yield "Power (mu)", _price(facts, prices.mu, "g/kWh", free), ""
    paid = int((prices.lam > _NONE).sum())
    yield (
        "GPUs (lam)",
        _price(facts, prices.lam, "g/GPU-hour", f"scarce in {paid or 'no'} slots"),
        "",
    )
    if np.isfinite(site.power_cap_w):
        bound = int((prices.nu > _NONE).sum())
        yield "Cap (nu)", _price(facts, prices.nu, "g/kWh", f"binds in {bound or 'no'} slots"), ""


def trouble_rows(facts: Facts, most: int) -> Iterator[tuple[str, ...]]:
    """Cells of the first jobs without a place and late ones."""
    for one in islice(facts.troubles(), most):
        yield (one.job_id, one.class_name, *_when(facts, one), one.advice)


def _carbon(facts: Facts) -> str:
    found = facts.outcome
    text = grams(found.carbon_g)
    if facts.carbon_budget_g is not None:
        text += f" of a budget of {grams(facts.carbon_budget_g)}"
    if found.carbon_g <= _NONE or found.gap <= 1e-9:
        return f"{text}, proven to be the least possible"
    if found.lower_bound_g <= _NONE:
        return f"{text}; no bound above zero is proven"
    least = grams(found.lower_bound_g)
    if found.objective is Objective.PERFORMANCE_CONSTRAINED:
        return (
            f"{text}, at most {_percent(found.gap)} above the least possible: "
            f"no plan has less than {least}"
        )
    return f"{text}; the least possible would be no less than {least}"


def _start_now(facts: Facts) -> tuple[str, str]:
    """(words, GOOD or BAD or ""); a comparison with other jobs placed would be none."""
    blind, found = facts.start_now, facts.outcome
    site = facts.problem.site
    ignored = [
        name
        for name, limit in (("the cap", site.power_cap_w), ("the ramp", site.ramp_w_per_slot))
        if np.isfinite(limit)
    ]
    late = f"{blind.late_jobs:,} {'job' if blind.late_jobs == 1 else 'jobs'}"
    notes = [f"has {late} late"] if blind.late_jobs else []
    notes += [f"leaves {blind.unplaced_jobs:,} out"] if blind.unplaced_jobs else []
    notes += [f"ignores {' and '.join(ignored)}"] if ignored else []
    tail = "; start-now " + ", ".join(notes) if notes else ""
    if blind.unplaced_jobs != found.unplaced_jobs:
        return f"{grams(blind.carbon_g)}, not comparable: other jobs are placed{tail}", ""
    saved_g = blind.carbon_g - found.carbon_g
    if blind.carbon_g <= _NONE or abs(saved_g) < 5e-4 * blind.carbon_g:
        return f"{grams(blind.carbon_g)}, the same{tail}", ""
    share = f"{100 * abs(saved_g) / blind.carbon_g:.1f} %"
    if saved_g < 0:
        return (
            f"{grams(blind.carbon_g)}: the plan emits {grams(-saved_g)} ({share}) more{tail}",
            BAD,
        )
    return f"{grams(blind.carbon_g)}: the plan saves {grams(saved_g)} ({share}){tail}", GOOD


def _jobs(facts: Facts) -> tuple[str, str]:
    late, unplaced = facts.outcome.late_jobs, facts.outcome.unplaced_jobs
    in_time = len(facts.problem.jobs) - late - unplaced
    if not late and not unplaced:
        return f"{in_time:,}, all in time", ""
    return f"{in_time:,} in time, {late:,} late, {unplaced:,} not placed", BAD


def _services(facts: Facts) -> str:
    """How long each runs at which clock, and what all draw."""
    found, services = facts.outcome, facts.problem.services
    parts = []
    for one, clock in zip(services[:_NAMED], found.service_clock, strict=False):
        share = np.bincount(clock, minlength=len(one.clock_mhz)) / len(clock)
        often = [at for at in np.argsort(-share, kind="stable").tolist() if share[at] > 0][:_NAMED]
        clocks = ", ".join(f"{one.clock_mhz[at]} MHz {100 * share[at]:.0f} %" for at in often)
        parts.append(f"{clean(one.name)} at {clocks} of the time")
    more = len(services) - _NAMED
    parts += [f"{more} more"] if more > 0 else []
    parts.append(f"{watts(float(facts.services_w.mean()))} on average")
    if found.service_performance is not None:
        most = amount(sum(one.weight for one in services))
        parts.append(f"performance {amount(found.service_performance)} of {most}")
    return "; ".join(parts)


def _at_most(bound: float | None, value: float) -> str:
    if bound is None:
        return ""
    if bound <= value * (1 + 1e-9):
        return ", proven to be the most possible"
    return f", no plan has more than {amount(bound)}"


def _price(facts: Facts, values: Floats, unit: str, often: str) -> str:
    """How often, and the stretch around the highest where it stays within a fifth of it."""
    if not len(values) or values.max() <= _NONE:
        return often
    top = int(np.argmax(values))
    high = values >= 0.8 * values[top]
    first, last = top, top
    while first > 0 and high[first - 1]:
        first -= 1
    while last + 1 < len(values) and high[last + 1]:
        last += 1
    step_s, clock = facts.problem.site.step_s, facts.clock
    return (
        f"{often}, highest {amount(float(values[top]))} {unit} "
        f"({clock.text(first * step_s)} to {clock.text((last + 1) * step_s)})"
    )


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.2f} %" if percent >= 0.01 else f"{percent:.1g} %"


def _when(facts: Facts, one: Trouble) -> tuple[str, str, str]:
    """Deadline, end, late by."""
    deadline = facts.clock.text(one.deadline_s)
    if one.end_s is None:
        return deadline, "-", "no place"
    return deadline, facts.clock.text(one.end_s), length(one.late_s)
