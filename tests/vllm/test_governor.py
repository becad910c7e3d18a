# SPDX-License-Identifier: Apache-2.0
"""The governor in the real vLLM, which serves a tiny model beside a real sgreen-noded.

One server for all tests, in this order; the last one kills it. That the server says which policy
it runs means that vLLM has all names and signatures of serving.vllm.contract.
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from served import Served, served, until

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from profiling.files import read_profile
from profiling.shipped import shipped
from serving.governor.engine import EngineModel
from serving.vllm.settings import PREFIX
from tests.slurm_green.node.live_node import LiveNode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks")

JOB = 60_000_031
PROMPTS = [f"{at} is {at:b} or {at:x}" for at in range(24)]
LEASE_S = 2.0
SURE_J = 4.0
PROFILE = Path("a100-sxm-8b")
PARKED_MHZ = EngineModel(read_profile(shipped(PROFILE))).clocks_mhz[0]


@dataclass
class Governed:
    server: Served
    node: LiveNode
    port: int
    steer: Path

    def word(self, word: str) -> None:
        """From the next batch on; see steered."""
        self.steer.write_text(word)

    def metrics(self) -> str:
        """Of the replica."""
        return self._get("/metrics")[1]

    def value(self, name: str) -> float:
        """The sum of what is called so."""
        found = re.findall(rf"^slurm_green_serving_{name} (\S+)$", self.metrics(), re.MULTILINE)
        return sum(map(float, found))

    def request(self, name: str) -> dict[str, object]:
        """What it cost; empty where nobody knows it."""
        status, text = self._get(f"/requests/{name}")
        told: dict[str, object] = json.loads(text) if status == 200 else {}
        return told

    def _get(self, path: str) -> tuple[int, str]:
        beside = Served(self.server.process, self.port, self.server.log)
        status, _, body = beside.ask("GET", path)
        return status, body.decode()

    def settled(self) -> tuple[float, float]:
        """Joules accounted at a reading, and those of the emulated GPU itself at that moment.

        Of some readings the one whose moment is best known: whoever looks may lose its core.
        """
        found = []
        told = self.value(r"energy_joules_total\{.*\}")
        for _ in range(10):
            before = told
            low_j = next_j = self.node.bench.read(0).energy_j
            while told == before:
                # It was settled after the answer before this one, so after the joules before that.
                low_j, next_j = next_j, self.node.bench.read(0).energy_j
                told = self.value(r"energy_joules_total\{.*\}")
            high_j = self.node.bench.read(0).energy_j
            found.append((high_j - low_j, told, (low_j + high_j) / 2))
            if high_j - low_j < SURE_J:
                break
        _, told, true_j = min(found)
        return told, true_j


def _ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Governed]:
    home = tmp_path_factory.mktemp("governed")
    port, metrics_port = _ports(2)
    with Bench.create(home / "gpus", [load_model("a100-sxm4-80gb")]) as bench:
        bench.load(0, 0.6, 0.5)
        node = LiveNode(home, bench).start()
        # What noded takes for the job's slurmstepd.
        shutil.copy("/bin/sleep", home / "slurmstepd")
        step = subprocess.Popen(
            [f"slurmstepd: [{JOB}.batch]", "900"], executable=home / "slurmstepd"
        )
        begun = node.ask(op="begin", job=JOB, uid=0, gpus="0", at_s=time.monotonic())
        assert begun["ok"], begun
        steer = home / "steer"
        steer.write_text("on")
        settings = {
            "profile": str(PROFILE),
            "slo_ttft_ms": 1000,
            "slo_tpot_ms": 60,
            "socket": str(node.user_socket),
            "job": JOB,
            "gpus": "0",
            "ttl_s": LEASE_S,
            "nvml_library": str(bench.library),
        }
        env = {
            STATE_VARIABLE: str(bench.path),
            "STEER": str(steer),
            f"{PREFIX}METRICS": f"127.0.0.1:{metrics_port}",
        }
        options = (
            "--scheduler-cls", "steered.SteeredScheduler",
            "--additional-config", json.dumps({"slurm_green": settings}),
            "--middleware", "serving.vllm.middleware.Energy",
        )  # fmt: skip
        try:
            with served(tiny, home / "vllm.log", *options, port=port, env=env) as server:
                yield Governed(server, node, metrics_port, steer)
        finally:
            step.kill()
            step.wait()
            if node.up:
                node.kill()


def test_this_vllm_has_what_the_scheduler_class_uses(governed: Governed) -> None:
    said = governed.server.words
    assert "policy governor over a100-sxm-8b, clocks set by sgreen-noded" in said
    cache = re.search(r"KV cache size: ([\d,]+) tokens", said)
    assert cache is not None
    tokens = int(cache[1].replace(",", ""))
    assert f"at most 64 requests and 2048 tokens at once, {tokens} in the cache" in said
    assert "governor off" not in said
    assert "not tried with this release" not in said


def test_answers_are_the_same_and_clocks_follow(governed: Governed) -> None:
    governed.word("off")
    plain = governed.server.many(PROMPTS, 32, 8)
    governed.word("on")
    assert governed.server.many(PROMPTS, 32, 8) == plain
    # Without work for a while it parks.
    governed.node.wait(lambda: governed.node.lock_mhz(0) == PARKED_MHZ, "parking")
    until(lambda: governed.value("clock_hertz") == PARKED_MHZ * 1e6, 60)
    assert governed.value("clock_changes_total") >= 1
    # noded may lose its core for a while; nothing else stands between us and the clocks.
    unknown = [line for line in governed.server.words.splitlines() if "clocks unknown" in line]
    assert all("(timed out)" in line for line in unknown), unknown
    assert governed.value("clock_failures_total") == 0 or unknown


def test_prompts_come_in_the_policys_order_and_pieces_in_vllm(governed: Governed) -> None:
    governed.word("on")
    plain = governed.server.many(PROMPTS, 32, 8)
    paced, reordered = (governed.value(f"{one}_steps_total") for one in ("paced", "reordered"))
    governed.word("wait")
    assert governed.server.many(PROMPTS, 32, 8) == plain
    governed.word("on")
    assert governed.value("paced_steps_total") > paced
    assert governed.value("reordered_steps_total") > reordered
    # A token for each one who decodes, and one of a prompt, while others wait.
    lines = governed.steer.with_suffix(".waited").read_text().splitlines()
    steps = [tuple(map(int, one.split())) for one in lines]
    assert len(steps) > 32
    assert all(requests == tokens for requests, tokens, _ in steps), steps
    assert any(new for _, _, new in steps), steps


def test_decisions_are_timed_and_take_far_less_than_an_iteration(governed: Governed) -> None:
    found = re.findall(
        r'decision_seconds_bucket\{hook="schedule",le="([^"]+)"\} (\S+)', governed.metrics()
    )
    steps = [(float(bound), float(count)) for bound, count in found]
    count = steps[-1][1]
    assert count >= 100
    median_s = next(bound for bound, below in steps if below >= count / 2)
    # The bar is 150 us on a machine of one's own.
    assert median_s < 1e-3


def test_joules_of_requests_are_those_of_the_meter(governed: Governed) -> None:
    told_j, true_j = governed.settled()
    work_j = governed.value(r'energy_joules_total\{kind="work".*\}')
    begun_s = time.monotonic()
    names = []
    while time.monotonic() < begun_s + 8.0:
        names += [governed.server.complete(one, 24)["id"] for one in PROMPTS[:4]]
    last_j, end_j = governed.settled()
    assert last_j - told_j == pytest.approx(end_j - true_j, rel=0.01)
    costs = [governed.request(name) for name in names]
    assert {one["source"] for one in costs} == {"emulated"}
    assert {one["end"] for one in costs} == {"finished"}
    worked_j = governed.value(r'energy_joules_total\{kind="work".*\}') - work_j
    assert sum(float(str(one["work_j"])) for one in costs) == pytest.approx(worked_j, rel=0.01)
    assert statistics.median(float(str(one["idle_j"])) for one in costs) > 0


def test_who_leaves_is_accounted(governed: Governed) -> None:
    before = governed.value(r'requests_total\{end="aborted".*\}')
    governed.server.leave("1 and on and on", 900, "leaver")
    until(lambda: governed.value(r'requests_total\{end="aborted".*\}') == before + 1, 60)
    told = governed.request("cmpl-leaver")
    assert told["end"] == "aborted"
    assert float(str(told["work_j"])) > 0


def test_an_answer_that_a_stop_string_ends_is_compared_as_others_are(governed: Governed) -> None:
    def stopped() -> str:
        answer = governed.server.complete("7 and", 400, stop=["0", "1", "d", " "], min_tokens=4)
        assert answer["choices"][0]["finish_reason"] == "stop"
        return str(answer["id"])

    # What ended before may be compared yet, but no more of it than ended.
    ended = governed.value(r'requests_total\{end="finished".*\}')
    name = stopped()
    until(lambda: governed.request(name).get("end") == "finished", 60)
    until(lambda: bool(stopped()) and governed.value(r"compared_requests_total\{.*\}") > ended, 60)


def test_who_leaves_before_a_stop_string_has_left(governed: Governed) -> None:
    before = governed.value(r'requests_total\{end="aborted".*\}')
    governed.server.leave("1 and on and on", 900, "unstopped", stop=["never"])
    until(lambda: governed.value(r'requests_total\{end="aborted".*\}') == before + 1, 60)


@pytest.mark.parametrize("answers", [1, 3])
def test_a_plain_answer_says_what_it_cost(governed: Governed, answers: int) -> None:
    asked = {"model": "tiny", "prompt": "7", "max_tokens": 16, "ignore_eos": True, "n": answers}
    said: dict[str, str] = {}

    def told() -> bool:
        # An answer waits a tenth of a second for its figure, and goes without.
        status, headers, _ = governed.server.ask("POST", "/v1/completions", asked)
        assert status == 200
        said.update(headers)
        return "x-sgreen-energy-j" in headers

    until(told, 60)
    assert float(said["x-sgreen-energy-j"]) > 0
    assert said["x-sgreen-energy-source"] == "emulated"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("break", "the policy failed (ZeroDivisionError"),
        ("burst", "governor off, clocks go back, serving goes on: TypeError"),
    ],
)
def test_a_bug_of_ours_costs_the_clocks_and_nothing_else(
    governed: Governed, word: str, said: str
) -> None:
    governed.word("on")
    plain = governed.server.many(PROMPTS[:8], 16, 4)
    governed.node.wait(lambda: governed.node.lock_mhz(0) is not None, "a lease")
    governed.word(word)
    assert governed.server.many(PROMPTS[:8], 16, 4) == plain
    governed.node.wait(lambda: governed.node.lock_mhz(0) is None, "the release")
    assert governed.server.words.count(said) == 1
    if word == "break":
        until(lambda: governed.value(r"governor_active\{.*\}") == 0.0, 60)
    governed.word("on")
    assert governed.server.many(PROMPTS[:8], 16, 4) == plain


def test_killed_with_clocks_lowered_they_come_back(governed: Governed) -> None:
    governed.node.wait(lambda: governed.node.lock_mhz(0) == PARKED_MHZ, "parking")
    killed_s = time.monotonic()
    governed.server.kill()
    governed.node.wait(lambda: governed.node.lock_mhz(0) is None, "the end of the lease")
    assert time.monotonic() - killed_s < LEASE_S + 10.0  # on a busy machine; else never
