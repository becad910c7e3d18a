# SPDX-License-Identifier: Apache-2.0
"""The node API without its network: a request's path, body and credential in, an answer out.

Whoever asks is believed only after munge; nothing here waits for Slurm or for a cycle.
"""

import json
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from slurm_green.controller.nodes.desk import Desk
from slurm_green.controller.nodes.wire import ENERGY, ORDERS, answer_digest, request_digest
from slurm_green.errors import BadInputError, SlurmError
from slurm_green.ledger.entries import NodeEnergy
from slurm_green.slurm.munge import Credentials

__all__ = ["NodeApi", "Reply"]

_LOG = logging.getLogger(__name__)
_MOST_JOBS = 1000
_MOST_ENERGIES = 100
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SOURCE = re.compile(r"[a-z0-9+-]{1,64}")
_MOST_J = 1e15


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; only one to a believed request has a credential."""

    status: HTTPStatus
    body: bytes
    credential: str = ""


class NodeApi:
    """Answers from `desk` those whom munge calls one of `uids`."""

    def __init__(self, desk: Desk, credentials: Credentials, uids: Collection[int]) -> None:
        self._desk = desk
        self._credentials = credentials
        self._uids = frozenset(uids)

    def answer(self, path: str, body: bytes, credential: str) -> Reply:
        """The reply to one POST; blocks for as long as munged does."""
        try:
            said = self._credentials.decode(credential)
        except SlurmError as error:
            return _refusal(HTTPStatus.UNAUTHORIZED, str(error))
        if said.payload != request_digest(path, body):
            return _refusal(HTTPStatus.UNAUTHORIZED, "the credential is for another request")
        if said.uid not in self._uids:
            return _refusal(HTTPStatus.FORBIDDEN, f"uid {said.uid} may not ask; nodes.user may")
        try:
            status, answer = self._routed(path, _object(body))
        except BadInputError as error:
            status, answer = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        text = json.dumps(answer, allow_nan=False).encode()
        try:
            return Reply(status, text, self._credentials.encode(answer_digest(credential, text)))
        except SlurmError as error:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def _routed(self, path: str, asked: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        node = _word(asked, "node", _NODE)
        if path == ORDERS:
            return self._orders(asked)
        if path == ENERGY:
            return HTTPStatus.OK, {"taken": self._energies(node, asked)}
        return HTTPStatus.NOT_FOUND, {"error": f"there are {ORDERS} and {ENERGY}"}

    def _orders(self, asked: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        job_ids = asked.get("jobs")
        if (
            not isinstance(job_ids, list)
            or len(job_ids) > _MOST_JOBS
            or not all(type(one) is int and 0 < one < 2**32 for one in job_ids)
        ):
            raise BadInputError(f"jobs: wanted a list of at most {_MOST_JOBS} job ids")
        orders = self._desk.orders(job_ids)
        if orders is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "no cycle has run yet"}
        jobs = {str(job_id): dict(plan) for job_id, plan in orders.jobs.items()}
        return HTTPStatus.OK, {"jobs": jobs, "cap": dict(orders.cap)}

    def _energies(self, node: str, asked: dict[str, Any]) -> list[str]:
        given = asked.get("energies")
        if not isinstance(given, dict) or len(given) > _MOST_ENERGIES:
            raise BadInputError(f"energies: wanted at most {_MOST_ENERGIES} by their names")
        read: list[NodeEnergy] = []
        dropped: list[str] = []
        for name, values in given.items():
            try:
                read.append(_energy(node, name, values))
            except BadInputError as error:
                # It will never be right: kept, it would be handed in for ever.
                _LOG.warning("node %s: energy %.128r is dropped: %s", node, name, error)
                dropped.append(name)
        return [*dropped, *self._desk.hand_in(read)]


def _refusal(status: HTTPStatus, why: str) -> Reply:
    return Reply(status, json.dumps({"error": why}).encode())


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInputError("the body is not JSON") from error
    if not isinstance(found, dict):
        raise BadInputError("the body is no JSON object")
    return found


def _word(values: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    found = values.get(key)
    if not isinstance(found, str) or not pattern.fullmatch(found):
        raise BadInputError(f"{key}: {str(found)[:40]!r} is not allowed")
    return found


def _energy(node: str, name: str, values: object) -> NodeEnergy:
    if not _FILE.fullmatch(name) or not isinstance(values, dict):
        raise BadInputError("is no name with a table")
    job_id, gpus, energy_j = values.get("job_id"), values.get("gpus"), values.get("energy_j")
    if type(job_id) is not int or not 0 < job_id < 2**32 or not isinstance(gpus, list):
        raise BadInputError("names no job or no list of GPUs")
    if energy_j is not None and not (
        type(energy_j) in (int, float) and 0 <= energy_j <= _MOST_J  # nan is not
    ):
        raise BadInputError(f"energy_j: {str(energy_j)[:40]!r} is not allowed")
    return NodeEnergy(
        node=node,
        name=name,
        job_id=job_id,
        begin_utc=_time(values, "begin_utc"),
        end_utc=_time(values, "end_utc"),
        gpus=len(gpus),
        energy_j=None if energy_j is None else float(energy_j),
        source=_word(values, "source", _SOURCE),
        why=str(values.get("why", ""))[:200],
    )


def _time(values: dict[str, Any], key: str) -> datetime:
    try:
        found = datetime.fromisoformat(values.get(key, ""))
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{key} is no time") from error
    if found.tzinfo is None:
        raise BadInputError(f"{key} has no time zone")
    return found
