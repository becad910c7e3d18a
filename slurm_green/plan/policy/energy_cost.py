# SPDX-License-Identifier: Apache-2.0
"""EnergyCost of CA-RM: on arrival, the start and shape whose electricity costs least. Pure.

Source: the comparator EnergyCost of Kang and Moon (2026), whose definition is not published in
what we could read. Our reading: prices are known ahead; each job takes the cheapest start and
shape in time for itself. Where the signal has no price every kWh costs the same, so that it is
the shape of least energy at once.
"""

import numpy as np

from slurm_green.plan.policy.cheapest import Cheapest
from slurm_green.plan.policy.protocol import Outlook, Policy, Setup, View
from slurm_green.plan.policy.windows import Ahead, full_w, net

__all__ = ["make"]


class _EnergyCost(Cheapest):
    _outlook: Outlook | None = None
    _ahead: Ahead

    def signal(self, view: View) -> Ahead:
        if self._outlook is not view.outlook:
            self._outlook, site = view.outlook, view.outlook.site
            price = site.price_per_kwh
            each = np.ones(site.slots) if price is None else price
            self._ahead = Ahead(site.start_s, site.step_s, net(each, site, full_w(self.setup)))
        return self._ahead


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return _EnergyCost(setup)
