# SPDX-License-Identifier: Apache-2.0
"""What requests are like, learned as they come and end: lengths, and how many a second. Pure."""

import math
from dataclasses import dataclass, field

from serving.router.policy.protocol import RequestView

__all__ = ["Mix"]

_EDGES = (64, 256, 512, 1024, 2048, 4096, 8192)  # prompt tokens
_SHARE = 0.001  # what one more request counts
_FIRST_TOKENS = 150.0  # of an answer before any ended
_RATE_S = 60.0  # over which arrivals are averaged


def _bucket(prompt_tokens: int) -> int:
    for number, edge in enumerate(_EDGES):
        if prompt_tokens <= edge:
            return number
    return len(_EDGES)


@dataclass
class Mix:
    """Means over recent requests; answers by length of prompt, as long prompts get short ones."""

    prompt_tokens: float = 1024.0
    output_tokens: float = _FIRST_TOKENS
    rate: float = 0.0  # requests a second
    _outputs: list[list[float]] = field(
        default_factory=lambda: [[4.0, 4.0 * _FIRST_TOKENS] for _ in range(len(_EDGES) + 1)]
    )
    _came: int = 0
    _seen: int = 0
    _ended: int = 0
    _count: float = 0.0
    _time_s: float = 0.0
    _since_s: float | None = None

    def came(self, request: RequestView) -> None:
        """A request arrived."""
        self._came += 1
        self._seen += 1
        share = max(_SHARE, 1 / (self._seen + 1))
        self.prompt_tokens += share * (request.prompt_tokens - self.prompt_tokens)

    def ended(self, prompt_tokens: int, tokens: int) -> None:
        """A request got so many tokens."""
        self._ended += 1
        self.output_tokens += max(_SHARE, 1 / (self._ended + 1)) * (tokens - self.output_tokens)
        bucket = self._outputs[_bucket(prompt_tokens)]
        # Weights fade, so that what comes now counts more than what came hours ago.
        bucket[0] = 0.998 * bucket[0] + 1
        bucket[1] = 0.998 * bucket[1] + tokens

    def answer(self, request: RequestView) -> float:
        """Tokens that it will get: as told, else what is usual after such a prompt."""
        if request.output_tokens is not None:
            return request.output_tokens
        count, tokens = self._outputs[_bucket(request.prompt_tokens)]
        return tokens / count

    def tick(self, now_s: float) -> None:
        """Bring the rate of arrivals up to now; time before the first one does not count."""
        if self._since_s is None or not self._seen:
            self._since_s = now_s
            return
        passed_s = now_s - self._since_s
        if passed_s < 1.0:
            return
        kept = math.exp(-passed_s / _RATE_S)
        self._count = kept * self._count + self._came
        self._time_s = kept * self._time_s + passed_s
        self.rate = self._count / self._time_s
        self._came, self._since_s = 0, now_s
