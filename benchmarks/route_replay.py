# SPDX-License-Identifier: Apache-2.0
"""Routing policies on Azure's traces and real wind: goodput, delays, and ratios, as markdown.

    python benchmarks/route_replay.py [--quick] [--out rows.json]

Four sites of two simulated H100 each. Wind: `rts_gmlc` (5 min; two plants, and the same two a
quarter of a year later as third and fourth site), `pgscen_ercot` (hourly, straight lines between)
and `pgscen_dayahead` (the same in 2018, where policies have its day-ahead forecast too; at the
highest load only). A site is sized so that a quantile of its wind (p10, p20, p50) is what its GPUs
draw at most. Requests: copies of a trace, each moved by a random time, at a share (load) of what
all sites can serve with the power they have, on average over the year. Two windows stand for the
year: the middles of the worse and of the better half of its hours, by what can be served; power
changes in the middle of a window. The first of its two minutes does not count. Without a forecast
all policies but the oracle know the power's past only; the low quantile of a forecast is by its
errors of the week before.

Data: $SLURM_GREEN_DATA, else ../shared/data beside the checkout. Eight minutes on an idle core;
--quick takes two.
"""

import argparse
import csv
import json
import lzma
import os
import sys
import time
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from slurm_green.threads import one_thread

one_thread()

import numpy as np  # noqa: E402

from profiling.files import read_profile  # noqa: E402
from profiling.law import Floats  # noqa: E402
from serving.governor.engine import EngineModel  # noqa: E402
from serving.governor.protocol import Slo  # noqa: E402
from serving.replay.route import compare as comparing  # noqa: E402
from serving.replay.route.bound import bound_met  # noqa: E402
from serving.replay.route.compare import Scene, compare  # noqa: E402
from serving.replay.route.figures import met  # noqa: E402
from serving.replay.route.run import Site  # noqa: E402
from serving.replay.route.supply import Forecast, Supply  # noqa: E402
from serving.replay.route.trace import Trace  # noqa: E402
from serving.router.policy.capacity import Capacity  # noqa: E402
from serving.router.policy.registry import POLICIES  # noqa: E402

HERE = Path(__file__).parent
DATA = Path(os.environ.get("SLURM_GREEN_DATA") or HERE.parents[1] / "shared" / "data")
PROFILE = HERE.parent / "profiling" / "shipped" / "h100-sxm-8b"
SOURCES = ("rts_gmlc", "pgscen_ercot", "pgscen_dayahead")
NAMES = list(POLICIES)
OTHERS = [one for one in NAMES if one not in ("prices", "oracle")]
SLOS = {"conv": Slo(ttft_s=1.0, tpot_s=0.06), "code": Slo(ttft_s=2.0, tpot_s=0.1)}
FILES = {
    "conv": "AzureLLMInferenceTrace_conv_part1.csv.xz",
    "code": "AzureLLMInferenceTrace_code.csv.xz",
}
GPUS, RTTS_S = 2, (0.010, 0.020, 0.030, 0.050)
STEP_S, PAST, AHEAD = 300.0, 2016, 12  # steps known before a window, and forecast after
COPIES_LEAST = 4
WARM_S = 60.0  # of a window in which policies learn; counts for none


@cache
def requests(kind: str) -> tuple[Floats, Floats, Floats]:
    """Arrivals from zero, prompt and answer tokens."""
    with lzma.open(DATA / "azure_llm_2023" / FILES[kind], "rt") as file:
        rows = list(csv.DictReader(file))
    at = np.array([datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in rows])
    prompts = np.array([float(row["ContextTokens"]) for row in rows])
    answers = np.array([max(float(row["GeneratedTokens"]), 1.0) for row in rows])
    return at - at[0], prompts, answers


@cache
def wind(kind: str) -> Floats:
    """A row for each of four sites, five minutes a column; any unit."""
    if kind == "rts_gmlc":
        with lzma.open(DATA / kind / "wind_realtime_5min.csv.xz", "rt") as file:
            rows = list(csv.reader(file))
        plants = np.array([[float(cell) for cell in row[4:]] for row in rows[1:]]).T
        return np.vstack([plants, np.roll(plants, -91 * 288, axis=1)])[:4]
    return _hourly("wind_actual.csv.xz", 1)


@cache
def dayahead() -> tuple[Floats, int]:
    """The forecasts for the wind of pgscen, like it, and the column of it that they begin at."""
    with lzma.open(DATA / "pgscen_ercot" / "wind_dayahead.csv.xz", "rt") as file:
        rows = list(csv.reader(file))
    begin = datetime.fromisoformat(rows[1][1]) - datetime(2017, 1, 1, tzinfo=UTC)
    return _hourly("wind_dayahead.csv.xz", 2), round(begin.total_seconds() / STEP_S)


def _hourly(name: str, skip: int) -> Floats:
    with lzma.open(DATA / "pgscen_ercot" / name, "rt") as file:
        rows = list(csv.reader(file))
    hourly = np.array([[float(cell or 0) for cell in row[skip:]] for row in rows[1:]]).T[:4]
    hours = np.arange(hourly.shape[1])
    return np.array([np.interp(np.arange(0, hours[-1], 1 / 12), hours, one) for one in hourly])


def forecast(watts: Floats, scale: Floats, here: int, supply: Supply) -> Forecast:
    """What was known the day before of the steps after this column, in a window's own time."""
    ahead, begin = dayahead()
    ahead = ahead * scale[:, None]
    errors = watts[:, here - PAST : here] - ahead[:, here - PAST - begin : here - begin]
    low = np.minimum(np.quantile(errors, 0.1, axis=1), 0.0)
    rows = []
    for step in range(AHEAD):
        expected = ahead[:, here - begin + step]
        at_s = float(supply.start_s[PAST + step])
        rows.append((at_s, expected.tolist(), np.maximum(expected + low, 0.0).tolist()))
    return Forecast(supply=supply, issued_s=[float("-inf")], rows=[rows])


def window(
    kind: str,
    source: str,
    size: float,
    load: float,
    part: float,
    span_s: float,
    engine: EngineModel,
) -> tuple[Scene, float]:
    """A window at a part (0 to 1) of the year by what can be served, and what that is."""
    slo = SLOS[kind]
    at_s, prompts, answers = requests(kind)
    capacity = Capacity(engine, slo)
    capacity.learn(prompts.mean(), answers.mean())
    watts = wind(source)
    scale = GPUS * capacity.peak_w[-1] / np.quantile(watts, size, axis=1)
    watts = watts * scale[:, None]
    known = dayahead()[1] if source == "pgscen_dayahead" else 0
    last = known + dayahead()[0].shape[1] if known else watts.shape[1]
    hours = np.arange(known + PAST, last - AHEAD, AHEAD)
    able = np.array(
        [sum(capacity.best(GPUS, float(one)).rate for one in watts[:, k]) for k in hours]
    )
    here = int(hours[np.argsort(able, kind="stable")[int(part * len(hours))]])
    rate = load * float(able.mean())
    rng = np.random.default_rng([round(1000 * one) for one in (size, load, part)])
    own = len(at_s) / at_s[-1]
    copies = max(round(rate / own), COPIES_LEAST)
    taken = []
    for _ in range(copies):
        moved = (at_s + rng.uniform(0, at_s[-1])) % at_s[-1]
        keep = (moved < span_s) & (rng.random(len(moved)) < rate / own / copies)
        taken.append(np.array([moved[keep], prompts[keep], answers[keep]]))
    arrivals, inputs, outputs = np.concatenate(taken, axis=1)
    # Power changes in the middle of the window.
    zero_s = (PAST + 1) * STEP_S - WARM_S - (span_s - WARM_S) / 2
    columns = watts[:, here - PAST : here + AHEAD]
    supply = Supply(
        start_s=STEP_S * np.arange(columns.shape[1]), watts=np.ascontiguousarray(columns)
    )
    scene = Scene(
        trace=Trace.of(arrivals + zero_s, inputs, outputs),
        sites=[Site(name=f"site {k}", gpus=GPUS, rtt_s=rtt_s) for k, rtt_s in enumerate(RTTS_S)],
        supply=supply,
        engine=engine,
        slo=slo,
        forecast=forecast(watts, scale, here, supply) if known else None,
    )
    now = sum(capacity.best(GPUS, float(one)).rate for one in watts[:, here])
    return scene, now


def main() -> None:
    """Run all scenarios and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--load", type=float, action="append", help="0.5, 0.7 and 0.9 if none")
    parser.add_argument("--source", choices=SOURCES, action="append", help="all if none")
    parser.add_argument("--out", type=Path, help="rows as JSON; scenarios there are not run again")
    options = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA} is missing: set SLURM_GREEN_DATA to where the traces are")
    engine = EngineModel(read_profile(PROFILE))
    sizes = (0.2, 0.5) if options.quick else (0.1, 0.2, 0.5)
    loads = (0.9,) if options.quick else tuple(options.load or (0.5, 0.7, 0.9))
    parts = (0.1, 0.5) if options.quick else (0.25, 0.75)
    span_s = WARM_S + 60.0
    comparing.FILLS = (0.65, 0.8, 0.95, 1.1)
    rows = json.loads(options.out.read_text()) if options.out and options.out.exists() else []
    done = {(row["kind"], row["source"], row["size"], row["load"]) for row in rows}
    for kind, source, size, load in product(SLOS, options.source or SOURCES, sizes, loads):
        if (kind, source, size, load) in done or (source == SOURCES[2] and load != loads[-1]):
            continue
        began_s = time.process_time()
        for part in parts:
            scene, able = window(kind, source, size, load, part, span_s, engine)
            rows += figures_of(scene, able, (kind, source, size, load, part), span_s)
        print(kind, source, size, load, f"{time.process_time() - began_s:.0f} s", file=sys.stderr)
        if options.out:
            options.out.write_text(json.dumps(rows))
    print(tables(rows))


def figures_of(
    scene: Scene, able: float, of: tuple[str, str, float, float, float], span_s: float
) -> list[dict[str, Any]]:
    """A row for each policy."""
    counted = scene.trace.arrival_s - scene.trace.arrival_s[0] >= WARM_S
    count = int(counted.sum())
    later = Trace.of(
        *(
            one[counted]
            for one in (
                scene.trace.arrival_s,
                scene.trace.prompt_tokens,
                scene.trace.output_tokens,
            )
        )
    )
    gpus = [one.gpus for one in scene.sites]
    bound = bound_met(later, gpus, scene.supply, scene.engine, scene.slo)
    rows = []
    at_s = scene.trace.arrival_s - scene.trace.arrival_s[0]
    moved = Trace(
        arrival_s=at_s,
        prompt_tokens=scene.trace.prompt_tokens,
        output_tokens=scene.trace.output_tokens,
    )
    for name, told in compare(scene, NAMES).items():
        took_s = (told.outcome.end_s - at_s)[counted]
        rows.append(
            {
                **dict(zip(("kind", "source", "size", "load", "part"), of, strict=True)),
                "policy": name,
                "requests": count,
                "met": int(met(told.outcome, moved, scene.slo)[counted].sum()),
                "bound": bound,
                "able_rps": able,
                "rate_rps": count / (span_s - WARM_S),
                "took_s": np.quantile(took_s[~np.isnan(took_s)], np.linspace(0, 1, 201)).tolist()
                if (~np.isnan(took_s)).any()
                else [],
                "dropped": int(np.isnan(took_s).sum()),
                "rerouted": told.figures.rerouted,
                "energy_j": told.figures.energy_j,
            }
        )
    return rows


def tables(rows: list[dict[str, Any]]) -> str:
    """All tables as markdown."""
    scenarios: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[one] for one in ("kind", "source", "size", "load"))
        scenarios.setdefault(key, []).append(row)
    head = ["trace", "wind", "size", "load", "requests", *NAMES, "bound", "prices/oracle"]
    out = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    of_oracle, of_others = [], []
    for key, here in scenarios.items():
        total = {name: sum(r["met"] for r in here if r["policy"] == name) for name in NAMES}
        first = [r for r in here if r["policy"] == NAMES[0]]
        count = sum(r["requests"] for r in first)
        share = total["prices"] / max(total["oracle"], 1)
        of_oracle.append((share, key))
        of_others += [(total["prices"] / max(total[one], 1), one, key) for one in OTHERS]
        cells = [key[0], key[1], f"p{100 * key[2]:.0f}", str(key[3]), f"{count:,}"]
        cells += [f"{total[name] / count:.1%}" for name in NAMES]
        cells += [f"{sum(r['bound'] for r in first) / count:.1%}", f"{share:.3f}"]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join([*out, "", *_ratios(rows, of_oracle, of_others)])


def _ratios(rows: list[dict[str, Any]], of_oracle: Any, of_others: Any) -> list[str]:
    windows: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[one] for one in ("kind", "source", "size", "load", "part"))
        windows.setdefault(key, {})[row["policy"]] = row
    gains = np.array([w["prices"]["met"] / max(w["per-site"]["met"], 1) for w in windows.values()])
    delays = [
        w["prices"]["took_s"][198] / w["power-cap"]["took_s"][198]
        for w in windows.values()
        if w["power-cap"]["met"] < 0.9 * w["power-cap"]["requests"]
        and w["prices"]["took_s"]
        and w["power-cap"]["took_s"]
    ]
    met_by = {
        name: sum(r["met"] for r in rows if r["policy"] == name) for name in ("prices", "per-site")
    }
    under = sum(share < 0.95 for share, _ in of_oracle)
    behind = sorted(of_others)[:5]
    out = [
        f"prices / oracle: worst scenario {min(of_oracle)}; below 0.95 in {under} of "
        f"{len(of_oracle)}",
        f"prices / another policy, the five worst: {behind}",
        f"prices / per-site over {len(gains)} windows: mean (none counted above 10) "
        f"{np.minimum(gains, 10).mean():.2f}, median {np.median(gains):.2f}, "
        f"p90 {np.quantile(gains, 0.9):.2f}, max {gains.max():.2f}; all requests together "
        f"{met_by['prices'] / met_by['per-site']:.3f}",
    ]
    if delays:
        out.append(
            f"P99 end to end of answered requests, prices / power-cap, in {len(delays)} windows "
            f"where power-cap meets less than 90 %: mean {np.mean(delays):.2f}, "
            f"median {np.median(delays):.2f}, max {max(delays):.2f}; at most 0.48 in "
            f"{sum(one <= 0.48 for one in delays)}"
        )
    return out


if __name__ == "__main__":
    main()
