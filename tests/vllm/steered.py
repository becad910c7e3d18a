# SPDX-License-Identifier: Apache-2.0
"""The governed scheduler as tests steer it, in vLLM's process: by a file that says one word."""

import os
from pathlib import Path
from typing import Any

from serving.governor.ceiling import Capped
from serving.vllm.scheduler import GovernedScheduler


class SteeredScheduler(GovernedScheduler):
    """`on`; `off`: as without us; `wait`: prompts come token by token, the last one first;
    `break`: the policy raises; `burst`: what watches raises.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._steer = Path(os.environ["STEER"])
        self._looked = 0
        self._whole = self.sgreen
        self._policy = None if self.sgreen is None else self.sgreen.pilot.policy

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """As the file says from now on."""
        changed = self._steer.stat().st_mtime_ns
        if changed != self._looked and self._whole is not None:
            self._looked = changed
            word, pilot = self._steer.read_text(), self._whole.pilot
            blind = self.sgreen is None
            self.sgreen = None if word == "off" else self._whole
            pilot.policy = {"break": Broken(), "wait": Waiting(self._policy)}.get(
                word, self._policy
            )
            vars(pilot).pop("scheduled", None)
            if blind:
                pilot._live.clear()  # nobody told it what ended meanwhile
                pilot._tokenless.clear()
            if word == "burst":
                vars(pilot)["scheduled"] = None
        output = super().schedule(*args, **kwargs)
        word = self._steer.read_text() if self._looked else ""
        counts = output.num_scheduled_tokens
        if word == "wait" and self.waiting and len(counts) > 1:
            with self._steer.with_suffix(".waited").open("a") as file:
                new = len(output.scheduled_new_reqs)
                file.write(f"{len(counts)} {sum(counts.values())} {new}\n")
        held = self._held()
        if held is None or (output.num_scheduled_tokens and not 0 < held <= 1):
            raise AssertionError(f"this vLLM says that its cache holds {held}")
        return output


class Waiting(Capped):
    """The governor, if prompts came token by token, and the last one first."""

    def __init__(self, policy: Any) -> None:
        super().__init__(policy, lambda: 1 << 30)

    def order(self, moment: Any, begun_tokens: int, waiting: Any) -> list[int]:
        """By arrival, from behind."""
        return sorted(range(len(waiting)), key=lambda number: -waiting[number][0])

    def prompt_tokens(self, moment: Any) -> int:
        """Whatever comes of it."""
        return 1


class Broken:
    """A policy with a bug."""

    park_after_s = None
    paces = orders = False

    def choose(self, moment: Any) -> int:
        """It raises."""
        raise ZeroDivisionError(f"at {moment.now_s:.0f}")
