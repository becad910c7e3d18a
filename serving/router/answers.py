# SPDX-License-Identifier: Apache-2.0
"""Answers in bytes: heads, bodies and errors as OpenAI's clients know them. Pure."""

from collections.abc import Iterable
from http import HTTPStatus

import orjson

__all__ = ["Refusal", "chunk", "error_body", "error_event", "kept", "status_line"]

# Headers that concern one connection only, and those that we give ourselves.
_OWN = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"content-length", b"x-request-id", b"x-sgreen-site",
        b"traceparent",
    )
)  # fmt: skip
_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}
_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "not_found_error", 413: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip


class Refusal(Exception):  # noqa: N818 (it is an answer, no failure of ours)
    """A request that gets this answer instead of a replica's."""

    def __init__(self, status: int, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.retry_after_s = status, text, retry_after_s


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    return _LINES.get(status) or f"HTTP/1.1 {status} -\r\n".encode()


def kept(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A replica's headers that are the client's business."""
    return b"".join([b"%b: %b\r\n" % one for one in headers if one[0] not in _OWN])


def error_body(status: int, text: str) -> bytes:
    """One clear error."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return orjson.dumps({"error": {"message": text, "type": kind, "param": None, "code": status}})


def error_event(status: int, text: str) -> bytes:
    """The same as the last event of a stream that cannot go on."""
    return b"data: %b\n\n" % error_body(status, text)


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
