# SPDX-License-Identifier: Apache-2.0
"""A stand-in for `vllm serve`, run as a script: what a supervisor sees of it, and what tests ask.

FAKE is a directory: each start appends a line to `starts`; a file there makes it misbehave:
`crash` (ends at once), `dead` (503).
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOME = Path(os.environ["FAKE"])
flying = 0
tokens = 0


class Handler(BaseHTTPRequestHandler):
    """Health, metrics, and completions of `max_tokens` words, 0.1 s each."""

    def do_GET(self) -> None:
        if self.path == "/health":
            return self._answer(503 if (HOME / "dead").exists() else 200, b"")
        text = f'vllm:num_requests_running{{engine="0"}} {flying}.0\n'
        text += 'vllm:num_requests_waiting{engine="0"} 0.0\n'
        text += f'vllm:generation_tokens_total{{engine="0"}} {tokens}.0\n'
        return self._answer(200, text.encode())

    def do_POST(self) -> None:
        global flying, tokens
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            return self._answer(401, b"")
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["prompt"] == "0":
            return self._answer(200, b"{}")
        flying += 1
        self.send_response(200)
        self.end_headers()
        for number in range(asked["max_tokens"]):
            time.sleep(0.1)
            tokens += 1
            self.wfile.write(f"{number} ".encode())
        flying -= 1
        return None

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    with (HOME / "starts").open("a") as file:
        file.write(json.dumps({"argv": sys.argv[1:], "pid": os.getpid()}) + "\n")
    print("fake server", flush=True)
    if (HOME / "crash").exists():
        sys.exit(3)
    host, port = (sys.argv[sys.argv.index(name) + 1] for name in ("--host", "--port"))
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = True

    def end(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    server.serve_forever(0.05)


main()
