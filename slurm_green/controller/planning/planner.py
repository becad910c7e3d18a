# SPDX-License-Identifier: Apache-2.0
"""The runner's side of planning: which advice holds, when to ask, what to tell of it."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from slurm_green.controller.observed import Observed
from slurm_green.controller.outcome import Outcome
from slurm_green.controller.planning.advice import Advice
from slurm_green.controller.planning.ask import question_of
from slurm_green.controller.planning.desk import PlanDesk
from slurm_green.controller.planning.pace import PlanPace
from slurm_green.controller.planning.publish import price_file_of
from slurm_green.controller.rules import Rules
from slurm_green.errors import BadInputError
from slurm_green.plan.price_file import write_prices

__all__ = ["Planner"]

_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Planner:
    """Nothing here waits for a plan, and no failure of one is a cycle's."""

    desk: PlanDesk
    interval_s: float
    prices_out: Path | None = None
    _pace: PlanPace = field(init=False)
    _told: Advice | None = None
    _own_problem: str = ""

    def __post_init__(self) -> None:
        self._pace = PlanPace(interval_s=self.interval_s)

    def advice(self, observed: Observed) -> Advice | None:
        """What is to be followed in this cycle."""
        found = self.desk.advice(observed.now_utc.timestamp())
        if found is not None and found is not self._told:
            self._told = found
            _LOG.info("plan of %d jobs in %.2f s", len(found.places), found.solve_s)
            self._publish(found)
        return found

    def ask(self, observed: Observed, outcome: Outcome, rules: Rules) -> None:
        """Ask for the next plan when it is due; never raises."""
        try:
            waiting = frozenset(one.job.job_id for one in outcome.kept)
            if self.desk.busy() or not self._pace.due(observed, waiting):
                return
            question = question_of(observed, outcome, rules)
            if observed.own_problem != self._own_problem:
                self._own_problem = observed.own_problem
                if self._own_problem:
                    _LOG.warning("plans count on the grid alone: %s", self._own_problem)
            if question is not None:
                self._pace.asked(observed, waiting)
                self.desk.ask(question)
        except Exception:
            # Without a plan every job is decided on alone.
            _LOG.exception("no plan was asked for, this is a bug of slurm-green")

    def status(self, observed: Observed) -> dict[str, float | int | str | None]:
        """For the status file and the metrics."""
        found = self.desk.advice(observed.now_utc.timestamp())
        age_s = None if found is None else observed.now_utc.timestamp() - found.at_s
        return {
            "age_s": None if age_s is None else round(max(age_s, 0.0), 1),
            "solve_s": None if found is None else round(found.solve_s, 3),
            "jobs": 0 if found is None else len(found.places),
            "plans": self.desk.plans,
            "failures": self.desk.failures,
            "problem": self.desk.problem,
        }

    def _publish(self, advice: Advice) -> None:
        if self.prices_out is None:
            return
        made_utc = datetime.fromtimestamp(advice.at_s, UTC)
        file = price_file_of(advice, made_utc)
        if file is None:
            return
        try:
            write_prices(self.prices_out, file)
        except BadInputError as error:
            _LOG.warning("prices are not published: %s", error)
