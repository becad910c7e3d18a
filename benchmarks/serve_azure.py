# SPDX-License-Identifier: Apache-2.0
"""Clock policies on Azure's traces: energy against `max`, attainment, and the bars, as markdown.

    python benchmarks/serve_azure.py [--minutes 10] [--profile h100-sxm-8b ...] [--off 1.2]

Each trace is a slice (conversation from its first minute, code from its 20th), drawn several times
at three loads, at which `max` attains about 99.9, 99.5 and 98 %; a load above 1 adds copies moved
in time. SLOs: 500 and 30 ms (conversation), 2 s and 60 ms (code) on the H100 profile, elsewhere
the same multiples of the p95 of what a request takes alone. `no SLO` is the governor without SLOs:
what parking and the most frugal clocks save, so about the most that any policy can.

Profiles: the shipped simulated ones, and an RTX 3090 whose clocks, watts, decode and prefill of
one sequence were measured by hobbyists (consumer_gpu_sweeps; 27B model, llama.cpp); that a larger
batch takes 3 % longer for each sequence and 0.02 % for 100 tokens of context is assumed.
`--repeat 10` makes an hour of six minutes, all copies moved, too; `--ours` runs no other policies.
`--off 1.2` lets policies believe that everything takes 1.2 times less than it does.

Data: $SLURM_GREEN_DATA, else ../shared/data beside the checkout. About 2 minutes of CPU for
each profile.
"""

import argparse
import csv
import json
import lzma
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from slurm_green.threads import one_thread

one_thread()

import numpy as np  # noqa: E402

from profiling.files import read_profile  # noqa: E402
from profiling.profile import Engine, Gpu, InferencePoint, Profile, Provenance  # noqa: E402
from profiling.shipped import shipped  # noqa: E402
from serving.governor.engine import Batch, EngineModel  # noqa: E402
from serving.governor.governor import Governor  # noqa: E402
from serving.governor.protocol import Policy, Slo  # noqa: E402
from serving.governor.registry import policy_named  # noqa: E402
from serving.replay.oracle import Oracle  # noqa: E402
from serving.replay.requests import Request  # noqa: E402
from serving.replay.run import figures, replay  # noqa: E402

HERE = Path(__file__).parent
DATA = Path(os.environ.get("SLURM_GREEN_DATA") or HERE.parents[1] / "shared" / "data")
FILES = {
    "conv": "AzureLLMInferenceTrace_conv_part1.csv.xz",
    "code": "AzureLLMInferenceTrace_code.csv.xz",
}
BEGIN_MIN = {"conv": 0.0, "code": 20.0}
DRAWS = {"conv": 1, "code": 6}
REPEAT = 1
SLOS = {"conv": Slo(ttft_s=0.5, tpot_s=0.03), "code": Slo(ttft_s=2.0, tpot_s=0.06)}
H100, RTX_3090 = "h100-sxm-8b", "rtx-3090-27b"
PROFILES = (H100, "a100-sxm-8b", "rtx-4090-8b", RTX_3090)
LOADS = (("light", 0.999), ("mid", 0.995), ("high", 0.98))
NAMES = ("max", "two-level", "feedback", "governor", "oracle", "no SLO")
LEAST_SAVED = {"light": 0.35, "mid": 0.35, "high": 0.30}


@cache
def trace(kind: str) -> Sequence[Request]:
    """All of it, from zero on."""
    with lzma.open(DATA / "azure_llm_2023" / FILES[kind], "rt") as file:
        rows = list(csv.DictReader(file))
    at_s = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in rows]
    return [
        Request(at - at_s[0], int(row["ContextTokens"]), max(int(row["GeneratedTokens"]), 1))
        for at, row in zip(at_s, rows, strict=True)
    ]


def draw(kind: str, load: float, minutes: float, seed: int) -> list[Request]:
    """A share of the slice, drawn REPEAT times, one after the other; what is beyond one comes from
    copies moved within the slice.
    """
    span_s = minutes * 60
    return [
        replace(one, arrival_s=one.arrival_s + turn * span_s)
        for turn in range(REPEAT)
        for one in _draw(kind, load, minutes, seed + 1000 * turn)
    ]


def _draw(kind: str, load: float, minutes: float, seed: int) -> list[Request]:
    begin_s, span_s = BEGIN_MIN[kind] * 60, minutes * 60
    inside = [one for one in trace(kind) if begin_s <= one.arrival_s < begin_s + span_s]
    dice = np.random.default_rng(seed)
    taken = []
    for copy in range(int(np.ceil(load))):
        kept = dice.random(len(inside)) < load - copy
        move_s = dice.uniform(0, span_s) if copy or REPEAT > 1 else 0.0
        taken += [
            replace(one, arrival_s=(one.arrival_s - begin_s + move_s) % span_s)
            for one, keep in zip(inside, kept, strict=True)
            if keep
        ]
    return sorted(taken, key=lambda one: one.arrival_s)


@cache
def engine_of(name: str) -> EngineModel:
    """The replica of a profile."""
    return EngineModel(_rtx_3090() if name == RTX_3090 else read_profile(shipped(Path(name))))


def _rtx_3090() -> Profile:
    folder = DATA / "consumer_gpu_sweeps"

    def measured(file: str, rate: str) -> tuple[Any, Any, Any]:
        with (folder / file).open() as lines:
            rows = {float(row["sm_clk_MHz"]): row for row in csv.DictReader(lines)}
        clocks = sorted(rows)
        seconds = [1 / float(rows[mhz][rate]) for mhz in clocks]
        return np.array(clocks), np.array(seconds), [float(rows[mhz]["actual_W"]) for mhz in clocks]

    decode = measured("rtx3090_llamacpp_qwen3.6-27b_decode_single.csv", "narr_TPS")
    prefill = measured("rtx3090_llamacpp_qwen3.6-27b_prefill.csv", "prefill_TPS")
    clocks = np.arange(735.0, 1681.0, 15.0)
    points = []
    for mhz in clocks[::3].tolist():
        one_s = float(np.interp(mhz, decode[0], decode[1]))
        watts = float(np.interp(mhz, decode[0], decode[2]))
        points += [
            InferencePoint(
                phase="decode", batch=batch, context_tokens=context, clock_mhz=mhz, power_w=watts,
                latency_s=one_s * (1 + 0.03 * (batch - 1)) * (1 + 2e-6 * context * batch),
            )
            for batch in (1, 4, 16, 64)
            for context in (128, 1024, 4096)
        ]  # fmt: skip
        token_s = float(np.interp(mhz, prefill[0], prefill[1]))
        watts = float(np.interp(mhz, prefill[0], prefill[2]))
        points += [
            InferencePoint(
                phase="prefill", batch=1, context_tokens=tokens, clock_mhz=mhz, power_w=watts,
                latency_s=token_s * tokens,
            )
            for tokens in (128, 1024, 4096)
        ]  # fmt: skip
    return Profile(
        provenance=Provenance.PUBLISHED,
        gpu=Gpu(idle_w=45.0, parked_w=25.0, switch_latency_s=0.05, clocks=tuple(clocks.tolist())),
        engine=Engine(kv_tokens=60_000, max_batched_tokens=2048, max_num_seqs=64),
        inference=tuple(points),
    )


@cache
def alone_s(name: str, kind: str) -> tuple[float, float]:
    """95 % of requests alone at the highest clock: first token, and each further one."""
    engine = engine_of(name)
    high, most = len(engine.clocks_mhz) - 1, engine.max_batched_tokens
    firsts, nexts = [], []
    for one in trace(kind):
        parts = range(0, one.prompt_tokens, most)
        chunks = [(begin, min(most, one.prompt_tokens - begin)) for begin in parts]
        firsts.append(sum(engine.time_s(Batch(chunks=[chunk]), high) for chunk in chunks))
        nexts.append(engine.time_s(Batch(1, one.prompt_tokens + one.output_tokens / 2), high))
    return float(np.quantile(firsts, 0.95)), float(np.quantile(nexts, 0.95))


def slo_of(name: str, kind: str) -> Slo:
    """The same multiple of what a request takes alone as on the H100."""
    ours, theirs, slo = alone_s(H100, kind), alone_s(name, kind), SLOS[kind]
    return Slo(ttft_s=slo.ttft_s * theirs[0] / ours[0], tpot_s=slo.tpot_s * theirs[1] / ours[1])


class Skewed(EngineModel):
    """A model that is wrong: everything takes so many times less than it does."""

    def __init__(self, engine: EngineModel, off: float) -> None:
        self.__dict__.update(engine.__dict__)
        self._off = off

    def time_s(self, batch: Batch, clock: int) -> float:
        return super().time_s(batch, clock) / self._off

    def prompt_s(self, tokens: int, clock: int) -> float:
        return super().prompt_s(tokens, clock) / self._off


def maker(
    policy: str, engine: EngineModel, slo: Slo, requests: Sequence[Request], off: float
) -> Callable[[], Policy]:
    """What makes the policy for one run."""
    believed = Skewed(engine, off) if off != 1 else engine
    if policy == "oracle":
        return lambda: Oracle(believed, slo, requests)
    if policy == "no SLO":
        return lambda: Governor(believed, Slo(ttft_s=1e6, tpot_s=1e6))
    return policy_named(policy, believed, slo)


def run(
    name: str, kind: str, load: float, policy: str, minutes: float, off: float = 1.0
) -> dict[str, Any]:
    """All draws of a trace at a load under a policy."""
    engine, slo = engine_of(name), slo_of(name, kind)
    began_s = time.process_time()
    count = met = energy_j = changes = lasted_s = 0.0
    for seed in range(DRAWS[kind]):
        requests = draw(kind, load, minutes, seed)
        if not requests:
            continue
        done = replay(requests, engine, slo, maker(policy, engine, slo, requests, off))
        told = figures(done, slo)
        count += len(requests)
        met += (told.attainment or 0.0) * len(requests)
        energy_j += told.energy_j
        changes += told.clock_changes
        lasted_s += done.end_s - done.start_s
    return {
        "requests": int(count), "attained": met / count, "energy_j": energy_j,
        "changes_per_s": changes / lasted_s, "cpu_s": time.process_time() - began_s,
    }  # fmt: skip


def load_for(name: str, kind: str, wanted: float, minutes: float) -> float:
    """The highest load at which `max` attains so much, within 2 %."""
    low, high = 0.005, 4.0
    while high / low > 1.02:
        middle = (low * high) ** 0.5
        attained = run(name, kind, middle, "max", minutes)["attained"]
        low, high = (middle, high) if attained >= wanted else (low, middle)
    return low


def bars(rows: dict[str, dict[str, Any]], label: str, ours: bool) -> list[str]:
    """Each bar of one load: what is reached, and whether that is enough."""
    most, told = rows["max"], rows["governor"]
    saved = {name: 1 - row["energy_j"] / most["energy_j"] for name, row in rows.items()}
    checks = [("attained", 100 * (told["attained"] - most["attained"]), -0.2, "points")]
    if ours:
        checks.append(("saved", 100 * saved["governor"], 100 * LEAST_SAVED[label], "%"))
    if label != "light":
        checks += [
            (f"beyond {one}", 100 * (saved["governor"] - saved[one]), 3.0, "points")
            for one in ("two-level", "feedback")
            if one in rows
        ]
    if "oracle" in rows:
        above = 100 * (told["energy_j"] / rows["oracle"]["energy_j"] - 1)
        checks.append(("above oracle", -above, -2.0, "%"))
    checks.append(("above no change", -told["changes_per_s"], -5.0, "a second"))
    return [
        f"{what}: {-found if what.startswith('above') else found:+.2f} {unit} "
        f"{'met' if found >= least - 1e-9 else 'MISSED'}"
        for what, found, least, unit in checks
    ]


def main() -> None:
    """Run everything asked for; rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each trace")
    parser.add_argument("--begin", type=float, help="minute of the trace at which it begins")
    parser.add_argument("--profile", action="append", choices=PROFILES, help="all if none")
    parser.add_argument("--trace", action="append", choices=tuple(FILES), help="both if none")
    parser.add_argument("--off", type=float, default=1.0, help="how wrong the model is")
    parser.add_argument("--out", type=Path, help="rows as JSON")
    parser.add_argument("--repeat", type=int, default=1, help="draws of it, one after the other")
    parser.add_argument("--ours", action="store_true", help="max and governor only")
    options = parser.parse_args()
    global REPEAT
    REPEAT = options.repeat
    if not DATA.exists():
        sys.exit(f"{DATA} is missing: set SLURM_GREEN_DATA to where the traces are")
    if options.begin is not None:
        BEGIN_MIN.update(dict.fromkeys(FILES, options.begin))
    names = NAMES if options.off == 1 and not options.ours else ("max", "governor")
    print("| profile | trace | load | requests | policy | attained | energy | changes/s | CPU s |")
    print("|---" * 9 + "|")
    said, kept = [], []
    for name in options.profile or PROFILES:
        for kind in options.trace or FILES:
            slo = slo_of(name, kind)
            for label, wanted in LOADS:
                load = load_for(name, kind, wanted, options.minutes)
                rows: dict[str, dict[str, Any]] = {}
                for policy in names:
                    row = run(name, kind, load, policy, options.minutes, options.off)
                    rows[policy] = row
                    more = row["energy_j"] / rows["max"]["energy_j"] - 1
                    print(
                        f"| {name} | {kind} | {label} {load:.3g} | {row['requests']:,} | {policy} "
                        f"| {row['attained']:.2%} | {more:+.1%} | {row['changes_per_s']:.1f} "
                        f"| {row['cpu_s']:.0f} |",
                        flush=True,
                    )
                kept.append({"profile": name, "trace": kind, "load": load, "rows": rows})
                where = f"{name}, {kind}, {label} ({slo.ttft_s:.2g} s, {slo.tpot_s * 1e3:.0f} ms)"
                if options.off == 1:
                    said.append(f"- {where}: {'; '.join(bars(rows, label, name == H100))}")
                else:
                    lost = 100 * (rows["governor"]["attained"] - rows["max"]["attained"])
                    said.append(f"- {where}: {lost:+.2f} points against max")
                if options.out:
                    options.out.write_text(json.dumps(kept))
    print("\n".join(["", *said]))


if __name__ == "__main__":
    main()
