# SPDX-License-Identifier: Apache-2.0
"""The meter and what is shown of it."""

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from profiling.device.gpu import Identity, RefusedError, Why
from serving.governor.ceiling import Capped
from serving.governor.engine import Batch, EngineModel
from serving.vllm.metrics import Metrics, serve
from serving.vllm.recorder import Recorder
from serving.vllm.share import Iteration
from slurm_green.errors import BadInputError
from tests.serving.made import profile

ENGINE = EngineModel(profile())


class Meter:
    """A GPU of which only the counter is read."""

    def __init__(self, driver: str = "580.1") -> None:
        self.identity = Identity(uuid="GPU-1", name="G", vendor="nvidia", driver=driver, index=0)
        self.joules: float | Exception | None = 0.0

    def energy_j(self) -> float | None:
        if isinstance(self.joules, Exception):
            raise self.joules
        return self.joules


class Rig:
    def __init__(self, *, engine: EngineModel | None = ENGINE, driver: str = "580.1") -> None:
        self.now_s = 0.0
        self.meter = Meter(driver)
        self.recorder = Recorder(
            [self.meter],  # type: ignore[list-item]
            engine, holds_mhz=lambda: None, now_s=lambda: self.now_s,
        )  # fmt: skip

    def run(self, seconds: float, *names: str) -> None:
        decodes = [(one, 100) for one in names]
        batch = Batch(len(decodes), 100.0)
        one = Iteration(self.now_s, self.now_s + seconds, 4, batch, decodes)
        self.recorder.ran(one)
        self.now_s += seconds

    def read(self, more: float | Exception | None) -> None:
        before = self.meter.joules
        if isinstance(more, float) and isinstance(before, float):
            self.meter.joules = before + more
        else:
            self.meter.joules = more
        self.recorder.settle()


def test_what_was_drawn_is_split_and_labelled() -> None:
    rig = Rig()
    rig.run(0.5, "cmpl-x-0-12345678", "b")
    rig.now_s += 0.5
    rig.read(400.0)
    joules = rig.recorder.joules
    assert joules["work", "counter"] + joules["idle", "counter"] == pytest.approx(400.0)
    assert joules["work", "counter"] > joules["idle", "counter"] > 0
    found = rig.recorder.joules_of("cmpl-x")
    assert found is not None
    assert found.work_j == pytest.approx(joules["work", "counter"] / 2)
    assert rig.recorder.joules_of("cmpl") is None


def test_several_prompts_of_one_request_are_one() -> None:
    rig = Rig()
    rig.run(1.0, "cmpl-x-0-aaaaaaaa", "cmpl-x-1-bbbbbbbb")
    rig.recorder.over("cmpl-x-0-aaaaaaaa", "finished")
    rig.read(300.0)
    found = rig.recorder.joules_of("cmpl-x")
    assert found is not None
    assert found.work_j == pytest.approx(300.0)
    assert found.end is None


@pytest.mark.parametrize(
    "counter", [None, RefusedError(Why.LOST, "energy"), 0.0], ids=["none", "lost", "stalled"]
)
def test_without_a_counter_the_model_stands_and_is_labelled(counter: Any) -> None:
    rig = Rig()
    for _ in range(10):
        rig.run(1.0, "a")
        rig.read(counter)
    assert set(rig.recorder.joules) == {("work", "modelled"), ("idle", "modelled")}
    _, watts = ENGINE.time_and_power(Batch(1, 100.0), 4)
    assert rig.recorder.joules["work", "modelled"] == pytest.approx(10 * watts)


def test_a_counter_that_moves_seldom_is_waited_for() -> None:
    rig = Rig()
    for more in (0.0, 0.0, 900.0):
        rig.run(1.0, "a")
        rig.read(more)
    assert rig.recorder.joules == {
        ("work", "counter"): pytest.approx(900.0),
        ("idle", "counter"): 0,
    }


def test_a_counter_that_starts_over_is_not_negative_joules() -> None:
    rig = Rig()
    rig.read(1000.0)
    rig.run(1.0, "a")
    rig.meter.joules = 5.0
    rig.recorder.settle()
    assert rig.recorder.joules["work", "modelled"] > 0
    rig.run(1.0, "a")
    rig.read(300.0)
    assert rig.recorder.joules["work", "counter"] == pytest.approx(300.0)


def test_without_model_and_counter_nothing_is_known() -> None:
    rig = Rig(engine=None)
    rig.meter.joules = None
    rig.recorder.settle()
    rig.run(1.0, "a")
    rig.read(None)
    assert rig.recorder.joules == {}
    assert rig.recorder.joules_of("a") is None


def test_emulated_joules_are_called_so_and_shown() -> None:
    rig = Rig(driver="580.0.emulated")
    rig.run(1.0, "a")
    rig.recorder.over("a", "aborted")
    rig.recorder.decisions.extend([("schedule", 1e-4)] * 3)
    rig.read(300.0)
    setter = SimpleNamespace(changes=2, failures=1, holds_mhz=1200)
    pilot = SimpleNamespace(policy=None, paced=7, reordered=3)
    metrics = Metrics(rig.recorder, pilot, setter, model="m", policy="governor")  # type: ignore[arg-type]
    text = metrics.text().decode()
    for line in (
        'slurm_green_serving_energy_joules_total{kind="work",model="m",source="emulated"} 300.0',
        'slurm_green_serving_requests_total{end="aborted",model="m"} 1.0',
        'slurm_green_serving_decision_seconds_count{hook="schedule"} 3.0',
        'slurm_green_serving_governor_active{policy="governor"} 0.0',
        "slurm_green_serving_clock_hertz 1.2e+09",
        "slurm_green_serving_clock_failures_total 1.0",
        "slurm_green_serving_paced_steps_total 7.0",
        "slurm_green_serving_reordered_steps_total 3.0",
    ):
        assert line in text.splitlines()


def test_what_the_clocks_cost_those_who_wait_is_shown_under_a_ceiling_too() -> None:
    twin = SimpleNamespace(requests=40, late=3, late_anyway=2, energy_j=900.0)
    setter = SimpleNamespace(changes=0, failures=0, holds_mhz=None)
    plain = SimpleNamespace(twin=twin)
    for policy in (plain, Capped(plain, lambda: 1)):  # type: ignore[arg-type]
        pilot = SimpleNamespace(policy=policy, paced=0, reordered=0)
        metrics = Metrics(Rig().recorder, pilot, setter, model="m", policy="governor")  # type: ignore[arg-type]
        lines = metrics.text().decode().splitlines()
        assert 'slurm_green_serving_compared_requests_total{model="m"} 40.0' in lines
        assert (
            'slurm_green_serving_compared_late_requests_total{clock="chosen",model="m"} 3.0'
            in lines
        )
        assert (
            'slurm_green_serving_compared_late_requests_total{clock="highest",model="m"} 2.0'
            in lines
        )
        assert 'slurm_green_serving_highest_clock_energy_joules_total{model="m"} 900.0' in lines


def test_it_is_told_on_a_port_or_in_a_file(tmp_path: Path, unused_port: int) -> None:
    rig = Rig()
    rig.run(1.0, "a b")
    setter = SimpleNamespace(changes=0, failures=0, holds_mhz=None)
    metrics = Metrics(
        rig.recorder,
        SimpleNamespace(policy=1, paced=0, reordered=0),
        setter,
        model="m",
        policy="max",  # type: ignore[arg-type]
    )
    serve(metrics, str(tmp_path / "replica.prom"))()
    assert b'governor_active{policy="max"} 1.0' in (tmp_path / "replica.prom").read_bytes()

    serve(metrics, f"127.0.0.1:{unused_port}")
    base = f"http://127.0.0.1:{unused_port}"
    with urllib.request.urlopen(f"{base}/metrics") as answer:
        assert b"slurm_green_serving_requests_total" in answer.read()
    with socket.create_connection(("127.0.0.1", unused_port)) as peer:
        peer.sendall(b"HEAD /metrics HTTP/1.1\r\n\r\n")
        head = peer.makefile("rb").read()
    assert b" 200 OK\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    with urllib.request.urlopen(f"{base}/requests/a%20b") as answer:
        told = json.load(answer)
    assert told["energy_j"] == pytest.approx(told["work_j"] + told["idle_j"])
    assert told["settled"] is False
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        urllib.request.urlopen(f"{base}/requests/nobody")
    caught.value.close()
    for wrong in ("9810", "host:", ":99999", "host:a"):
        with pytest.raises(BadInputError, match="wanted HOST:PORT"):
            serve(metrics, wrong)
