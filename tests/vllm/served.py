# SPDX-License-Identifier: Apache-2.0
"""A vLLM server as a process, and what its clients ask."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODEL = "tiny"
# No internet, one core for each engine, and what tests bring along.
QUIET = {
    "PYTHONPATH": os.pathsep.join((str(ROOT), str(Path(__file__).parent))),
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


class Served:
    """One server; its log is `words`."""

    host = "127.0.0.1"

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    @property
    def words(self) -> str:
        """What it said."""
        return self.log.read_text(errors="replace")

    def complete(self, prompt: str, tokens: int, **more: object) -> dict[str, Any]:
        """One whole answer."""
        asked = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "temperature": 0.0}
        status, _, body = self.ask("POST", "/v1/completions", {**asked, "ignore_eos": True, **more})
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    def ask(
        self, method: str, path: str, asked: Mapping[str, object] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Any request: status, headers, body."""
        peer = http.client.HTTPConnection(self.host, self.port, timeout=60)
        text = None if asked is None else json.dumps(asked)
        peer.request(method, path, text, {"Content-Type": "application/json"})
        answer = peer.getresponse()
        try:
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            peer.close()

    def leave(self, prompt: str, tokens: int, request_id: str, **more: object) -> None:
        """Ask for a stream, and go after its first bytes."""
        peer = http.client.HTTPConnection(self.host, self.port, timeout=60)
        asked = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, **more}
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        peer.request("POST", "/v1/completions", json.dumps({**asked, "stream": True}), headers)
        peer.getresponse().read(200)
        peer.sock.close() if peer.sock is not None else None
        peer.close()

    def many(self, prompts: Sequence[str], tokens: int, at_once: int) -> list[str]:
        """The answers to many prompts, some at once."""
        with ThreadPoolExecutor(at_once) as pool:
            answers = pool.map(lambda one: self.complete(one, tokens), prompts)
            return [one["choices"][0]["text"] for one in answers]

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """SIGTERM, as an operator does; after a while SIGKILL."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)


@contextmanager
def served(
    model: Path,
    log: Path,
    *options: str,
    port: int,
    env: Mapping[str, str],
    host: str = Served.host,
    within: Sequence[str] = (),
) -> Iterator[Served]:
    """Up until the block ends; `within`: what comes before the command."""
    argv = [
        *within, sys.executable, "-m", "forked", "--model", str(model),
        "--served-model-name", MODEL, "--host", host, "--port", str(port),
        "--max-model-len", "1024", "--enforce-eager", "--kv-cache-memory-bytes", "67108864",
        # With bfloat16 this build takes to AMX instructions, which a server's worker may not use.
        "--dtype", "float32", "--max-num-seqs", "64",
        "--disable-uvicorn-access-log", "--enable-request-id-headers", *options,
    ]  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv, env={**os.environ, **QUIET, **env}, cwd=log.parent, start_new_session=True,
            stdout=file, stderr=file,
        )  # fmt: skip
    one = Served(process, port, log)
    one.host = host
    try:
        until(lambda: _healthy(one), 420, lambda: one.words[-4000:])
        one.complete("0", 2)  # what is slow the first time
        yield one
    finally:
        one.stop()


def until(met: Callable[[], bool], seconds: float, words: Callable[[], str] = str) -> None:
    """Wait for something."""
    deadline_s = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline_s, words()
        time.sleep(0.05)


def _healthy(one: Served) -> bool:
    assert one.process.poll() is None, one.words[-4000:]
    try:
        return one.ask("GET", "/health")[0] == 200
    except OSError:
        return False
