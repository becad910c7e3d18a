# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Policies of `sgreen migrate replay` on real wind, carbon intensity and WAN: the bars of moves.

`python benchmarks/migrate_replay.py` prints a table per bandwidth; `--gbps 1,10,100,measured`,
`--checkpoint-gb 1` (all the same; default: 1 GB to 1 TB, log-uniform), `--weeks`, `--seed`,
`--seeds`, `--policies`, `--slow-share`, `--closing-share`, `--write DIR` (the files of one
instance, for `sgreen migrate replay`), `--cycle` (the time of one decision on 10,000 jobs at 8
sites).

Six sites, each beside a wind farm: four of pgscen_ercot (hourly, 2018, with its day-ahead
forecasts), two of rts_gmlc (5 minutes, with its day-ahead forecasts), scaled so that the mean wind
is `--wind` of what the site draws at full load. Each has the grid of a zone of eurosys24_ci (2022),
its forecast is what was usual. Bandwidth is the same everywhere, or `measured`: iperf3 between
regions of a cloud near these zones (skyplane_wan). Jobs are drawn: Poisson arrivals, lengths
lognormal, 1 to 8 GPUs of 250 to 600 W; half of them have a deadline.
Data: $SLURM_GREEN_DATA, else ../shared/data beside the checkout.
"""

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from slurm_green.threads import one_thread

one_thread()  # before numpy is imported: later it changes nothing

import numpy as np
from numpy.typing import NDArray
from plan_traces import rows as uncached_rows  # type: ignore[import-not-found, unused-ignore]

from slurm_green.migration.moves import Link, Moment, MovableJob, Site
from slurm_green.migration.orchestrator import decide
from slurm_green.migration.policy.registry import policy_of
from slurm_green.migration.replay.inputs import Costs, Inputs, Issue, ReplayJob, ReplaySite
from slurm_green.migration.replay.run import replay
from slurm_green.migration.windows import Outlook

__all__ = ["SITES", "Case", "inputs_of"]

Floats = NDArray[np.float64]

rows = cache(uncached_rows)  # several sites read the same ones

_STEP_S = 900.0
_HOUR_S = 3600.0
_DAY_S = 86_400.0
_WARM_DAYS, _TAIL_DAYS = 3, 4  # a past to forecast from; room to end
_GPU_W = 425.0  # mean
# Site -> wind farm, zone of carbon intensity, region of the measured WAN.
SITES = {
    "bull-creek": ("ercot:Bull Creek Wind Farm", "US-TEX-ERCO", "gcp:us-central1-a"),
    "majestic": ("ercot:Majestic", "DE", "azure:germanywestcentral"),
    "penescal": ("ercot:Penescal Wind Farm", "PL", "gcp:europe-central2-a"),
    "aguayo": ("ercot:Aguayo Wind", "GB", "azure:uksouth"),
    "rts-309": ("rts:309_WIND_1", "US-CAL-CISO", "aws:us-west-1"),
    "rts-317": ("rts:317_WIND_1", "SE-SE3", "aws:eu-north-1"),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One instance."""

    gbps: str = "10"
    checkpoint_gb: float | None = None
    weeks: float = 2.0
    first_day: int = 60
    load: float = 0.6
    wind: float = 0.5
    gpus: int = 64
    network_j_per_gb: float = 7_200.0  # 0.002 kWh, assumed
    slow_share: float = 0.0
    closing_share: float = 0.0
    seed: int = 0


def inputs_of(case: Case) -> Inputs:
    """The instance, as the replay takes it."""
    random = np.random.default_rng(case.seed)
    days = _WARM_DAYS + 7 * case.weeks + _TAIL_DAYS
    slots = round(days * _DAY_S / _STEP_S)
    full_w = case.gpus * _GPU_W
    sites = []
    for name, (farm, zone, _) in SITES.items():
        supply, issues = _wind(farm, case.first_day, slots)
        scale = case.wind * full_w / supply.mean()
        sites.append(
            ReplaySite(
                name=name,
                gpus=case.gpus,
                supply_w=supply * scale,
                carbon_g_per_kwh=_carbon(zone, case.first_day, slots),
                base_w=np.full(slots, 0.1 * full_w),
                issues=[
                    Issue(
                        issued_s=one.issued_s,
                        middle_s=one.middle_s,
                        supply_w=one.supply_w * scale,
                        carbon_g_per_kwh=one.carbon_g_per_kwh,
                    )
                    for one in issues
                ],
            )
        )
    return Inputs(
        step_s=_STEP_S,
        sites=tuple(sites),
        links=tuple(_links(case.gbps)),
        jobs=tuple(_jobs(case, random)),
        costs=Costs(network_j_per_gb=case.network_j_per_gb),
        slow_share=case.slow_share,
        closing_share=case.closing_share,
    )


def _jobs(case: Case, random: np.random.Generator) -> list[ReplayJob]:
    widths, shares = np.array([1, 2, 4, 8]), np.array([0.45, 0.2, 0.2, 0.15])
    mean_h = 6.0 * np.exp(0.5)  # of a lognormal with median 6 h and sigma 1
    busy = case.load * case.gpus * len(SITES) * case.weeks * 7 * 24
    count = round(busy / (mean_h * float(widths @ shares)))
    submit_s = np.sort(random.uniform(0, 7 * case.weeks * _DAY_S, count)) + _WARM_DAYS * _DAY_S
    length_s = np.clip(random.lognormal(np.log(6.0), 1.0, count), 0.25, 72.0) * _HOUR_S
    gpus = random.choice(widths, count, p=shares)
    watts = random.uniform(250, 600, count)
    size_gb = 10 ** random.uniform(0, 3, count)
    if case.checkpoint_gb is not None:
        size_gb[:] = case.checkpoint_gb
    site = random.integers(0, len(SITES), count)
    slack_s = np.where(random.random(count) < 0.5, length_s + 12 * _HOUR_S, np.inf)
    return [
        ReplayJob(
            id=f"j{at}",
            site=int(site[at]),
            submit_s=round(float(submit_s[at])),
            duration_s=round(float(length_s[at])),
            limit_s=round(float(length_s[at])),
            gpus=int(gpus[at]),
            power_w=round(float(watts[at] * gpus[at])),
            checkpoint_bytes=round(float(size_gb[at]), 3) * 1e9,
            deadline_s=round(float(submit_s[at] + length_s[at] + slack_s[at]))
            if np.isfinite(slack_s[at])
            else None,
        )
        for at in range(count)
    ]


def _wind(farm: str, first_day: int, slots: int) -> tuple[Floats, list[Issue]]:
    """MW in each slot, and the day-ahead forecasts in time."""
    kind, name = farm.split(":")
    middle_s = (np.arange(slots) + 0.5) * _STEP_S + first_day * _DAY_S
    if kind == "ercot":
        header, table = rows("pgscen_ercot/wind_actual.csv.xz")
        hourly = np.array([float(row[header.index(name)]) for row in table if row[0] >= "2018"])
        at_s = (np.arange(len(hourly)) + 0.5) * _HOUR_S
        return np.interp(middle_s, at_s, hourly), _ercot_issues(name, first_day, slots)
    header, table = rows("rts_gmlc/wind_realtime_5min.csv.xz")
    fine = np.array([float(row[header.index(name)]) for row in table])
    whole = fine.reshape(-1, 3).mean(axis=1)
    first = round(first_day * _DAY_S / _STEP_S)
    header, table = rows("rts_gmlc/wind_dayahead_1h.csv.xz")
    ahead = np.array([float(row[header.index(name)]) for row in table])
    issues = []
    for day in range(round(slots * _STEP_S / _DAY_S)):
        # Issued at noon for the day after, 48 hours of it, as the file has no times of issue.
        hours = 24 * (first_day + day) + np.arange(12, 72)
        issues.append(
            Issue(
                issued_s=day * _DAY_S + _DAY_S / 2,
                middle_s=np.asarray((hours + 0.5) * _HOUR_S - first_day * _DAY_S, np.float64),
                supply_w=ahead[np.minimum(hours, len(ahead) - 1)],
                carbon_g_per_kwh=np.full(len(hours), np.nan),
            )
        )
    return whole[first : first + slots], issues


def _ercot_issues(name: str, first_day: int, slots: int) -> list[Issue]:
    header, table = rows("pgscen_ercot/wind_dayahead.csv.xz")
    zero = datetime.fromisoformat("2018-01-01T00:00:00Z")
    by_issue: dict[float, list[tuple[float, float]]] = {}
    for row in table:
        issued_s = (datetime.fromisoformat(row[0]) - zero).total_seconds() - first_day * _DAY_S
        if -_DAY_S <= issued_s < slots * _STEP_S:
            at_s = (datetime.fromisoformat(row[1]) - zero).total_seconds() - first_day * _DAY_S
            value = float(row[header.index(name)])
            by_issue.setdefault(issued_s, []).append((at_s + _HOUR_S / 2, value))
    found = []
    for issued_s, pairs in sorted(by_issue.items()):
        some = np.array(sorted(pairs))
        found.append(
            Issue(
                issued_s=issued_s,
                middle_s=some[:, 0],
                supply_w=some[:, 1],
                carbon_g_per_kwh=np.full(len(some), np.nan),
            )
        )
    return found


def _carbon(zone: str, first_day: int, slots: int) -> Floats:
    header, table = rows("eurosys24_ci/ci_lca_2022_dev16.csv.xz")
    hourly = np.array([float(row[header.index(zone)]) for row in table])
    hour = first_day * 24 + (np.arange(slots) * _STEP_S / _HOUR_S).astype(int)
    return np.asarray(hourly[np.minimum(hour, len(hourly) - 1)])


def _links(gbps: str) -> list[Link]:
    measured = _measured() if gbps == "measured" else {}
    found = []
    for one, (_, _, source) in SITES.items():
        for other, (_, _, destination) in SITES.items():
            if one != other:
                speed = measured[source, destination] if measured else float(gbps)
                found.append(Link(source=one, destination=other, gbps=speed))
    return found


def _measured() -> dict[tuple[str, str], float]:
    header, table = rows("skyplane_wan/throughput.csv.xz")
    at = [header.index(name) for name in ("src_region", "dst_region", "throughput_received")]
    return {(row[at[0]], row[at[1]]): float(row[at[2]]) / 1e9 for row in table if row[at[2]]}


def write(case: Case, folder: Path) -> None:
    """The files of an instance, for `sgreen migrate replay`."""
    inputs = inputs_of(case)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[moves]", f"network_j_per_gb = {case.network_j_per_gb}", ""]
    for site in inputs.sites:
        lines += ["[[site]]", f'name = "{site.name}"', f"gpus = {site.gpus}"]
        lines += [f'signal = "{site.name}.csv"', f'forecast = "{site.name}-forecast.csv"', ""]
        table = zip(inputs.edges_s, site.carbon_g_per_kwh, site.supply_w, site.base_w, strict=False)
        _table(folder / f"{site.name}.csv", "start_s,carbon_g_per_kwh,renewable_w,base_power_w",
               ([f"{cell:.9g}" for cell in row] for row in table))  # fmt: skip
        rows_of = (
            [f"{one.issued_s:.9g}", f"{middle_s - _HOUR_S / 2:.9g}", f"{watts:.9g}"]
            for one in site.issues
            for middle_s, watts in zip(one.middle_s, one.supply_w, strict=True)
        )
        _table(folder / f"{site.name}-forecast.csv", "issued_s,start_s,renewable_w", rows_of)
    for link in inputs.links:
        if link.source < link.destination:
            ends = f'"{link.source}", "{link.destination}"'
            lines += ["[[link]]", f"between = [{ends}]", f"gbps = {link.gbps}", ""]
    (folder / "sites.toml").write_text("\n".join(lines), encoding="utf-8")
    header = "job_id,submit_s,site,gpus,duration_s,power_w,checkpoint_gb,deadline_s"
    _table(folder / "jobs.csv", header, (
        [job.id, f"{job.submit_s:.9g}", inputs.sites[job.site].name, str(job.gpus),
         f"{job.duration_s:.9g}", f"{job.power_w:.9g}", f"{job.checkpoint_bytes / 1e9:.9g}",
         "" if job.deadline_s is None else f"{job.deadline_s:.9g}"]
        for job in inputs.jobs
    ))  # fmt: skip


def _table(path: Path, header: str, table: Iterable[list[str]]) -> None:
    lines = [header, *(",".join(row) for row in table), ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _case(asked: argparse.Namespace, gbps: str, seed: int) -> Case:
    return Case(
        gbps=gbps,
        checkpoint_gb=asked.checkpoint_gb,
        weeks=asked.weeks,
        load=asked.load,
        wind=asked.wind,
        first_day=asked.first_day,
        network_j_per_gb=asked.network_j_per_gb,
        slow_share=asked.slow_share,
        closing_share=asked.closing_share,
        seed=seed,
    )


def cycle_s(policy: str, jobs: int, sites: int) -> tuple[float, int]:
    """Processor seconds of one decision on made-up jobs at made-up sites, and the moves."""
    random = np.random.default_rng(0)
    slots = np.arange(96)
    known = tuple(
        Site(
            name=f"s{at}",
            gpus=4000,
            free_gpus=int(random.integers(0, 2000)),
            load_w=random.uniform(3e5, 1.2e6),
            outlook=Outlook(
                step_s=_STEP_S,
                supply_w=np.maximum(1.5e6 * (1 + np.sin(slots / 20 + random.uniform(0, 6))), 0),
                supply_sd_w=np.linspace(0, 3e5, len(slots)),
                carbon_g_per_kwh=np.full(len(slots), random.uniform(50, 700)),
                base_w=np.full(len(slots), 1e5),
            ),
        )
        for at in range(sites)
    )
    moment = Moment(
        now_s=0.0,
        sites=known,
        links=tuple(
            Link(source=one.name, destination=other.name, gbps=10)
            for one in known
            for other in known
            if one is not other
        ),
        jobs=tuple(
            MovableJob(
                id=f"j{at}",
                site=f"s{random.integers(sites)}",
                checkpoint_bytes=10 ** random.uniform(9, 12),
                power_w=random.uniform(300, 5000),
                remaining_s=random.uniform(3600, 2e5),
                gpus=int(random.choice([1, 2, 4, 8])),
            )
            for at in range(jobs)
        ),
    )
    begun = time.process_time()
    moves = decide(moment, policy_of(policy)).moves
    return time.process_time() - begun, len(moves)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gbps", default="1,10,100,measured")
    parser.add_argument("--checkpoint-gb", type=float)
    parser.add_argument("--weeks", type=float, default=2.0)
    parser.add_argument("--load", type=float, default=0.6)
    parser.add_argument("--wind", type=float, default=0.5, help="mean wind, of the full load")
    parser.add_argument("--first-day", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first draw of jobs")
    parser.add_argument("--seeds", type=int, default=1, help="draws that are averaged")
    parser.add_argument("--network-j-per-gb", type=float, default=Case.network_j_per_gb)
    parser.add_argument("--slow-share", type=float, default=0.0, help="of the transfers")
    parser.add_argument("--closing-share", type=float, default=0.0, help="of the windows")
    parser.add_argument("--policies", default="never,energy-only,feasibility,prices,oracle")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write files, replay nothing")
    parser.add_argument("--cycle", action="store_true", help="time one decision, replay nothing")
    asked = parser.parse_args()
    if asked.cycle:
        for name in asked.policies.split(","):
            took_s, moves = cycle_s(name, jobs=10_000, sites=8)
            print(f"{name}: 10,000 jobs, 8 sites, {moves} moves, {took_s:.2f} s of processor")
        return
    if asked.write is not None:
        write(_case(asked, asked.gbps.split(",")[0], asked.seed), asked.write)
        return
    names = asked.policies.split(",")
    for gbps in asked.gbps.split(","):
        found = []
        for seed in range(asked.seed, asked.seed + asked.seeds):
            case = _case(asked, gbps, seed)
            found.append(replay(inputs_of(case), names).json()["policies"])
        print(f"\n{gbps} Gbit/s" if gbps != "measured" else "\nmeasured WAN")
        print("| policy | not renewable MWh | carbon t | mean completion h | p95 h | moves"
              " | TB | failed | overdue | late | unfinished | s |")  # fmt: skip
        print("|---|" + "---:|" * 11)
        for name in names:
            mean = {
                key: float(np.mean([one[name][key] for one in found])) for key in found[0][name]
            }
            print(
                f"| {name} | {mean['nonrenewable_j'] / 3.6e9:.2f} | {mean['carbon_g'] / 1e6:.3f}"
                f" | {mean['mean_completion_s'] / 3600:.2f} | {mean['p95_completion_s'] / 3600:.2f}"
                f" | {mean['moves']:.0f} | {mean['moved_bytes'] / 1e12:.1f}"
                f" | {mean['failed_moves']:.0f} | {mean['overdue_moves']:.0f}"
                f" | {mean['late_jobs']:.0f} | {mean['unfinished_jobs']:.0f}"
                f" | {mean['wall_s']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
