# SPDX-License-Identifier: Apache-2.0
"""Moves side by side: one that reads for long takes no time from the others."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from slurm_green.migration.execute import drive as module
from slurm_green.migration.execute.record import MoveRecord, Step
from tests.slurm_green.migration.execute.world import World


@pytest.mark.parametrize(("reads_s", "given_s"), [(600.0, 600.0), (59.0, 0.0)])
def test_reading_one_checkpoint_is_no_time_of_another_move(
    monkeypatch: pytest.MonkeyPatch, reads_s: float, given_s: float
) -> None:
    """A turn that is merely slow is: limits hold however many moves there are."""
    world = World()
    first = world.journal.records["m1-abc"]
    second, now_s = replace(first, token="m2-def"), 0.0
    seen: dict[str, list[float]] = {first.token: [], second.token: []}

    def step(move: MoveRecord, *_: object) -> tuple[MoveRecord, str]:
        nonlocal now_s
        turns = seen[move.token]
        turns.append(move.since_s - first.since_s)
        now_s += reads_s if move.token == first.token and len(turns) == 2 else 1.0
        return replace(move, step=Step.DONE) if len(turns) == 4 else move, ""

    clock = SimpleNamespace(monotonic=lambda: now_s, time=lambda: now_s, sleep=lambda s: None)
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "step_once", step)
    ended = module.drive([first, second], lambda move: world.pair, world.journal)
    assert [one.settled for one in ended] == [True, True]
    assert seen == {first.token: [0.0] * 4, second.token: [0.0, *[given_s] * 3]}
