# SPDX-License-Identifier: Apache-2.0
"""vLLM's asynchronous scheduler with a governor beside it.

`vllm serve MODEL --scheduler-cls serving.vllm.scheduler.GovernedScheduler`. What it schedules is
vLLM's own decision; only the order of prompts that wait may be ours, and the most tokens of a
step, so that prompts come in pieces.
The trap: nothing of ours may raise here, and nothing may wait.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

from serving.governor.protocol import MOST_ORDERED
from serving.vllm.build import Group, Replica, build
from serving.vllm.contract import TRIED, missing, version
from serving.vllm.settings import Settings
from slurm_green.errors import SlurmGreenError

try:
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
except ImportError:  # without vLLM there is nothing to schedule, but this can be looked at
    AsyncScheduler = object

__all__ = ["GovernedScheduler"]

_LOG = logging.getLogger("slurm_green.serving")
_SLOW_S = 5e-3  # a decision; now and then the machine is busy with something else
_SLOW_MOST = 50  # in a row: then it is us
_FURTHER = 8  # tokens that may have come after a stop string, or be half a character
_OLDEST_S = 600.0  # a request's age by the system's clock, which may jump


class GovernedScheduler(AsyncScheduler):  # type: ignore[misc]
    """Schedules as vLLM does, tells the governor, and accounts joules by request."""

    max_num_scheduled_tokens: int  # theirs
    waiting: deque[Any]  # as long as requests come first, first served

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sgreen: Replica | None = None
        self._pieces = False
        self._slow = {"schedule": 0, "update": 0}
        _speak()
        try:
            if why := _unknown():
                _LOG.error("vLLM %s: governor off, serving goes on: %s", version(), why)
                return
            self._pieces = _pieces(self)
            settings = Settings.of(self.vllm_config.additional_config, os.environ)
            self.sgreen = build(settings, _group(self.vllm_config))
        except Exception as error:
            known = isinstance(error, SlurmGreenError) or hasattr(error, "exit_status")
            _LOG.error(
                "governor off, serving goes on: %s", error, exc_info=None if known else error
            )

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """vLLM's, with prompts in our order and in pieces, and a clock for what it chose."""
        begin_s = time.monotonic()
        order, most = self._prompts(begin_s)
        if order is not None:
            for _ in order:
                self.waiting.popleft()
            self.waiting.extendleft(reversed(order))
        took_s = time.monotonic() - begin_s
        if most is None:
            output = super().schedule(*args, **kwargs)
        else:
            theirs = self.max_num_scheduled_tokens
            self.max_num_scheduled_tokens = min(most, theirs)
            try:
                output = super().schedule(*args, **kwargs)
            finally:
                self.max_num_scheduled_tokens = theirs
        sgreen = self.sgreen
        if sgreen is not None and output.num_scheduled_tokens:
            begin_s = time.monotonic()
            try:
                waiting = self.get_request_counts()[1]
                counts, held = output.num_scheduled_tokens, self._held()
                sgreen.pilot.scheduled(begin_s, counts, output, waiting, held)
                self._timed(sgreen, "schedule", took_s + time.monotonic() - begin_s)
            except Exception as error:
                self._fail(error)
        return output

    def _prompts(self, now_s: float) -> tuple[list[Any] | None, int | None]:
        """The first that wait in our order, and the most tokens of this step; None: vLLM's."""
        if self.sgreen is None or not self._pieces:
            return None, None
        try:
            first = list(islice(self.waiting, MOST_ORDERED))
            waiting = self.get_request_counts()[1]
            return self.sgreen.pilot.prompts(now_s, self.running, first, waiting)
        except Exception as error:
            self._fail(error)
            return None, None

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """vLLM's, and what it took."""
        now_s = time.monotonic()
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        sgreen = self.sgreen
        if sgreen is not None:
            begin_s = time.monotonic()
            try:
                sgreen.pilot.done(now_s, scheduler_output, self.finished_req_ids)
                self._timed(sgreen, "update", time.monotonic() - begin_s)
            except Exception as error:
                self._fail(error)
        return outputs

    def add_request(self, request: Any) -> None:
        """vLLM's, and since when it waits."""
        super().add_request(request)
        if self.sgreen is not None:
            try:
                age_s = min(max(time.time() - request.arrival_time, 0.0), _OLDEST_S)
                self.sgreen.pilot.arrived(request.request_id, request, time.monotonic() - age_s)
            except Exception as error:
                self._fail(error)

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: Any) -> Any:
        """vLLM's: clients that left, stop strings that were found, and the end of serving."""
        ended = super().finish_requests(request_ids, finished_status)
        if self.sgreen is not None:
            try:
                now_s = time.monotonic()
                for one in ended:
                    end = "stopped" if self._met_stop(one) else "aborted"
                    self.sgreen.pilot.ended(now_s, [one.request_id], end)
            except Exception as error:
                self._fail(error)
        return ended

    def _held(self) -> float | None:
        """The share of the cache that requests hold; None where this vLLM does not tell."""
        usage = getattr(getattr(self, "kv_cache_manager", None), "usage", None)
        return usage if isinstance(usage, float) else None

    def _met_stop(self, request: Any) -> bool:
        """Whether a stop string is in its last tokens.

        The front end looks for them, and says the same of who met one as of who left.
        """
        try:
            params = request.sampling_params
            if not params.stop or request.num_output_tokens <= params.min_tokens:
                return False
            # A token may be a single byte.
            most = max(len(one.encode()) for one in params.stop) + _FURTHER
            last = list(request.output_token_ids)[-most:]
            text = self.structured_output_manager.tokenizer.decode(
                last, skip_special_tokens=params.skip_special_tokens
            )
            return any(one in text for one in params.stop)
        except Exception:  # nobody can tell: as before, it left
            return False

    def shutdown(self) -> None:
        """Clocks back, then vLLM's."""
        sgreen, self.sgreen = self.sgreen, None
        if sgreen is not None:
            try:
                sgreen.close()
            except Exception:
                _LOG.exception("not everything was given back")
        super().shutdown()

    def _timed(self, sgreen: Replica, hook: str, took_s: float) -> None:
        """A policy that holds serving up is none."""
        sgreen.recorder.decisions.append((hook, took_s))
        self._slow[hook] = self._slow[hook] + 1 if took_s > _SLOW_S else 0
        if self._slow[hook] == _SLOW_MOST and sgreen.pilot.policy is not None:
            text = f"{_SLOW_MOST} decisions in a row took more than {_SLOW_S * 1e3:g} ms"
            sgreen.pilot.give_up(TimeoutError(text))

    def _fail(self, error: Exception) -> None:
        """Something of ours is wrong: away with it."""
        sgreen, self.sgreen = self.sgreen, None
        if sgreen is not None:
            sgreen.setter.ask(None)
        _LOG.error("governor off, clocks go back, serving goes on: %r", error, exc_info=error)


def _unknown() -> str | None:
    """Why this vLLM is not one to work with."""
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request

    lacking = missing(AsyncScheduler, SchedulerOutput, Request)
    if lacking:
        return f"it has no {', '.join(lacking)}; vLLM {TRIED} has"
    if not version().startswith(f"{TRIED}."):
        _LOG.warning("vLLM %s: not tried with this release, only with %s", version(), TRIED)
    return None


def _pieces(scheduler: Any) -> bool:
    """Whether prompts may be cut anywhere, and come one after the other."""
    config = scheduler.scheduler_config
    return bool(
        isinstance(scheduler.waiting, deque)
        and config.enable_chunked_prefill
        and not config.disable_chunked_mm_input
        and not config.long_prefill_token_threshold
        and config.policy == "fcfs"
        and not scheduler.need_mamba_block_aligned_split
    )


def _group(config: Any) -> Group:
    parallel, unfit = config.parallel_config, None
    if config.speculative_config is not None:
        unfit = "speculative decoding, whose iterations the profile does not know"
    elif parallel.pipeline_parallel_size > 1:
        unfit = "pipeline parallelism, whose iterations the profile does not know"
    elif parallel.data_parallel_size > 1 and config.model_config.is_moe:
        unfit = "data-parallel engines of a mixture of experts, which run in lockstep"
    return Group(
        model=str(config.model_config.served_model_name or config.model_config.model),
        tp=parallel.tensor_parallel_size,
        gpus=parallel.world_size,
        rank=parallel.data_parallel_rank_local or 0,
        unfit=unfit,
        max_num_seqs=_first(config.scheduler_config, "max_num_active_seqs", "max_num_seqs"),
        max_batched_tokens=_first(
            config.scheduler_config, "max_num_scheduled_tokens", "max_num_batched_tokens"
        ),
        kv_tokens=_first(config.cache_config, "kv_cache_size_tokens"),
    )


def _first(config: Any, *names: str) -> int | None:
    """The first of these that this vLLM has and that is set."""
    return next((one for name in names if (one := getattr(config, name, None))), None)


def _speak() -> None:
    """In vLLM's log, unless somebody set up another."""
    if not _LOG.handlers:
        _LOG.handlers = logging.getLogger("vllm").handlers
        _LOG.setLevel(logging.INFO)
        _LOG.propagate = False
