# SPDX-License-Identifier: Apache-2.0
"""All replicas that there are, by model: from the configuration and from registrations."""

from collections.abc import Callable, Iterable, Mapping

from serving.router.group import Group
from serving.router.policy.protocol import Policy
from serving.router.registration import DRAINING, Registration
from serving.router.replica import Replica
from serving.router.settings import Settings, Site

__all__ = ["Fleet"]


class Fleet:
    """Of one process. A replica that goes and comes back is a new one."""

    def __init__(self, settings: Settings, make_policy: Callable[[], Policy]) -> None:
        self.settings = settings
        self.groups: dict[str, Group] = {}
        self.replicas: dict[str, Replica] = {}  # by address
        self._make_policy = make_policy
        self._registered: list[Registration] = []

    def any_ready(self) -> bool:
        """Whether anybody takes requests."""
        return any(one.view.ready for one in self.replicas.values())

    def configure(self, settings: Settings, now_s: float) -> list[Replica]:
        """New settings; answers the replicas that are gone."""
        self.settings = settings
        return self._arrange(now_s, anyway=True)

    def registered(self, found: Iterable[Registration], now_s: float) -> list[Replica]:
        """What registrations say now; answers the replicas that are gone."""
        self._registered = list(found)
        return self._arrange(now_s, anyway=False)

    def _arrange(self, now_s: float, *, anyway: bool) -> list[Replica]:
        settings = self.settings
        wanted = {one.url: one for one in self._registered}
        for static in settings.replica:
            keys = settings.keys.get(static.key_file, ()) if static.key_file is not None else ()
            url = static.url.rstrip("/")
            key = keys[0] if keys else None
            wanted[url] = Registration(url=url, model=static.model, site=static.site, key=key)
        gone = [
            one
            for url, one in self.replicas.items()
            if url not in wanted or (wanted[url].model, wanted[url].site) != (one.model, one.site)
        ]
        for one in gone:
            del self.replicas[one.url]
            one.gone = True
            one.changed(now_s)
        new = 0
        for url, told in wanted.items():
            replica = self.replicas.get(url)
            if replica is None:
                replica = self.replicas[url] = Replica(
                    url, told.model, told.site, told.key, settings.breaker,
                    settings.limits.running_per_replica,
                )  # fmt: skip
                new += 1
            replica.rekey(told.key)
            replica.most = settings.limits.running_per_replica
            replica.breaker.rules = settings.breaker
            replica.draining = told.state == DRAINING
            replica.changed(now_s)
        if new or gone or anyway:
            self._regroup({one.name: one for one in settings.site}, now_s)
        return gone

    def _regroup(self, sites: Mapping[str, Site], now_s: float) -> None:
        for model in {one.model for one in self.replicas.values()} - self.groups.keys():
            self.groups[model] = Group(model, self._make_policy(), now_s)
        for model, group in self.groups.items():
            group.arrange((one for one in self.replicas.values() if one.model == model), sites)
