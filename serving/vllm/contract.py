# SPDX-License-Identifier: Apache-2.0
"""What the scheduler class uses of vLLM, checked against the vLLM that is there.

Its scheduler is no public interface: what is missing turns the governor off and never serving.
"""

import inspect
from typing import Any

__all__ = ["TRIED", "missing", "version"]

TRIED = "0.32"  # the release that the tests ran with
_METHODS = {
    "schedule": (),
    "update_from_output": ("scheduler_output", "model_runner_output"),
    "add_request": ("request",),
    "finish_requests": ("request_ids", "finished_status"),
    "get_request_counts": (),
    "shutdown": (),
}
_OUTPUT = ("num_scheduled_tokens",)
_REQUEST = ("num_output_tokens",)  # the others are set by __init__, whose source is looked at
_SET_BY_REQUEST = (
    "request_id", "arrival_time", "num_prompt_tokens", "num_computed_tokens", "max_tokens",
    "is_prefill_chunk",
)  # fmt: skip
_SET_BY_SCHEDULER = (
    "requests", "finished_req_ids", "vllm_config", "running", "waiting",
    "max_num_scheduled_tokens", "scheduler_config", "need_mamba_block_aligned_split",
)  # fmt: skip


def version() -> str:
    """Of vLLM, whoever built it."""
    from vllm import __version__

    return str(__version__)


def missing(scheduler: type, output: type, request: type) -> list[str]:
    """What of the contract these classes do not have, in words; empty is well."""
    found = []
    for name, wanted in _METHODS.items():
        method = getattr(scheduler, name, None)
        if method is None:
            found.append(f"{scheduler.__name__}.{name}()")
            continue
        there = list(inspect.signature(method).parameters)[1:]
        if there[: len(wanted)] != list(wanted):
            found.append(f"{scheduler.__name__}.{name}({', '.join(wanted)})")
    fields = getattr(output, "__dataclass_fields__", {})
    found += [f"{output.__name__}.{name}" for name in _OUTPUT if name not in fields]
    found += [f"{request.__name__}.{name}" for name in _REQUEST if not hasattr(request, name)]
    for owner, names in ((request, _SET_BY_REQUEST), (scheduler, _SET_BY_SCHEDULER)):
        source = "".join(_source(one) for one in owner.__mro__)
        found += [f"{owner.__name__}.{name}" for name in names if f"self.{name}" not in source]
    return found


def _source(owner: type) -> Any:
    try:
        return inspect.getsource(owner.__init__)  # type: ignore[misc]
    except (OSError, TypeError):
        return ""
