# SPDX-License-Identifier: Apache-2.0
"""Waits and run times of the recent past, against counting by hand."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from slurm_green.plan.history import History, RunSample, WaitSample

waits = st.builds(
    WaitSample,
    partition=st.sampled_from("ab"),
    qos=st.sampled_from("xy"),
    gpus=st.sampled_from([0, 1, 2, 3, 4]),
    wait_s=st.integers(0, 50).map(float),
)


def alike(samples: list[WaitSample], partition: str, qos: str, gpus: int) -> list[float]:
    size = {0: 0, 1: 1, 2: 2, 3: 3, 4: 3}
    same = [
        w.wait_s
        for w in samples
        if (w.partition, w.qos, size[w.gpus]) == (partition, qos, size[gpus])
    ]
    return same if len(same) >= 10 else [w.wait_s for w in samples if w.partition == partition]


@given(st.lists(waits, max_size=80), st.sampled_from("abc"), st.integers(0, 4))
def test_quantile_and_chance_are_those_of_similar_jobs(
    samples: list[WaitSample], partition: str, gpus: int
) -> None:
    history = History().with_samples(waits=samples)
    like = sorted(alike(samples, partition, "x", gpus))
    of = {"partition": partition, "qos": "x", "gpus": gpus}
    expected = like[min(int(0.95 * len(like)), len(like) - 1)] if like else None
    assert history.wait_quantile_s(0.95, **of) == expected
    chance = sum(w > 20 for w in like) / len(like) if len(like) >= 10 else None
    assert history.chance_of_waiting_over(20.0, **of) == chance


def runs(count: int, fraction: float, *, name: str = "n", user: str = "u") -> list[RunSample]:
    return [RunSample(partition="a", user=user, name=name, fraction=fraction)] * count


def test_a_fraction_needs_ten_runs_of_the_name_or_else_of_the_user() -> None:
    asked = {"partition": "a", "user": "u", "name": "n"}
    assert History().run_fraction(**asked) == 1.0
    assert History().with_samples(runs=runs(9, 0.1)).run_fraction(**asked) == 1.0
    mixed = History().with_samples(runs=runs(9, 0.1) + runs(9, 0.4, name="m"))
    assert mixed.run_fraction(**asked) == 0.4
    assert mixed.with_samples(runs=runs(1, 0.1)).run_fraction(**asked) == 0.1


def test_a_fraction_is_cautious() -> None:
    history = History().with_samples(runs=[r for i in range(10) for r in runs(1, i / 10)])
    assert history.run_fraction(partition="a", user="u", name="n") == 0.8


def test_the_oldest_are_forgotten() -> None:
    history = History()
    for i in range(30):
        history = history.with_samples(
            waits=[WaitSample(partition="a", qos="", gpus=0, wait_s=float(i))] * 100
        )
    assert len(history.waits) == 2000
    assert history.waits[0].wait_s == 10.0


def test_nothing_new_is_the_same_history() -> None:
    history = History().with_samples(runs=runs(3, 0.5))
    assert history.with_samples() is history


def test_it_travels_between_processes_with_its_index() -> None:
    history = History().with_samples(runs=runs(20, 0.5))
    history.run_fraction(partition="a", user="u", name="n")
    there = pickle.loads(pickle.dumps(history))
    assert there == history
    assert there.run_fraction(partition="a", user="u", name="n") == 0.5
