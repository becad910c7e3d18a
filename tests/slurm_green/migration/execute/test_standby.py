# SPDX-License-Identifier: Apache-2.0
"""What goes on when the process that moves jobs is no longer there."""

import subprocess
import sys
from pathlib import Path

import pytest

from slurm_green.cluster.daemons import wait_until
from slurm_green.migration.execute.journal import Journal
from slurm_green.migration.execute.standby import standing_by

_TOUCH = 'echo tried >>"$0"; [ "$(wc -l <"$0")" -ge 3 ] && mv "$0" "$0.done"'
_DIES = """import os, sys, time
from pathlib import Path
from slurm_green.migration.execute.standby import standing_by
with standing_by(["/bin/sh", "-c", sys.argv[1], sys.argv[2]], Path(sys.argv[3]), pause_s=0.1):
    os.kill(os.getpid(), int(sys.argv[4]))
    time.sleep(60)
"""


@pytest.mark.parametrize("signal", [9, 15, 2])
def test_a_process_that_is_killed_is_followed_until_all_is_done(
    tmp_path: Path, signal: int
) -> None:
    ran, log = tmp_path / "ran", tmp_path / "log"
    subprocess.run(
        [sys.executable, "-c", _DIES, _TOUCH, ran, log, str(signal)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    done = ran.with_name("ran.done")
    wait_until(done.exists, timeout_s=20, what="the third try")
    assert done.read_text().count("tried") == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it outlives us
def test_one_that_ends_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, log = tmp_path / "ran", tmp_path / "log"
    command = ["/bin/sh", "-c", 'echo "$SGREEN_STANDBY" >"$0"', str(ran)]
    with standing_by(command, log):
        pass
    assert not ran.exists()
    with pytest.raises(RuntimeError), standing_by(command, log):
        raise RuntimeError
    wait_until(lambda: ran.exists() and ran.read_text() != "", timeout_s=20, what="the standby")
    assert ran.read_text().strip() == "1"
    # It does not have one of its own.
    ran.unlink()
    monkeypatch.setenv("SGREEN_STANDBY", "1")
    with pytest.raises(RuntimeError), standing_by(command, tmp_path / "none" / "log"):
        raise RuntimeError


def test_a_journal_says_whether_somebody_works_with_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "moves")
    assert journal.idle()
    with journal.locked():
        assert not journal.idle()
    assert journal.idle()
