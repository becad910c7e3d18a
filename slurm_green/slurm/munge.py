# SPDX-License-Identifier: Apache-2.0
"""Munge credentials: which user of which machine of this cluster says something.

Through libmunge, not the commands: no fork for each request. The trap: munged takes a credential
once and then calls it replayed, so decode one only when all else about a request is fine.
"""

import ctypes
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slurm_green.errors import SlurmError, SlurmMissingError

__all__ = ["Credentials", "Decoded", "Munge", "digest"]

_LIBRARY = "libmunge.so.2"
_OPTION_TTL = 4
_OPTION_SOCKET = 8
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Decoded:
    """Who made a credential, and what for."""

    uid: int
    payload: bytes


class Credentials(Protocol):
    """Makes and reads credentials; both raise SlurmError."""

    def encode(self, payload: bytes) -> str:
        """A credential of this process's user for a short payload."""
        ...

    def decode(self, credential: str) -> Decoded:
        """What it says; SlurmError when it is forged, too old, replayed or unreadable."""
        ...


def digest(*parts: bytes) -> bytes:
    """SHA-256 over parts that cannot run into each other: what a credential vouches for."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest().encode()


class Munge(Credentials):
    """The real one; `socket` is munged's, None its usual place. Any thread may use it."""

    def __init__(self, socket: Path | None = None, *, ttl_s: int = 30) -> None:
        """SlurmMissingError where there is no libmunge."""
        self._socket = socket
        self._ttl_s = ttl_s
        try:
            self._munge = ctypes.CDLL(_LIBRARY)
            self._free = ctypes.CDLL(None).free
        except OSError as error:
            raise SlurmMissingError(
                f"{_LIBRARY} cannot be loaded; install munge (Debian: apt install munge)"
            ) from error
        pointer, handle = ctypes.POINTER, ctypes.c_void_p
        self._free.argtypes = [handle]
        self._munge.munge_ctx_create.restype = handle
        self._munge.munge_ctx_destroy.argtypes = [handle]
        self._munge.munge_ctx_set.argtypes = [handle, ctypes.c_int]  # and one more, by option
        self._munge.munge_strerror.restype = ctypes.c_char_p
        self._munge.munge_encode.argtypes = [
            pointer(handle), handle, ctypes.c_char_p, ctypes.c_int,
        ]  # fmt: skip
        self._munge.munge_decode.argtypes = [
            ctypes.c_char_p, handle, pointer(handle), pointer(ctypes.c_int),
            pointer(ctypes.c_uint32), pointer(ctypes.c_uint32),
        ]  # fmt: skip

    def encode(self, payload: bytes) -> str:
        """See Credentials."""
        made = ctypes.c_void_p()
        try:
            self._call(
                lambda context: self._munge.munge_encode(
                    ctypes.byref(made), context, payload, len(payload)
                )
            )
            return ctypes.string_at(made.value or 0).decode("ascii")
        finally:
            self._free(made)

    def decode(self, credential: str) -> Decoded:
        """See Credentials."""
        if not credential.isascii() or "\0" in credential or len(credential) > _MOST_BYTES:
            raise SlurmError("munge: this is no credential")
        payload, length = ctypes.c_void_p(), ctypes.c_int()
        uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
        text = credential.encode("ascii")
        try:
            self._call(
                lambda context: self._munge.munge_decode(
                    text, context, *map(ctypes.byref, (payload, length, uid, gid))
                )
            )
            data = ctypes.string_at(payload.value, length.value) if payload.value else b""
            return Decoded(uid.value, data)
        finally:
            self._free(payload)

    def _call(self, function: Callable[[ctypes.c_void_p], int]) -> None:
        """In a context of its own, as one must not be shared by threads."""
        context = ctypes.c_void_p(self._munge.munge_ctx_create())
        try:
            self._check(self._munge.munge_ctx_set(context, _OPTION_TTL, ctypes.c_int(self._ttl_s)))
            if self._socket is not None:
                path = ctypes.c_char_p(str(self._socket).encode())
                self._check(self._munge.munge_ctx_set(context, _OPTION_SOCKET, path))
            self._check(function(context))
        finally:
            self._munge.munge_ctx_destroy(context)

    def _check(self, status: int) -> None:
        if status:
            words = self._munge.munge_strerror(status).decode("ascii", "replace")
            raise SlurmError(f"munge: {words[:1].lower()}{words[1:]}")
