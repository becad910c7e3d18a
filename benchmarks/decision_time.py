# SPDX-License-Identifier: Apache-2.0
"""What a decision of the governor inside vLLM costs, by how many requests decode and wait.

    OMP_NUM_THREADS=1 python benchmarks/decision_time.py [--steps 1000] [--profile h100-sxm-8b]

A stand-in for vLLM's scheduler keeps so many requests running and so many waiting: whoever has
its answer (1 to 400 tokens) makes room for the next prompt (some hundreds of tokens), and another
one arrives. Each step takes what the profile says at the highest clock. Of every step after the
first 300 the CPU time of both questions together is told, median and 99th percentile: order and
tokens of prompts before the schedule, and the clock after it. With nobody waiting only the second
one is asked, but where somebody ended. With `same` nobody ends and nobody new comes. A busy
machine makes all of it slower. 10 seconds.
"""

import argparse
import itertools
import random
import time
from collections.abc import Iterator

from slurm_green.threads import one_thread

one_thread()

import numpy as np  # noqa: E402

from profiling.files import read_profile  # noqa: E402
from profiling.shipped import shipped  # noqa: E402
from serving.governor.engine import EngineModel  # noqa: E402
from serving.governor.governor import Governor  # noqa: E402
from serving.governor.protocol import MOST_ORDERED, Slo  # noqa: E402
from serving.vllm.pilot import Pilot  # noqa: E402

SLO = Slo(ttft_s=0.5, tpot_s=0.03)
WARM = 300  # steps
CASES = ((30, 2), (30, 16), (256, 0), (256, 2), (256, 16), (256, 128), (256, 500))


class Request:
    """What the pilot reads of vLLM's."""

    def __init__(self, name: str, prompt: int, answer: int) -> None:
        self.request_id = name
        self.num_prompt_tokens = prompt
        self.num_computed_tokens = 0
        self.num_output_tokens = 0
        self.max_tokens = answer
        self.is_prefill_chunk = False

    @property
    def left(self) -> int:
        """Tokens to compute before the next one comes."""
        return self.num_prompt_tokens + self.num_output_tokens - self.num_computed_tokens


class Clocks:
    """Sets none."""

    holds_mhz, since_s, pending = None, 0.0, False

    def ask(self, clock_mhz: int | None) -> None:
        """Nothing to do."""

    def work(self) -> None:
        """Nothing to do."""

    def rest(self, park: tuple[float, int] | None) -> None:
        """Nothing to do."""


def failed(error: Exception) -> None:
    """A governor that gives up would be fast."""
    raise error


def costs_s(
    engine: EngineModel, decoding: int, waits: int, steps: int, *, same: bool
) -> Iterator[float]:
    """CPU seconds of each step's decision."""
    dice, now_s, number = random.Random(1), 0.0, 0
    pilot = Pilot(
        Clocks(), slo=SLO, engine=engine, policy=Governor(engine, SLO), ran=lambda _: None,
        over=lambda *_: None, failed=failed,
    )  # fmt: skip
    running: list[Request] = []
    waiting: list[Request] = []
    for step in range(WARM + steps):
        full = len(running) == decoding
        while len(waiting) < (waits if full else max(waits, decoding - len(running))):
            answer = 1 << 30 if same else dice.randint(1, 400)
            one = Request(f"r{number}", int(dice.lognormvariate(6, 1)) + 1, answer)
            waiting.append(one)
            number += 1
            pilot.arrived(one.request_id, one, now_s - 0.01 * dice.random())
        cpu_s = time.thread_time()
        order, most = pilot.prompts(now_s, running, waiting[:MOST_ORDERED], len(waiting))
        cpu_s = time.thread_time() - cpu_s
        if order is not None:
            waiting[: len(order)] = order
        room = engine.max_batched_tokens if most is None else most
        counts = {}
        for place in itertools.count():
            if place == len(running) < decoding and waiting:
                running.append(waiting.pop(0))
            if place == len(running) or not room:
                break
            one = running[place]
            counts[one.request_id] = new = min(one.left, room)
            one.num_computed_tokens += new
            one.is_prefill_chunk = one.left > 0
            room -= new
        held = sum(one.num_computed_tokens for one in running) / engine.kv_tokens
        begin_s = time.thread_time()
        pilot.scheduled(now_s, counts, step, len(waiting), min(held, 0.5))
        if step >= WARM:
            yield cpu_s + time.thread_time() - begin_s
        now_s += engine.time_s(pilot._flying[-1].iteration.batch, len(engine.clocks_mhz) - 1)
        for one in running:
            one.num_output_tokens += not one.is_prefill_chunk
        ended = [one for one in running if one.num_output_tokens == one.max_tokens]
        pilot.done(now_s, step, [one.request_id for one in ended])
        running = [one for one in running if one not in ended]


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--profile", default="h100-sxm-8b")
    options = parser.parse_args()
    engine = EngineModel(read_profile(shipped(options.profile)))
    print("| decode | wait | CPU p50 | CPU p99 |\n|---|---|---|---|")
    for same in (False, True):
        for decoding, waits in CASES:
            found_s = list(costs_s(engine, decoding, waits, options.steps, same=same))
            p50, p99 = 1e6 * np.percentile(found_s, (50, 99))
            print(
                f"| {decoding}{' same' if same else ''} | {waits} | {p50:.0f} µs | {p99:.0f} µs |"
            )


if __name__ == "__main__":
    main()
