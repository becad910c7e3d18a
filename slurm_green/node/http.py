# SPDX-License-Identifier: Apache-2.0
"""sgreend over HTTP, as a node asks it: bounded in time whatever the other end does.

A credential goes with each request, and only an answer with one of sgreend's own is taken. After
a failure nobody waits for it again for some seconds: job starts come in bursts.
"""

import json
import logging
import pwd
import re
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from slurm_green.config.node import NodeSection
from slurm_green.controller.nodes.wire import (
    ANSWER_HEADER,
    ENERGY,
    MOST_BYTES,
    ORDERS,
    REQUEST_HEADER,
    answer_digest,
    request_digest,
)
from slurm_green.errors import BadInputError, SlurmError
from slurm_green.node.sgreend import FileSgreend, NoSgreend, Sgreend, parse_orders
from slurm_green.node.state import Orders
from slurm_green.slurm.munge import Credentials, Munge

__all__ = ["HttpSgreend", "sgreend_of"]

_LOG = logging.getLogger(__name__)
_ADDRESS = re.compile(r"http://(\[[^\]]+\]|[^:/]+):(\d+)/?")
_TOTAL_S = 0.8  # a job's start waits a second for its plan (node.daemon)
_PAUSE_S = (2.0, 5.0, 15.0, 60.0)
_MOST_HEAD = 8192


class HttpSgreend(Sgreend):
    """The node API at `url`; every call raises SlurmError within a second, or answers.

    `uids` are whose answers are taken. Not for several threads at once.
    """

    def __init__(
        self,
        url: str,
        *,
        node: str,
        credentials: Credentials,
        uids: Collection[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        found = _ADDRESS.fullmatch(url)
        if found is None:
            raise BadInputError(f"{url!r} is not http://HOST:PORT")
        self._address = (found[1].strip("[]"), int(found[2]))
        self._node = node
        self._credentials = credentials
        self._uids = frozenset(uids)
        self._clock = clock
        self._failures = 0
        self._again_s = clock()
        self._why = ""

    def orders(self, job_ids: Sequence[int]) -> Orders:
        """See Sgreend; BadInputError where the answer makes no sense."""
        body = self._ask(ORDERS, {"jobs": list(job_ids)})
        return parse_orders(body, "sgreend's answer", job_ids)

    def report(self, energies: Mapping[str, Mapping[str, Any]]) -> Collection[str]:
        """See Sgreend. A name is taken once sgreend's ledger holds it: until then hand it in."""
        answer = json.loads(self._ask(ENERGY, {"energies": energies}))
        taken = answer.get("taken") if isinstance(answer, dict) else None
        return [name for name in taken or () if name in energies]

    def _ask(self, path: str, values: Mapping[str, object]) -> bytes:
        if self._clock() < self._again_s:
            # In the same words: noded logs what is new.
            raise SlurmError(self._why)
        try:
            answer = self._exchange(path, json.dumps({"node": self._node, **values}).encode())
        except (OSError, SlurmError) as error:
            host, port = self._address
            self._why = f"sgreend at {host}:{port}: {getattr(error, 'strerror', None) or error}"
            self._again_s = self._clock() + _PAUSE_S[min(self._failures, len(_PAUSE_S) - 1)]
            self._failures += 1
            raise SlurmError(self._why) from error
        self._failures = 0
        return answer

    def _exchange(self, path: str, body: bytes) -> bytes:
        credential = self._credentials.encode(request_digest(path, body))
        host, port = self._address
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{REQUEST_HEADER}: {credential}\r\n"
            "Connection: close\r\n\r\n"
        )
        until_s = self._clock() + _TOTAL_S
        with socket.create_connection(self._address, timeout=_TOTAL_S) as peer:
            peer.settimeout(max(until_s - self._clock(), 0.01))
            peer.sendall(head.encode() + body)
            raw = self._received(peer, until_s)
        status, headers, answer = _parsed(raw)
        if status in (400, 404):
            raise BadInputError(f"sgreend answers {status}: {_said(answer)}")
        if status != 200:
            raise SlurmError(f"it answers {status}: {_said(answer)}")
        said = self._credentials.decode(headers.get(ANSWER_HEADER, ""))
        if said.uid not in self._uids or said.payload != answer_digest(credential, answer):
            raise SlurmError(f"the answer is not sgreend's (uid {said.uid}; node.sgreend_user)")
        return answer

    def _received(self, peer: socket.socket, until_s: float) -> bytes:
        parts = b""
        while True:
            left_s = until_s - self._clock()
            if left_s <= 0:
                raise SlurmError(f"no answer within {_TOTAL_S:g} s")
            peer.settimeout(left_s)
            part = peer.recv(65536)
            if not part:
                return parts
            parts += part
            if len(parts) > MOST_BYTES + _MOST_HEAD:
                raise SlurmError("its answer is too long")


def sgreend_of(settings: NodeSection, node: str) -> Sgreend:
    """The way that the settings name; BadInputError where they name two."""
    if settings.orders is not None:
        if settings.sgreend:
            raise BadInputError("node.orders and node.sgreend are both set; leave one out")
        return FileSgreend(settings.orders)
    if not settings.sgreend:
        return NoSgreend()
    uids = {0}
    try:
        uids.add(pwd.getpwnam(settings.sgreend_user).pw_uid)
    except KeyError:
        _LOG.warning("no user %s here: only root's orders are taken", settings.sgreend_user)
    munge = Munge(settings.munge_socket)
    return HttpSgreend(settings.sgreend, node=node, credentials=munge, uids=uids)


def _parsed(raw: bytes) -> tuple[int, dict[str, str], bytes]:
    head, found, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = re.match(r"HTTP/1\.\d (\d{3})\b", first)
    headers = {
        name.strip().lower(): value.strip()
        for name, value in (line.partition(":")[::2] for line in lines)
    }
    if not found or status is None or headers.get("content-length") != str(len(body)):
        raise SlurmError("its answer is cut, or is not HTTP")
    return int(status[1]), headers, body


def _said(answer: bytes) -> str:
    """A refusal's own words, as one printable line."""
    try:
        words = str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        words = "no reason given"
    return "".join(one for one in words[:200] if one.isprintable())
