# SPDX-License-Identifier: Apache-2.0
"""What a governor has learned outlives its replica, and whatever is wrong with it only that."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from serving.governor.caution import Caution
from serving.governor.governor import Governor, Tuning
from serving.vllm.build import Group, build
from serving.vllm.learned import Learned, digest
from serving.vllm.settings import Settings
from tests.serving.made import profile

ABOUT = {"model": "m", "profile": digest(profile())}


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def caution(heard: int = 0) -> Caution:
    made = Caution(500.0, 0.0013)
    for _ in range(heard):
        made.hear(0.0)
    return made


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    clock, first = Clock(), caution()
    learned = Learned(tmp_path / "l", first, ABOUT, now_s=clock)
    learned.keep(last=True)
    assert not (tmp_path / "l").exists()  # nothing is new
    for _ in range(800):
        first.hear(0.0)
    learned.keep(last=True)
    second = caution()
    Learned(tmp_path / "l", second, ABOUT)
    assert (second.price, second.heard) == (first.price, 800)
    assert second.price < 400


def test_it_is_written_once_a_minute_and_only_when_something_is_new(tmp_path: Path) -> None:
    path, clock, one = tmp_path / "l", Clock(), caution()
    learned = Learned(path, one, ABOUT, now_s=clock)
    seen = []
    for second in range(150):
        clock.s = float(second)
        if second < 100:
            one.hear(0.0)
        learned.keep()
        if path.exists():
            seen.append(json.loads(path.read_text())["heard"])
    assert seen == [61] * 60 + [100] * 30


def test_who_heard_of_less_does_not_replace_what_another_learned(tmp_path: Path) -> None:
    busy, idle = caution(), caution()
    both = [Learned(tmp_path / "l", one, ABOUT) for one in (busy, idle)]
    for one, heard in ((busy, 800), (idle, 1)):
        for _ in range(heard):
            one.hear(0.0)
    for learned in both:
        learned.keep(last=True)
    third = caution()
    Learned(tmp_path / "l", third, ABOUT)
    assert (third.price, third.heard) == (busy.price, 800)
    other = Learned(tmp_path / "l", idle, {**ABOUT, "model": "other"})
    idle.hear(0.0)
    other.keep(last=True)
    assert json.loads((tmp_path / "l").read_text())["heard"] == idle.heard


def test_however_long_a_models_name_is(tmp_path: Path) -> None:
    about = {**ABOUT, "model": "/" + "x" * 10_000}
    first, second, other = caution(), caution(), caution()
    learned = Learned(tmp_path / "l", first, about)
    first.hear(0.0)
    learned.keep(last=True)
    Learned(tmp_path / "l", second, about)
    assert (second.price, second.heard) == (first.price, 1)
    Learned(tmp_path / "l", other, {**about, "tp": 2})
    assert other.heard == 0


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_plain_file_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, linked: bool
) -> None:
    path = tmp_path / "l"
    if linked:
        path.symlink_to("/dev/null")
    else:
        os.mkfifo(path)
    was = path.lstat().st_mode, path.lstat().st_ino
    with caplog.at_level(logging.WARNING, "slurm_green.serving"):
        one = caution()
        learned = Learned(path, one, ABOUT)  # would wait for a writer
        one.hear(0.0)
        learned.keep(last=True)
        one.hear(0.0)
        learned.keep(last=True)
    assert (path.lstat().st_mode, path.lstat().st_ino) == was
    assert len(caplog.records) == 2  # neither read nor kept
    assert caplog.text.count("is no plain file") == 2


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "[" * 5000, '"x"', "{}",
        json.dumps({"about": ABOUT, "price": "a", "heard": 1}),
        json.dumps({"about": ABOUT, "price": 1e9, "heard": 1}),
        json.dumps({"about": ABOUT, "price": float("nan"), "heard": 1}),
        json.dumps({"about": ABOUT, "price": 900.0, "heard": -1}),
        json.dumps({"about": ABOUT, "price": 900.0, "heard": float("inf")}),
        json.dumps({"about": ABOUT, "price": 900.0, "heard": 10**400}),
        json.dumps({"about": ABOUT, "price": 900.0, "heard": 1e13}),
        json.dumps({"about": ABOUT, "price": 900.0}),
        json.dumps({"about": {**ABOUT, "model": "other"}, "price": 900.0, "heard": 1}),
    ],
)  # fmt: skip
def test_what_is_damaged_or_of_something_else_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "l").write_text(text)
    one = caution()
    learned = Learned(tmp_path / "l", one, ABOUT)
    assert (one.price, one.heard) == (500.0, 0)
    one.hear(0.0)
    learned.keep(last=True)
    assert json.loads((tmp_path / "l").read_text())["heard"] == 1


def test_that_it_cannot_be_kept_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, one = Clock(), caution()
    with caplog.at_level(logging.WARNING, "slurm_green.serving"):
        learned = Learned(tmp_path / "none" / "l", one, ABOUT, now_s=clock)
        for second in range(0, 600, 60):
            clock.s = float(second)
            one.hear(0.0)
            learned.keep()
    assert len(caplog.records) == 1
    assert "is not kept" in caplog.text


@pytest.mark.parametrize("ceiling", [None, "none"])
def test_a_replica_takes_up_what_the_one_before_it_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ceiling: str | None
) -> None:
    def price(heard: int, **more: Any) -> float:
        given = {"gpus": "0", "nvml_library": bench.library, "profile": Path("a100-sxm-8b"),
            "slo_ttft_ms": 500.0, "slo_tpot_ms": 30.0, "learned": tmp_path / "l"}  # fmt: skip
        given["ceiling"] = None if ceiling is None else tmp_path / ceiling
        one = build(Settings(**{**given, **more}), Group(model="m"))
        policy = getattr(one.pilot.policy, "policy", one.pilot.policy)
        assert isinstance(policy, Governor)
        before = policy.caution.price
        for _ in range(heard):
            policy.caution.hear(0.0)
        one.close()
        return before

    with Bench.create(tmp_path / "gpus", [load_model("a100-sxm4-80gb")]) as bench:
        monkeypatch.setenv(STATE_VARIABLE, str(bench.path))
        assert price(200) == Tuning().miss_requests
        assert price(0) < 0.8 * Tuning().miss_requests
        assert price(0, slo_tpot_ms=40.0) == Tuning().miss_requests
