# SPDX-License-Identifier: Apache-2.0
"""`sgreen route` as a process."""

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SGREEN = "from slurm_green.cli.root import main; main()"


@pytest.mark.slow
def test_looks_at_a_supply_are_not_logged_and_its_key_never(tmp_path: Path) -> None:
    looks = threading.Semaphore(0)

    class Telemetry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/a?key=secret" else 404)
            self.end_headers()
            self.wfile.write(b'{"supply_w": 500}')
            looks.release()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Telemetry) as server:
        threading.Thread(target=server.serve_forever).start()
        config = tmp_path / "route.toml"
        config.write_text(
            '[listen]\nhost = "127.0.0.1"\nport = 0\n'
            '[[replica]]\nurl = "http://127.0.0.1:9"\nmodel = "m"\nsite = "a"\n'
            + "".join(
                f'[[site]]\nname = "{name}"\nsupply_low_w = 1\n'
                f'supply_url = "http://me:secret@127.0.0.1:{server.server_port}/{name}?key=secret"\n'
                for name in ("a", "b")
            )
        )
        log = tmp_path / "log"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                [sys.executable, "-c", SGREEN, "route", "--config", str(config)], stderr=out
            ) as router,
        ):
            try:
                for _ in range(4):
                    assert looks.acquire(timeout=120)
                until_s = time.monotonic() + 60
                while "answers 404" not in log.read_text() and time.monotonic() < until_s:
                    time.sleep(0.02)
            finally:
                router.terminate()
                status = router.wait(60)
                server.shutdown()
    said = log.read_text()
    assert status == 0, said
    assert f"site b: supply: http://127.0.0.1:{server.server_port}/b: answers 404" in said
    assert "secret" not in said
