# SPDX-License-Identifier: Apache-2.0
"""What one answer to the submit hook costs inside sgreend, with and without prices of a plan.

    python benchmarks/hook_answer.py [--jobs 5000]

Jobs of many sizes on a half-full site of 512 GPUs; the answer of SubmitHook.answer, from the parsed
request to the decision. The socket and Slurm are in benchmarks/submit_latency.py.
"""

import argparse
import random
import time
from datetime import UTC, datetime, timedelta

import numpy as np

from slurm_green.hook.policy import Policy
from slurm_green.hook.submit import SubmitHook
from slurm_green.hook.view import PartitionView, Prices, View
from slurm_green.hook.wire import Ask, Defer
from slurm_green.plan.outcome import Weights
from slurm_green.plan.response import PriceCurve
from slurm_green.plan.room import Room
from slurm_green.signals.series import Series

GPUS, DAYS = 512, 4
HOUR_S = 3600.0


def view_of(now: datetime, *, priced: bool, step_s: float, dice: random.Random) -> View:
    """A site whose rooms are about half full at random."""
    now_s = now.timestamp()
    slots = int(DAYS * 86_400 / step_s)
    hours = np.arange(slots) * step_s / HOUR_S
    values = 400 - 250 * np.exp(-(((hours % 24) - 12) ** 2) / 8) + 20 * np.sin(hours)
    signal = Series(
        start_utc=now - timedelta(hours=1), step_s=step_s, values=values, issued_utc=now,
        provider="bench",
    )  # fmt: skip
    rooms = []
    for _ in range(3):
        room = Room.empty(start_s=now_s, step_s=240.0, slots=720, capacity=(GPUS, 8 * GPUS))
        for _ in range(150):
            at_s = now_s + dice.uniform(0, 40) * HOUR_S
            room.take((4.0, 32.0), at_s, at_s + dice.uniform(1, 12) * HOUR_S)
        rooms.append(room)
    part = PartitionView(
        name="gpu", gpus=GPUS, cpus=8 * GPUS, default_time_s=None, max_time_s=None,
        queue=Room.empty(start_s=now_s, step_s=240.0, slots=720, capacity=(GPUS, 8 * GPUS)),
        room=rooms[1], planned=rooms[2],
    )  # fmt: skip
    price = np.stack([values / 3.6e6, np.maximum(0.0, 60 - values / 4) / HOUR_S])
    curve = PriceCurve(
        start_s=now_s - HOUR_S, step_s=step_s, gpus=GPUS, weights=Weights(), price=price
    )
    prices = {"gpu": Prices(curve=curve, resource=0, until_s=now_s + 86_400)} if priced else {}
    return View(
        taken_utc=now, partitions={"gpu": part}, default_partition="gpu", signal=signal,
        prices=prices,
    )  # fmt: skip


def main() -> None:
    """Print what it costs; a busy machine shows in the wall time only."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=5000)
    options = parser.parse_args()
    now = datetime(2026, 11, 23, 6, tzinfo=UTC)
    policy = Policy(mode="enforce", default_delay_s=12 * HOUR_S)
    print("| answer of the hook | deferred | CPU p50 | CPU p99 | wall p99 |\n|---|---|---|---|---|")
    for step_s in (1800.0, 600.0):
        for priced in (False, True):
            dice = random.Random(1)
            hook = SubmitHook(
                policy_for=lambda _partition, _qos: policy, clock=now.timestamp, hold_s=10.0,
                look=True, fresh_s=90.0,
            )  # fmt: skip
            own_ms, took_ms, deferred = [], [], 0
            for number in range(options.jobs):
                if number % 50 == 0:  # a cycle brings a new view before the old one is full
                    hook.view = view_of(now, priced=priced, step_s=step_s, dice=dice)
                ask = Ask(
                    seq=number, uid=1000, user="ada", partition="gpu",
                    time_limit_s=60 * dice.randint(30, 1200), min_cpus=8,
                    tres_per_node=f"gres:gpu:{dice.choice((1, 2, 4, 8))}",
                )  # fmt: skip
                began_s, cpu_s = time.perf_counter(), time.thread_time()
                answer = hook.answer(ask)
                own_ms.append(1e3 * (time.thread_time() - cpu_s))
                took_ms.append(1e3 * (time.perf_counter() - began_s))
                deferred += isinstance(answer, Defer)
                hook.settle()
            p50, p99 = np.percentile(own_ms, (50, 99))
            wall = f"{np.percentile(took_ms, 99):.2f} ms"
            what = f"{'prices' if priced else 'each job alone'}, {DAYS * 86_400 / step_s:.0f} slots"
            print(f"| {what} | {deferred} | {p50:.3f} ms | {p99:.3f} ms | {wall} |")


if __name__ == "__main__":
    main()
