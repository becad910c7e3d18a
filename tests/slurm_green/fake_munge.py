# SPDX-License-Identifier: Apache-2.0
"""Munge in memory: credentials of any user, forged by nobody, taken once."""

import itertools

from slurm_green.errors import SlurmError
from slurm_green.slurm.munge import Credentials, Decoded

__all__ = ["FakeMunge"]


class FakeMunge(Credentials):
    """One realm; `as_user` is another user's way into it."""

    def __init__(self, uid: int = 0, realm: dict[str, Decoded] | None = None) -> None:
        self.uid = uid
        self.realm = {} if realm is None else realm
        self.decoded = 0
        self._numbers = itertools.count(1)

    def as_user(self, uid: int) -> "FakeMunge":
        return FakeMunge(uid, self.realm)

    def encode(self, payload: bytes) -> str:
        credential = f"MUNGE:{self.uid}-{len(self.realm)}-{next(self._numbers)}:"
        self.realm[credential] = Decoded(self.uid, payload)
        return credential

    def decode(self, credential: str) -> Decoded:
        self.decoded += 1
        try:
            return self.realm.pop(credential)
        except KeyError as error:
            raise SlurmError("munge: invalid or replayed credential") from error
