# SPDX-License-Identifier: Apache-2.0
"""vLLM's OpenAI server whose engine is forked, not a Python that starts anew.

Importing vLLM takes ten seconds of a core, and here two times instead of three. vLLM forks wherever
it may; its CPU build does not, for the threads of OpenMP, and with OMP_NUM_THREADS=1 there are
none. The worker starts anew: forked, it would hold the pipe by which the engine's death is seen.
"""

import multiprocessing
import multiprocessing.context
import os
import runpy
import socket
from contextlib import suppress
from pathlib import Path

import vllm.utils.system_utils as system


def _listen_no_more() -> None:
    """In a child: the server's port is the server's alone, as where a program is started anew."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as one:
            inet = one.family in {socket.AF_INET, socket.AF_INET6}
            if inet and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                os.dup2(nothing, int(entry.name))
    os.close(nothing)


def _context() -> multiprocessing.context.BaseContext:
    return multiprocessing.get_context("fork" if os.getpid() == _SERVER else "spawn")


if __name__ == "__main__":
    _SERVER = os.getpid()
    os.register_at_fork(after_in_child=_listen_no_more)
    system.get_mp_context = _context
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
