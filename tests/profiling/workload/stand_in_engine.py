# SPDX-License-Identifier: Apache-2.0
"""An engine that does nothing, or goes wrong as its options say; it runs in a child."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from profiling.errors import ProfilingError
from profiling.workload.protocol import Load, Steps


class StandIn:
    """A Workload."""

    def __init__(self, order: Mapping[str, Any], pacer: object) -> None:
        if order["wrong"] == "open":
            try:
                raise OSError("no room")
            except OSError as error:
                raise RuntimeError("engine core failed") from error
        self._wrong = order["wrong"]
        self.facts = {"engine_name": "stand-in"}
        self.limits = {"kv_tokens": 7}
        # What an engine leaves running when it is killed.
        self._helper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    def loads(self) -> Sequence[Load]:
        """One."""
        return [Load(phase="decode", batch=2, context_tokens=3)]

    def start(self, load: Load) -> None:
        """Refuses a batch of 9, and breaks on one of 0."""
        assert load.batch is not None
        1 // load.batch
        if load.batch == 9:
            raise ProfilingError("9 is too much")

    def run(self, at_least_s: float) -> Steps:
        """Dies where it is told to."""
        if self._wrong == "run":
            print("out of memory, cruel world", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return Steps(count=3, units=6.0, begin_s=1.0, end_s=1.0 + at_least_s)

    def stop(self) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Hangs on to its helper, as engines do."""
