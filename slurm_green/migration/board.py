# SPDX-License-Identifier: Apache-2.0
"""The state of a cycle while its moves are chosen, and what stands in the way of each. Pure.

All jobs are asked about a site at once, as arrays; the tests are those of `feasibility.check`,
turned into the longest that a move may take.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slurm_green.errors import BadInputError
from slurm_green.migration.curves import Curves
from slurm_green.migration.links import Bools, LinkBook
from slurm_green.migration.moves import Moment, MovableJob, Site, State
from slurm_green.migration.rules import Obstacle, Rules
from slurm_green.migration.tail import among_all, ranks
from slurm_green.migration.windows import lasting_s
from slurm_green.plan.problem import Floats, Ints

__all__ = ["Board", "Reach"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a move of some jobs to one site comes to: arrays over these jobs.

    `most_s` is the longest that the move may take, `migration_s` what it may take at worst.
    """

    obstacle: Ints
    migration_s: Floats
    most_s: Floats
    window_s: Floats


class Board:
    """Jobs as arrays in the order of their names, loads and links with the moves chosen so far."""

    def __init__(self, moment: Moment, rules: Rules) -> None:
        """Raises BadInputError where a job or an outlook does not fit the sites."""
        self.moment, self.rules = moment, rules
        self.jobs = tuple(sorted(moment.jobs, key=lambda job: job.id))
        self.sites = moment.sites
        number = {site.name: at for at, site in enumerate(self.sites)}
        _check(moment, number)
        self.site = self._ints(lambda job: number[job.site])
        self.power_w = self._floats(lambda job: job.power_w)
        self.remaining_s = self._floats(lambda job: job.remaining_s)
        self.deadline_s = self._floats(_deadline_s)
        self.bytes = self._floats(lambda job: job.checkpoint_bytes)
        self.gpus = self._ints(lambda job: job.gpus)
        self.nodes = self._ints(lambda job: job.nodes)
        self.runs = self._ints(lambda job: job.state is State.RUNNING).astype(np.bool_)
        # Curves tell a job that is part of a load from one that would come on top.
        self.outside = (~self.runs).astype(np.int64)
        self.lost_s = np.where(self.runs, self._floats(lambda job: _lost_s(job, moment)), 0.0)
        rows: dict[tuple[str, frozenset[str] | None], list[Obstacle]] = {}
        for job in self.jobs:
            if (job.project, job.sites) not in rows:
                rows[job.project, job.sites] = [_allowed(job, site) for site in self.sites]
        self._may = np.array(
            [rows[job.project, job.sites] for job in self.jobs], dtype=np.int64
        ).reshape(len(self.jobs), len(self.sites))
        self._moved_s = self._floats(lambda job: -np.inf if job.last_move_s is None
                                     else job.last_move_s)  # fmt: skip
        self._stays_s = self._floats(lambda job: -np.inf if job.stays_until_s is None
                                     else job.stays_until_s)  # fmt: skip
        completion_s = self.remaining_s + self._floats(lambda job: _age_s(job, moment))
        everybody_s = np.array(moment.everybody_s or among_all(completion_s))
        self.known = len(everybody_s)
        self.rank = ranks(completion_s, everybody_s)
        self._until_s = self._floats(lambda job: -np.inf if job.window_end_s is None
                                     else job.window_end_s)  # fmt: skip
        self.load_w = np.array([site.load_w for site in self.sites], dtype=np.float64)
        self.free = np.array([site.free_gpus for site in self.sites], dtype=np.int64)
        self.grid_g_per_kwh = np.array([one.outlook.carbon_g_per_kwh.mean() for one in self.sites])
        self.wait_s = np.array([site.queue_wait_s for site in self.sites], dtype=np.float64)
        self.links = LinkBook(moment.links, number)
        self.curves = Curves(
            [site.outlook for site in self.sites], self.load_w, self.power_w, rules.grid_g_per_kwh
        )
        self._supply_w: dict[float, Floats] = {}
        self._low = self.supply_w(rules.quantile)
        self._lowest = np.minimum.accumulate(self._low, axis=1)
        self._step_s = self.sites[0].outlook.step_s

    def supply_w(self, quantile: float) -> Floats:
        """What the supply leaves above the base load at that quantile of it: (sites, slots)."""
        if quantile not in self._supply_w:
            found = [site.outlook.low_w(quantile) for site in self.sites]
            self._supply_w[quantile] = np.array(found)
        return self._supply_w[quantile]

    def fixed_s(self, jobs: Ints) -> Floats:
        """What a move takes beyond its transfer and the wait there."""
        return np.where(self.runs[jobs], self.moment.snapshot_s + self.moment.restart_s, 0.0)

    def window_s(self, jobs: Ints, site: int) -> Floats:
        """For how long the power of each job is sure to be greener there."""
        if self.rules.greener:
            return self.curves.greener_s(
                self.site[jobs], self.curves.level[jobs], self.outside[jobs], site, self._low[site]
            )
        load_w = self.load_w[site] + self.power_w[jobs]
        return lasting_s(self._lowest[site], load_w, self._step_s)

    def reach(self, jobs: Ints, site: int) -> Reach:
        """What stands between these jobs and a site, with the moves chosen so far."""
        here = self.site[jobs]
        data, left_s = self.bytes[jobs], self.remaining_s[jobs]
        there = self.sites[site]
        moving_s = self.fixed_s(jobs) + self.wait_s[site] + self.links.carries_s(here, site, data)
        window_s = self.window_s(jobs, site)
        blocks = [
            (Obstacle.HERE, here == site),
            (Obstacle.PROJECT, self._may[jobs, site] == Obstacle.PROJECT),
            (Obstacle.DATA, self._may[jobs, site] == Obstacle.DATA),
            (Obstacle.LINK, ~self.links.exists(here, site)),
            (Obstacle.SIZE, (self.gpus[jobs] > there.gpus) | self._too_many_nodes(jobs, site)),
        ]
        most_s = np.full(len(jobs), np.inf)
        if self.rules.domain:
            room_s = self.rules.alpha * window_s
            slack_s = self.deadline_s[jobs] - self.moment.now_s - left_s - self.lost_s[jobs]
            pays_s = self._pays_s(jobs, site, np.minimum(window_s, left_s))
            # A job that never ran is not stopped, and carries nothing: it is only placed.
            carries = self.runs[jobs] | (data > 0)
            most_s = np.minimum(np.minimum(room_s, left_s), pays_s)
            most_s = np.minimum(np.where(carries, most_s, np.inf), slack_s)
            blocks += [
                (Obstacle.DWELL, self.moment.now_s < self._moved_s[jobs] + self.rules.dwell_s),
                (Obstacle.ONCE, self._still_open(jobs)),
                (Obstacle.ROOM, self.gpus[jobs] > self.free[site]),
                (Obstacle.WINDOW, carries & (window_s <= 0)),
                (Obstacle.BUDGET, ~self.links.fits(here, site, data)),
                (Obstacle.TIME, carries & (moving_s > room_s)),
                (Obstacle.ENDS, carries & (moving_s >= left_s)),
                (Obstacle.DEADLINE, moving_s > slack_s),
                (Obstacle.ENERGY, carries & (moving_s >= pays_s)),
            ]
        else:
            blocks.append((Obstacle.ROOM, self.gpus[jobs] > self.free[site]))
        found = np.select([one for _, one in blocks], [code for code, _ in blocks], Obstacle.NONE)
        return Reach(
            obstacle=found.astype(np.int64),
            migration_s=moving_s,
            most_s=most_s,
            window_s=window_s,
        )

    def choose(self, job: int, site: int, most_s: float) -> None:
        """Make a move: loads, rooms and links are what they will be with it."""
        at, here = np.array([job]), int(self.site[job])
        fixed_s = float(self.fixed_s(at)[0] + self.wait_s[site])
        self.links.add(here, site, float(self.bytes[job]), most_s - fixed_s)
        self.free[site] -= self.gpus[job]
        self.load_w[site] += self.power_w[job]
        self.curves.changed(site)
        if self.runs[job]:
            self.load_w[here] -= self.power_w[job]
            self.curves.changed(here)

    def _pays_s(self, jobs: Ints, site: int, usable_s: Floats) -> Floats:
        """The move must take less than this to win its energy back in what is usable there.

        Move and break-even of `feasibility.check`, solved for the time of the move.
        """
        level, power_w = self.curves.level[jobs], np.maximum(self.power_w[jobs], 1e-9)
        upon = np.ones(len(jobs), dtype=np.int64)
        bad = self.curves.grams if self.rules.greener else self.curves.dark_s
        here = bad(self.site[jobs], level, self.outside[jobs], usable_s)
        there = bad(np.full(len(jobs), site), level, upon, usable_s)
        gain = np.where(here > 0, 1.0 - there / np.maximum(here, 1e-12), 0.0)
        network_j = self.moment.network_j_per_gb * self.bytes[jobs] / 1e9
        sunk_s = self.lost_s[jobs] + network_j / power_w
        with np.errstate(divide="ignore", invalid="ignore"):
            most_s = (usable_s - sunk_s / gain) * gain / (1.0 + gain)
        return np.where(gain > 0, most_s, -np.inf)

    def _still_open(self, jobs: Ints) -> Bools:
        """Whether the window for which a job moved last, or was to move, is open."""
        covered = np.array([float(low[0]) for low in self._lowest]) >= self.load_w
        now_s = self.moment.now_s
        moved = (now_s < self._until_s[jobs]) & covered[self.site[jobs]]
        return np.asarray(moved | (now_s < self._stays_s[jobs]))

    def _too_many_nodes(self, jobs: Ints, site: int) -> Bools:
        nodes = self.sites[site].nodes
        return self.nodes[jobs] > (np.inf if nodes is None else nodes)

    def _floats(self, of: Callable[[MovableJob], float]) -> Floats:
        return np.fromiter(map(of, self.jobs), np.float64, len(self.jobs))

    def _ints(self, of: Callable[[MovableJob], int]) -> Ints:
        return np.fromiter(map(of, self.jobs), np.int64, len(self.jobs))


def _deadline_s(job: MovableJob) -> float:
    return np.inf if job.deadline_s is None else job.deadline_s


def _lost_s(job: MovableJob, moment: Moment) -> float:
    written_s = job.last_checkpoint_s
    return 0.0 if written_s is None else max(moment.now_s - written_s, 0.0)


def _age_s(job: MovableJob, moment: Moment) -> float:
    return 0.0 if job.submit_s is None else max(moment.now_s - job.submit_s, 0.0)


def _allowed(job: MovableJob, site: Site) -> Obstacle:
    if site.projects is not None and job.project not in site.projects:
        return Obstacle.PROJECT
    return Obstacle.NONE if job.sites is None or site.name in job.sites else Obstacle.DATA


def _check(moment: Moment, number: dict[str, int]) -> None:
    if not moment.sites:
        raise BadInputError("no site: moves need at least one")
    shapes = {(len(site.outlook), site.outlook.step_s) for site in moment.sites}
    if len(shapes) > 1 or len(number) < len(moment.sites):
        raise BadInputError("sites: wanted different names, and outlooks of the same slots")
    for job in moment.jobs:
        if job.site not in number:
            raise BadInputError(f"job {job.id}: no site is called {job.site!r}")
