# SPDX-License-Identifier: Apache-2.0
"""Lets policies give their orders, and follows them: who is awake, and how fast GPUs may run.

Orders come in the policy's own period and at once when a site has less power than it draws. A
policy that fails keeps its last orders.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from serving.router.group import Group
from serving.router.replica import Replica
from serving.router.supply import Supply

__all__ = ["Holder", "Steer"]

_DROP = 0.98  # a supply below this share of the last one is a drop where nobody tells the draw


class Holder(Protocol):
    """Whoever can tell the GPUs of some sites how fast they may run."""

    @property
    def files(self) -> Collection[str]:
        """The sites that it can tell."""
        ...

    def hold(self, wanted: Mapping[str, float | None]) -> None:
        """From now on; None: as fast as they can. Called again and again; must not wait."""
        ...


class Steer:
    """`lost` hears of replicas that were put to rest."""

    def __init__(
        self, lost: Callable[[Replica, str], None], bug: Callable[[BaseException], None]
    ) -> None:
        self._lost, self._bug = lost, bug
        self._supply_w: dict[str, float | None] = {}

    def tick(
        self, groups: Collection[Group], supplies: dict[str, Supply], holder: Holder, now_s: float
    ) -> None:
        """Several times a second."""
        dropped = self._dropped(supplies)
        for group in groups:
            for view in group.moment.sites:
                if view.name in supplies:
                    supplies[view.name].fill(view)
            if dropped or now_s >= group.due_s:
                self._order(group, holder, now_s)
            for replica in group.park(now_s):  # also between orders: one may be down since
                self._lost(replica, "")
        holder.hold(_lowest(groups))

    def _dropped(self, supplies: dict[str, Supply]) -> bool:
        found = False
        for name, supply in supplies.items():
            now_w, draw_w = supply.now()
            before_w = self._supply_w.get(name)
            self._supply_w[name] = now_w
            if now_w is None or now_w == before_w:
                continue
            limit_w = draw_w if draw_w is not None else (before_w or 0.0) * _DROP
            found |= now_w < limit_w
        return found

    def _order(self, group: Group, holder: Holder, now_s: float) -> None:
        group.due_s = now_s + group.policy.period_s
        group.moment.now_s = now_s
        try:
            group.orders = group.policy.control(group.moment)
        except Exception as error:
            self._bug(error)
        for site, order in zip(group.moment.sites, group.orders.sites, strict=False):
            for one in group.replicas:
                if one.site == site.name:
                    # What nobody can tell the GPUs is no ceiling.
                    one.view.clock_mhz = order.ceiling_mhz if site.name in holder.files else None


def _lowest(groups: Collection[Group]) -> dict[str, float | None]:
    """Of each site, over all models."""
    lowest: dict[str, float | None] = {}
    for group in groups:
        for site, order in zip(group.moment.sites, group.orders.sites, strict=False):
            before, mhz = lowest.get(site.name), order.ceiling_mhz
            given = [one for one in (before, mhz) if one is not None]
            lowest[site.name] = min(given) if given else None
    return lowest
