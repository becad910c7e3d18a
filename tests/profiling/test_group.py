# SPDX-License-Identifier: Apache-2.0
"""Those who were killed are waited for until nothing of them holds a lock or memory."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from profiling.group import wait_for_group

# Named as the kernel cuts a long name: in the middle of a letter.
NAMED = "import ctypes; ctypes.CDLL(None).prctl(15, b'pr\\xc3')"
# Its first thread ends alone, as it may when all are killed.
HALF = """
import ctypes, fcntl, sys, threading, time
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
def say():
    print("up", flush=True)
    time.sleep(300)
threading.Thread(target=say).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@contextmanager
def running(code: str, *args: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_names_of_other_processes_need_not_be_text() -> None:
    with running(f"{NAMED}; import time; print('up', flush=True); time.sleep(300)") as other:
        began_s = time.monotonic()
        wait_for_group(other, 0.1)
        assert time.monotonic() - began_s >= 0.1
        wait_for_group(2**22 + 1)


def test_one_whose_first_thread_has_ended_is_not_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with running(HALF, str(path)) as pid, path.open("w") as lock:
        deadline_s = time.monotonic() + 60
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        began_s = time.monotonic()
        wait_for_group(pid, 0.2)
        assert time.monotonic() - began_s >= 0.2
        os.killpg(pid, signal.SIGKILL)
        wait_for_group(pid)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
