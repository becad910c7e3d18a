# SPDX-License-Identifier: Apache-2.0
"""A site as a network of its own, which can be cut off and come back."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

__all__ = ["Site", "site"]


@dataclass
class Site:
    """`within` comes before a command that runs there, `host` is its address."""

    name: str
    host: str
    ours: str

    @property
    def within(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def cut_off(self) -> None:
        """Whatever it sends gets lost, and nobody is told."""
        _ip("-n", self.name, "route", "add", "blackhole", f"{self.ours}/32")

    def heal(self) -> None:
        """It is back."""
        _ip("-n", self.name, "route", "del", "blackhole", f"{self.ours}/32")


@contextmanager
def site(number: int) -> Iterator[Site]:
    """One of a few; skips the test where networks cannot be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("networks of their own need root and ip")
    name, ours, theirs = f"sgreen-s{number}", f"sgreen-o{number}", f"sgreen-t{number}"
    one = Site(name, f"10.251.{number}.2", f"10.251.{number}.1")
    _remove_left(name)
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network of its own: {error.stderr}")
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        _ip("addr", "add", f"{one.ours}/30", "dev", ours)
        _ip("link", "set", ours, "up")
        _ip("-n", name, "addr", "add", f"{one.host}/30", "dev", theirs)
        _ip("-n", name, "link", "set", theirs, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield one
    finally:
        subprocess.run(["ip", "link", "del", ours], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _remove_left(name: str) -> None:
    """What a killed session left would be in the way; one in which something runs is in use."""
    inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    if inside.returncode == 0 and not inside.stdout.strip():
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
