# SPDX-License-Identifier: Apache-2.0
"""What the pilot knows of vLLM's requests and of whoever sets clocks."""

from typing import Protocol, TypeVar

__all__ = ["Clocks", "Running", "Tracked", "Waiting"]


class Tracked(Protocol):
    """A request as the scheduler has it; `num_computed_tokens` counts what is under way."""

    num_prompt_tokens: int
    num_computed_tokens: int

    @property
    def num_output_tokens(self) -> int:
        """Tokens that came back."""
        ...


class Running(Tracked, Protocol):
    """A request that runs or waits, for whoever asks in which order and how fast prompts come."""

    request_id: str
    max_tokens: int
    is_prefill_chunk: bool


Waiting = TypeVar("Waiting", bound=Running)


class Clocks(Protocol):
    """What takes wishes: `Setter`."""

    holds_mhz: int | None
    since_s: float

    @property
    def pending(self) -> bool:
        """Whether a wish is on its way."""
        ...

    def ask(self, clock_mhz: int | None) -> None:
        """Wish for a clock."""
        ...

    def work(self) -> None:
        """Something begins."""
        ...

    def rest(self, park: tuple[float, int] | None) -> None:
        """Nothing is left to do."""
        ...
