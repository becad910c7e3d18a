# SPDX-License-Identifier: Apache-2.0
"""From a request's line to the line that answers it: who may say what, and in how much time.

The trap: prolog and epilog wait for these answers, and a job waits for them.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from slurm_green import __version__
from slurm_green.errors import SlurmGreenError
from slurm_green.node.requests import (
    BeginJob,
    EndJob,
    Ping,
    Release,
    Request,
    SetGpus,
    parse_request,
)
from slurm_green.node.server import Peer
from slurm_green.node.service import Node
from slurm_green.node.sgreend import Sgreend
from slurm_green.node.state import Plan
from slurm_green.node.worker import BusyError, Worker

__all__ = ["Answers"]

_LOG = logging.getLogger(__name__)
_NOT_HERE = "only root's prolog and epilog may say that, on root.sock"


class Answers:
    """Answers both sockets; `worker` is the thread that owns `node`, `line` sgreend's."""

    def __init__(self, node: Node, worker: Worker, sgreend: Sgreend, line: Worker) -> None:
        self._node = node
        self._worker = worker
        self._sgreend = sgreend
        self._line = line

    async def of_root(self, peer: Peer, line: bytes) -> Mapping[str, Any]:
        """The answer on root.sock."""
        return await self._guarded(peer, line, self._root)

    async def of_user(self, peer: Peer, line: bytes) -> Mapping[str, Any]:
        """The answer on user.sock."""
        return await self._guarded(peer, line, self._user)

    def admits_root(self, peer: Peer) -> bool:
        """Nobody else may open root.sock; should its mode be changed, this holds."""
        return peer.uid == 0

    def admits_user(self, peer: Peer) -> bool:
        """Root, and who has a job on this node."""
        return peer.uid == 0 or any(job.uid == peer.uid for job in self._node.state.jobs.values())

    async def _guarded(
        self, peer: Peer, line: bytes, answer: Callable[[Peer, Request], Any]
    ) -> Mapping[str, Any]:
        try:
            return {"ok": True, **await answer(peer, parse_request(line))}
        except (SlurmGreenError, BusyError) as error:
            return {"ok": False, "error": str(error)}
        except Exception:
            _LOG.exception("uid %d asked %r", peer.uid, line[:200])
            return {"ok": False, "error": "a bug; sgreen-noded's log has it"}

    async def _root(self, peer: Peer, request: Request) -> Mapping[str, Any]:
        node = self._node
        match request:
            case BeginJob(job_id, uid, gpus, at_s):
                plan = await self._plan(job_id)
                shown = await self._worker.run(lambda: node.begin(job_id, uid, gpus, plan, at_s))
                return {"gpus": shown}
            case EndJob(job_id, at_s):
                await self._worker.run(lambda: node.end(job_id, at_s), whatever=True)
                return {}
        return await self._user(peer, request)

    async def _user(self, peer: Peer, request: Request) -> Mapping[str, Any]:
        node = self._node
        match request:
            case SetGpus(job_id, gpus, setting, ttl_s):
                shown = await self._worker.run(
                    lambda: node.ask(job_id, gpus, setting, ttl_s, uid=peer.uid, pid=peer.pid)
                )
                return {"gpus": shown}
            case Release(job_id):
                await self._worker.run(lambda: node.withdraw(job_id, uid=peer.uid, pid=peer.pid))
                return {}
            case Ping():
                return {"version": __version__}
        return {"ok": False, "error": _NOT_HERE}

    async def _plan(self, job_id: int) -> Plan | None:
        """sgreend's plan for a job that begins; without an answer it runs unchanged."""
        try:
            orders = await self._line.run(lambda: self._sgreend.orders([job_id]))
        except Exception as error:
            _LOG.warning("job %d stays as it is: no plan from sgreend: %s", job_id, error)
            return None
        return orders.plans.get(job_id)
