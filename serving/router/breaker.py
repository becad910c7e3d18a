# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker: who fails several times in a row is left alone for a while. Pure."""

from serving.router.settings import Breaking

__all__ = ["Breaker"]


class Breaker:
    """Closed -> open when failures in a row reach the limit; open -> on trial when time is up.

    On trial -> closed with a success, -> open again, for twice as long, with a failure. `spread`,
    from 0 to 1, keeps routers from all trying in the same moment.
    """

    def __init__(self, rules: Breaking, spread: float = 0.5) -> None:
        self.rules = rules
        self.failures = 0
        self.opened = 0  # how often, since it was last closed
        self.until_s = 0.0
        self.trial = False  # one request is out to see
        self.doubted = False  # an error since its last answer, which may be the request's own
        self._spread = 0.75 + 0.5 * spread

    def allows(self, now_s: float) -> bool:
        """Whether a request may go."""
        return self.opened == 0 or (now_s >= self.until_s and not self.trial)

    def sent(self) -> None:
        """A request went; while open it is the one on trial."""
        self.trial = self.opened > 0

    def succeeded(self) -> None:
        """It was answered."""
        self.failures = self.opened = 0
        self.trial = self.doubted = False

    def undecided(self) -> None:
        """It ended, and nobody knows how: the client went, or somebody else was at fault."""
        self.trial = False

    def failed(self, now_s: float, *, at_once: bool = False) -> None:
        """It failed; `at_once`: so clearly that one is enough."""
        self.failures += 1
        tried, self.trial = self.trial, False
        if self.opened and not tried:
            return  # sent before it opened
        if at_once or tried or self.failures >= self.rules.failures:
            rest_s = min(self.rules.open_s * 2**self.opened, self.rules.open_max_s)
            self.until_s = now_s + rest_s * self._spread
            self.opened = min(self.opened + 1, 30)
