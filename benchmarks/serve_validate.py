# SPDX-License-Identifier: Apache-2.0
"""The replay's scheduler against the real vLLM's, request by request, as markdown.

    "$(.ci/vllm)/bin/python" benchmarks/serve_validate.py [--requests 300] [--no-real]

The same requests go through both: vLLM's engine core (its scheduler, its cache, a model of half a
million parameters on the CPU) and `serving/replay`. Two clocks for vLLM's side:

- `model`: each of its iterations is taken to last what the profile says of what it ran. Then
  nothing but scheduling can differ: who runs when, with how many tokens.
- `real`: the machine's clock. The profile is fitted to that run's own iterations, and what three
  numbers do not tell of them (noise of the machine included) is an error.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from profiling.profile import Engine, Gpu, InferencePoint, Profile, Provenance  # noqa: E402
from serving.governor.engine import Batch, EngineModel  # noqa: E402
from serving.governor.fixed import Fixed  # noqa: E402
from serving.governor.protocol import Moment, Slo  # noqa: E402
from serving.replay import cache  # noqa: E402
from serving.replay.requests import Request  # noqa: E402
from serving.replay.run import replay  # noqa: E402

BLOCK = 32  # the least that vLLM has on CPUs; the replay's 16 is that of GPUs
MOST_TOKENS, MOST_SEQS = 512, 24
SLO = Slo(ttft_s=1.0, tpot_s=0.1)
cache.BLOCK = BLOCK
MODEL_PER_S, REAL_PER_S = 60.0, 8.0
TIMES = (2e-3, 4e-6, 5e-5)  # fixed, for a prompt token, for a decode; seconds


@dataclass
class Seen:
    """What one side did: iterations as (decodes, prompt tokens), and times by request."""

    iterations: list[tuple[int, int]] = field(default_factory=list)
    lasted_s: list[float] = field(default_factory=list)
    first_s: dict[int, float] = field(default_factory=dict)
    end_s: dict[int, float] = field(default_factory=dict)


def requests_of(count: int, per_s: float, seed: int) -> list[Request]:
    """Arrivals in bursts, prompts beyond one iteration, short and long answers."""
    dice, now_s, out = random.Random(seed), 0.0, []
    for _ in range(count):
        now_s += dice.expovariate(5 * per_s if dice.random() < 0.4 else per_s / 1.6)
        prompt = min(int(dice.lognormvariate(5.0, 1.0)) + 4, 1500)
        out.append(Request(now_s, prompt, min(int(dice.expovariate(1 / 30)) + 1, 200)))
    return out


def model_of(times: tuple[float, float, float], blocks: int) -> EngineModel:
    """A profile with those times, at one clock."""
    fixed_s, prompt_s, decode_s = times
    points = [
        InferencePoint(
            phase="prefill", batch=1, context_tokens=tokens, clock_mhz=1000.0, power_w=100.0,
            latency_s=fixed_s + prompt_s * tokens,
        )
        for tokens in (16, 256, 2048)
    ]  # fmt: skip
    points += [
        InferencePoint(
            phase="decode", batch=batch, context_tokens=context, clock_mhz=1000.0, power_w=100.0,
            latency_s=fixed_s + decode_s * batch,
        )
        for batch in (1, 8, 64)
        for context in (16, 2048)
    ]  # fmt: skip
    return EngineModel(
        Profile(
            provenance=Provenance.SIMULATED,
            gpu=Gpu(idle_w=50.0, parked_w=50.0, switch_latency_s=0.0, clocks=(1000.0,)),
            engine=Engine(
                kv_tokens=blocks * BLOCK, max_batched_tokens=MOST_TOKENS, max_num_seqs=MOST_SEQS
            ),
            inference=tuple(points),
        )
    )


class Real:
    """vLLM's engine core; `blocks` are those of its cache that sequences may have."""

    def __init__(self, model: Path, blocks: int) -> None:
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.core import EngineCore
        from vllm.v1.executor.abstract import Executor

        config = EngineArgs(
            model=str(model), dtype="float32", enforce_eager=True, max_model_len=2048,
            max_num_batched_tokens=MOST_TOKENS, max_num_seqs=MOST_SEQS, block_size=BLOCK,
            enable_prefix_caching=False, async_scheduling=False,
            # Else nine tenths of the machine's memory must be free.
            kv_cache_memory_bytes=256 << 20,
            num_gpu_blocks_override=blocks + 1,  # one is vLLM's own
        ).create_engine_config()  # fmt: skip
        self._core = EngineCore(config, Executor.get_class(config), log_stats=False)
        self._vocabulary = int(config.model_config.get_vocab_size())
        self._scheduled: dict[str, int] = {}
        update = self._core.scheduler.update_from_output

        def noted(scheduled: Any, output: Any) -> Any:
            self._scheduled = dict(scheduled.num_scheduled_tokens)
            return update(scheduled, output)

        self._core.scheduler.update_from_output = noted

    def close(self) -> None:
        """Its workers end."""
        self._core.shutdown()

    def serve(self, requests: Sequence[Request], engine: EngineModel | None) -> Seen:
        """All of them; with an engine by its times, else by the machine's clock."""
        seen = Seen()
        waiting = deque(enumerate(requests))
        prompts = {str(k): one.prompt_tokens for k, one in enumerate(requests)}
        computed: dict[str, int] = {}
        made = dict.fromkeys(prompts, 0)
        now_s, zero_s = 0.0, time.monotonic()
        while waiting or self._core.scheduler.has_unfinished_requests():
            if engine is None:
                now_s = time.monotonic() - zero_s
            if not self._core.scheduler.has_unfinished_requests():
                if engine is None:
                    time.sleep(max(waiting[0][1].arrival_s - now_s, 0.0))
                    now_s = time.monotonic() - zero_s
                now_s = max(now_s, waiting[0][1].arrival_s)
            while waiting and waiting[0][1].arrival_s <= now_s:
                number, one = waiting.popleft()
                self._core.add_request(self._request(number, one))
            began_s = time.monotonic()
            outputs, executed = self._core.step_fn()
            self._core.post_step(executed)
            lasted_s = time.monotonic() - began_s
            batch = self._batch(prompts, computed, made)
            if engine is not None:
                lasted_s = engine.time_s(batch, 0)
            now_s += lasted_s
            seen.iterations.append((batch.decodes, sum(new for _, new in batch.chunks)))
            seen.lasted_s.append(lasted_s)
            for each in (outputs or {}).values():
                for told in each.outputs:
                    number = int(told.request_id)
                    made[told.request_id] += len(told.new_token_ids)
                    seen.first_s.setdefault(number, now_s)
                    if told.finished:
                        seen.end_s[number] = now_s
        return seen

    def _batch(
        self, prompts: dict[str, int], computed: dict[str, int], made: dict[str, int]
    ) -> Batch:
        """What it ran; a request that was evicted computes its prompt and tokens anew."""
        decodes, context, chunks = 0, 0, []
        for name, new in self._scheduled.items():
            whole = prompts[name] + max(made[name] - 1, 0)
            held = computed.get(name, 0)
            if held > whole or (new > 1 and held >= whole):
                held = 0
            if made[name] and new == 1 and held >= whole:
                decodes += 1
                context += held
            else:
                chunks.append((held, new))
            computed[name] = held + new
        return Batch(decodes, context / decodes if decodes else 0.0, chunks)

    def _request(self, number: int, one: Request) -> Any:
        from vllm.sampling_params import SamplingParams
        from vllm.v1.engine import EngineCoreRequest

        dice = random.Random(number)
        order = EngineCoreRequest(
            request_id=str(number),
            prompt_token_ids=[dice.randrange(self._vocabulary) for _ in range(one.prompt_tokens)],
            mm_features=None,
            sampling_params=SamplingParams(
                temperature=0.0, max_tokens=one.output_tokens, ignore_eos=True
            ),
            pooling_params=None, arrival_time=time.time(), lora_request=None, cache_salt=None,
            data_parallel_rank=None,
        )  # fmt: skip
        made, _ = self._core.preprocess_add_request(order)
        return made


class Watching(Fixed):
    """One clock, and what every iteration was."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(0)
        self._seen = seen

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Note it."""
        batch = moment.batch
        self._seen.iterations.append((batch.decodes, sum(new for _, new in batch.chunks)))
        self._seen.lasted_s.append(duration_s)


def replayed(requests: Sequence[Request], engine: EngineModel) -> Seen:
    """The same through the replay."""
    seen = Seen()
    run = replay(requests, engine, SLO, lambda: Watching(seen))
    for one in run.served:
        if one.first_s is not None and one.end_s is not None:
            seen.first_s[one.number], seen.end_s[one.number] = one.first_s, one.end_s
    return seen


def fitted(seen: Seen) -> tuple[float, float, float]:
    """Fixed time, and that of a prompt token and of a decode, from iterations; seconds.

    Least squares, none below zero.
    """
    sizes = np.array(seen.iterations, dtype=np.float64)
    rows = np.column_stack([np.ones(len(sizes)), sizes[:, 1], sizes[:, 0]])
    lasted_s = np.array(seen.lasted_s)
    found = np.maximum(np.linalg.lstsq(rows, lasted_s, rcond=None)[0], 1e-9)
    return float(found[0]), float(found[1]), float(found[2])


def errors(requests: Sequence[Request], real: Seen, ours: Seen) -> dict[str, float]:
    """Of the replay against vLLM; shares, and relative differences."""
    numbers = sorted(real.end_s)
    ttft = [
        np.array([one.first_s[k] - requests[k].arrival_s for k in numbers]) for one in (real, ours)
    ]
    took = [
        np.array([one.end_s[k] - requests[k].arrival_s for k in numbers]) for one in (real, ours)
    ]
    sizes = [np.array(one.iterations, dtype=np.float64) for one in (real, ours)]

    def off(pair: Sequence[float]) -> float:
        return float(pair[1] / max(pair[0], 1e-12) - 1)

    def means(column: int) -> float:
        busy = [one[one[:, column] > 0, column] for one in sizes]
        return off([float(one.mean()) if len(one) else 0.0 for one in busy])

    short = min(len(one) for one in sizes)
    return {
        "requests": float(len(numbers)),
        "iterations": off([len(one) for one in sizes]),
        "same iterations": float((sizes[0][:short] == sizes[1][:short]).all(axis=1).mean()),
        "decodes of an iteration, mean": means(0),
        "prompt tokens of an iteration, mean": means(1),
        "TTFT, mean": off([float(one.mean()) for one in ttft]),
        "TTFT, p95": off([float(np.quantile(one, 0.95)) for one in ttft]),
        "time to the last token, mean": off([float(one.mean()) for one in took]),
        "TTFT of a request, p95 of |error|, ms": float(
            np.quantile(np.abs(ttft[1] - ttft[0]), 0.95) * 1e3
        ),
    }


def main() -> None:
    """Both clocks, with a cache that is large and one that is too small; a table."""
    from profiling.workload.tiny_model import make_model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--no-real", action="store_true", help="not by the machine's clock")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as home:
        make_model(Path(home) / "tiny", "tiny", 0)
        for name, blocks in (("large cache", 2048), ("small cache", 80)):
            engine = model_of(TIMES, blocks)
            real = Real(Path(home) / "tiny", blocks)
            try:
                requests = requests_of(options.requests, MODEL_PER_S, 1)
                found[f"model, {name}"] = errors(
                    requests, real.serve(requests, engine), replayed(requests, engine)
                )
                if blocks < 1000 or options.no_real:
                    continue
                requests = requests_of(options.requests, REAL_PER_S, 3)
                seen = real.serve(requests, None)
                found[f"real, {name}"] = errors(
                    requests, seen, replayed(requests, model_of(fitted(seen), blocks))
                )
            finally:
                real.close()
    if options.json:
        print(json.dumps(found))
        return
    print(f"| error of the replay | {' | '.join(found)} |")
    print("|---" * (len(found) + 1) + "|")
    for what in next(iter(found.values())):
        cells = [
            f"{one[what]:.0f}" if what == "requests"
            else f"{one[what]:.1f}" if what.endswith("ms")
            else f"{one[what]:.1%}" if what == "same iterations"
            else f"{one[what]:+.1%}"
            for one in found.values()
        ]  # fmt: skip
        print(f"| {what} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
