# SPDX-License-Identifier: Apache-2.0
"""libmunge with a real munged of our own."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_green.errors import SlurmError
from slurm_green.slurm.munge import Munge, digest

MUNGED = shutil.which("munged", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
pytestmark = pytest.mark.skipif(MUNGED is None, reason="no munged here (apt install munge)")


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("munge")
    place.chmod(0o700)
    key = place / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = {"key-file": key, "socket": place / "s", "seed-file": place / "seed"}
    files |= {"pid-file": place / "pid", "log-file": place / "log"}
    assert MUNGED is not None
    options = [f"--{name}={path}" for name, path in files.items()]
    with subprocess.Popen([MUNGED, "--force", "--foreground", *options]) as process:
        deadline = time.monotonic() + 60
        while not files["socket"].exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield files["socket"]
        process.terminate()


def test_a_credential_is_ours_and_is_taken_once(socket: Path) -> None:
    munge = Munge(socket)
    credential = munge.encode(b"a\0b")
    said = munge.decode(credential)
    assert (said.uid, said.payload) == (os.geteuid(), b"a\0b")
    with pytest.raises(SlurmError, match="munge: replayed credential"):
        munge.decode(credential)


@pytest.mark.parametrize(
    "forged", ["", "MUNGE:abc:", "MUNGE:\0:", "MUNGE:é:", "MUNGE:" + "A" * 9999]
)
def test_what_is_no_credential_is_refused(socket: Path, forged: str) -> None:
    with pytest.raises(SlurmError, match="munge: "):
        Munge(socket).decode(forged)


def test_a_changed_credential_is_refused(socket: Path) -> None:
    munge = Munge(socket)
    good = munge.encode(b"payload")
    middle = len(good) // 2
    other = "A" if good[middle] != "A" else "B"
    with pytest.raises(SlurmError, match="munge: "):
        munge.decode(good[:middle] + other + good[middle + 1 :])


def test_it_ages(socket: Path) -> None:
    munge = Munge(socket, ttl_s=1)
    for credential in [munge.encode(b"old") for _ in range(50)]:
        try:
            munge.decode(credential)
        except SlurmError as error:
            assert str(error) == "munge: expired credential"
            return
        time.sleep(0.1)
    raise AssertionError("none of them expired in five seconds")


def test_no_munged(tmp_path: Path) -> None:
    with pytest.raises(SlurmError, match="munge: "):
        Munge(tmp_path / "none").encode(b"x")


def test_parts_of_a_digest_do_not_run_into_each_other() -> None:
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
    assert digest(b"ab") == digest(b"ab")
