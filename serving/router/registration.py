# SPDX-License-Identifier: Apache-2.0
"""Registrations: one JSON file per replica in a directory that all routers read.

`{"url", "model", "site", "key", "state": "ready" | "draining", "heartbeat_utc"}`; whoever runs the
replica writes the file anew every few seconds and removes it at the end. Mode 0600: `key` is what
the replica wants as a bearer token, or null. Where its disk is full it sets the file's time stamp
instead. The trap: clocks of sites differ, so a heart beats when text or time stamp are seen to
change, whatever time they name.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from profiling.whole import whole_file
from serving.router.settings import MODEL, URL
from slurm_green.errors import BadInputError

__all__ = [
    "DRAINING",
    "MAX_BYTES",
    "NAME",
    "READY",
    "Registration",
    "Registry",
    "write_registration",
]

READY, DRAINING = "ready", "draining"
_URL = re.compile(URL)
_MODEL = re.compile(MODEL)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")
_KEY = re.compile(r"[\x21-\x7e]{1,512}")
MAX_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What a replica says of itself."""

    url: str
    model: str
    site: str
    key: str | None = None
    state: str = READY


def write_registration(path: Path, one: Registration, now: datetime) -> None:
    """Say it, or say it again; the file is whole at any moment. Raises BadInputError, OSError."""
    _check(one, str(path))
    text = {
        "url": one.url,
        "model": one.model,
        "site": one.site,
        "key": one.key,
        "state": one.state,
        "heartbeat_utc": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z",
    }
    with whole_file(path, mode=0o600) as file:
        file.write(json.dumps(text) + "\n")


class Registry:
    """The directory as it was last read; wants to be read every second or so."""

    def __init__(self, directory: Path, stale_s: float) -> None:
        self.directory, self.stale_s = directory, stale_s
        self.faults: dict[str, str] = {}  # file name -> what is wrong with it
        # File name -> text and time stamp (ns), and when they changed.
        self._seen: dict[str, tuple[tuple[bytes, int], float]] = {}

    def read(self, now_s: float) -> list[Registration]:
        """All whose heart beats, by file name; files that are none go to `faults`.

        Raises OSError where the directory cannot be listed: what was known before still holds.
        """
        names = sorted(one.name for one in self.directory.iterdir() if one.suffix == ".json")
        self.faults = {}
        found: dict[str, Registration] = {}
        for name, beat in self._beats(names):
            if name not in self._seen or self._seen[name][0] != beat:
                self._seen[name] = (beat, now_s)
            try:
                one = _read(beat[0], name)
            except BadInputError as error:
                self.faults[name] = str(error)
                continue
            if now_s - self._seen[name][1] <= self.stale_s:
                found[one.url] = one
        for name in self._seen.keys() - set(names):
            del self._seen[name]
        return list(found.values())

    def _beats(self, names: list[str]) -> Iterator[tuple[str, tuple[bytes, int]]]:
        for name in names:
            if name.startswith("."):
                continue
            try:
                with (self.directory / name).open("rb") as file:
                    stamp_ns = os.fstat(file.fileno()).st_mtime_ns
                    yield name, (file.read(MAX_BYTES + 1), stamp_ns)
            except FileNotFoundError:
                continue  # gone since the directory was listed
            except OSError as error:
                self.faults[name] = f"{name}: cannot be read: {error.strerror}"
                if name in self._seen:
                    yield name, self._seen[name][0]  # its heart may beat all the same


def _read(text: bytes, where: str) -> Registration:
    try:
        raw = json.loads(text) if len(text) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise BadInputError(f"{where}: is no JSON object of a replica")
    known = {name: raw.get(name) for name in ("url", "model", "site", "key", "state")}
    if not isinstance(known["key"], str | None):
        raise BadInputError(f"{where}: key: wanted text or null")
    texts = {name: str(known[name]) for name in ("url", "model", "site", "state")}
    one = Registration(key=known["key"], **texts)
    _check(one, where)
    return one


def _check(one: Registration, where: str) -> None:
    for name, value, right, wanted in (
        ("url", one.url, _URL.fullmatch(one.url), "http://HOST:PORT"),
        (
            "model",
            one.model,
            _MODEL.fullmatch(one.model),
            "the name that clients ask for, without blanks",
        ),
        ("site", one.site, NAME.fullmatch(one.site), "a site's name"),
        ("state", one.state, one.state in (READY, DRAINING), f"{READY} or {DRAINING}"),
        ("key", "***", one.key is None or _KEY.fullmatch(one.key), "printable characters"),
    ):
        if not right:
            raise BadInputError(f"{where}: {name} {value[:80]!r}: wanted {wanted}")
