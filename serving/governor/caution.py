# SPDX-License-Identifier: Apache-2.0
"""How careful the governor is, by how many requests it made late. Pure.

A late request has a price in usual requests' energy. It rises with each request that was late and
would not have been at the highest clock, and falls with each other one, so that it settles where
`most_lost` of them are. Where no price is high enough, the lowest clock rises.
"""

import math

__all__ = ["Caution"]

_LEAST, _MOST = 2.0, 32_000.0  # at the most all runs at the highest clock
_ENOUGH = 2_000.0  # beyond that a higher price alone changes little
_MOST_HEARD = 1e12  # requests; nobody serves more
_FIRST, _LAST, _SLOWER = 300.0, 2_500.0, 0.5  # requests for a change e-fold, and how that grows


class Caution:
    """Settles at the price at which `most_lost` of the requests are late for want of speed."""

    def __init__(self, price: float, most_lost: float) -> None:
        self.price = price  # of a late request, in usual requests' energy
        self.heard = 0  # requests
        self._most_lost = most_lost

    def go_on(self, price: float, heard: int) -> None:
        """From what was learned before; raises ValueError for what nobody learns."""
        if not _LEAST <= price <= _MOST or not 0 <= heard <= _MOST_HEARD:
            raise ValueError(f"a price of {price} after {heard} requests")
        self.price, self.heard = float(price), int(heard)

    def hear(self, lost: int, behind: int = 0) -> None:
        """One more request: 1 late for want of speed, 0 not, -1 late at the highest clock only.

        The trap: it was served at the price of `behind` requests ago, or so. Who moves faster than
        what comes back swings between both ends.
        """
        pace = max(min(_FIRST + _SLOWER * self.heard, _LAST), behind)
        self.heard += 1
        change = min((lost / self._most_lost - 1) / pace, 10.0)
        self.price = min(max(self.price * math.exp(change), _LEAST), _MOST)

    @property
    def floor(self) -> float:
        """How far between the most frugal clock and the highest the lowest one is, 0 to 1."""
        if self.price <= _ENOUGH:
            return 0.0
        return math.log(self.price / _ENOUGH) / math.log(_MOST / _ENOUGH)
