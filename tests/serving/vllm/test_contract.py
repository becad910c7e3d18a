# SPDX-License-Identifier: Apache-2.0
"""A vLLM that lacks something is recognised."""

from dataclasses import dataclass, field

from serving.vllm.contract import missing


class Scheduler:
    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        self.finished_req_ids: set[str] = set()
        self.vllm_config = None
        self.running: list[int] = []
        self.waiting: list[object] = []
        self.max_num_scheduled_tokens = 1
        self.scheduler_config = None
        self.need_mamba_block_aligned_split = False

    def schedule(self) -> None: ...
    def update_from_output(self, scheduler_output: int, model_runner_output: int) -> None: ...
    def add_request(self, request: int) -> None: ...
    def finish_requests(self, request_ids: int, finished_status: int) -> None: ...
    def get_request_counts(self) -> None: ...
    def shutdown(self) -> None: ...


@dataclass
class Output:
    num_scheduled_tokens: dict[str, int] = field(default_factory=dict)


class Request:
    def __init__(self) -> None:
        self.request_id = ""
        self.arrival_time = 0.0
        self.num_prompt_tokens = self.num_computed_tokens = 0
        self.max_tokens = 1
        self.is_prefill_chunk = False

    @property
    def num_output_tokens(self) -> int:
        return 0


def test_what_has_all_of_it_passes() -> None:
    class Later(Scheduler):
        """What a subclass inherits counts."""

    assert missing(Later, Output, Request) == []


def test_what_was_renamed_is_named() -> None:
    class Renamed(Scheduler):
        def update_from_output(self, output: int, runner: int) -> None:  # type: ignore[override]
            """Other names."""

    class Bare:
        """No request."""

    assert missing(Renamed, int, Bare) == [
        "Renamed.update_from_output(scheduler_output, model_runner_output)",
        "int.num_scheduled_tokens",
        "Bare.num_output_tokens",
        "Bare.request_id",
        "Bare.arrival_time",
        "Bare.num_prompt_tokens",
        "Bare.num_computed_tokens",
        "Bare.max_tokens",
        "Bare.is_prefill_chunk",
    ]
