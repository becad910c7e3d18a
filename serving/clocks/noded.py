# SPDX-License-Identifier: Apache-2.0
"""Clocks by leases of sgreen-noded, over its user.sock.

The trap: it may be restarted, hang or be gone. A line that is not answered in time costs the
connection, so that a late answer is never taken for the next one's.
"""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.clocks.protocol import ClocksError

__all__ = ["SOCKET", "NodedClocks"]

SOCKET = Path("/run/slurm-green-node/user.sock")
_MOST_ANSWER = 1 << 16


class NodedClocks:
    """The GPUs of one job, named as Slurm names them ("0,1"); a lease lasts `ttl_s`."""

    def __init__(
        self, path: Path, *, job_id: int, gpus: str, ttl_s: float = 2.0, answer_s: float = 1.0
    ) -> None:
        self.renew_s: float | None = ttl_s / 4
        self._path = path
        self._order = {"job": job_id, "gpus": gpus, "ttl_s": ttl_s}
        self._answer_s = answer_s
        self._peer: socket.socket | None = None

    def set(self, clock_mhz: int) -> int | None:
        """See SetsClocks; plan and cap of the site may hold it lower."""
        answer = self._ask({"op": "set", "clock_mhz": clock_mhz, **self._order})
        shown = answer.get("gpus")
        held: list[int | None] = []
        for number, one in shown.items() if isinstance(shown, dict) else ():
            held.append(one.get("clock_mhz"))
            for reason in map(str, one.get("reasons", ())):
                if reason.startswith(("only observed", "observed only")):
                    raise ClocksError(f"GPU {number}: {reason}")
        return min((one for one in held if one is not None), default=None)

    def release(self) -> None:
        """See SetsClocks."""
        self._ask({"op": "release", "job": self._order["job"]})

    def close(self) -> None:
        """See SetsClocks."""
        if self._peer is not None:
            with suppress(OSError):
                self._peer.close()
            self._peer = None

    def _ask(self, order: Mapping[str, object]) -> dict[str, Any]:
        try:
            answer = json.loads(self._line(json.dumps(order).encode() + b"\n"))
        except (OSError, ValueError) as error:
            self.close()
            raise ClocksError(f"{self._path}: no answer of sgreen-noded ({error})") from error
        if not isinstance(answer, dict) or not answer.get("ok"):
            why = answer.get("error") if isinstance(answer, dict) else answer
            raise ClocksError(f"{self._path}: sgreen-noded refuses: {why}")
        return answer

    def _line(self, order: bytes) -> bytes:
        """One line there, one back."""
        if self._peer is None:
            self._peer = socket.socket(socket.AF_UNIX)
            self._peer.settimeout(self._answer_s)
            self._peer.connect(str(self._path))
        self._peer.sendall(order)
        answer = b""
        while not answer.endswith(b"\n"):
            part = self._peer.recv(4096)
            if not part or len(answer) > _MOST_ANSWER:
                raise ConnectionError("it closed the connection")
            answer += part
        return answer
