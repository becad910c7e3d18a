# SPDX-License-Identifier: Apache-2.0
"""The end of a server's process, and of what it leaves behind."""

import os
import signal
import sys
import time
from pathlib import Path

from serving.replica.process import ServerProcess

# A front end, and an engine with so much memory that its end takes a while.
ENGINE = "import time; x = bytearray(400 * 2**20); print('up', flush=True); time.sleep(300)"
SERVER = f"""
import subprocess, sys
engine = subprocess.Popen([sys.executable, "-c", {ENGINE!r}])
print(engine.pid, flush=True)
engine.wait()
"""


def works(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_it_has_ended_when_its_engine_has_let_go_of_everything(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = ServerProcess([sys.executable, "-c", SERVER], dict(os.environ), log)
    try:
        deadline_s = time.monotonic() + 60
        while "up" not in log.read_text():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        engine = int(log.read_text().split()[0])
        assert process.status is None
        os.kill(process.pid, signal.SIGKILL)
        while process.status is None:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
        assert not works(engine)
    finally:
        process.kill()
