# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode iterations of the real vLLM; runs in the child of `profiling.workload.child`.

vLLM's engine core is stepped here, without its front end: what counts is the iteration. What the
scheduler put into each one is looked at, and an iteration that is not what it claims to be is an
error. The trap: this is no public interface of vLLM; written for 0.32.
"""

import math
import random
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from profiling.errors import ProfilingError
from profiling.workload.decode_cycle import Cycle, cycle_of, longest_prompt
from profiling.workload.paced import Pacer, mix_of
from profiling.workload.protocol import Load, Steps

__all__ = ["VllmEngine"]

_WARM_STEPS = 4
_WARM_STRETCHES = 5
_MOST_READY = 512  # batches of prompts prepared before a stretch


class VllmEngine:
    """One engine core, one model, one tensor-parallel size. A Workload."""

    def __init__(self, order: Mapping[str, Any], pacer: Pacer | None) -> None:
        from vllm import __version__
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.core import EngineCore
        from vllm.v1.executor.abstract import Executor

        config = EngineArgs(**order["engine_args"]).create_engine_config()
        self._core = EngineCore(config, Executor.get_class(config), log_stats=False)
        self._pacer = pacer
        self._tp = int(order["tp"])
        self._batches, self._contexts = order["batches"], order["contexts"]
        self._model_len = int(config.model_config.max_model_len)
        self._block = int(config.cache_config.block_size)
        self._vocabulary = int(config.model_config.get_vocab_size())
        self._random = random.Random(order["seed"])
        self.facts = {
            "engine_name": "vllm",
            "engine_version": str(__version__),
            "model": order["name"],
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
        }
        self.limits = {
            "kv_tokens": int(config.cache_config.kv_cache_size_tokens),
            "max_batched_tokens": int(config.scheduler_config.max_num_batched_tokens),
            "max_num_seqs": int(config.scheduler_config.max_num_seqs),
        }
        self._load: Load | None = None
        self._prompts: list[list[int]] = []
        self._mix = mix_of(1)
        self._step_s = 0.0
        self._paces_s: dict[Load, float] = {}  # the first time a load comes up sets its pace
        self._serial = 0
        self._finished: list[dict[str, int]] = []  # tokens by request, for each iteration
        update = self._core.scheduler.update_from_output

        def noted(scheduled: Any, output: Any) -> Any:
            if scheduled.num_scheduled_tokens:
                self._finished.append(dict(scheduled.num_scheduled_tokens))
            return update(scheduled, output)

        self._core.scheduler.update_from_output = noted

    def loads(self) -> Sequence[Load]:
        """Every phase, context and batch asked for; what does not fit is refused by `start`."""
        return [
            Load(phase=phase, batch=batch, context_tokens=context, tp=self._tp)
            for phase in ("decode", "prefill")
            for context in self._contexts
            for batch in self._batches
        ]

    def start(self, load: Load) -> None:
        """See Workload; a decode fills the cache with its prompts first."""
        self.stop()
        misfit = self._misfit(load)
        if misfit is not None:
            raise ProfilingError(f"{load.name}: {misfit}")
        assert load.batch is not None
        assert load.context_tokens is not None
        self._load = load
        tokens = range(load.context_tokens)
        self._prompts = [
            [self._random.randrange(self._vocabulary) for _ in tokens] for _ in range(load.batch)
        ]
        if load.phase == "decode":
            if self._pacer is not None:
                self._pacer.begin(mix_of(load.batch * load.context_tokens))
            length = longest_prompt(load.context_tokens, self._block)
            self._add(self._requests(length, 1, salt="kept"))
            while self._core.scheduler.has_unfinished_requests():
                self._turn()
        self._mix = mix_of(load.batch * (1 if load.phase == "decode" else load.context_tokens))
        if self._pacer is not None:
            self._pacer.begin(self._mix)
        warm = self._cycle(_WARM_STEPS)
        self._stretch(warm)
        times_s = []
        for _ in range(_WARM_STRETCHES):
            begun_s = time.monotonic()
            self._stretch(warm)
            times_s.append((time.monotonic() - begun_s) / warm.steps)
        self._step_s = self._paces_s.setdefault(load, median(times_s))
        if self._pacer is not None:
            self._pacer.rest()

    def run(self, at_least_s: float) -> Steps:
        """See Workload; decodes run in whole cycles where those do not last much too long."""
        if self._load is None:
            raise ProfilingError("run: no load was started")
        count = 0
        ready = self._ready(at_least_s)
        if self._pacer is not None:
            self._pacer.begin(self._mix, self._paces_s[self._load])
        begin_s = end_s = time.monotonic()
        while end_s - begin_s < at_least_s:
            left_s = at_least_s - (end_s - begin_s)
            cycle = self._cycle(math.ceil(left_s / self._step_s))
            began_s = end_s
            done = self._stretch(cycle, ready.pop() if ready else None)
            count += done
            end_s = time.monotonic()
            self._step_s = (end_s - began_s) / done
        if self._pacer is not None:
            self._pacer.rest()
        return Steps(count=count, units=float(count), begin_s=begin_s, end_s=end_s)

    def stop(self) -> None:
        """See Workload."""
        self._load = None
        self._core.scheduler.finish_requests(None, _aborted())
        while self._core.scheduler.has_requests():
            self._core.step_fn()
        self._finished.clear()
        if self._pacer is not None:
            self._pacer.rest()

    def close(self) -> None:
        """See Workload."""
        if self._pacer is not None:
            self._pacer.close()
        self._core.shutdown()

    def _misfit(self, load: Load) -> str | None:
        """Why a load cannot run here, or None."""
        batch, context = load.batch, load.context_tokens
        if load.phase not in ("prefill", "decode") or not batch or not context:
            return "a load of inference has phase prefill or decode, a batch and a context"
        if load.tp != self._tp:
            return f"the engine was opened with tp {self._tp}"
        if batch > self.limits["max_num_seqs"]:
            return f"the engine takes {self.limits['max_num_seqs']} sequences (max_num_seqs)"
        if load.phase == "prefill":
            if context >= self._model_len:
                return f"the engine takes {self._model_len - 1} tokens of prompt (max_model_len)"
            if batch * context > self.limits["max_batched_tokens"]:
                return (
                    f"{batch * context} tokens do not go into one iteration of "
                    f"{self.limits['max_batched_tokens']} (max_num_batched_tokens)"
                )
        if batch * -(-(context + 1) // self._block) * self._block > self.limits["kv_tokens"]:
            return f"the cache has room for {self.limits['kv_tokens']} tokens"
        if load.phase == "decode" and cycle_of(context, self._block, self._room(batch), 1) is None:
            return (
                f"sequences of {context} tokens cannot go on for a while: a sequence has room for "
                f"{self._room(batch)} tokens (max_model_len, cache)"
            )
        return None

    def _room(self, batch: int) -> int:
        """The most tokens that each of `batch` sequences can hold."""
        blocks = self.limits["kv_tokens"] // self._block // batch
        return min(self._model_len - 1, blocks * self._block)

    def _cycle(self, wanted_steps: int) -> Cycle:
        """The decode cycle to run next; of a prefill it is one iteration."""
        assert self._load is not None
        batch, context = self._load.batch, self._load.context_tokens
        assert batch is not None
        assert context is not None
        if self._load.phase == "prefill":
            return Cycle(context, 1)
        cycle = cycle_of(context, self._block, self._room(batch), wanted_steps)
        assert cycle is not None
        if cycle.steps > 2 * wanted_steps:  # a slow engine: less than a block short of the context
            return Cycle(cycle.prompt_tokens, wanted_steps)
        return cycle

    def _ready(self, at_least_s: float) -> list[list[Any]]:
        """Prompts for the prefills to come, so that making them does not count."""
        assert self._load is not None
        if self._load.phase != "prefill":
            return []
        count = min(math.ceil(at_least_s / self._step_s), _MOST_READY)
        return [self._requests(self._cycle(1).prompt_tokens, 1) for _ in range(count)]

    def _stretch(self, cycle: Cycle, ready: list[Any] | None = None) -> int:
        """Run one cycle and check each of its iterations; returns their number."""
        assert self._load is not None
        decode = self._load.phase == "decode"
        requests = ready or self._requests(
            cycle.prompt_tokens, cycle.steps, salt="kept" if decode else None
        )
        each = 1 if decode else cycle.prompt_tokens
        wanted = {one.request_id: each for one in requests}
        self._add(requests)
        for _ in range(cycle.steps):
            made = self._turn()
            if made != wanted:
                raise ProfilingError(
                    f"{self._load.name}: an iteration had {len(made)} sequences and "
                    f"{sum(made.values())} tokens instead of {len(wanted)} and "
                    f"{sum(wanted.values())}; is prefix caching or chunked prefill off?"
                )
        return cycle.steps

    def _turn(self) -> dict[str, int]:
        """Wait for the end of the next iteration; what was in it, tokens by request."""
        while not self._finished:
            _, executed = self._core.step_fn()
            self._core.post_step(executed)
            if not self._core.scheduler.has_requests() and not self._finished:
                return {}
        if self._pacer is not None:
            self._pacer.after()
        return self._finished.pop(0)

    def _add(self, requests: Sequence[Any]) -> None:
        for one in requests:
            self._core.add_request(one)

    def _requests(self, prompt_tokens: int, steps: int, *, salt: str | None = None) -> list[Any]:
        """One request per prompt, cut to a length; without a salt nothing of it is in the cache."""
        from vllm.sampling_params import SamplingParams
        from vllm.v1.engine import EngineCoreRequest

        made = []
        for prompt in self._prompts:
            self._serial += 1
            order = EngineCoreRequest(
                request_id=str(self._serial),
                prompt_token_ids=prompt[:prompt_tokens],
                mm_features=None,
                sampling_params=SamplingParams(temperature=0.0, max_tokens=steps, ignore_eos=True),
                pooling_params=None,
                arrival_time=time.time(),
                lora_request=None,
                cache_salt=salt or str(self._serial),
                data_parallel_rank=None,
            )
            request, _ = self._core.preprocess_add_request(order)
            made.append(request)
        return made


def _aborted() -> Any:
    from vllm.v1.request import RequestStatus

    return RequestStatus.FINISHED_ABORTED
