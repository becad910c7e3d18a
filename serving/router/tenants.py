# SPDX-License-Identifier: Apache-2.0
"""Who may come in, and what they may use. Pure.

Keys are looked up by their hash, so that how long that takes says nothing about them.
"""

from collections.abc import Mapping
from hashlib import sha256

from serving.router.answers import Refusal
from serving.router.settings import Settings, Tenant

__all__ = ["Guest", "Tenants"]

_MOST = 10_000


class Guest:
    """A tenant who is in; `running` counts its requests in this process.

    Requests hold on to it, so a new configuration changes it in place.
    """

    def __init__(self, tenant: Tenant | None) -> None:
        self.running = 0
        self.configure(tenant)

    def configure(self, tenant: Tenant | None) -> None:
        """What it may do from now on."""
        self.tenant = tenant
        self.name = tenant.name if tenant is not None else ""
        self.models = None if tenant is None or tenant.models is None else frozenset(tenant.models)
        self.sites = None if tenant is None or tenant.sites is None else frozenset(tenant.sites)
        self.most = tenant.running if tenant is not None else None


class Tenants:
    """All of them; without any, everybody may use everything."""

    def __init__(self, settings: Settings, old: "Tenants | None" = None) -> None:
        before: dict[str, Guest] = {} if old is None else {one.name: one for one in old.guests}
        self.guests: list[Guest] = []
        for tenant in settings.tenant:
            guest = before.get(tenant.name) or Guest(tenant)
            guest.configure(tenant)
            self.guests.append(guest)
        self._anybody = None if settings.tenant else Guest(None)
        self._by_hash: Mapping[bytes, Guest] = {
            sha256(key.encode()).digest(): guest
            for guest in self.guests
            if guest.tenant is not None
            for key in settings.keys.get(guest.tenant.key_file, ())
        }
        self._entered: dict[bytes, Guest] = {}  # headers that were good; there are few
        self._routes = {
            one.name: None if one.sites is None else frozenset(one.sites) for one in settings.model
        }

    def enter(self, authorization: bytes | None) -> Guest:
        """Who it is; raises Refusal."""
        if self._anybody is not None:
            return self._anybody
        if authorization is None:
            raise Refusal(401, "no API key: send the header 'Authorization: Bearer KEY'")
        known = self._entered.get(authorization)
        if known is not None:
            return known
        scheme, _, key = authorization.partition(b" ")
        guest = self._by_hash.get(sha256(key.strip()).digest())
        if guest is None or scheme.lower() != b"bearer":
            raise Refusal(401, "unknown API key")
        if len(self._entered) < _MOST:
            self._entered[authorization] = guest
        return guest

    def sites(self, guest: Guest, model: str) -> frozenset[str] | None:
        """The sites that both the tenant and the model may use; None: all."""
        route = self._routes.get(model)
        if route is None or guest.sites is None:
            return route if guest.sites is None else guest.sites
        return route & guest.sites

    def may_use(self, guest: Guest, model: str) -> bool:
        """Whether the tenant may use this model at all."""
        return guest.models is None or model in guest.models
