# SPDX-License-Identifier: Apache-2.0
"""A wide-area link made real: a network namespace behind tc, with an rsync daemon at its end."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.patience import wait_until

__all__ = ["Wan", "wan"]

_PORT = 8730
_CONFIG = """use chroot = no
pid file = {pid}
log file = {log}
[all]
path = /
read only = no
uid = {user}
gid = {group}
"""


class Wan:
    """What rsync writes before a path at the other end, and the rate of the way there."""

    def __init__(self, wire: str, address: str) -> None:
        self._wire = wire
        self.reach = f"rsync://{address}:{_PORT}/all"
        self.delayed = False

    def rate(self, mbit: float) -> None:
        """So much and no more from now on; with 20 ms of delay where the kernel has netem."""
        # Limits hold for what leaves: the data, not the acknowledgements.
        netem = f"netem delay 20ms rate {mbit}mbit limit 1000"
        self.delayed = _done("tc", "qdisc", "replace", "dev", self._wire, "root", *netem.split())
        if not self.delayed:
            bucket = f"tbf rate {mbit}mbit burst 16kb latency 300ms"
            _run("tc", "qdisc", "replace", "dev", self._wire, "root", *bucket.split())

    def sent_bytes(self) -> int:
        """By this end, so far."""
        return int(Path(f"/sys/class/net/{self._wire}/statistics/tx_bytes").read_text())


@contextmanager
def wan(directory: Path, *, user: str, group: str) -> Iterator[Wan]:
    """A link of its own; skips where this machine does not let us make one."""
    name = f"sgw{os.getpid() % 100_000}"
    net = f"10.213.{os.getpid() % 250}"
    config = directory / "rsyncd.conf"
    pid, log = directory / "rsyncd.pid", directory / "rsyncd.log"
    config.write_text(_CONFIG.format(pid=pid, log=log, user=user, group=group))
    if not _done("ip", "netns", "add", name):
        pytest.skip("no network namespace can be made here: needs root and iproute2")
    daemon: subprocess.Popen[bytes] | None = None
    try:
        _run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b")
        _run("ip", "link", "set", f"{name}b", "netns", name)
        _run("ip", "addr", "add", f"{net}.1/24", "dev", f"{name}a")
        _run("ip", "link", "set", f"{name}a", "up")
        inside = ("ip", "netns", "exec", name)
        _run(*inside, "ip", "addr", "add", f"{net}.2/24", "dev", f"{name}b")
        _run(*inside, "ip", "link", "set", f"{name}b", "up")
        listen = (f"--config={config}", f"--address={net}.2", f"--port={_PORT}")
        daemon = subprocess.Popen(
            [*inside, "rsync", "--daemon", "--no-detach", *listen], start_new_session=True
        )
        wait_until(pid.exists, timeout_s=10, what="the rsync daemon")
        yield Wan(f"{name}a", f"{net}.2")
    finally:
        if daemon is not None:
            # All of it: one that sends waits for a link that is gone, and the daemon for that one.
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        _done("ip", "link", "del", f"{name}a")
        _done("ip", "netns", "del", name)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def _done(*argv: str) -> bool:
    try:
        return subprocess.run(argv, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
