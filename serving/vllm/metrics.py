# SPDX-License-Identifier: Apache-2.0
"""What one replica shows: a registry of its own, on a port of its own or in a file.

`/metrics` is for Prometheus, `/requests/ID` tells the joules of one request as JSON; ID is what
the client knows it by (X-Request-Id, or the id in the answer). The trap: a reader that hangs must
not hold anybody else up, so each has a thread, and none of them is the engine's.
"""

import json
import socketserver
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from profiling.whole import write_file
from serving.clocks.setter import Setter
from serving.governor.ceiling import uncapped
from serving.governor.twin import Twin
from serving.vllm.pilot import Pilot
from serving.vllm.recorder import Recorder
from serving.vllm.site import SiteWord
from slurm_green.errors import BadInputError

__all__ = ["Metrics", "serve"]

_BUCKETS = tuple(5e-6 * 1.25**power for power in range(36))  # 5 us to 12 ms


class Metrics:
    """The registry; `setter` is None where nothing can be set."""

    def __init__(
        self,
        recorder: Recorder,
        pilot: Pilot,
        setter: Setter,
        *,
        model: str,
        policy: str,
        site: SiteWord | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self._recorder, self._pilot, self._setter = recorder, pilot, setter
        self._model, self._policy, self._site = model, policy, site
        self._decisions = Histogram(
            "slurm_green_serving_decision_seconds",
            "Time that the governor takes of the engine's, by hook.",
            ["hook"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        energy = CounterMetricFamily(
            "slurm_green_serving_energy_joules",
            "Energy of the replica's GPUs since its start; idle is what ran no iteration.",
            labels=["model", "kind", "source"],
        )
        for (kind, source), joules in self._recorder.joules.copy().items():
            energy.add_metric([self._model, kind, source], joules)
        yield energy
        carbon = CounterMetricFamily(
            "slurm_green_serving_carbon_grams",
            "Marginal CO2e of that energy, of the time that the site's prices were known.",
            labels=["model", "kind"],
        )
        for kind, grams in self._recorder.carbon_g.copy().items():
            carbon.add_metric([self._model, kind], grams)
        yield carbon
        ended = CounterMetricFamily(
            "slurm_green_serving_requests", "Requests that ended.", labels=["model", "end"]
        )
        for end, count in self._recorder.accounts.ended.copy().items():
            ended.add_metric([self._model, end], count)
        yield ended
        yield CounterMetricFamily(
            "slurm_green_serving_clock_changes", "Clock changes.", value=self._setter.changes
        )
        yield CounterMetricFamily(
            "slurm_green_serving_clock_failures",
            "Times that a clock could not be set.",
            value=self._setter.failures,
        )
        if self._setter.holds_mhz is not None:
            yield GaugeMetricFamily(
                "slurm_green_serving_clock_hertz",
                "The highest clock that the replica's lease allows.",
                value=self._setter.holds_mhz * 1e6,
            )
        policy = self._pilot.policy
        under = uncapped(policy)
        yield CounterMetricFamily(
            "slurm_green_serving_ceiling_decisions",
            "Decisions that the site's ceiling took down.",
            value=getattr(policy, "held_down", 0),
        )
        yield CounterMetricFamily(
            "slurm_green_serving_slo_out_of_reach_decisions",
            "Decisions at which no clock was fast enough for the SLOs.",
            value=getattr(under, "out_of_reach", 0),
        )
        yield CounterMetricFamily(
            "slurm_green_serving_paced_steps",
            "Steps with a limit on the tokens of prompts.",
            value=self._pilot.paced,
        )
        yield CounterMetricFamily(
            "slurm_green_serving_reordered_steps",
            "Steps before which prompts that wait were put in another order.",
            value=self._pilot.reordered,
        )
        yield from self._compared(getattr(under, "twin", None))
        mu = None if self._site is None else self._site.mu()
        if mu is not None:
            yield GaugeMetricFamily(
                "slurm_green_serving_marginal_carbon_grams_per_kilowatt_hour",
                "What one more kWh costs now, by the site's prices.",
                value=mu,
            )
        active = GaugeMetricFamily(
            "slurm_green_serving_governor_active",
            "1 while the policy chooses clocks, 0 when it was given up or never began.",
            labels=["policy"],
        )
        active.add_metric([self._policy], float(self._pilot.policy is not None))
        yield active

    def _compared(self, twin: Twin | None) -> Iterable[Metric]:
        """What the clocks cost those who wait, and what the highest one would have drawn."""
        if twin is None:
            return
        requests = CounterMetricFamily(
            "slurm_green_serving_compared_requests",
            "Finished requests that were also followed at the highest clock, by the profile.",
            labels=["model"],
        )
        requests.add_metric([self._model], twin.requests)
        yield requests
        late = CounterMetricFamily(
            "slurm_green_serving_compared_late_requests",
            "Those of them that missed an SLO, as it was and as it would have been.",
            labels=["model", "clock"],
        )
        late.add_metric([self._model, "chosen"], twin.late)
        late.add_metric([self._model, "highest"], twin.late_anyway)
        yield late
        energy = CounterMetricFamily(
            "slurm_green_serving_highest_clock_energy_joules",
            "Energy that the highest clock would have taken, up to the oldest request; modelled.",
            labels=["model"],
        )
        energy.add_metric([self._model], twin.energy_j)
        yield energy

    def describe(self) -> Iterable[Metric]:
        """See prometheus_client: nothing is asked at registration."""
        return ()

    def digest(self) -> None:
        """Put into the histogram what the engine left."""
        with suppress(IndexError):
            while True:
                hook, seconds = self._recorder.decisions.popleft()
                self._decisions.labels(hook).observe(seconds)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        self.digest()
        return generate_latest(self.registry)

    def request(self, name: str) -> dict[str, object] | None:
        """One request's joules, or None where nobody knows it."""
        found = self._recorder.joules_of(name)
        if found is None:
            return None
        return {
            "request": name,
            "energy_j": found.work_j + found.idle_j,
            "work_j": found.work_j,
            "idle_j": found.idle_j,
            "carbon_g": found.carbon_g,
            "carbon_basis": "marginal",
            "end": found.end,
            "settled": found.pending_j == 0.0,
            "source": self._recorder.source,
        }


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 5

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(metrics: Metrics, where: str) -> Callable[[], None]:
    """Show them at HOST:PORT, or let a file be written; the answer is to be called now and then.

    Raises BadInputError for a port that is none, OSError for one that is taken.
    """
    if "/" in where:
        path = Path(where)
        return lambda: write_file(path, metrics.text())
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BadInputError(f"metrics: wanted HOST:PORT or the path of a file, not {where!r}")
    server = _Server((host, int(port)), _Quiet)
    server.set_app(lambda environ, start: _answer(metrics, environ, start))
    threading.Thread(target=server.serve_forever, name="sgreen-metrics", daemon=True).start()
    return metrics.digest


def _answer(metrics: Metrics, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    path = environ.get("PATH_INFO", "")
    status, kind, body = "404 Not Found", "text/plain", b"/metrics or /requests/ID\n"
    if path == "/metrics":
        status, kind, body = "200 OK", "text/plain; version=0.0.4", metrics.text()
    elif path.startswith("/requests/"):
        found = metrics.request(unquote(path.removeprefix("/requests/")))
        if found is not None:
            status, kind, body = "200 OK", "application/json", json.dumps(found).encode()
    start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    # wsgiref would send a body to who asks for the head alone, which AIPerf takes for an error.
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]
