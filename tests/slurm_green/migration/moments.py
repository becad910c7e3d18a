# SPDX-License-Identifier: Apache-2.0
"""Moments to decide on, for tests of the orchestrator."""

import numpy as np
from hypothesis import strategies as st

from slurm_green.migration.moves import Link, Moment, MovableJob, Site, State
from slurm_green.migration.windows import Outlook

__all__ = ["NOW_S", "STEP_S", "job", "moment", "moments", "site"]

NOW_S = 1_000_000.0
STEP_S = 900.0
_SLOTS = 48
_MEANS_W = (0.0, 8_000.0, 40_000.0)  # a calm, a little wind, more than its load


def outlook(supply_w, sd_w=0.0, carbon=400.0, base_w=0.0):
    """Constants, or one value per slot."""
    return Outlook(
        step_s=STEP_S,
        supply_w=np.zeros(_SLOTS) + supply_w,
        supply_sd_w=np.zeros(_SLOTS) + sd_w,
        carbon_g_per_kwh=np.zeros(_SLOTS) + carbon,
        base_w=np.zeros(_SLOTS) + base_w,
    )


def site(name, supply_w, **more):
    """A site of 16 GPUs, 8 of them free."""
    weather = {key: more.pop(key) for key in ("sd_w", "carbon", "base_w") if key in more}
    more = {"gpus": 16, "free_gpus": 8, "load_w": 0.0, **more}
    return Site(name=name, outlook=outlook(supply_w, **weather), **more)


def job(name="a", **more):
    """A running job of 10 GB and 1 kW at the dark site."""
    more = {"site": "dark", "checkpoint_bytes": 10e9, "power_w": 1000.0, "remaining_s": 36_000.0,
            **more}  # fmt: skip
    return MovableJob(id=name, **more)


def moment(*jobs, sites=None, gbps=10.0, **more):
    """The jobs between a dark site and a windy one, unless other sites are given."""
    sites = sites or (site("dark", 0.0, load_w=1000.0 * len(jobs)), site("wind", 1e6))
    links = more.pop("links", None) or [
        Link(source=one.name, destination=other.name, gbps=gbps)
        for one in sites
        for other in sites
        if one is not other
    ]
    return Moment(now_s=NOW_S, sites=tuple(sites), links=tuple(links), jobs=jobs, **more)


@st.composite
def moments(draw):
    """Two to four sites in all weathers, links with and without budgets, jobs of all kinds."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    names = [f"s{at}" for at in range(draw(st.integers(2, 4)))]
    sites = tuple(
        site(
            name,
            np.maximum(random.choice(_MEANS_W) + random.normal(0, 800, _SLOTS).cumsum(), 0.0),
            sd_w=np.linspace(0, random.choice([0.0, random.uniform(0, 3_000)]), _SLOTS),
            carbon=random.uniform(0, 900),
            base_w=random.uniform(0, 1_000),
            gpus=32,
            free_gpus=int(random.integers(0, 24)),
            load_w=random.uniform(0, 10_000),
            nodes=None if random.random() < 0.5 else 4,
            queue_wait_s=float(random.choice([0.0, 0.0, 600.0])),
            projects=None if random.random() < 0.8 else frozenset({"x"}),
        )
        for name in names
    )
    links = tuple(
        Link(
            source=one,
            destination=other,
            gbps=float(10 ** random.uniform(0, 2)),
            in_flight_bytes=float(random.choice([0.0, 50e9])),
            budget_bytes=None if random.random() < 0.5 else float(random.uniform(0, 300e9)),
        )
        for one in names
        for other in names
        if one != other and random.random() < 0.9
    )
    jobs = tuple(
        MovableJob(
            id=f"j{at}",
            site=str(random.choice(names)),
            project=str(random.choice(["x", "y"])),
            checkpoint_bytes=float(random.choice([0.0, 10 ** random.uniform(9, 11.5)])),
            power_w=float(random.choice([0.0, 500.0, random.uniform(100, 4_000)])),
            remaining_s=float(random.uniform(0, 200_000)),
            deadline_s=None if random.random() < 0.5 else NOW_S + random.uniform(0, 300_000),
            gpus=int(random.integers(1, 9)),
            nodes=int(random.integers(1, 6)),
            state=State.RUNNING if random.random() < 0.7 else State.PENDING,
            last_checkpoint_s=None if random.random() < 0.7 else NOW_S - random.uniform(0, 7200),
            last_move_s=None if random.random() < 0.8 else NOW_S - random.uniform(0, 7200),
            window_end_s=None if random.random() < 0.8 else NOW_S + random.uniform(-7200, 7200),
            sites=None if random.random() < 0.9 else frozenset(names[:1]),
        )
        for at in range(draw(st.sampled_from([30, 20, 12, 5, 1, 0])))
    )
    return Moment(
        now_s=NOW_S,
        sites=sites,
        links=links,
        jobs=jobs,
        network_j_per_gb=float(random.choice([0.0, 7_200.0])),
    )
