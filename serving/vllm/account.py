# SPDX-License-Identifier: Apache-2.0
"""Joules of requests that sum to what the meter says. Pure.

Between two readings of the counter an iteration draws what the model says; at the reading all of
it is scaled so that work and idle time together are the counter's difference. Idle joules go into
a pool, which every stretch with requests draws on in proportion to its length, shared by work: so
who comes after an idle night does not pay for all of it at once.

The trap: a request may be over before its last joules are read, and its client hears then what
the model says.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Account", "Accounts"]

_POOL_S = 600.0  # over which idle joules are handed out


@dataclass(slots=True)
class Account:
    """Joules of one request: its work, its part of idle time; `pending_j` is modelled so far.

    `carbon_g` is by the marginal carbon of when it drew them, None where that was not known once.
    """

    work_j: float = 0.0
    idle_j: float = 0.0
    pending_j: float = 0.0
    end: str | None = None  # "finished", "aborted"; None while it runs
    carbon_g: float | None = 0.0


class Accounts:
    """All requests of one replica; the last `most` of them that ended are remembered."""

    def __init__(self, now_s: float, *, most: int = 10_000) -> None:
        self.work_j = 0.0
        self.idle_j = 0.0
        self.pool_j = 0.0  # idle joules that no request has got yet
        self.gone_j = 0.0  # of requests that are no longer remembered
        self.ended: dict[str, int] = {"finished": 0, "aborted": 0}
        self._requests: dict[str, Account] = {}
        self._short: dict[str, tuple[int, str]] = {}  # without what vLLM adds last; which it was
        self._begun_ever = 0
        self._over: OrderedDict[str, None] = OrderedDict()
        self._most = most
        self._stretch_s = now_s
        self._looked_s = now_s
        self._work_j = self._idle_j = 0.0  # modelled since the last reading
        self._scale = 1.0
        self._touched: set[str] = set()

    def ran(
        self, begin_s: float, end_s: float, busy_w: float, idle_w: float,
        parts: Iterable[tuple[str, float]],
    ) -> None:  # fmt: skip
        """An iteration, and the idle time before it."""
        self.idled(begin_s, idle_w)
        energy_j = busy_w * max(end_s - begin_s, 0.0)
        self._work_j += energy_j
        self._looked_s = max(self._looked_s, end_s)
        for name, part in parts:
            account = self._requests.get(name)
            if account is None:
                account = self._begun(name)
            account.pending_j += energy_j * part
            self._touched.add(name)

    def idled(self, until_s: float, idle_w: float) -> None:
        """Nothing ran until then."""
        if until_s > self._looked_s:
            self._idle_j += idle_w * (until_s - self._looked_s)
            self._looked_s = until_s

    def settle(self, now_s: float, counter_j: float | None, mu: float | None = None) -> None:
        """The counter's difference since the last time; None: it is not known, the model stands.

        `mu` is the marginal carbon of that time, g/kWh, None where nobody knows it.
        """
        modelled_j = self._work_j + self._idle_j
        if counter_j is None:
            counter_j = modelled_j
        # Nothing modelled although something was drawn: it was idle.
        scale = counter_j / modelled_j if modelled_j > 0 else 0.0
        work_j = min(self._work_j * scale, counter_j)  # rounded up, a counter of idle would sink
        self.work_j += work_j
        self.idle_j += counter_j - work_j
        self.pool_j += counter_j - work_j
        handed_j = 0.0
        if self._touched and self._work_j > 0:
            handed_j = self.pool_j * -math.expm1(-(now_s - self._stretch_s) / _POOL_S)
            self.pool_j -= handed_j
        for name in self._touched:
            account = self._requests.get(name)
            if account is None:
                continue
            idle_j = handed_j * account.pending_j / self._work_j if self._work_j > 0 else 0.0
            account.idle_j += idle_j
            account.work_j += account.pending_j * scale
            account.carbon_g = _more(account.carbon_g, idle_j + account.pending_j * scale, mu)
            account.pending_j = 0.0
        self._touched.clear()
        if self._work_j > 0 and scale > 0:
            self._scale = scale
        self._work_j = self._idle_j = 0.0
        self._stretch_s = now_s
        self._forget()

    def over(self, name: str, end: str) -> None:
        """A request ended."""
        self.ended[end] += 1
        account = self._requests.get(name) or self._begun(name)
        account.end = end
        self._over[name] = None

    def joules(self, name: str, mu: float | None = None) -> Account | None:
        """What a request has cost up to now, what is not settled yet as modelled; a copy."""
        found = self._requests.get(name)
        if found is None:
            return None
        pending_j = found.pending_j * self._scale
        carbon_g = _more(found.carbon_g, pending_j, mu) if pending_j else found.carbon_g
        return Account(found.work_j + pending_j, found.idle_j, pending_j, found.end, carbon_g)

    def named(self, name: str) -> list[str]:
        """Requests of that name, or of a client's: vLLM adds the number of the prompt (or of the
        turn, after `_`), before all that the number of the answer where several are asked for
        (`n`), and more.

        The trap: a client may call another of its requests the same with a number after it.
        """
        if name in self._requests:
            return [name]
        if name.startswith("cmpl-"):  # whose prompts vLLM always numbers
            return self._row(f"{name}-") or self._answers(name)
        return self._answers(name) or self._row(f"{name}_") or self._row(f"{name}-")

    def _row(self, stem: str) -> list[str]:
        """Of all prompts, or turns."""
        found: list[str] = []
        number = 0
        while more := self._answers(f"{stem}{number}"):
            found += more
            number += 1
        return found

    def _answers(self, stem: str) -> list[str]:
        """Of one prompt: one, or `n`; of the newest request where several are called the same."""
        first = self._short.get(f"0_{stem}")
        one = self._short.get(stem)
        if first is None or (one is not None and one > first):
            return [] if one is None else [one[1]]
        found = [first]
        while (one := self._short.get(f"{len(found)}_{stem}")) is not None and one > first:
            found.append(one)
        return [name for _, name in found]

    def total_j(self) -> float:
        """Of all requests ever, without the pool."""
        return self.gone_j + sum(one.work_j + one.idle_j for one in self._requests.values())

    def _begun(self, name: str) -> Account:
        account = self._requests[name] = Account()
        self._begun_ever += 1
        self._short[name.rpartition("-")[0]] = (self._begun_ever, name)
        return account

    def _forget(self) -> None:
        while len(self._over) > self._most:
            name, _ = self._over.popitem(last=False)
            account = self._requests.pop(name)
            stem = name.rpartition("-")[0]
            # A client may call all of its requests the same.
            if self._short.get(stem, (0, ""))[1] == name:
                del self._short[stem]
            self.gone_j += account.work_j + account.idle_j


def _more(carbon_g: float | None, energy_j: float, mu: float | None) -> float | None:
    return None if carbon_g is None or mu is None else carbon_g + energy_j * mu / 3.6e6
