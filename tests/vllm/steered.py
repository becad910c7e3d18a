# SPDX-License-Identifier: Apache-2.0
"""The governed scheduler as tests steer it, in vLLM's process: by a file that says one word."""

import os
from pathlib import Path
from typing import Any

from serving.governor.ceiling import Capped
from serving.vllm.scheduler import GovernedScheduler


class SteeredScheduler(GovernedScheduler):
    """`on`; `off`: as without us; `wait`: prompts while anybody decodes; `break`: the policy
    raises; `burst`: what watches raises.
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
        decodes = output.scheduled_cached_reqs.num_reqs
        if word == "wait" and decodes and self.waiting and not output.scheduled_new_reqs:
            with self._steer.with_suffix(".waited").open("a") as file:
                file.write(f"{decodes} {len(self.waiting)}\n")
        held = self._held()
        if held is None or (output.num_scheduled_tokens and not 0 < held <= 1):
            raise AssertionError(f"this vLLM says that its cache holds {held}")
        return output


class Waiting(Capped):
    """The governor, if prompts waited as long as vLLM lets them."""

    def __init__(self, policy: Any) -> None:
        super().__init__(policy, lambda: 1 << 30)

    def throttles(self, moment: Any) -> bool:
        """Whatever comes of it."""
        return True


class Broken:
    """A policy with a bug."""

    park_after_s = None
    prompts_wait = False

    def throttles(self, moment: Any) -> bool:
        """It does not come that far."""
        return False

    def choose(self, moment: Any) -> int:
        """It raises."""
        raise ZeroDivisionError(f"at {moment.now_s:.0f}")
