# SPDX-License-Identifier: Apache-2.0
"""The least energy that a search finds for Azure's traces knowing all of them, as markdown.

    python benchmarks/serve_oracle.py [--minutes 6] [--profile h100-sxm-8b ...] [--load 1.85]

Traces, loads and SLOs are those of serve_azure.py. A schedule has one clock for each 0.2 s, so
that clocks change at most five times a second while there is work; between requests it parks at
once where that pays. Searched is by annealing: each try sets a stretch of up to 4 s to another
clock, is simulated for 8 s, and kept where energy and the price of late requests are less. The
price moves until at most 0.2 % of the requests more than under `max` are late. The best schedule
is then a policy of the replay, whose figures are printed: what is found can be reached, and less
energy may be possible.

Needs a C compiler (`cc`). About 1.5 s of CPU for a sweep of six minutes of conversation.
"""

import argparse
import bisect
import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from ctypes import Structure, byref, c_double, c_int64, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm_green.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
from serve_azure import (  # noqa: E402
    BEGIN_MIN,
    DATA,
    DRAWS,
    FILES,
    H100,
    LOADS,
    PROFILES,
    draw,
    engine_of,
    load_for,
    slo_of,
)  # fmt: skip

from serving.governor.engine import EngineModel  # noqa: E402
from serving.governor.fixed import Fixed  # noqa: E402
from serving.governor.protocol import Ended, Moment, Policy, Slo  # noqa: E402
from serving.replay.cache import BLOCK, blocks  # noqa: E402
from serving.replay.requests import Request  # noqa: E402
from serving.replay.route.kernel import CModel  # noqa: E402
from serving.replay.run import figures, replay  # noqa: E402

HERE = Path(__file__).parent
KERNEL = HERE.parent / "serving" / "replay" / "route" / "kernel" / "c"
CELL_S, HORIZON_S, TRIES, CLOCKS = 0.2, 8.0, 6, 20
MORE_LATE = 0.002  # of the requests
HOT_J = 0.75  # of a usual request: temperature of the first sweep


class Task(Structure):
    """`Task` of serve_oracle.c."""

    _fields_ = [
        *[(name, c_int64) for name in ("count", "cells")],
        *[(name, c_void_p) for name in ("arrival", "prompt", "output")],
        *[(name, c_double) for name in ("ttft", "tpot", "cell", "park")],
    ]


class Search(Structure):
    """`Search` of serve_oracle.c."""

    _fields_ = [
        *[(name, c_int64) for name in ("tries", "clocks")],
        ("clock", c_void_p),
        *[(name, c_double) for name in ("horizon", "temperature", "late_j", "token_j")],
        *[(name, c_double) for name in ("prompt_j", "pace", "unsure")],
    ]


def compiled(folder: Path) -> ctypes.CDLL:
    """The search, compiled into a folder."""
    path = folder / "serve_oracle.so"
    command = ["cc", "-O3", "-march=native", "-shared", "-fPIC", f"-I{KERNEL}", "-o", str(path)]
    subprocess.run([*command, str(HERE / "serve_oracle.c"), "-lm"], check=True)
    library = ctypes.CDLL(str(path))
    library.so_seed.argtypes = [c_uint64]
    library.so_run.argtypes, library.so_run.restype = [c_void_p] * 4, c_int64
    library.so_sweep.argtypes, library.so_sweep.restype = [c_void_p] * 4, c_int64
    return library


@dataclass(frozen=True)
class Outcome:
    """What a schedule comes to."""

    energy_j: float
    late: int
    changes_per_s: float


class Searched:
    """One draw of a trace on one replica, in the compiled search."""

    def __init__(
        self, library: ctypes.CDLL, engine: EngineModel, slo: Slo, requests: Sequence[Request]
    ) -> None:
        self._library, self._engine = library, engine
        self._high = len(engine.clocks_mhz) - 1
        kept = [
            one
            for one in requests
            if blocks(one.prompt_tokens + one.output_tokens) <= engine.kv_tokens // BLOCK
        ]
        self._refused = len(requests) - len(kept)
        self._arrival = np.array([one.arrival_s for one in kept])
        self._prompt = np.array([one.prompt_tokens for one in kept], dtype=np.int32)
        self._output = np.array([one.output_tokens for one in kept], dtype=np.int32)
        self._tables = engine.tables()
        clocks, batches, contexts = self._tables["times"].shape
        self._model = CModel(
            clocks=clocks, batches=batches, contexts=contexts,
            points=len(self._tables["tokens"]), powers=len(self._tables["log_tokens"]),
            blocks=engine.kv_tokens // BLOCK, max_batched=engine.max_batched_tokens,
            max_seqs=engine.max_num_seqs, switch_s=engine.switch_latency_s,
            parked_w=engine.parked_w,
            **{name: array.ctypes.data for name, array in self._tables.items()},
        )  # fmt: skip
        self.cells = int((self._arrival[-1] - self._arrival[0] + 60) / CELL_S) + 1
        self._task = Task(
            count=len(kept), cells=self.cells, ttft=slo.ttft_s, tpot=slo.tpot_s, cell=CELL_S,
            park=2 * engine.switch_latency_s, arrival=self._arrival.ctypes.data,
            prompt=self._prompt.ctypes.data, output=self._output.ctypes.data,
        )  # fmt: skip

    def run(self, schedule: Any) -> Outcome:
        """The whole trace under a schedule."""
        told = np.zeros(4)
        arrays = (schedule.ctypes.data, told.ctypes.data)
        if not self._library.so_run(byref(self._model), byref(self._task), *arrays):
            sys.exit("more sequences at once than the search has room for")
        return Outcome(told[0], int(told[1]) + self._refused, told[2] / told[3])

    def search(self, pace_s: float, sweeps: int, seed: int) -> Any:
        """The schedule of least energy within the allowance; all at the highest clock if none."""
        best = schedule = np.full(self.cells, self._high, dtype=np.uint8)
        least = at_most = self.run(schedule)
        count = len(self._arrival)
        usual_j = at_most.energy_j / count
        allowed = at_most.late + int(MORE_LATE * (count + self._refused))
        ladder = np.unique(np.linspace(self._high // 7, self._high, CLOCKS).astype(np.uint8))
        search = Search(
            tries=TRIES, clocks=len(ladder), clock=ladder.ctypes.data, horizon=HORIZON_S,
            late_j=40 * usual_j, token_j=at_most.energy_j / 2 / self._output.sum(),
            prompt_j=at_most.energy_j / 2 / self._prompt.sum(), pace=pace_s, unsure=5 * pace_s,
        )  # fmt: skip
        schedule = schedule.copy()
        self._library.so_seed(seed)
        for sweep in range(sweeps):
            search.temperature = HOT_J * usual_j * max(1 - sweep / max(0.8 * sweeps, 1), 0.0)
            arguments = (byref(self._model), byref(self._task), byref(search))
            self._library.so_sweep(*arguments, schedule.ctypes.data)
            told = self.run(schedule)
            search.late_j *= 1.25 if told.late > allowed else 0.9
            if told.late <= allowed and told.energy_j < least.energy_j:
                best, least = schedule.copy(), told
        return best


class Scheduled(Policy):
    """The policy that follows a schedule, and parks where that pays."""

    def __init__(self, engine: EngineModel, requests: Sequence[Request], schedule: Any) -> None:
        self._arrivals_s = [one.arrival_s for one in requests]
        self._schedule = schedule.tolist()
        self._park_s = 2 * engine.switch_latency_s
        self._ended_s = self._arrivals_s[0]

    @property
    def park_after_s(self) -> float | None:
        """At once, or not at all."""
        after = bisect.bisect_right(self._arrivals_s, self._ended_s)
        if after == len(self._arrivals_s):
            return None
        return 0.0 if self._arrivals_s[after] - self._ended_s > self._park_s else None

    def choose(self, moment: Moment) -> int:
        """The clock of the cell."""
        cell = int((moment.now_s - self._arrivals_s[0]) / CELL_S)
        return int(self._schedule[min(cell, len(self._schedule) - 1)])

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Note when it ended."""
        self._ended_s = moment.now_s + duration_s

    def finished(self, one: Ended) -> None:
        """Nothing to learn."""


def row(library: ctypes.CDLL, name: str, kind: str, load: float, options: Any) -> str:
    """One load: `max`, and what the search found, by the replay."""
    engine, slo = engine_of(name), slo_of(name, kind)
    high = len(engine.clocks_mhz) - 1
    began_s = time.process_time()
    count = 0
    sums = np.zeros((2, 2))
    changes = lasted_s = 0.0
    for seed in range(DRAWS[kind]):
        requests = draw(kind, load, options.minutes, seed)
        if not requests:
            continue
        count += len(requests)
        most = figures(replay(requests, engine, slo, lambda: Fixed(high)), slo)
        searched = Searched(library, engine, slo, requests)
        pace_s = (most.tpot_p50_ms or 1e3 * slo.tpot_s) * 1.25e-3
        schedule = searched.search(pace_s, options.sweeps, seed + 1)
        policy = Scheduled(engine, requests, schedule)
        done = replay(requests, engine, slo, lambda policy=policy: policy)  # type: ignore[misc]
        best = figures(done, slo)
        if abs(best.energy_j / searched.run(schedule).energy_j - 1) > 1e-6:
            sys.exit("the search no longer simulates what the replay does")
        changes += best.clock_changes
        lasted_s += done.end_s - done.start_s
        for told, into in zip((most, best), sums, strict=True):
            into += (told.energy_j, (told.attainment or 0.0) * len(requests))
    saved, attained = sums[1, 0] / sums[0, 0] - 1, sums[:, 1] / count
    return (
        f"| {name} | {kind} | {load:.3g} | {count:,} | {attained[0]:.2%} | {attained[1]:.2%} "
        f"| {saved:+.1%} | {changes / lasted_s:.1f} | {time.process_time() - began_s:.0f} |"
    )


def main() -> None:
    """Search everything asked for; rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6.0, help="of each trace")
    parser.add_argument("--begin", type=float, help="minute of the trace at which it begins")
    parser.add_argument("--profile", action="append", choices=PROFILES, help=f"{H100} if none")
    parser.add_argument("--trace", action="append", choices=tuple(FILES), help="both if none")
    parser.add_argument("--load", type=float, action="append", help="those of serve_azure if none")
    parser.add_argument("--sweeps", type=int, default=30)
    options = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA} is missing: set SLURM_GREEN_DATA to where the traces are")
    if options.begin is not None:
        BEGIN_MIN.update(dict.fromkeys(FILES, options.begin))
    print("| profile | trace | load | requests | max | attained | energy | changes/s | CPU s |")
    print("|---" * 9 + "|")
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(Path(folder))
        for name in options.profile or [H100]:
            for kind in options.trace or FILES:
                wanted = [share for _, share in LOADS]
                loads = options.load or [
                    load_for(name, kind, share, options.minutes) for share in wanted
                ]
                for load in loads:
                    print(row(library, name, kind, load, options), flush=True)


if __name__ == "__main__":
    main()
