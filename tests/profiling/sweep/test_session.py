# SPDX-License-Identifier: Apache-2.0
"""What a whole `profile run` leaves beside its profile when it fails."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from profiling.errors import DeviceError, ProfileError
from profiling.files import read_profile
from profiling.sweep import session
from profiling.sweep.hardware import Hardware
from profiling.sweep.run import Options
from profiling.sweep.session import Session
from profiling.sweep.workloads import Chosen
from tests.profiling.sweep.world import Work, World

RIGHT = Options(window_s=0.4, repeats=1, clocks_mhz=(1005, 1980))


@pytest.fixture
def world(monkeypatch):
    """GPUs in memory, and a workload on them wherever its model is a directory."""
    made = World()
    real = session.open_workload

    @contextmanager
    def opened(*_, state, **__):
        state.touch()
        yield Hardware(gpus=made.gpus, every=made.gpus, time=made.time, bench=None)

    def open_workload(chosen, hardware):
        return real(chosen, hardware) if chosen.model is None else Work(made)

    monkeypatch.setattr(session, "opened", opened)
    monkeypatch.setattr(session, "open_workload", open_workload)
    return made


def asked(place, *, model="a directory", options=RIGHT):
    return Session(
        out=place / "p",
        which="0",
        chosen=Chosen(
            workload="inference", model=model, batches=(1, 8), contexts=(512,), workers=(1,)
        ),
        options=options,
        date=None,
        emulate="fake",
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"model": None}, "--model nothing"),
        (
            {"options": replace(RIGHT, clocks_mhz=(5000,))},
            "--clocks 5000: the GPU has no such clock; the nearest is 1980",
        ),
    ],
)
def test_what_was_wrong_leaves_nothing_in_the_way(world, tmp_path, wrong, told):
    with pytest.raises(ProfileError, match=told):
        asked(tmp_path, **wrong).run()
    assert list(tmp_path.iterdir()) == []
    assert world.gpus[0].at_default
    assert asked(tmp_path).run()["windows"] > 0
    assert [one.name for one in tmp_path.iterdir()] == ["p"]
    assert len(read_profile(tmp_path / "p").inference) == 4


def test_windows_outlive_an_error(world, tmp_path, monkeypatch):
    def lost(work):
        if work.runs > 40 and (tmp_path / "p.sweep.jsonl").read_text().count('"window"'):
            raise DeviceError("gone")

    monkeypatch.setattr(session, "open_workload", lambda *_: Work(world, before_run=lost))
    with pytest.raises(DeviceError, match="gone"):
        asked(tmp_path).run()
    assert {one.name for one in tmp_path.iterdir()} == {
        "p.sweep.gpus", "p.sweep.jsonl", "p.sweep.owed",
    }  # fmt: skip
    monkeypatch.setattr(session, "open_workload", lambda *_: Work(world))
    with pytest.raises(ProfileError, match="--resume goes on"):
        asked(tmp_path).run()
    asked(tmp_path).run(resume=True)
    assert [one.name for one in tmp_path.iterdir()] == ["p"]
