# SPDX-License-Identifier: Apache-2.0
"""/metrics in Prometheus' text form, on localhost by default."""

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from slurm_green.controller.answer import AnswerCounts
from slurm_green.controller.status import Status, taken_utc

__all__ = ["StatusCollector"]


class StatusCollector:
    """Turns the newest status and the answer counts into metrics when scraped.

    `fresh` says whether what that status tells of now still holds.
    """

    def __init__(
        self,
        status: Callable[[], Status | None],
        counts: Callable[[], AnswerCounts],
        fresh: Callable[[Status], bool] = lambda status: True,
    ) -> None:
        self._status = status
        self._counts = counts
        self._fresh = fresh

    def collect(self) -> Iterable[Metric]:
        """All metrics; joules and grams are counters, what is unknown is absent.

        Gauges are of now: without cycles nobody knows them.
        """
        counts = self._counts()
        answers = CounterMetricFamily(
            "slurm_green_hook_answers", "Answers to the submit hook", labels=["answer"]
        )
        for name in ("deferred", "looked", "passed", "failed", "malformed", "strangers"):
            answers.add_metric([name], getattr(counts, name))
        yield answers
        passes = CounterMetricFamily(
            "slurm_green_hook_passes", "Why jobs passed the submit hook", labels=["reason"]
        )
        for reason, count in counts.passes().items():
            passes.add_metric([reason], count)
        yield passes
        status = self._status()
        if status is None:
            return
        at = taken_utc(status)
        yield _gauge("cycle_timestamp_seconds", "When the last cycle ran", at.timestamp())
        yield from _counters(status)
        if self._fresh(status):
            yield from _gauges(status)


def _counters(status: Status) -> Iterable[Metric]:
    """What has happened since the start."""
    yield _counter("cycles", "Cycles run", status.cycles)
    yield _counter("cycle_cpu_seconds", "CPU time of cycles", status.cycle_cpu_s)
    yield _counter("slurm_failures", "Cycles in which Slurm failed", status.slurm_failures)
    yield _counter("bugs", "Cycles that met a bug", status.bugs)
    yield _counter("changes_refused", "Changes that Slurm refused", status.changes_refused)
    yield _counter("expected_saving_grams", "Expected CO2e saving", status.expected_save_g)
    events = CounterMetricFamily(
        "slurm_green_events", "What happened to deferred jobs", labels=["kind"]
    )
    for kind, count in status.events.items():
        events.add_metric([kind], count)
    yield events
    decisions = CounterMetricFamily(
        "slurm_green_decisions", "Decisions about jobs", labels=["mode", "reason"]
    )
    for key, count in status.decisions.items():
        decisions.add_metric(key.split("/", 1), count)
    yield decisions
    if (plan := status.plan) is not None:
        yield _counter("plans", "Plans made", float(plan["plans"] or 0))
        yield _counter("plan_failures", "Plans that failed", float(plan["failures"] or 0))


def _gauges(status: Status) -> Iterable[Metric]:
    """How it is now."""
    yield _gauge("deferred_jobs", "Jobs held back now", status.deferred)
    yield _gauge("off", "1 while switched off", float(status.off))
    failing = float(bool(status.ledger_problem))
    yield _gauge("ledger_failing", "1 while the ledger cannot be written", failing)
    if status.carbon_g_per_kwh is not None:
        yield _gauge("carbon_intensity_g_per_kwh", "Intensity now", float(status.carbon_g_per_kwh))
    if status.signal_age_s is not None:
        yield _gauge("signal_age_seconds", "Age of the signal", status.signal_age_s)
    yield from _signal(status)
    yield from _plan(status)


def _signal(status: Status) -> Iterable[Metric]:
    """The forecast at fixed horizons, and which links of its chain work."""
    ahead = GaugeMetricFamily(
        "slurm_green_carbon_forecast_g_per_kwh",
        "Forecast intensity so many hours ahead; value is mean, p10 or p90",
        labels=["horizon_hours", "value"],
    )
    for hours, amounts in status.forecast_g_per_kwh.items():
        for name, amount in zip(("mean", "p10", "p90"), amounts, strict=True):
            if amount is not None:
                ahead.add_metric([hours, name], amount)
    yield ahead
    failed = GaugeMetricFamily(
        "slurm_green_signal_link_failed",
        "1 where this link of the signal's chain failed at the last refresh",
        labels=["link", "kind"],
    )
    used = GaugeMetricFamily(
        "slurm_green_signal_link_used",
        "1 where the signal rests on this link",
        labels=["link", "kind"],
    )
    for one in status.signal_links:
        labels = [one["name"], one["kind"]]
        failed.add_metric(labels, float(one["status"] == "failed"))
        used.add_metric(labels, float(one["status"] == "used"))
    yield failed
    yield used


def _plan(status: Status) -> Iterable[Metric]:
    """How old the newest plan is, and for how many."""
    plan = status.plan
    if plan is None:
        return
    for name, doc in (
        ("age_s", "Age of the plan that is followed"),
        ("solve_s", "What the newest plan took"),
    ):
        if plan[name] is not None:
            yield _gauge(f"plan_{name.removesuffix('_s')}_seconds", doc, float(plan[name] or 0.0))
    yield _gauge("planned_jobs", "Jobs with a place in the plan", float(plan["jobs"] or 0))


def _gauge(name: str, doc: str, value: float) -> Metric:
    return GaugeMetricFamily(f"slurm_green_{name}", doc, value=value)


def _counter(name: str, doc: str, value: float) -> Metric:
    return CounterMetricFamily(f"slurm_green_{name}", doc, value=value)
