# SPDX-License-Identifier: Apache-2.0
"""All replicas of all sites in the compiled kernel, and what became of every request. Pure."""

from collections.abc import Sequence
from ctypes import POINTER, byref, c_int32, c_void_p
from types import TracebackType
from typing import Any

import numpy as np

from profiling.law import Floats
from serving.governor.engine import EngineModel
from serving.replay.cache import BLOCK
from serving.replay.route.kernel import CModel, CRequests, library
from serving.replay.route.trace import Trace

__all__ = ["AWAKE", "OFF", "PARKED", "Fleet"]

OFF, PARKED, AWAKE = 0, 1, 2


class Fleet:
    """Replicas, all parked at first. Use it as a context.

    `first_s` and `end_s` of each request are nan until they happen; `views` has a row for each
    replica: requests there, those waiting, prompt tokens without a first token, blocks in use.
    """

    def __init__(
        self, engine: EngineModel, trace: Trace, replicas: int, start_s: float, patience_s: float
    ) -> None:
        self._library = library()
        self._kept: list[Any] = []
        count = len(trace.arrival_s)
        self.first_s = np.full(count, np.nan)
        self.end_s = np.full(count, np.nan)
        self.produced = np.zeros(count, dtype=np.int32)
        self.views = np.zeros((replicas, 4), dtype=np.int64)
        self.watts = np.zeros(replicas)
        self.energy_j = np.zeros(replicas)
        self._lost = np.zeros(count, dtype=np.int32)
        self._model = self._model_of(engine)
        requests: dict[str, np.ndarray[Any, Any]] = {
            "arrival": trace.arrival_s, "prompt": trace.prompt_tokens,
            "output": trace.output_tokens, "first": self.first_s, "end": self.end_s,
            "produced": self.produced,
        }  # fmt: skip
        self._requests = CRequests(
            count=count,
            patience=patience_s,
            **{name: self._address(array) for name, array in requests.items()},
        )
        self._done, self._at = POINTER(c_int32)(), POINTER(c_int32)()
        self._fleet = c_void_p(
            self._library.sr_open(
                byref(self._model), byref(self._requests), replicas, start_s,
                *(self._address(one) for one in (self.views, self.watts, self.energy_j)),
            )
        )  # fmt: skip
        if not self._fleet:
            raise MemoryError

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._library.sr_close(self._fleet)

    def advance(self, until_s: float) -> Sequence[tuple[int, int]]:
        """Time passes; the requests that were answered in full meanwhile, and by which replica."""
        count = self._library.sr_advance(self._fleet, until_s, byref(self._done), byref(self._at))
        if count < 0:
            raise MemoryError
        return [(self._done[k], self._at[k]) for k in range(count)] if count else ()

    def send(self, replica: int, number: int, at_s: float) -> bool:
        """A request reaches a replica at a time to come; False where it could never fit."""
        return bool(self._library.sr_send(self._fleet, replica, number, at_s))

    def clock(self, replica: int, clock: int, now_s: float) -> None:
        """Want an index of the engine's clocks from now on."""
        self._library.sr_clock(self._fleet, replica, clock, now_s)

    def state(self, replica: int, state: int, now_s: float) -> None:
        """Turn a replica off, park or wake it; it must have lost its requests before it rests."""
        self._library.sr_state(self._fleet, replica, state, now_s)

    def lose(self, replica: int, now_s: float) -> list[int]:
        """A replica loses all requests; those, what they produced stays theirs."""
        count = self._library.sr_lose(
            self._fleet, replica, now_s, self._lost.ctypes.data_as(c_void_p)
        )
        return [int(one) for one in self._lost[:count]]

    def _model_of(self, engine: EngineModel) -> CModel:
        tables = engine.tables()
        clocks, batches, contexts = tables["times"].shape
        return CModel(
            clocks=clocks, batches=batches, contexts=contexts,
            points=len(tables["tokens"]), powers=len(tables["log_tokens"]),
            blocks=engine.kv_tokens // BLOCK, max_batched=engine.max_batched_tokens,
            max_seqs=engine.max_num_seqs, switch_s=engine.switch_latency_s,
            parked_w=engine.parked_w,
            **{name: self._address(array) for name, array in tables.items()},
        )  # fmt: skip

    def _address(self, array: "Floats | np.ndarray[Any, Any]") -> int:
        assert array.flags.c_contiguous
        self._kept.append(array)  # the kernel has its address only
        return array.ctypes.data
