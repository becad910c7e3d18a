# SPDX-License-Identifier: Apache-2.0
"""The access log: a JSON object per request, written a few times a second.

No prompts, answers or keys. The file is opened anew when somebody has moved it away. A kill loses
what the last quarter of a second brought; a full disk costs lines, never requests.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from serving.router.exchange import Exchange

__all__ = ["AccessLog"]

_FORM = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
_MOST = 100_000  # lines that wait for a disk


class AccessLog:
    """`path` None: none is kept. Processes may share a file: lines are appended whole."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lost = 0
        self._lines: list[dict[str, Any]] = []

    def refused(self, path: bytes, status: int, why: str) -> None:
        """A request that was turned away at the door."""
        if self._room():
            told = {"path": path[:200].decode("latin-1"), "status": status, "why": why}
            self._lines.append({"at_utc": datetime.now(UTC), **told})

    def _room(self) -> bool:
        if self.path is not None and len(self._lines) >= _MOST:
            self.lost += 1
            return False
        return self.path is not None

    def add(self, exchange: "Exchange", now_s: float, why: str) -> None:
        """A request that ended."""
        if not self._room():
            return
        replica = exchange.replica
        first_s = exchange.first_s
        line = {
            "at_utc": datetime.now(UTC),
            "id": exchange.request_id,
            "tenant": exchange.guest.name or None,
            "model": exchange.group.model,
            "path": exchange.path.decode("latin-1"),
            "stream": exchange.stream,
            "site": replica.site if replica is not None else None,
            "replica": replica.url if replica is not None else None,
            "status": exchange.status,
            "attempts": exchange.attempts,
            "resumed": exchange.resumed,
            "first_ms": round((first_s - exchange.started_s) * 1e3, 3) if first_s else None,
            "total_ms": round((now_s - exchange.started_s) * 1e3, 3),
            "bytes": exchange.bytes_out,
            "tokens": exchange.tokens,
            "why": why or None,
        }
        self._lines.append(line)

    def flush(self) -> None:
        """To the file."""
        lines, self._lines = self._lines, []
        if self.path is None or not lines:
            return
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        except OSError:
            self.lost += len(lines)
            return
        try:
            data = memoryview(b"".join(orjson.dumps(one, option=_FORM) for one in lines))
            while data:
                data = data[os.write(handle, data) :]
        except OSError:
            self.lost += len(lines)
        finally:
            os.close(handle)
