# SPDX-License-Identifier: Apache-2.0
"""Whether a replica's answer is one: good, or a reason to ask another replica. Pure."""

from collections.abc import Iterable
from enum import Enum
from typing import Any

import orjson

__all__ = ["Verdict", "judge", "judge_event"]

# vLLM's words while it drains, with /health still at 200.
_DRAINING = b"cannot schedule new futures after shutdown"
_AGAIN = frozenset((408, 429, 502, 503, 504))


class Verdict(Enum):
    """The value is what is said of it."""

    GOOD = "good"
    BUSY = "busy"
    DRAINING = "draining"
    ERROR = "server error"
    LOCKED = "refuses our key"
    LIE = "no answer in a whole one"
    NO_REST = "does not go on with it"  # an answer of its own to a stream that another one began


def judge(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> tuple[Verdict, Any]:
    """The verdict on a whole answer, and what it says as JSON, where it was read."""
    if status == 200:
        kind = next((value for name, value in headers if name == b"content-type"), b"")
        if not kind.startswith(b"application/json"):
            return Verdict.GOOD, None
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Verdict.LIE, None
        lies = isinstance(document, dict) and (
            document.get("error") is not None or document.get("object") == "error"
        )
        return (Verdict.LIE if lies else Verdict.GOOD), document
    if status == 500:
        return (Verdict.DRAINING if _DRAINING in body else Verdict.ERROR), None
    if status in (401, 403):
        return Verdict.LOCKED, None
    if status in _AGAIN:
        return (Verdict.BUSY if status in (429, 503) else Verdict.ERROR), None
    return Verdict.GOOD, None


def judge_event(data: bytes) -> tuple[int, bytes] | None:
    """Status and body of the error that the first of these events is; None: it is none."""
    end = data.find(b"\n\n")
    event = data[: end if end >= 0 else len(data)]
    if b'"error"' not in event[:4096] or not event.startswith(b"data:"):
        return None
    try:
        document = orjson.loads(event[5:])
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or "choices" in document:
        return None
    error = document.get("error")
    if not error and document.get("object") != "error":
        return None
    code = error.get("code") if isinstance(error, dict) else document.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    return status, orjson.dumps(document)
