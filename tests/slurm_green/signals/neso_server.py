# SPDX-License-Identifier: Apache-2.0
"""A local stand-in for the NESO API: answers in its documented shapes, or misbehaves on demand."""

import json
import threading
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def slots(start_utc: datetime, count: int = 97, forecast=lambda i: 100 + i):
    """Half hours as the API writes them, from the half hour that `start_utc` lies in."""
    start = start_utc.replace(minute=start_utc.minute // 30 * 30, second=0, microsecond=0)
    return [
        {
            "from": f"{start + timedelta(minutes=30 * i):%Y-%m-%dT%H:%MZ}",
            "to": f"{start + timedelta(minutes=30 * (i + 1)):%Y-%m-%dT%H:%MZ}",
            "intensity": {"forecast": forecast(i), "actual": None, "index": "moderate"},
        }
        for i in range(count)
    ]


def national(rows):
    """`/intensity/{from}/fw48h`."""
    return {"data": rows}


def regional(rows, **identity):
    """`/regional/intensity/{from}/fw48h/regionid/{id}` and `.../postcode/{code}`."""
    mix = [{"fuel": "gas", "perc": 43.6}, {"fuel": "wind", "perc": 56.4}]
    return {
        "data": {
            **identity,
            "dnoregion": "SSE South",
            "shortname": "South England",
            "data": [{**row, "generationmix": mix} for row in rows],
        }
    }


class Script:
    """What the server does with the next request, and which paths it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes = b""
        self.declared_length: int | None = None
        self.hang: threading.Event | None = None
        self.paths: list[str] = []

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
            if script.hang is not None:
                script.hang.wait(10)
            try:
                self.send_response(script.status)
                for name, text in script.headers.items():
                    self.send_header(name, text)
                length = script.declared_length or len(script.body)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(script.body)
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
