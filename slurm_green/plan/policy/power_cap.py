# SPDX-License-Identifier: Apache-2.0
"""PowerCap of CA-RM: first come, first served below a fixed cap, blind to carbon. Pure.

Source: the comparator PowerCap of Kang and Moon (2026), whose definition is not published in what
we could read. Our reading: each GPU may draw its share of the cap, so that jobs get the shape that
ends first among those whose GPUs draw no more, or else the one whose GPUs draw least; backfill
keeps the sum below the cap. Without a cap of the site, or `--option power-cap-w=W`, it is 80 % of
what the site draws with all GPUs in the shape that draws most.
"""

from collections.abc import Sequence

from slurm_green.plan.policy.backfill import Option, useful
from slurm_green.plan.policy.protocol import Decision, Policy, Setup, View
from slurm_green.plan.policy.queued import Queued

__all__ = ["make"]

_SHARE = 0.8


class _PowerCap(Queued):
    def decide(self, view: View) -> Decision:
        shapes, base_w = self.setup.shapes, float(view.outlook.site.base_power_w.max())
        most_w = float((shapes.power_w / shapes.gpus).max(initial=0.0)) * self.setup.gpus
        own_w = self.setup.options.get("power-cap-w", _SHARE * (base_w + most_w))
        # One job alone always fits: a cap that stops the site for good caps nothing.
        alone_w = base_w + float(shapes.power_w.max(initial=0.0))
        cap_w = max(min(own_w, self.setup.power_cap_w), alone_w)
        if cap_w != self.cap_w:
            self.cap_w = cap_w
            each_w = (cap_w - base_w) / max(self.setup.gpus, 1)
            self.own = [_within(own, each_w) for own in self.all_shapes]
        return super().decide(view)


def _within(own: Sequence[Option], each_w: float) -> tuple[Option, ...]:
    """The shapes whose GPUs draw no more each, or those whose GPUs draw least."""
    least_w = min((option.power_w / option.gpus for option in own), default=0.0)
    most_w = max(each_w, least_w) * (1 + 1e-9)
    return useful([option for option in own if option.power_w <= most_w * option.gpus])


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return _PowerCap(setup)
