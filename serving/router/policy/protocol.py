# SPDX-License-Identifier: Apache-2.0
"""What a routing policy sees, and what it answers. Pure.

One policy object stands for one model: its sites, and all replicas of that model. Whoever calls it
(the router, or the replay) owns the views, updates them in place, and passes the same `Moment`
every time; a policy reads it and keeps no reference into it. Times are seconds of one clock that
never goes back. What is not known is None.

The caller's part:

- `control` is called once before the first request, then every `period_s`, and at once when a
  site's supply falls below its draw. What it orders holds until the next orders.
- `route` is called for each request, and again for one that must be sent anew (its replica failed,
  or its site lost power) or that waited until a replica was ready. It answers an index of
  `Moment.replicas`, or None: nobody can serve it in time, so it is turned away (429, and try again
  after `retry_after_s`).
- Right after sending, the caller counts the request in `running` and `queued_tokens` of its
  replica, so that the next decision sees it.
- `finished` is called once for each request that was answered in full.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "Moment",
    "Orders",
    "Outlook",
    "Policy",
    "ReplicaView",
    "RequestView",
    "SiteOrder",
    "SiteView",
]


@dataclass(frozen=True, slots=True)
class Outlook:
    """A step of a site's power forecast: from `start_s` on, what is expected and its low quantile.

    It holds until the next step starts.
    """

    start_s: float
    supply_w: float
    low_w: float


@dataclass(slots=True)
class SiteView:
    """A site. `gpus` counts the replicas of this model that it has room for, ready or not.

    `supply_w` is what the site has for them now; None: nobody limits it. The caller puts
    `supply_low_w` (low quantile of the forecast for the next minutes) into `supply_w` when the
    telemetry is stale or missing.
    """

    name: str
    rtt_s: float
    gpus: int
    supply_w: float | None = None
    supply_low_w: float | None = None
    draw_w: float | None = None
    mu_g_per_kwh: float | None = None
    outlook: Sequence[Outlook] = ()


@dataclass(slots=True)
class ReplicaView:
    """A replica. `site` is an index of `Moment.sites`.

    `running` are requests that it has, as far as the caller knows, `waiting` those of them that
    wait in its queue, `queued_tokens` the prompt tokens of those that have no first token yet.
    `ttft_s` and `tpot_s` are recent means. Not `ready`: parked, waking up, draining or failed; no
    request may go there.
    """

    site: int
    ready: bool = True
    running: int = 0
    waiting: int = 0
    queued_tokens: int = 0
    kv_use: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    clock_mhz: float | None = None


@dataclass(slots=True)
class RequestView:
    """A request. `output_tokens` is None where nobody told, as usual; `waited_s` is what of its
    time to the first token is gone, `session` a number that later turns of a talk share.

    `sites` are those it may go to (None: all), `tried` replicas that it must not go to again;
    `begun`: the client has tokens of it already, so turning it away would break its answer;
    `again`: the policy was asked for it before, so it is no new one; `placed`: it found a replica
    for it then. `asked` is a policy's own: the sites that it asked for it.
    """

    prompt_tokens: int
    output_tokens: int | None = None
    waited_s: float = 0.0
    session: int | None = None
    sites: frozenset[int] | None = None
    tried: frozenset[int] = frozenset()
    begun: bool = False
    again: bool = False
    placed: bool = False
    asked: frozenset[int] = frozenset()


@dataclass(slots=True)
class Moment:
    """Now: all sites and all replicas."""

    now_s: float
    sites: list[SiteView]
    replicas: list[ReplicaView]


@dataclass(frozen=True, slots=True)
class SiteOrder:
    """What a site should do until the next orders.

    `weight` is its share of new requests (0: none), for callers that show it; `route` already
    follows it. `ceiling_mhz` is the highest clock its GPUs may run at, `awake` how many of its
    replicas should be awake, the others park; None: no wish.
    """

    weight: float = 1.0
    ceiling_mhz: float | None = None
    awake: int | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders by site, in the order of `Moment.sites`."""

    sites: Sequence[SiteOrder] = field(default=())


class Policy(Protocol):
    """One policy for one model; it may remember what it has seen."""

    period_s: float
    retry_after_s: float

    def control(self, moment: Moment) -> Orders:
        """What the sites should do from now on; milliseconds, for planners up to seconds."""
        ...

    def route(self, request: RequestView, moment: Moment) -> int | None:
        """The replica for this request; 50 us at most."""
        ...

    def finished(
        self,
        request: RequestView,
        replica: int,
        ttft_s: float | None,
        tpot_s: float | None,
        tokens: int,
    ) -> None:
        """A request was answered in full, with so many tokens.

        `ttft_s` is None where nobody saw the first one: the answer came in one piece.
        """
        ...
