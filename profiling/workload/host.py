# SPDX-License-Identifier: Apache-2.0
"""What runs in the child of `profiling.workload.child`: an engine that answers orders.

`python -m profiling.workload.host FD`: JSON lines come in at that descriptor and answers leave
there. It ends with the stream, so it does not outlive a sweep that was killed.
"""

import importlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from profiling.device.emulated.bench import Bench
from profiling.errors import ProfilingError
from profiling.workload.paced import Pacer, model_called
from profiling.workload.protocol import Load, Workload

__all__ = ["main", "serve"]

_MOST_TEXT = 600


def serve(lines: socket.socket, open_engine: Callable[[Mapping[str, Any]], Workload]) -> None:
    """Answer orders until one says close or the stream ends."""
    engine: Workload | None = None
    try:
        for line in lines.makefile("rb"):
            order = json.loads(line)
            if order["do"] == "close":
                return
            try:
                if engine is None:
                    engine = open_engine(order)
                    answer: dict[str, Any] = {
                        "facts": engine.facts,
                        "limits": engine.limits,
                        "loads": [asdict(one) for one in engine.loads()],
                    }
                else:
                    answer = _obey(engine, order)
            except Exception as error:
                # An engine that failed in its own way may go on failing: the sweep takes a new one.
                answer = {"error": _told(error), "broken": not isinstance(error, ProfilingError)}
            lines.sendall(json.dumps(answer).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        return  # nobody asks any more
    finally:
        if engine is not None:
            engine.close()


def _obey(engine: Workload, order: Mapping[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "start":
            engine.start(Load(**order["load"]))
        case "run":
            return {"steps": asdict(engine.run(order["at_least_s"]))}
        case "stop":
            engine.stop()
        case other:
            raise ValueError(f"no such order: {other}")
    return {}


def _told(error: BaseException) -> str:
    """An error and what it came from, in one line."""
    traceback.print_exception(error)
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())[:_MOST_TEXT]
    return text if isinstance(error, ProfilingError) else f"{type(error).__name__}: {text}"


def _open(order: Mapping[str, Any]) -> Workload:
    pacer = None
    if order["pace"] is not None:
        gpus = [(index, model_called(name)) for index, name in order["pace"]["gpus"]]
        pacer = Pacer(Bench(Path(order["pace"]["state"])), gpus)
    try:
        place, _, name = order["engine"].partition(":")
        engine: Workload = getattr(importlib.import_module(place), name)(order, pacer)
    except BaseException:
        if pacer is not None:
            pacer.close()
        raise
    return engine


def main() -> None:
    """See the module."""
    with socket.socket(fileno=int(sys.argv[1])) as lines:
        os.set_inheritable(lines.fileno(), False)
        serve(lines, _open)


if __name__ == "__main__":
    main()
