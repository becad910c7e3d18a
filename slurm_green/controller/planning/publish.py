# SPDX-License-Identifier: Apache-2.0
"""A plan's prices as a price file, for programs beside sgreend. Pure."""

from datetime import datetime

from slurm_green.controller.planning.advice import Advice
from slurm_green.plan.outcome import Objective
from slurm_green.plan.outcome import Prices as SlotPrices
from slurm_green.plan.price_file import PriceFile
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR

__all__ = ["price_file_of"]


def price_file_of(advice: Advice, made_utc: datetime) -> PriceFile | None:
    """The prices of the largest pool, GPUs before CPUs; None where there are none."""
    if not advice.prices:
        return None
    best = max(advice.prices.values(), key=lambda one: (-one.resource, one.curve.gpus))
    curve = best.plain
    mu = curve.price[0] * JOULES_PER_KWH
    return PriceFile(
        start_s=curve.start_s,
        step_s=curve.step_s,
        gpus=curve.gpus,
        objective=Objective.PERFORMANCE_CONSTRAINED,
        weights=curve.weights,
        prices=SlotPrices(mu=mu, lam=curve.price[1] * SECONDS_PER_HOUR, nu=0.0 * mu),
        made_utc=made_utc,
    )
