# SPDX-License-Identifier: Apache-2.0
"""What a signal can be about: the name is the column's in every file, with its unit. Pure."""

from dataclasses import dataclass

from slurm_green.errors import SignalError

__all__ = [
    "BASE_POWER",
    "CARBON",
    "PRICE",
    "QUANTITIES",
    "REGRESSOR",
    "RENEWABLE",
    "Quantity",
    "quantity_named",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One quantity; `most` is what no site comes near: above it lies another unit, or rubbish."""

    name: str
    unit: str
    what: str
    most: float
    may_be_negative: bool = False


CARBON = Quantity(
    name="carbon_g_per_kwh", unit="gCO2e/kWh", what="carbon intensity", most=100_000.0
)
# In rupiah or dong a kWh costs thousands, in Lebanese pounds tens of thousands.
PRICE = Quantity(
    name="price_per_kwh", unit="currency/kWh", what="price", most=100_000.0, may_be_negative=True
)
RENEWABLE = Quantity(name="renewable_w", unit="W", what="on-site renewable supply", most=1e12)
BASE_POWER = Quantity(name="base_power_w", unit="W", what="base power", most=1e12)
QUANTITIES = {one.name: one for one in (CARBON, PRICE, RENEWABLE, BASE_POWER)}
# What a forecast may lean on, in whatever unit it comes; no signal of its own.
REGRESSOR = Quantity(
    name="regressor", unit="its own unit", what="regressor", most=1e15, may_be_negative=True
)


def quantity_named(name: str) -> Quantity:
    """The quantity of that name; raises SignalError with the names there are."""
    found = REGRESSOR if name == REGRESSOR.name else QUANTITIES.get(name)
    if found is None:
        raise SignalError(f"{name[:40]!r} is no quantity; there are {', '.join(QUANTITIES)}")
    return found
