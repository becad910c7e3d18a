# SPDX-License-Identifier: Apache-2.0
"""`sgreen route` as a process."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SGREEN = "from slurm_green.cli.root import main; main()"


@pytest.mark.slow
def test_looks_at_a_supply_are_not_logged(tmp_path: Path) -> None:
    looks = threading.Semaphore(0)

    class Telemetry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"supply_w": 500}')
            looks.release()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Telemetry) as server:
        threading.Thread(target=server.serve_forever).start()
        config = tmp_path / "route.toml"
        config.write_text(
            '[listen]\nhost = "127.0.0.1"\nport = 0\n[[site]]\nname = "a"\nsupply_low_w = 1\n'
            f'supply_url = "http://127.0.0.1:{server.server_port}/?key=secret"\n'
            '[[replica]]\nurl = "http://127.0.0.1:9"\nmodel = "m"\nsite = "a"\n'
        )
        with subprocess.Popen(
            [sys.executable, "-c", SGREEN, "route", "--config", str(config)],
            stderr=subprocess.PIPE,
            text=True,
        ) as router:
            try:
                for _ in range(2):
                    assert looks.acquire(timeout=120)
                assert router.poll() is None
            finally:
                router.terminate()
                server.shutdown()
                said = router.communicate(timeout=60)[1]
    assert router.returncode == 0, said
    assert "listens on" in said
    assert "secret" not in said
