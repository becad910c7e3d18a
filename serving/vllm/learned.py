# SPDX-License-Identifier: Apache-2.0
"""What a governor has learned, kept over restarts of its replica: a small file.

Away from the engine: read when the replica starts, written once a minute and at the end. Whatever
is wrong with it, the governor begins anew. The trap: replicas of one kind share the file; what one
of them learned is as good for the others, so the last to write wins.
"""

import hashlib
import json
import logging
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
        self._path, self._caution, self._about = path, caution, dict(about)
        self._now_s = now_s
        self._fails = False
        self._read()
        self._kept = self._state()
        self._due_s = now_s() + _EVERY_S

    def keep(self, *, last: bool = False) -> None:
        """Write what is new, once a minute or `last`; where that fails it is said once."""
        now_s, state = self._now_s(), self._state()
        if state == self._kept or (now_s < self._due_s and not last):
            return
        self._due_s = now_s + _EVERY_S
        try:
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
            with self._path.open("rb") as file:
                told = json.loads(file.read(_MOST_BYTES))
            if told["about"] == self._about:
                self._caution.go_on(told["price"], told["heard"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            _LOG.warning("%s: what was learned before is lost: %r", self._path, error)


def digest(profile: Profile) -> str:
    """Another one for each profile."""
    return hashlib.sha256(repr(profile).encode()).hexdigest()[:16]
