# SPDX-License-Identifier: Apache-2.0
"""A local stand-in for providers' web APIs: answers as scripted, or misbehaves on demand."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Script:
    """What the server does with the next request, and which paths it was asked.

    `answer` is for every path; `on` for paths with a prefix, the longest known one first.
    """

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes = b""
        self.declared_length: int | None = None
        self.hang: threading.Event | None = None
        self.paths: list[str] = []
        self.asked: list[dict[str, str]] = []  # the headers of each request, names in lower case
        self.routes: dict[str, tuple[int, dict[str, str], bytes]] = {}

    def on(self, prefix, value, status=200, **headers):
        """The same for paths that begin with `prefix`."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.routes[prefix] = (status, named, body)

    def response(self, path):
        """Status, headers and body for a path."""
        fitting = [prefix for prefix in self.routes if path.startswith(prefix)]
        if fitting:
            return self.routes[max(fitting, key=len)]
        return self.status, self.headers, self.body

    def answer(self, value, status=200, **headers):
        """JSON for any value but bytes, which go out as they are."""
        self.body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.status = status
        self.headers = {name.replace("_", "-"): text for name, text in headers.items()}


@contextmanager
def serving():
    """A server on a free local port; yields its base URL and its script."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            script.paths.append(self.path)
            script.asked.append({name.lower(): text for name, text in self.headers.items()})
            if script.hang is not None:
                script.hang.wait(10)
            try:
                status, headers, body = script.response(self.path)
                self.send_response(status)
                for name, text in headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", str(script.declared_length or len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # the client gave up, which is what some tests are about

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", script
    finally:
        if script.hang is not None:
            script.hang.set()
        server.shutdown()
        thread.join()
        server.server_close()
