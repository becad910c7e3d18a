# SPDX-License-Identifier: Apache-2.0
"""The scheduler class around a stand-in for vLLM's: whatever we do wrong, it serves."""

import importlib.util
import itertools
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from serving.governor.protocol import MOST_ORDERED
from serving.vllm import scheduler as module
from serving.vllm.scheduler import GovernedScheduler
from tests.serving.vllm.test_pilot import Rig

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is not None, reason="vLLM is here: tests/vllm looks at it"
)


class Theirs:
    """What vLLM's scheduler answers."""

    finished_req_ids: set[str]

    def __init__(self) -> None:
        self.finished_req_ids = set()
        self.running: list[Any] = []
        self.max_num_scheduled_tokens = 8192
        self.waiting: deque[Any] = deque()
        self.breaks = False

    def schedule(self, throttle_prefills: bool = False) -> Any:
        self.throttled, self.most = throttle_prefills, self.max_num_scheduled_tokens
        if self.breaks:
            raise RuntimeError("theirs")
        return SimpleNamespace(num_scheduled_tokens={"a": 1})

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> str:
        return f"{scheduler_output} {model_runner_output}"

    def add_request(self, request: Any) -> None:
        self.added = request

    def finish_requests(self, request_ids: Any, finished_status: Any) -> list[Any]:
        known = {one.request_id: one for one in getattr(self, "known", ())}
        return [known.get(one, SimpleNamespace(request_id=one)) for one in request_ids]

    def get_request_counts(self) -> tuple[int, int]:
        return 1, 0

    def shutdown(self) -> None:
        self.down = True


class Scheduler(GovernedScheduler, Theirs):  # type: ignore[misc]
    """Ours before theirs."""


class Parts:
    """In place of Replica."""

    def __init__(self) -> None:
        rig = Rig()
        self.pilot, self.clocks, self.failed = rig.pilot, rig.clocks, rig.failed
        self.setter = rig.clocks
        self.recorder = SimpleNamespace(decisions=[])
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def governed() -> Any:
    one = Scheduler.__new__(Scheduler)
    Theirs.__init__(one)
    one.sgreen, one._slow, one._pieces = Parts(), {"schedule": 0, "update": 0}, True
    return one


def request(name: str, arrived_s: float) -> Any:
    return SimpleNamespace(
        request_id=name, arrival_time=arrived_s, num_prompt_tokens=4, num_computed_tokens=4,
        num_output_tokens=0,
    )  # fmt: skip


def test_it_answers_what_theirs_answers(governed: Any) -> None:
    assert governed.schedule(True).num_scheduled_tokens == {"a": 1}
    assert governed.update_from_output("scheduled", "run") == "scheduled run"
    assert [one.request_id for one in governed.finish_requests(["a"], None)] == ["a"]
    assert [hook for hook, _ in governed.sgreen.recorder.decisions] == ["schedule", "update"]
    parts = governed.sgreen
    governed.shutdown()
    assert parts.closed
    assert governed.down


@pytest.mark.parametrize(("asked", "most"), [(None, 8192), (65, 65), (9000, 8192)])
def test_a_step_has_at_most_as_many_tokens_as_both_allow(
    governed: Any, asked: int | None, most: int
) -> None:
    governed.sgreen.pilot.prompts = lambda now_s, running, first, waiting: (None, asked)
    governed.schedule(True)
    assert (governed.most, governed.throttled) == (most, True)
    assert governed.max_num_scheduled_tokens == 8192
    governed.breaks = True
    with pytest.raises(RuntimeError):
        governed.schedule()
    assert governed.max_num_scheduled_tokens == 8192
    governed.breaks = governed._pieces = False
    governed.schedule()
    assert governed.most == 8192


@pytest.mark.parametrize(
    "otherwise",
    [
        {},
        {"enable_chunked_prefill": False},
        {"long_prefill_token_threshold": 9},
        {"disable_chunked_mm_input": True},
        {"policy": "priority"},
        {"queue": []},
        {"aligned": True},
    ],
)
def test_prompts_come_in_pieces_where_vllm_cuts_one_after_the_other_anywhere(
    governed: Any, otherwise: dict[str, Any]
) -> None:
    usual: dict[str, Any] = {
        "enable_chunked_prefill": True, "long_prefill_token_threshold": 0,
        "disable_chunked_mm_input": False, "policy": "fcfs", "aligned": False, "queue": deque(),
    }  # fmt: skip
    governed.scheduler_config = config = SimpleNamespace(**{**usual, **otherwise})
    governed.need_mamba_block_aligned_split = config.aligned
    governed.waiting = config.queue
    assert module._pieces(governed) == (not otherwise)


def test_the_first_that_wait_come_in_the_pilots_order(governed: Any) -> None:
    queue = governed.waiting = deque(range(100))
    governed.sgreen.pilot.prompts = lambda now_s, running, first, waiting: (first[::-1], None)
    governed.schedule(True)
    assert governed.waiting is queue
    assert list(queue) == [*range(MOST_ORDERED - 1, -1, -1), *range(MOST_ORDERED, 100)]
    governed._pieces = False
    governed.schedule(True)
    assert queue[0] == MOST_ORDERED - 1


def test_a_bug_about_prompts_costs_only_us(governed: Any) -> None:
    parts, governed.sgreen.pilot.prompts = governed.sgreen, None
    assert governed.schedule(False).num_scheduled_tokens == {"a": 1}
    assert governed.most == 8192
    assert governed.sgreen is None
    assert parts.clocks.asked == [None]


@pytest.mark.parametrize(
    ("manager", "held"),
    [
        (SimpleNamespace(usage=0.25), 0.25),
        (SimpleNamespace(usage=None), None),
        (SimpleNamespace(), None),
        (None, None),
    ],
)
def test_the_policy_hears_what_the_cache_holds_where_vllm_tells(
    governed: Any, manager: Any, held: float | None
) -> None:
    if manager is not None:
        governed.kv_cache_manager = manager
    one = request("a", time.time())
    one.num_computed_tokens = 5  # the first token of its answer
    governed.add_request(one)
    governed.schedule(True)
    [moment] = governed.sgreen.pilot.policy.moments
    assert moment.held == held
    assert governed.sgreen is not None


def test_a_request_is_as_old_as_the_front_end_says_within_reason(governed: Any) -> None:
    now_s, wall_s = time.monotonic(), time.time()
    for name, arrived_s, age_s in (("a", wall_s - 2, 2), ("b", wall_s + 99, 0), ("c", 0.0, 600)):
        governed.add_request(request(name, arrived_s))
        live = governed.sgreen.pilot._live[name]
        assert live.arrival_s == pytest.approx(now_s - age_s, abs=0.5)


@pytest.mark.parametrize(
    ("answer", "stop", "least", "end"),
    [
        ("and so on. END", ["\n", "END"], 0, "finished"),
        ("and so on. END, a", ["END"], 0, "finished"),  # tokens that were under way
        ("and so on. EN", ["END"], 0, "aborted"),
        ("END and so on and on and on", ["END"], 0, "aborted"),  # it would have stopped long ago
        ("END", ["END"], 3, "aborted"),  # which counts later only
        ("and so on", [], 0, "aborted"),
        ("", ["END"], 0, "aborted"),
    ],
)
def test_who_met_a_stop_string_did_not_leave(
    governed: Any, answer: str, stop: list[str], least: int, end: str
) -> None:
    governed.structured_output_manager = SimpleNamespace(
        tokenizer=SimpleNamespace(
            decode=lambda ids, skip_special_tokens: "".join(map(chr, ids)) * skip_special_tokens
        )
    )
    one = request("a", time.time())
    one.sampling_params = SimpleNamespace(stop=stop, min_tokens=least, skip_special_tokens=True)
    one.output_token_ids = [ord(letter) for letter in answer]
    one.num_output_tokens = len(answer)
    governed.known = [one]
    governed.add_request(one)
    ended: list[tuple[str, str]] = []
    governed.sgreen.pilot._over = lambda *what: ended.append(what)
    governed.finish_requests(["a"], None)
    assert ended == [("a", end)]


def test_a_stop_string_may_be_a_token_for_each_byte(governed: Any) -> None:
    stop = "முடிவு"
    governed.structured_output_manager = SimpleNamespace(
        tokenizer=SimpleNamespace(
            decode=lambda ids, skip_special_tokens: bytes(ids).decode(errors="replace")
        )
    )
    one = request("a", time.time())
    one.sampling_params = SimpleNamespace(stop=[stop], min_tokens=0, skip_special_tokens=True)
    one.output_token_ids = list(f"and so on {stop}".encode())
    one.num_output_tokens = len(one.output_token_ids)
    assert governed._met_stop(one)


@pytest.mark.parametrize(
    ("ours", "asked"),
    [
        ({}, (64, 4096, 1000)),
        ({"active": 32, "scheduled": 2048}, (32, 2048, 1000)),  # what a step takes comes first
        ({"seqs": None, "batched": None, "kv": None}, (None, None, None)),
    ],
)
def test_what_the_engine_takes_at_once_is_vllms_word(
    ours: dict[str, int | None], asked: tuple[int | None, ...]
) -> None:
    told = {"seqs": 64, "batched": 4096, "kv": 1000, **ours}
    scheduler = SimpleNamespace(max_num_seqs=told["seqs"], max_num_batched_tokens=told["batched"])
    if "active" in ours:
        scheduler.max_num_active_seqs = ours["active"]
        scheduler.max_num_scheduled_tokens = ours["scheduled"]
    group = module._group(
        SimpleNamespace(
            parallel_config=SimpleNamespace(
                pipeline_parallel_size=1, tensor_parallel_size=1, data_parallel_size=1,
                world_size=1, data_parallel_rank_local=None,
            ),
            speculative_config=None,
            model_config=SimpleNamespace(served_model_name="m", model="m", is_moe=False),
            scheduler_config=scheduler,
            cache_config=SimpleNamespace(kv_cache_size_tokens=told["kv"]),
        )
    )  # fmt: skip
    assert (group.max_num_seqs, group.max_batched_tokens, group.kv_tokens) == asked


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("schedule", (True,)),
        ("update_from_output", (1, 2)),
        ("add_request", (request("a", 0.0),)),
        ("finish_requests", (["a"], None)),
    ],
)
def test_a_bug_of_ours_costs_only_us(
    governed: Any, method: str, arguments: Any, caplog: pytest.LogCaptureFixture
) -> None:
    parts = governed.sgreen
    parts.pilot = None
    getattr(governed, method)(*arguments)
    assert governed.sgreen is None
    assert parts.clocks.asked == [None]
    assert "governor off, clocks go back, serving goes on" in caplog.text
    getattr(governed, method)(*arguments)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("method", "arguments"), [("schedule", (True,)), ("update_from_output", (1, 2))]
)
def test_a_policy_that_is_always_slow_is_given_up(
    governed: Any, monkeypatch: pytest.MonkeyPatch, method: str, arguments: Any
) -> None:
    """In what it chooses, and in what it makes of what it saw."""
    ticks = itertools.count(0.0, 0.006)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    for _ in range(49):
        getattr(governed, method)(*arguments)
    assert governed.sgreen.pilot.policy is not None
    getattr(governed, method)(*arguments)
    assert governed.sgreen.pilot.policy is None
    assert governed.sgreen.clocks.asked == [None]
    assert "50 decisions in a row took more than 5 ms" in str(governed.sgreen.failed[0])
