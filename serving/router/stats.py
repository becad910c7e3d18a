# SPDX-License-Identifier: Apache-2.0
"""What one router process counts, and how Prometheus reads it.

Counting is a few additions per request; everything else happens when somebody reads.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

if TYPE_CHECKING:
    from serving.router.exchange import Exchange

__all__ = ["Spread", "Stats"]

_PREFIX = "slurm_green_route"
_BOUNDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Spread:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus wants them: counts up to each bound."""
        rows, so_far = [], 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self.counts, strict=True):
            so_far += count
            rows.append((bound, float(so_far)))
        return rows


class Stats:
    """`gauges` is asked for what is now, whenever somebody reads."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str, int]] = Counter()
        self.retries: Counter[tuple[str, str, str]] = Counter()
        self.refusals: Counter[str] = Counter()
        self.resumes: Counter[tuple[str, str]] = Counter()  # model, how it ended
        self.recomputed: Counter[str] = Counter()  # model -> tokens
        # Seconds and joules of a prompt of so many tokens; None: nobody knows.
        self.prefill_cost: Callable[[int], tuple[float, float]] | None = None
        self.recomputed_s: Counter[str] = Counter()
        self.recomputed_j: Counter[str] = Counter()
        self.joules: Counter[tuple[str, str]] = Counter()
        self.milligrams: Counter[tuple[str, str]] = Counter()
        self.bytes_out = 0
        self.first: dict[str, Spread] = {}
        self.whole: dict[str, Spread] = {}
        self.reloads: Counter[str] = Counter()
        self.gauges: Callable[[], Iterable[Metric]] = tuple
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def ended(self, exchange: "Exchange", now_s: float) -> None:
        """A request has its answer, or none."""
        replica, model = exchange.replica, exchange.group.model
        site = replica.site if replica is not None else ""
        self.requests[model, site, exchange.guest.name, exchange.status] += 1
        self.bytes_out += exchange.bytes_out
        if model not in self.whole:
            self.whole[model], self.first[model] = Spread(), Spread()
        if exchange.status != 499:
            self.whole[model].add(now_s - exchange.started_s)
        if exchange.head_sent and exchange.stream:  # else it was refused, which is quick
            self.first[model].add(exchange.first_s - exchange.started_s)
        if exchange.resumed and exchange.continuation is not None:
            self.resumes[model, "whole" if exchange.status == 200 else "broken"] += exchange.resumed
            tokens = exchange.continuation.recomputed
            self.recomputed[model] += tokens
            if self.prefill_cost is not None:
                # Each break computes its own prompt: as long as all of them on average.
                seconds, joules = self.prefill_cost(round(tokens / exchange.resumed))
                self.recomputed_s[model] += exchange.resumed * seconds  # type: ignore[assignment]
                self.recomputed_j[model] += exchange.resumed * joules  # type: ignore[assignment]

    def retried(self, model: str, site: str, why: str) -> None:
        """An attempt came to nothing; only the first words say which kind."""
        self.retries[model, site, why.partition(":")[0]] += 1

    def told(self, exchange: "Exchange", headers: Iterable[tuple[bytes, bytes]]) -> None:
        """What a replica says that an answer cost."""
        for name, value in headers:
            if name.startswith(b"x-sgreen-") and exchange.replica is not None:
                where = exchange.group.model, exchange.replica.site
                kind = {b"x-sgreen-energy-j": self.joules, b"x-sgreen-carbon-mg": self.milligrams}
                try:
                    amount = float(value)
                except ValueError:
                    continue
                if name in kind and 0 <= amount < 1e12:
                    kind[name][where] += amount  # type: ignore[assignment]

    def text(self) -> bytes:
        """All of it, in Prometheus' words."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        where = ("model", "site")
        for name, words, labels, counts in (
            ("requests", "Requests that ended; 499: the client went.",
             (*where, "tenant", "code"), self.requests),
            ("retries", "Attempts that failed.", (*where, "reason"), self.retries),
            ("refusals", "What never became a request.", ("reason",), self.refusals),
            ("resumes", "Streams that went on at another replica.", ("model", "end"), self.resumes),
            ("resumed_tokens", "Tokens computed again for that.", ("model",), self.recomputed),
            ("resumed_seconds", "Of GPUs for that, by the profile.", ("model",), self.recomputed_s),
            ("resumed_joules", "For that, by the profile.", ("model",), self.recomputed_j),
            ("energy_joules", "Of plain answers, as replicas say.", where, self.joules),
            ("carbon_milligrams", "Of plain answers, as replicas say.", where, self.milligrams),
            ("reloads", "Configurations read again.", ("result",), self.reloads),
        ):  # fmt: skip
            family = CounterMetricFamily(f"{_PREFIX}_{name}", words, labels=labels)
            for key, count in counts.items():
                values = key if isinstance(key, tuple) else (key,)
                family.add_metric([str(one) for one in values], count)
            yield family
        sent = CounterMetricFamily(f"{_PREFIX}_answer_bytes", "Bodies sent to clients.")
        sent.add_metric((), self.bytes_out)
        yield sent
        for name, words, spreads in (
            ("first_token_seconds", "From request to a stream's first event.", self.first),
            ("request_seconds", "From request to the end of its answer.", self.whole),
        ):
            spread = HistogramMetricFamily(f"{_PREFIX}_{name}", words, labels=("model",))
            for model, one in spreads.items():
                spread.add_metric((model,), one.buckets(), one.total_s)
            yield spread
        yield from self.gauges()

    @staticmethod
    def gauge(
        name: str,
        words: str,
        labels: tuple[str, ...],
        rows: Iterable[tuple[tuple[str, ...], float]],
    ) -> Metric:
        """A gauge with its values."""
        family = GaugeMetricFamily(f"{_PREFIX}_{name}", words, labels=labels)
        for key, value in rows:
            family.add_metric(key, value)
        return family
