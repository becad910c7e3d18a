# SPDX-License-Identifier: Apache-2.0
"""What a governor has learned, kept over restarts of its replica: a small file.

Away from the engine: read when the replica starts, written once a minute and at the end. Whatever
is wrong with it, the governor begins anew. The trap: replicas of one kind share the file; what one
of them learned is as good for the others, so it holds what the one learned that heard of most.
"""

import hashlib
import json
import logging
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from profiling.profile import Profile
from profiling.whole import whole_file
from serving.governor.caution import Caution

__all__ = ["Learned", "digest"]

_LOG = logging.getLogger("slurm_green.serving")
_EVERY_S = 60.0
_MOST_BYTES = 4096
_MOST_ABOUT = 2048  # of them; what is longer is told by its digest
_DAMAGED = (OSError, ValueError, LookupError, TypeError, RecursionError)


class _NotPlainError(OSError):
    """A pipe, or a device: to read it may last for ever, and to replace it is not ours."""


class Learned:
    """`about` says what it was learned of: a file about anything else counts for nothing."""

    def __init__(
        self,
        path: Path,
        caution: Caution,
        about: Mapping[str, object],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._caution = path, caution
        self._about: dict[str, object] = dict(about)
        text = json.dumps(self._about, sort_keys=True)
        if len(text) > _MOST_ABOUT:
            self._about = {"sha256": hashlib.sha256(text.encode()).hexdigest()}
        self._now_s = now_s
        self._fails = False
        self._read()
        self._kept = self._state()
        self._due_s = now_s() + _EVERY_S

    def keep(self, *, last: bool = False) -> None:
        """Write what is new, once a minute or `last`; where that fails it is said once.

        What another replica wrote stays, if it heard of more requests.
        """
        now_s, state = self._now_s(), self._state()
        if state == self._kept or (now_s < self._due_s and not last):
            return
        self._due_s = now_s + _EVERY_S
        try:
            if self._known() > state["heard"]:
                return
            with whole_file(self._path) as file:
                json.dump({"about": self._about, **state}, file)
        except OSError as error:
            if not self._fails:
                _LOG.warning("what the governor has learned is not kept: %s", error)
            self._fails = True
            return
        self._kept, self._fails = state, False

    def _state(self) -> dict[str, float]:
        return {"price": self._caution.price, "heard": self._caution.heard}

    def _read(self) -> None:
        try:
            self._go_on(self._caution)
        except FileNotFoundError:
            return
        except _DAMAGED as error:
            _LOG.warning("%s: what was learned before is lost: %r", self._path, error)

    def _known(self) -> int:
        """Of how many requests the file tells."""
        other = Caution(self._caution.price, 1.0)
        try:
            self._go_on(other)
        except _NotPlainError:
            raise
        except _DAMAGED:
            return 0
        return other.heard

    def _go_on(self, caution: Caution) -> None:
        """From what the file says, if it is of the same; raises _DAMAGED."""
        if not stat.S_ISREG(self._path.stat().st_mode):
            raise _NotPlainError(f"{self._path} is no plain file")
        with self._path.open("rb") as file:
            told = json.loads(file.read(_MOST_BYTES))
        if told["about"] == self._about:
            caution.go_on(told["price"], told["heard"])


def digest(profile: Profile) -> str:
    """Another one for each profile."""
    return hashlib.sha256(repr(profile).encode()).hexdigest()[:16]
